"""A small pair in the current folder, its engines, and what stand-ins of TensorRT and pycuda hold of them."""

import sys

import numpy as np
import pytest

from darkprune.backends.numpy_ import NumpyRunner
from darkprune.engine.build import Build, Request, write
from darkprune.graph.build import load
from darkprune.graph.net import heads
from small_nets import cfg, conv, route, section, shortcut
from small_nets import write as write_pair
from stand_ins.loading import stand_in

YOLO = section("yolo", mask="0,1", anchors="4,5, 6,9", classes=3, num=2)
TEXT = cfg(
    conv(8, stride=2),
    section("maxpool", size=2, stride=1),
    conv(8, 3, "mish"),
    shortcut(-2),
    conv(16, 1, "linear", None),
    YOLO,
    route(-3),
    section("upsample", stride=2),
    conv(16, 1, "linear", None),
    YOLO,
    width=32,
    height=16,
)
RELEASES = ("tensorrt82", "tensorrt10")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with net.cfg and net.weights."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.delenv("DARKPRUNE_TENSORRT", raising=False)
    write_pair(tmp_path, TEXT)
    return tmp_path


@pytest.fixture(params=RELEASES)
def release(request, folder):
    """The module tensorrt of either release."""
    with stand_in(request.param) as module:
        yield module


def opened():
    """The net of net.cfg."""
    return load("net.cfg", "net.weights")


def built(path, **request):
    """Writes an engine of net.cfg and its report."""
    sources = {"cfg": "net.cfg", "weights": "net.weights"}
    return write(path, Build(opened(), Request(**request)).run(), sources, overwrite=True)


def expected(net, batch):
    """The raw heads as numpy computes them."""
    return NumpyRunner(net).infer(batch, heads(net))


def require_equal(found, wanted):
    """To rounding."""
    assert sorted(found) == sorted(wanted)
    for index in wanted:
        assert found[index].dtype == np.float32 and found[index].shape == wanted[index].shape
        assert np.abs(found[index] - wanted[index]).max() < 1e-5 * np.abs(wanted[index]).max()


def memory():
    """What is allocated on the simulated GPU."""
    return len(sys.modules["simulated_gpu"].allocations)
