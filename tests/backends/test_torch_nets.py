"""Whole nets in torch and in numpy, behind every layer."""

import os
import subprocess
import sys

import numpy as np
import pytest

import need
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.torch_ import TorchRunner
from darkprune.darknet.dialect_epsilon import DIALECTS
from darkprune.darknet.weights import Header
from darkprune.errors import Unsupported
from darkprune.graph.build import load
from darkprune.ops.registry import OPS
from darkprune.verify import test_batch as picture
from layer_agreement import largest_error
from odd_nets import NETS, text
from random_checks import draw
from random_layers import Choices
from random_nets import write_weights
from small_nets import make_weights
from type_nets import CFGS, NOT_RUN, with_weights
from type_nets import load as load_type

need.torch()

AGREE = 1e-4  # of a layer's largest value
SEEDS = 36


def compare(net, batch, **options):
    """The largest error of any layer, relative to the layer's largest value; fails where one is too large."""
    return largest_error(TorchRunner(net, device="cpu", **options), net, batch, AGREE)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("name", sorted(set(CFGS) - NOT_RUN))
def test_every_layer_type(name, dialect, tmp_path):
    net = load_type(name, dialect)
    with_weights(net, tmp_path)
    batch = np.random.RandomState(1).rand(2, 3, 8, 8).astype(np.float32)
    try:
        NumpyRunner(net).infer(batch)
    except Unsupported as error:
        with pytest.raises(Unsupported) as caught:
            TorchRunner(net).infer(batch)
        assert caught.value.message == error.message.replace("numpy", "torch")
        return
    compare(net, batch)
    compare(net, batch, channels_last=False)


@pytest.mark.parametrize("name", sorted(NOT_RUN))
def test_layer_types_that_no_backend_runs(name, tmp_path):
    net = load_type(name, "pjreddie" if OPS[name].readers == ("pjreddie",) else "alexeyab")
    with_weights(net, tmp_path)
    with pytest.raises(Unsupported) as caught:
        TorchRunner(net).infer(np.zeros((1, 3, 8, 8), np.float32))
    assert "[{}] cannot be run by the torch backend".format(name) in str(caught.value)
    assert caught.value.where.line is not None


@pytest.mark.parametrize("name", sorted(NETS))
def test_options_that_few_cfgs_use(name, tmp_path):
    (tmp_path / "net.cfg").write_text(text(name), "ascii")
    paths, dialect = [str(tmp_path / "net.cfg"), str(tmp_path / "net.weights")], NETS[name][0]
    make_weights.make(*paths, dialect=dialect, dead=0)
    net = load(paths[0], paths[1], dialect)
    batch = np.concatenate([picture(net, seed=seed) for seed in range(2)])
    assert 0 < compare(net, batch)
    compare(net, batch, channels_last=False)


@pytest.mark.parametrize("first", range(0, SEEDS, 12))
def test_random_nets(first, tmp_path):
    for seed in range(first, first + 12):
        case, weights = draw(Choices(seed)), str(tmp_path / "net.weights")
        (tmp_path / "net.cfg").write_bytes(case.data)
        made = case.weights
        write_weights(case.data, weights, made["seed"], Header(*made["header"]), made["dead"], case.dialect)
        net = load(str(tmp_path / "net.cfg"), weights, case.dialect)
        try:
            compare(net, picture(net))
        except AssertionError as error:
            raise AssertionError("seed {}".format(seed)) from error


def files(name, folder):
    """(cfg, weights) of a real cfg; synthetic weights where it has none."""
    label, _, rest = name.partition("/")
    top = {"own": lambda: need.ROOT / "cfg", "models": lambda: need.shared() / "models", "Debian": need.debian_cfgs}
    path = str(top[label]() / (rest + ".cfg"))
    if label == "models":
        return path, path[:-4] + ".weights"
    make_weights.make(path, str(folder / "net.weights"), dialect="pjreddie" if label == "Debian" else "alexeyab")
    return path, str(folder / "net.weights")


@pytest.mark.parametrize(
    "name",
    [
        "models/yolo-fastest-1.1/yolo-fastest-1.1",
        "models/yolo-fastest-1.1/yolo-fastest-1.1-xl",
        "own/yolov3-tiny",
        "own/yolov4-tiny",
        "Debian/yolov2-tiny-voc",
        "Debian/tiny",
        "Debian/cifar",
    ],
)
def test_real_nets_agree_at_every_layer(name, tmp_path):
    net = load(*files(name, tmp_path), dialect_name="pjreddie" if name.startswith("Debian") else "alexeyab")
    assert compare(net, picture(net)) <= AGREE


def test_the_tool_that_measures_agreement():
    argv = [str(need.ROOT / "tools" / "torch_agreement.py"), "--nets", str(need.ROOT / "tests/data/cfg/weighted.cfg")]
    env = dict(os.environ, PYTHONPATH=str(need.ROOT))
    done = subprocess.run(
        [sys.executable] + argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, universal_newlines=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    cells = [cell.strip() for cell in done.stdout.split("|")]
    assert cells[2:5] == ["synthetic", "96 x 96", "20"] and cells[8] == "same bytes"
    assert 0 < float(cells[5]) <= float(cells[7]) == AGREE
