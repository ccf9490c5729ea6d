"""Small nets for tests: cfg text from a few words, and seeded weights with the statistics of a trained net.

A share of the filters is dead (gamma = 0), as sparsity training leaves them; see tools/make_weights.py.
"""

import importlib.util
from pathlib import Path

import numpy as np

from darkprune.backends.numpy_ import NumpyRunner
from darkprune.darknet import cfg as cfg_text
from darkprune.graph.build import load
from darkprune.graph.net import heads
from darkprune.verify import test_batch

_TOOL = Path(__file__).resolve().parent.parent / "tools" / "make_weights.py"


def _make_weights():
    spec = importlib.util.spec_from_file_location("make_weights_for_tests", str(_TOOL))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_weights = _make_weights()


def cfg(*sections, **size):
    """The text of a cfg: [net] of 16 x 16 x 3, or of the width, height and channels given, and the sections."""
    net = [("width", 16), ("height", 16), ("channels", 3)]
    return section("net", **dict(net, **size)) + "".join(sections)


def section(name, **options):
    """One section; an option that is Python's word (`from`) is written with a trailing underscore."""
    return "[{}]\n".format(name) + "".join("{}={}\n".format(key.rstrip("_"), v) for key, v in options.items())


def conv(filters, size=3, activation="leaky", bn=1, **more):
    """A convolution that keeps the map's size unless told otherwise."""
    options = {"batch_normalize": bn, "filters": filters, "size": size, "stride": 1, "pad": 1}
    options.update(more)
    return section("convolutional", activation=activation, **{k: v for k, v in options.items() if v is not None})


def shortcut(source, activation="linear", **more):
    return section("shortcut", from_=source, activation=activation, **more)


def route(*layers, **more):
    return section("route", layers=",".join(str(n) for n in layers), **more)


def detector(classes=3, activation="linear"):
    """The text of a detector's cfg: 32 x 32 x 3, one head of 8 x 8 cells with three anchors."""
    return cfg(
        conv(8, activation=activation, stride=4),
        conv(3 * (classes + 5), size=1, activation="linear", bn=None),
        section("yolo", mask="0,1,2", anchors="4,5, 6,9, 12,8", classes=classes, num=3),
        width=32,
        height=32,
    )


HEAD = conv(5, size=1, activation="linear", bn=None)  # what reads the last map; its filters stay

MIXED = cfg(
    conv(8),
    section("maxpool", size=2, stride=2),
    conv(8, 3, "mish"),
    shortcut(-2),
    section("upsample", stride=2),
    route(-1, 0),
    conv(8, 1, "swish"),
    HEAD,
)


def every_kind(activation):
    """The text of a cfg with every kind of layer that computes on integers."""
    return cfg(
        conv(12, 3, activation),
        conv(12, 3, activation, groups=12, stride=2),
        conv(12, 3, activation, groups=3),
        section("maxpool", size=3, stride=1),
        shortcut(-2, activation),
        conv(8, 1, activation),
        route(-1, -2),
        section("reorg", stride=2),
        section("upsample", stride=2),
        route(-1, groups=2, group_id=1),
        section("avgpool"),
        conv(40, 1, "logistic"),
        section("scale_channels", from_=-3, activation=activation),
        HEAD,
    )


def write(folder, text, name="net", seed=7, dead=0.5):
    """Writes NAME.cfg and NAME.weights; returns their paths."""
    paths = [str(Path(str(folder)) / (name + suffix)) for suffix in (".cfg", ".weights")]
    with open(paths[0], "wb") as stream:
        stream.write(text.encode("latin-1"))
    make_weights.make(paths[0], paths[1], seed=seed, dead=dead)
    return paths


def net(folder, text, name="net", seed=7, dead=0.5, dialect="alexeyab"):
    """The net of a pair that is written to `folder` first."""
    paths = write(folder, text, name, seed, dead)
    return load(paths[0], paths[1], dialect)


def parse(text):
    """The document of a cfg's text."""
    return cfg_text.parse(text.encode("latin-1"), "net.cfg")


def raw_heads(any_net, seed=0):
    """float32 arrays: what comes out of the net for the test picture, independent of any labels."""
    batch = test_batch(any_net, seed=seed)
    indices = heads(any_net)
    found = NumpyRunner(any_net).infer(batch, indices)
    return [found[i] for i in indices]


def distance(first, second):
    """The largest difference of two nets' heads, relative to the first's largest value."""
    errors = []
    for a, b in zip(raw_heads(first), raw_heads(second)):
        assert a.shape == b.shape
        errors.append(float(np.abs(a.astype(np.float64) - b).max()) / float(np.abs(a).max()))
    return max(errors)
