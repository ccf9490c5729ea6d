"""What pruning writes can be trained further: Debian's Darknet does so, and what it saves is read again here."""

import importlib.util
import os
from pathlib import Path
from typing import List, NamedTuple, Tuple

import numpy as np
import pytest

import need
import small_nets
from darkprune import verify
from darkprune.backends.darknet_ import DarknetRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.opencv_ import OpenCVRunner
from darkprune.darknet.dialect_epsilon import DIALECTS
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.graph.save import save
from darkprune.prune.pipeline import prune
from small_nets import conv, route, section, shortcut

_TOOL = Path(__file__).resolve().parent.parent / "tools" / "train_further.py"

ITERATIONS, SIZE, CLASSES = 20, 64, 2
NET = section(
    "net", batch=2, subdivisions=1, width=SIZE, height=SIZE, channels=3, momentum=0.9, decay=0.0005, angle=0,
    saturation=1.5, exposure=1.5, hue=0.1, learning_rate=0.001, burn_in=5, max_batches=ITERATIONS, policy="constant",
)  # fmt: skip


def head(mask):
    """A head of three anchors."""
    anchors = "6,6, 10,14, 16,10, 20,24, 32,20, 40,44"
    raw = conv(3 * (5 + CLASSES), size=1, activation="linear", bn=None)
    return raw + section("yolo", mask=mask, anchors=anchors, classes=CLASSES, num=6, ignore_thresh=0.7, random=0)


def block(filters):
    """A shortcut block; the second convolution is padded."""
    return conv(filters // 2, 1) + conv(filters) + shortcut(-3)


DETECTOR = (
    NET + conv(16) + conv(24, stride=2) + block(24)  # layers 0..4
    + conv(32, stride=2) + block(32) + block(32)  # 5..11
    + conv(48, stride=2) + block(48) + block(48) + conv(32, 1) + conv(48)  # 12..20
    + head("3,4,5") + route(-4) + conv(16, 1) + section("upsample", stride=2) + route(-1, 11)  # 21..26
    + conv(24, 1) + conv(32) + head("0,1,2")  # 27..30
)  # fmt: skip

PRUNINGS = {
    "channels": {"channels": 0.5},
    "blocks": {"blocks": 3},
    "channels and blocks": {"channels": 0.5, "blocks": 2},
}


@pytest.fixture(scope="module")
def tool():
    """tools/train_further.py as a module."""
    spec = importlib.util.spec_from_file_location("train_further_for_tests", str(_TOOL))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def darknet():
    need.libdarknet()
    return need.darknet()


Trained = NamedTuple(
    "Trained",
    [
        ("before", Net),  # the pruned net
        ("after", Net),  # what Darknet saved
        ("sizes", Tuple[int, int]),  # of their weights files
        ("paths", Tuple[str, str]),
        ("rows", List[Tuple[int, float, float, int]]),  # iteration, loss, average loss, pictures
    ],
)


@pytest.fixture(scope="module", params=sorted(PRUNINGS))
def trained(request, tool, darknet, tmp_path_factory):
    """A pair that was pruned, and then trained by Darknet."""
    folder = tmp_path_factory.mktemp("training")
    tool.write_data_set(str(folder), SIZE)
    net = small_nets.net(folder, DETECTOR, dead=0.6, dialect="pjreddie")
    pruned = prune(net, **PRUNINGS[request.param])
    save(pruned.net, str(folder / "pruned"), plan=pruned.plan)
    rows, saved = tool.train(darknet, str(folder), "pruned")
    cfg, weights = str(folder / "pruned.cfg"), str(folder / "pruned.weights")
    sizes = os.path.getsize(weights), os.path.getsize(saved)
    return Trained(load(cfg, weights, "pjreddie"), load(cfg, saved, "pjreddie"), sizes, (cfg, saved), rows)


def constants(net):
    """(layer, filter) of each filter without weights and gamma."""
    found = []
    for layer in net.layers:
        if layer.has("scales"):
            quiet = np.abs(layer.array("weights")).reshape(layer.shape.c, -1).max(axis=1) == 0
            found += [(layer, int(k)) for k in np.flatnonzero(quiet & (layer.array("scales") == 0))]
    return found


def test_darknet_trains_what_pruning_wrote(trained):
    assert constants(trained.before)  # else the test would say nothing about them
    assert [(n, seen) for n, _, _, seen in trained.rows] == [(n, 2 * n) for n in range(1, ITERATIONS + 1)]
    losses = [loss for _, loss, _, _ in trained.rows]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])  # it does learn


def test_what_darknet_saves_loads_here(trained):
    after = trained.after
    assert trained.sizes[0] == trained.sizes[1] and after.header.seen == 2 * ITERATIONS
    for old, new in zip(trained.before.layers, after.layers):
        assert all(np.isfinite(new.array(key)).all() for key in new.params)
        assert all((old.array(key) != new.array(key)).any() for key in new.params)
    with DarknetRunner(*trained.paths) as judge:
        assert all(check.ok for check in verify.compare_reader(after, judge, verify.test_batch(after)))


def test_a_constant_stays_one_in_training(trained):
    """Its gamma and weights have no gradient, as either is 0; its beta learns, and its variance fades."""
    moved = []
    for layer, k in constants(trained.before):
        new = trained.after.layers[layer.index]
        assert new.array("scales")[k] == 0 and new.array("mean")[k] == 0 and (new.array("weights")[k] == 0).all()
        assert abs(new.array("variance")[k] - 0.99**ITERATIONS) < 1e-5
        moved.append(abs(new.array("biases")[k] - layer.array("biases")[k]))
    assert 0 < max(moved) < 0.5


@pytest.mark.parametrize("variance", [0.0, 1e-40])
def test_readers_take_the_variance_that_long_training_leaves(variance, tmp_path):
    need.opencv()
    need.libdarknet()
    pruned = prune(small_nets.net(tmp_path, DETECTOR, dead=0.6), channels=0.5).net
    reference = verify.test_batch(pruned)
    expected = NumpyRunner(pruned).infer(reference)
    for layer, k in constants(pruned):
        values = layer.array("variance").copy()
        values[k] = variance
        layer.set_param("variance", values)
    save(pruned, str(tmp_path / "faded"))
    paths = str(tmp_path / "faded.cfg"), str(tmp_path / "faded.weights")
    found = NumpyRunner(load(*paths)).infer(reference)
    assert all(np.array_equal(expected[index], found[index]) for index in expected)
    for dialect in DIALECTS:
        outputs = NumpyRunner(load(*paths, dialect)).infer(reference)
        assert all(np.isfinite(values).all() for values in outputs.values())
    for runner in (OpenCVRunner(*paths), DarknetRunner(*paths)):
        with runner:
            assert all(check.ok for check in verify.compare_reader(load(*paths, runner.dialect), runner, reference))
