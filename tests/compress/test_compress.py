"""compress as a whole: its stages, the commands that repeat them, kill -9 at many moments, and what it refuses."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

import need
import tiny_compress as tiny
from darkprune.compress.config import Config
from darkprune.compress.stages import stages_of
from darkprune.graph.build import load
from darkprune.graph.key import pair_key

if not sys.platform.startswith("linux"):
    pytest.skip("processes are forked and killed as Linux does it", allow_module_level=True)
need.torch(), need.opencv(), need.matplotlib()

RUNNER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compress_runner.py")
STAGES = ["01-train", "02-sparsify", "03-prune-1", "04-recalibrate-1", "05-finetune-1"]


class Program:
    """A process that runs the program in children; see compress_runner.py."""

    def __init__(self, data):
        path = os.pathsep.join([str(need.ROOT), str(need.ROOT / "tests")])
        env = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS="1")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, RUNNER], env=env, **pipes)
        self.data = str(data)
        tiny.write(data)

    def run(self, folder, argv, **kill):
        """(exit status or minus the signal, what it printed)"""
        job = dict(kill, folder=str(folder), argv=argv)
        self.process.stdin.write(json.dumps(job).encode("ascii") + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline().decode("ascii"))
        return answer["status"], answer["output"]

    def compress(self, folder, *more, **kill):
        return self.run(folder, ["compress", "run.ini"] + list(more), **kill)

    def config(self, folder, edit=lambda text: text):
        """Writes run.ini, whose output is the folder `run` beside it."""
        folder.mkdir(exist_ok=True)
        text = tiny.CONFIG.format(folder=self.data, out="run", distill="no")
        (folder / "run.ini").write_text(edit(text))
        return folder

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    running = Program(tmp_path_factory.mktemp("data"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def whole(program, tmp_path_factory):
    """The folder of an unbroken run, and what it printed."""
    folder = program.config(tmp_path_factory.mktemp("whole"))
    status, output = program.compress(folder)
    assert status == 0, output
    return folder, output


def rows(folder):
    with io.open(str(folder / "run" / "results.csv"), newline="") as stream:
        return list(csv.DictReader(stream))


def state(folder):
    """What a run left, by path, without the seconds it took, pictures and what TensorBoard shows."""
    found = {}
    for path in sorted((folder / "run").rglob("*")):
        if not path.is_file() or path.suffix == ".png" or "tfevents" in path.name:
            continue
        data = path.read_bytes()
        if path.name.endswith("_log.csv"):
            data = re.sub(rb",[^,]*\n", b"\n", data)
        elif path.suffix in (".json", ".csv", ".md"):
            data = re.sub(rb'("seconds": )[0-9.]+', b"", data)
            data = b"" if path.suffix == ".md" else data
        if path.name == "results.csv":
            data = [{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder)]
        found[str(path.relative_to(folder))] = data
    return found


def test_stages_and_results(whole):
    folder, output = whole
    found = rows(folder)
    assert [row["stage"] for row in found] == STAGES
    sizes = [int(row["parameters"]) for row in found]
    assert sizes[0] == sizes[1] > sizes[2] == sizes[3] == sizes[4]
    for row in found:
        pair = str(folder / row["cfg"]), str(folder / row["weights"])
        net = load(*pair)
        assert pair_key(net) == row["key"] and os.path.getsize(pair[1]) == int(row["bytes"]) == net.weights_bytes()
        assert float(row["bflops"]) == pytest.approx(net.bflops(), abs=1e-6)
        assert os.path.dirname(row["cfg"]) == os.path.join("run", row["stage"])
    assert len({row["key"] for row in found}) == len(found)
    assert (folder / "run" / "report.md").read_text() in output
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["smaller"]["parameters"] == pytest.approx(sizes[0] / sizes[-1], abs=1e-4)
    assert [stage["key"] for stage in report["stages"]] == [row["key"] for row in found]


def test_the_commands_repeat_the_stages(program, whole, tmp_path):
    folder, _ = whole
    for row in rows(folder):
        words = shlex.split(row["command"])[1:]
        place = words.index("-o") + 1
        words[place] = str(tmp_path / row["stage"]) + ("/tiny" if words[0] != "train" else "")
        (tmp_path / row["stage"]).mkdir()
        status, output = program.run(folder, words)
        assert status == 0, output
        weights = str(tmp_path / row["stage"] / os.path.basename(row["weights"]))
        assert pair_key(load(str(tmp_path / row["stage"] / "tiny.cfg"), weights)) == row["key"], row["stage"]


def test_killed_at_many_moments_it_ends_the_same(program, whole, tmp_path):
    folder = program.config(tmp_path)
    kills = [{"at": 4 + 5 * n % 13, "after": n % 2 == 1} for n in range(40)]
    kills[4::5] = [{"delay": 0.1 * (n + 1)} for n in range(len(kills[4::5]))]
    ended = []
    for kill in kills:
        status, output = program.compress(folder, "--resume", **kill)
        ended.append(status)
        assert status in (0, -9), output
        if status == 0:
            break
    assert ended.count(-9) >= 5 and ended[-1] == 0
    assert state(folder) == state(whole[0])


def test_an_interrupt_ends_a_training_in_order(program, whole, tmp_path):
    folder = program.config(tmp_path)
    status, output = program.compress(folder, at=22, signal=int(signal.SIGINT))
    told = r"02-sparsify: interrupted after step [1-4]; --resume goes on from there\n.*interrupted\n"
    assert status == 130 and re.search(told, output), output
    assert not (folder / "run" / "02-sparsify" / "tiny_final.weights").exists()
    status, output = program.compress(folder, "--resume")
    assert status == 0, output
    assert state(folder) == state(whole[0])


def test_a_moved_folder_is_gone_on_with(program, whole, tmp_path):
    folder = program.config(tmp_path, lambda text: text.replace("folder = run", "folder = moved"))
    shutil.copytree(str(whole[0] / "run"), str(folder / "moved"))
    shutil.rmtree(str(folder / "moved" / STAGES[-1]))
    status, output = program.compress(folder, "--resume")
    assert status == 0, output
    last = STAGES[-1] + "/tiny_final.weights"
    assert (folder / "moved" / last).read_bytes() == (whole[0] / "run" / last).read_bytes()
    stages = json.loads((folder / "moved" / "report.json").read_text())["stages"]
    assert [row["cfg"] for row in stages] == ["moved/{}/tiny.cfg".format(name) for name in STAGES]


def test_options_of_the_cfg_without_effect_are_told_once(program, tmp_path):
    (tmp_path / "tiny.cfg").write_text(tiny.NET.replace("mosaic=1", "mosaic=1\nmixup=1"))
    text = "[model]\ncfg = tiny.cfg\ndata = {}/tiny.data\n[train]\nepochs = 1\n".format(program.data)
    text += "[sparsify]\nepochs = 1\nstrength = 0.1\n[run]\nworkers = 0\n[output]\nfolder = run\n"
    status, output = program.compress(program.config(tmp_path, lambda _: text))
    assert status == 0, output
    assert output.count("warning: mixup=1 has no effect: it is not built in\n") == 1
    assert "more lines" not in output


def test_a_stage_that_the_band_may_end_depends_on_when_it_is_evaluated(program, tmp_path):
    from darkprune.compress.stage_work import settings_of

    for more, every in (("", None), ("\nband = 0.1", "10")):
        program.config(tmp_path, lambda text, more=more: text.replace("strength = 0.5", "strength = 0.5" + more))
        config = Config.read(str(tmp_path / "run.ini"))
        found = [settings_of(config, stage) for stage in stages_of(config)]
        assert [asked.get("[run] every") for asked, _ in found] == [None, every, None, None, None]
    assert found[1][1]["[run] every"].text == "every = 10"


def test_resuming_what_is_done_changes_nothing(program, whole):
    before = {path: path.stat().st_mtime_ns for path in (whole[0] / "run").glob("0*/*")}
    status, output = program.compress(whole[0], "--resume")
    assert status == 0 and "05-finetune-1" in output
    assert {path: path.stat().st_mtime_ns for path in (whole[0] / "run").glob("0*/*")} == before


def test_a_second_run_needs_resume(program, whole):
    assert program.compress(whole[0]) == (
        2,
        "run/01-train/stage.json: error: an earlier run stands here\n"
        "hint: go on with it by --resume, or write to another folder\n",
    )


def test_a_changed_setting_is_noticed(program, whole, tmp_path):
    folder = program.config(tmp_path, lambda text: text.replace("strength = 0.5", "strength = 0.25"))
    shutil.copytree(str(whole[0] / "run"), str(folder / "run"))
    assert program.compress(folder, "--resume") == (
        2,
        "run.ini:10: error: [sparsify] strength was 0.5 when run/02-sparsify was made, and is 0.25 now\n"
        "   10 | strength = 0.25\n"
        "hint: set it back, remove that folder, or write to another one\n",
    )


def test_a_setting_of_a_stage_that_failed_before_it_made_anything_can_be_corrected(program, whole, tmp_path):
    wrong = {"strength = 0.5": "strength = 0.5\nlearning_rate = 1e9", "save_every = 2": "save_every = 100"}

    def edit(text):
        for right, other in wrong.items():
            text = text.replace(right, other)
        return text

    folder = program.config(tmp_path, edit)
    shutil.copytree(str(whole[0] / "run"), str(folder / "run"))
    for name in STAGES[1:]:
        shutil.rmtree(str(folder / "run" / name))
    status, output = program.compress(folder, "--resume")
    assert status == 2 and "error: the loss is" in output, output
    assert not (folder / "run" / STAGES[1] / "tiny_last.npz").exists()
    status, output = program.compress(program.config(folder), "--resume")
    assert status == 0, output
    assert state(folder) == state(whole[0])


def test_a_changed_file_is_noticed(program, whole, tmp_path):
    folder = program.config(tmp_path)
    shutil.copytree(str(whole[0] / "run"), str(folder / "run"))
    path = folder / "run" / "03-prune-1" / "tiny.weights"
    path.write_bytes(path.read_bytes()[:-1] + b"\x3f")
    assert program.compress(folder, "--resume") == (
        2,
        "run/03-prune-1/tiny.weights: error: this is not the file that the stage wrote\nhint: remove its folder\n",
    )
    shutil.rmtree(str(path.parent))  # it is then made again, and all behind it still fits
    status, output = program.compress(folder, "--resume")
    assert status == 0, output
    assert state(folder) == state(whole[0])


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 2, "asked": {}, "files": {}, "row": {}}'])
def test_a_record_of_others(program, tmp_path, text):
    folder = program.config(tmp_path)
    (folder / "run" / "01-train").mkdir(parents=True)
    (folder / "run" / "01-train" / "stage.json").write_text(text)
    assert program.compress(folder, "--resume") == (
        2,
        "run/01-train/stage.json: error: this is no record of a stage\nhint: remove its folder, and resume\n",
    )


def test_rounds_from_a_pair_by_a_budget(program, whole, tmp_path):
    """Two rounds of pruning without training come to the budget, and the first one to its root."""
    pair = [str(whole[0] / "run" / "02-sparsify" / name) for name in ("tiny.cfg", "tiny_final.weights")]
    text = "[model]\ncfg = {}\nweights = {}\ndata = {}/tiny.data\n".format(pair[0], pair[1], program.data)
    text += "[prune]\nparameters = 36 %\nsteps = 2\nrecalibrate = 0\n[output]\nfolder = run\n"
    text += "[finetune]\nepochs = 1\ndistill = yes\n[run]\nworkers = 0\n"
    folder = program.config(tmp_path, lambda _: text)
    status, output = program.compress(folder, "--json")
    assert status == 0, output
    found = json.loads(output[output.index("{") :])
    assert [row["stage"] for row in found["stages"]] == [
        "01-original",
        "02-prune-1",
        "03-finetune-1",
        "04-prune-2",
        "05-finetune-2",
    ]
    sizes = [row["parameters"] / found["stages"][0]["parameters"] for row in found["stages"]]
    assert 0.5 < sizes[1] == sizes[2] <= 0.6 and 0.27 < sizes[3] == sizes[4] <= 0.36
    assert found["stages"][0]["key"] == rows(whole[0])[1]["key"]
    assert "distill_objectness" in (folder / "run" / "05-finetune-2" / "tiny_log.csv").read_text()
