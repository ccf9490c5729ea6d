"""Training that keeps the zeros of the weights it starts from: in the weights, in their average, and when resumed."""

import numpy as np
import pytest

import need

need.opencv()
torch = need.torch()

import drawn_set  # noqa: E402
from darkprune.cli.main import main  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.prune.weight_sparsity import sparsify  # noqa: E402
from darkprune.train import loop  # noqa: E402
from darkprune.train.random_weights import OBJECTNESS, start  # noqa: E402
from small_nets import cfg, conv, section, shortcut  # noqa: E402

YOLO = dict(classes=2, num=2, mask="0,1", anchors="8,8,14,14", jitter=0.1, iou_loss="ciou", ignore_thresh=0.7)
LAYERS = [conv(4, stride=2), conv(8, stride=2), conv(4, size=1), conv(8), shortcut(-3), conv(14, size=1, bn=None)]
TRAINING = dict(batch=4, subdivisions=2, learning_rate=0.01, burn_in=2)
NET = cfg(*(LAYERS + [section("yolo", **YOLO)]), width=32, height=32, **TRAINING)


@pytest.fixture
def job(tmp_path):
    """(words of the command, with a dense and a sparse pair in the folder; the folder)"""
    (tmp_path / "net.cfg").write_text(NET)
    dense = start(load(str(tmp_path / "net.cfg")), 0, OBJECTNESS)
    save(dense, str(tmp_path / "dense"))
    save(sparsify(dense, 0.6).net, str(tmp_path / "sparse"))
    data = drawn_set.write(tmp_path)
    words = ["--data", data, "--workers", "0", "--every", "0", "--max-batches", "8", "--save-every", "3", "--json"]
    return ["train", str(tmp_path / "sparse.cfg"), str(tmp_path / "sparse.weights")] + words, tmp_path


def weights(folder, name):
    """layer -> weights, of a file in the folder."""
    net = load(str(folder / "sparse.cfg"), str(folder / name))
    return {layer.index: layer.array("weights") for layer in net.layers if layer.has("weights")}


def require_kept(folder, name):
    """The zeros of a file that was trained are those of sparse.weights, and all other weights have moved."""
    first, found = weights(folder, "sparse.weights"), weights(folder, name)
    assert sum((values == 0).sum() for values in first.values()) > 400
    for index, values in first.items():
        np.testing.assert_array_equal(found[index] == 0, values == 0)
        assert (found[index] != values)[values != 0].mean() > 0.9


@pytest.mark.parametrize(
    "more",
    [
        ("--set", "ema_alpha=0.9"),
        ("--adam", "1", "--bfloat16"),
        ("--sparsity", "0.1", "--teacher", "{0}/dense.cfg", "{0}/dense.weights"),
    ],
    ids=["average", "adam", "teacher"],
)
def test_zeros_stay(job, more):
    words, folder = job
    more = [word.format(folder) for word in more]
    assert main(words + ["-o", str(folder / "out"), "--keep-zeros"] + more) == 0
    for name in ("final", "last", "best"):
        require_kept(folder, "out/sparse_{}.weights".format(name))


def test_without_it_they_grow_back(job):
    """So that the test above can fail."""
    words, folder = job
    assert main(words + ["-o", str(folder / "out")]) == 0
    assert not any((values == 0).any() for values in weights(folder, "out/sparse_final.weights").values())


def test_a_resumed_training_comes_to_the_same_bytes(job, monkeypatch, capsys):
    words, folder = job
    words = words + ["--keep-zeros", "--set", "ema_alpha=0.9", "-o"]
    assert main(words + [str(folder / "whole")]) == 0
    step = loop.Run._step

    def broken(run, parts, shape):
        if run.done == 5:
            raise MemoryError  # as if it were killed
        return step(run, parts, shape)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "_step", broken)
        assert main(words + [str(folder / "out")]) == 2
    assert not (folder / "out" / "sparse_final.weights").exists()
    capsys.readouterr()
    without = [word for word in words if word != "--keep-zeros"]
    assert main(without + [str(folder / "out"), "--resume"]) == 2
    assert capsys.readouterr().err == (
        "{}: error: the checkpoint is of another training: keep zeros was True, and is None now\n"
        "hint: give what was given then, or train without --resume\n"
    ).format(folder / "out" / "sparse_last.npz")
    assert main(words + [str(folder / "out"), "--resume"]) == 0
    for name in ("final", "last"):
        path = "sparse_{}.weights".format(name)
        assert (folder / "out" / path).read_bytes() == (folder / "whole" / path).read_bytes()
    require_kept(folder, "out/sparse_final.weights")


def test_what_it_refuses(job, capsys):
    words, folder = job
    words = words + ["-o", str(folder / "out"), "--keep-zeros"]
    needed = "error: --keep-zeros needs WEIGHTS that training starts from\nhint: give both, or neither\n"
    assert main(words + ["--reinit"]) == 2
    assert capsys.readouterr().err == needed
    dense = [word.replace("sparse.", "dense.") for word in words]
    assert main(dense) == 2
    assert capsys.readouterr().err.endswith(
        "dense.cfg:1: error: no weight is 0 that could be kept so\n    1 | [net]\n      | ^^^^^\n"
        "hint: make some by darkprune sparsify, or train without --keep-zeros\n"
    )
