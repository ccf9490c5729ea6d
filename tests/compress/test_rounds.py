"""Rounds of pruning that end where one has lost too much: what is kept, resumed, and said."""

import json
import os
import shutil

import pytest

import need
import small_nets
import tiny_compress
from darkprune.compress.rounds import judge
from darkprune.compress.stages import Stage
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.prune.weight_sparsity import sparsify


def stages(*rounds):
    return [Stage("any", None, number, str(place)) for place, number in enumerate(rounds)]


def judged(rounds, accuracies, most, name="map"):
    rows = [{"top5": 0.0, name: accuracy} for accuracy in accuracies]
    return tuple(judge(stages(*rounds), rows, most))


TWO_ROUNDS = (0, 0, 1, 1, 2, 2)


@pytest.mark.parametrize(
    "accuracies, wanted",
    [
        ([0.8], (0, None)),
        ([0.8, 0.1], (1, None)),  # sparsity training is no round
        ([0.8, 0.78, 0.0], (1, None)),  # nor is a round done when the net is pruned
        ([0.8, 0.78, 0.0, 0.78], (3, None)),  # 2 points are not more than 2
        ([0.8, 0.78, 0.0, 0.7799], (1, 2.01)),
        ([0.8, 0.78, 0.0, 0.79, 0.1], (3, None)),
        ([0.8, 0.78, 0.0, 0.79, 0.1, 0.5], (3, 30.0)),
        ([0.8, 0.78, 0.0, 0.79, 0.1, 0.9], (5, None)),
    ],
)
def test_the_last_good_round_is_kept(accuracies, wanted):
    assert judged(TWO_ROUNDS, accuracies, 2.0) == wanted
    assert judged(TWO_ROUNDS, accuracies, 2.0, "top1") == wanted


def test_without_a_bound_the_last_pair_is_kept():
    assert judged(TWO_ROUNDS, [0.8, 0.7, 0.0, 0.0], None) == (3, None)


ACCURACIES = {
    "01-original": 0.8,
    "02-prune-1": 0.1,
    "03-finetune-1": 0.79,
    "04-prune-2": 0.1,
    "05-finetune-2": 0.75,
    "06-prune-3": 0.1,
    "07-finetune-3": 0.74,
}
CONFIG = """\
[model]
cfg = {0}/tiny.cfg
weights = {0}/tiny.weights
data = {0}/tiny.data
[prune]
channels = 0.6
steps = 3
max_drop = {1}
recalibrate = 0
[finetune]
epochs = 1
[output]
folder = {0}/run
"""


@pytest.fixture
def compress(tmp_path, monkeypatch):
    """Runs compress with stages that only zero some weights, and have the accuracies above. Returns it and what it
    made: compress(max_drop) -> its Loop."""
    need.torch(), need.opencv()
    from darkprune.compress import loop
    from darkprune.compress.config import Config
    from darkprune.compress.stage_work import Made, Work
    from darkprune.compress.stages import Pair

    tiny_compress.write(tmp_path)
    small_nets.write(tmp_path, tiny_compress.NET, "tiny", dead=0.0)
    made = []

    def make(work, stage, folder, given):
        made.append(stage.folder)
        net = load(*(given.pair or (str(tmp_path / "tiny.cfg"), str(tmp_path / "tiny.weights"))))
        save(sparsify(net, 0.05 * len(os.listdir(str(tmp_path / "run")))).net, os.path.join(folder, "tiny"), True)
        return Made(Pair(*(os.path.join(folder, "tiny" + suffix) for suffix in (".cfg", ".weights"))), [stage.kind])

    def row(net, data, device):
        stage = os.path.basename(os.path.dirname(net.document.path))
        return {"map": ACCURACIES[stage], "parameters": 1000 - len(made), "bytes": 4000, "bflops": 0.5, "zeros": 0.0}

    monkeypatch.setattr(Work, "make", make)
    monkeypatch.setattr(loop, "row", row)

    def run(max_drop):
        (tmp_path / "run.ini").write_text(CONFIG.format(tmp_path, max_drop))
        found = loop.Loop(Config.read(str(tmp_path / "run.ini")), resume=True)
        found.run()
        return found

    return run, made


def test_rounds_end_behind_the_first_that_lost_too_much(compress, tmp_path):
    run, made = compress
    found = run(2)
    assert made == [name for name in ACCURACIES][:5]
    assert str(found.notices[-1]).replace(str(tmp_path), "") == (
        "/run.ini:8: warning: 05-finetune-2 has lost 5.00 points, which is more than max_drop: 03-finetune-1 is kept\n"
        "    8 | max_drop = 2\n"
        "hint: for more, prune less in a round, by more steps, or train longer in [finetune]"
    )
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["kept"] == "03-finetune-1" and len(report["stages"]) == 5
    assert report["smaller"]["parameters"] == round(999 / 997.0, 4)
    page = (tmp_path / "run" / "report.md").read_text().replace(str(tmp_path), "")
    assert "From 01-original to 03-finetune-1: 1.00x fewer parameters" in page and "-1.00 points" in page
    kept = "/run/03-finetune-1/tiny"
    assert "The pair that is kept: {0}.cfg {0}.weights\n".format(kept) in page


def test_it_is_resumed_and_a_larger_bound_goes_on(compress, tmp_path):
    run, made = compress
    run(2)
    report = (tmp_path / "run" / "report.md").read_bytes()
    shutil.rmtree(str(tmp_path / "run" / "05-finetune-2"))  # as if it were killed there
    (tmp_path / "run" / "report.md").write_bytes(b"")
    run(2)
    assert made[5:] == ["05-finetune-2"] and [r["stage"] for r in run(2).rows] == list(ACCURACIES)[:5]
    shown = [text.split(b"\n\n")[1].split(b",")[0] for text in (report, (tmp_path / "run" / "report.md").read_bytes())]
    assert shown[0] == shown[1]
    found = run(5.5)
    assert made[6:] == ["06-prune-3", "07-finetune-3"]
    assert found.rows[found.kept]["stage"] == "05-finetune-2" and "lost 6.00 points" in found.notices[-1].message
    assert run(10).rows[-1]["stage"] == "07-finetune-3" and not run(10).notices
