"""Costs against what the primitives are really asked to do, and against published numbers."""

import numpy as np
import pytest

import need
from darkprune.backends.forward import forward
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.evaluate.cost import cost
from darkprune.graph.build import build
from edit_checks import random_pair
from small_nets import HEAD, cfg, conv, parse, section, shortcut

NETS = {
    "convolutions": cfg(conv(8, stride=2), conv(8, groups=4), conv(8, 1), conv(8, groups=8), HEAD),
    "shared": cfg(conv(8), conv(8), conv(8, share_index=1), shortcut(-2), HEAD),
    "blurred": cfg(conv(8, stride=2, antialiasing=1), HEAD),
    "flat": cfg(conv(4, stride=2), section("connected", output=7, activation="leaky"), section("softmax")),
    "local": cfg(conv(4), section("local", filters=3, size=3, stride=2, pad=0, activation="linear")),
}


class Counting(NumpyBuilder):
    """Counts the products that the primitives with weights add up, from the shapes that pass through."""

    def __init__(self):
        super(Counting, self).__init__()
        self.products = 0
        self.blurs = 0

    def conv2d(self, x, weight, *arguments, **options):
        y = super(Counting, self).conv2d(x, weight, *arguments, **options)
        self.products += y[0].size * weight[0].size
        if len(np.unique(weight, axis=0)) == 1 < len(weight):
            self.blurs += y[0].size * weight[0].size  # the fixed kernel of antialiasing, which is no weight
        return y

    def linear(self, x, weight):
        self.products += weight.size
        return super(Counting, self).linear(x, weight)

    def local_conv2d(self, x, weight, *arguments, **options):
        self.products += weight.size
        return super(Counting, self).local_conv2d(x, weight, *arguments, **options)


@pytest.mark.parametrize("kind", sorted(NETS))
def test_products_are_those_that_are_computed(tmp_path, kind):
    net = random_pair(tmp_path, NETS[kind])
    counting = Counting()
    forward(net, counting, np.ones((1, 3, 16, 16), np.float32))
    found = cost(net)
    assert found.macs == counting.products - counting.blurs > 0
    assert found.weights_bytes == (tmp_path / "net.weights").stat().st_size
    assert found.parameters == (found.weights_bytes - net.header.size) // 4


def test_recurrent_layers():
    rnn = build(parse(cfg(section("rnn", output=5, hidden=7, activation="tanh"), width=2, height=2)))
    assert cost(rnn).macs == 12 * 7 + 7 * 7 + 7 * 5
    up = build(parse(cfg(section("deconvolutional", filters=2, size=4, stride=2))), "pjreddie")
    assert cost(up).macs == 16 * 16 * 3 * 2 * 4 * 4


def test_yolov3_is_what_its_author_says():
    """140.69 Bn operations at 608 x 608 (pjreddie.com/darknet/yolo), two per product; 248,007,048 bytes of weights."""
    net = build(parse((need.debian_cfgs() / "yolov3.cfg").read_text("latin-1")), "pjreddie")
    found = cost(net)
    assert round(2 * found.macs / 1e9, 2) == 140.69 == round(found.bflops, 2)
    assert found.weights_bytes == 248007048
