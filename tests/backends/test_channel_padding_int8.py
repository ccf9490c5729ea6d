"""Padded convolutions on 8-bit integers: the same integers."""

import numpy as np
import pytest

from darkprune.backends.channel_padding_int8 import PaddedInt8
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.fakequant_ops import FakequantBuilder
from darkprune.backends.forward import forward
from darkprune.backends.int8_base import Int8Builder
from darkprune.graph.net import heads
from darkprune.quant.placement import Quantizing
from darkprune.quant.quantization import ONNXRUNTIME, TENSORRT, Quantization
from int8_nets import measured, pictures
from odd_nets import NETS, text
from small_nets import HEAD, cfg, conv, route, section, shortcut
from small_nets import net as small_net
from type_nets import CFGS, NOT_RUN, with_weights
from type_nets import load as load_type


class Keeping(FakequantBuilder):
    """Keeps the filters of its int8 convolutions."""

    def __init__(self, *arguments):
        super(Keeping, self).__init__(*arguments)
        self.filters = []

    def int8_conv2d(self, x, filters, *arguments):
        self.filters.append(filters)
        return super(Keeping, self).int8_conv2d(x, filters, *arguments)


def integers(net, ranges, batch, scheme, multiple):
    """(what is rounded by name, without the added channels; the filters of the convolutions) of the padded net."""
    found = {}

    class Seeing(PaddedInt8):
        def named(self, x, name):
            found[name] = self.unwrap(x.tensor)
            return super(Seeing, self).named(x, name)

    quantization = Quantization(net, ranges, scheme)
    padded = Seeing(Keeping(net.dialect.name), multiple, heads(net))
    builder = Quantizing(padded, quantization)
    builder.images = len(batch)
    outputs = forward(quantization.net, builder, builder.wrap(batch), None, builder.finish)
    found.update((index, builder.unwrap(y)) for index, y in outputs.items())
    return found, padded.inner.filters


def compare(net, scheme=ONNXRUNTIME, multiple=5):
    """Asserts that padding changes no integer; gives the filters of the int8 convolutions."""
    ranges, batch, expected = measured(net), pictures(net), {}

    def seen(name, values):
        expected[name] = values

    expected.update(FakequantRunner(net, ranges, scheme, seen).infer(batch))
    found, filters = integers(net, ranges, batch, scheme, multiple)
    assert set(found) == set(expected)
    for key, values in expected.items():
        if isinstance(key, str):
            np.testing.assert_array_equal(found[key], values, key)
        else:
            np.testing.assert_allclose(found[key], values, rtol=1e-5, atol=1e-5 * (np.abs(values).max() + 1e-9))
    return filters


@pytest.mark.parametrize("name", sorted(set(CFGS) - NOT_RUN))
def test_every_layer_type(name, tmp_path):
    net = load_type(name, "alexeyab")
    with_weights(net, tmp_path)
    compare(net)


@pytest.mark.parametrize("name", sorted(name for name in NETS if NETS[name][0] == "alexeyab"))
def test_options_that_few_cfgs_use(name, tmp_path):
    compare(small_net(tmp_path, text(name), dead=0), multiple=3)


WIRED = (
    conv(6, activation="relu")
    + conv(10, activation="logistic")
    + route(-1, 0)
    + conv(16, groups=16)
    + conv(6, 1, "mish")
    + conv(9, groups=3)
    + conv(6)
    + shortcut(-3)
    + conv(10)
    + shortcut(-2)
    + section("avgpool")
    + conv(10, 1, "logistic")
    + section("scale_channels", from_=-3)
    + route(-1, -4)
    + route(-1, groups=2, group_id=1)
    + section("maxpool", size=2, stride=2)
    + conv(7, 3, "relu")
    + section("upsample")
    + HEAD
)


@pytest.mark.parametrize("scheme", [ONNXRUNTIME, TENSORRT])
def test_a_net_of_all_wirings(scheme, tmp_path):
    filters = compare(small_net(tmp_path, cfg(WIRED), dead=0), scheme, 4)
    widths = [len(x.weights) for x in filters]
    assert widths == [12, 20, 8, 9, 8, 12, 12, 8]
    narrow = filters[2]
    assert narrow.weights.dtype == np.int8 and narrow.biases.dtype == np.int32
    assert not narrow.weights[6:].any() and not narrow.biases[6:].any()
    assert (narrow.scales[6:] == 1).all() and (narrow.scales[:6] < 1).all()


def test_every_primitive_on_integers_is_padded():
    names = [name for name, value in vars(Int8Builder).items() if callable(value) and not name.startswith("_")]
    assert len(names) > 8 and set(names) <= set(vars(PaddedInt8))
