"""Where an INT8 net rounds: which tensors are integers, and what the layers between them read."""

import numpy as np
import pytest

import small_nets
from darkprune.backends.base import Builder
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.fakequant_ops import FakequantBuilder
from darkprune.backends.forward import forward
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.ops.activation_functions import activate
from darkprune.quant.placement import Quantizing
from darkprune.quant.placement_tensorrt8 import QuantizingByRanges, placed
from darkprune.quant.quantization import IMPLICIT, ONNXRUNTIME, TENSORRT, Quantization
from darkprune.quant.ranges import Range
from int8_nets import measured, pictures
from small_nets import HEAD, conv, route, section, shortcut


class Recorder(FakequantBuilder):
    """Remembers by name what is rounded from floats, and counts what is made floats again."""

    def __init__(self):
        super(Recorder, self).__init__("alexeyab")
        self.names, self.from_floats, self.to_floats, self._last = [], [], 0, None

    def named(self, x, name):
        self.names.append(name)
        if self._last is x:
            self.from_floats.append(name)
        return x

    def quantize(self, x, params):
        self._last = super(Recorder, self).quantize(x, params)
        return self._last

    def dequantize(self, x):
        self.to_floats += 1
        return super(Recorder, self).dequantize(x)


def recorded(net, keep_float=None, scheme=ONNXRUNTIME):
    quantization = Quantization(net, measured(net, keep_float=keep_float), scheme)
    builder = placed(Recorder(), quantization)
    assert isinstance(builder, QuantizingByRanges) == (scheme is IMPLICIT)
    batch = pictures(net)
    outputs = forward(quantization.net, builder, builder.wrap(batch), small_nets.heads(net), builder.finish)
    for y in outputs.values():
        assert builder.real(y).dtype == np.float32
    return builder.inner


def names_of(found):
    return " ".join(name.replace("_convolutional", "").replace("L00", "") for name in found)


def test_every_primitive_is_wrapped():
    primitives = [name for name, value in vars(Builder).items() if callable(value) and not name.startswith("_")]
    assert set(primitives) - {"unsupported"} <= set(vars(Quantizing))


def test_a_relu_is_part_of_the_rounding_and_a_table_is_rounded_on_both_sides(tmp_path):
    text = small_nets.cfg(conv(4), conv(4, activation="relu"), conv(4, activation="linear"), conv(4), HEAD)
    found = recorded(small_nets.net(tmp_path, text))
    assert names_of(found.names) == "0 1 2 3_before 3"
    assert names_of(found.from_floats) == "0"  # the output of the float convolution
    assert found.to_floats == 1  # for the head


def test_what_only_float_layers_make_and_read_stays_float(tmp_path):
    text = small_nets.cfg(conv(4), conv(4), conv(4), conv(4), conv(4), HEAD)
    found = recorded(small_nets.net(tmp_path, text), keep_float=[0, 1, 2, 4, 5])
    assert names_of(found.names) == "2 3_before 3"
    assert (names_of(found.from_floats), found.to_floats) == ("2", 1)


def test_the_image_is_rounded_where_the_first_convolution_is_int8(tmp_path):
    found = recorded(small_nets.net(tmp_path, small_nets.cfg(conv(4), conv(4), HEAD)), keep_float=[])
    assert names_of(found.names) == "data 0_before 0 1_before 1 2"
    assert (found.from_floats, found.to_floats) == (["data"], 1)


def test_integers_move_between_layers_without_floats(tmp_path):
    text = small_nets.cfg(
        conv(8),
        section("maxpool", size=2, stride=2),
        conv(8),
        section("upsample", stride=2),
        route(-1, 0),
        conv(8),
        route(-1, groups=2, group_id=1),
        section("dropout"),
        section("reorg", stride=2),
        HEAD,
    )
    found = recorded(small_nets.net(tmp_path, text))
    expected = "0 1_maxpool 2_before 2 3_upsample 4_route 5_before 5 6_route 7_dropout 8_reorg"
    assert names_of(found.names) == expected
    assert (names_of(found.from_floats), found.to_floats) == ("0 1_maxpool", 2)


def test_sums_means_and_products_are_integers(tmp_path):
    text = small_nets.cfg(
        conv(8),
        conv(8),
        shortcut(-2, "leaky"),
        conv(4),
        shortcut(-2),  # narrower than its source
        conv(8),
        shortcut(-2, "relu"),  # wider than its source
        section("avgpool"),
        conv(8, 1, "logistic"),
        section("scale_channels", from_=-3),
        HEAD,
    )
    found = recorded(small_nets.net(tmp_path, text))
    expected = "0 1_before 1 2_shortcut_before 2_shortcut 3_before 3 4_shortcut 5_before 5 6_shortcut 7_avgpool"
    assert names_of(found.names) == expected + " 8_before 8 9_scale_channels"
    assert (names_of(found.from_floats), found.to_floats) == ("0", 1)


def test_a_sum_of_three_is_made_of_floats(tmp_path):
    text = small_nets.cfg(conv(4), conv(4), conv(4), shortcut("-2,-3", "leaky"), HEAD)
    found = recorded(small_nets.net(tmp_path, text))
    assert names_of(found.from_floats) == "0 3_shortcut_before"


def test_blurred_maps_are_rounded_like_the_sharp_ones(tmp_path):
    text = small_nets.cfg(conv(4), conv(4, stride=2, antialiasing=1), conv(4), HEAD)
    found = recorded(small_nets.net(tmp_path, text))
    assert names_of(found.names) == "1 2_before 2"


def test_tensorrt_rounds_nothing_before_a_table(tmp_path):
    text = small_nets.cfg(conv(4), conv(4), conv(4, activation="relu"), HEAD)
    found = recorded(small_nets.net(tmp_path, text), scheme=TENSORRT)
    assert names_of(found.names) == "0 1 2"
    assert names_of(found.from_floats) == "0 1"


def test_where_ranges_decide_a_convolution_is_rounded_unless_its_activation_is_fused(tmp_path):
    text = small_nets.cfg(
        conv(4), conv(4), conv(4, activation="relu6"), conv(4, activation="mish"), conv(4, 1, "logistic"), HEAD
    )
    found = recorded(small_nets.net(tmp_path, text), scheme=IMPLICIT)
    assert names_of(found.names) == "0 1 2 3_before 3 4_before 4"


def test_where_ranges_decide_element_wise_layers_in_a_row_are_one(tmp_path):
    """The mish that one sum reads is added as it is; that which a convolution reads too is rounded for both."""
    text = small_nets.cfg(
        conv(4), conv(4, 3, "mish"), conv(4, 3, "mish"), shortcut(-2), conv(4, 1, "linear"), shortcut(-2), HEAD
    )
    net = small_nets.net(tmp_path, text, dead=0)
    ranges, batch, scheme, seen = measured(net), pictures(net), IMPLICIT, {}
    for name in ("L001_convolutional", "L002_convolutional", "L003_shortcut"):
        coarse = ranges.tensors[name].amax * 20
        ranges.tensors[name] = Range(-coarse, coarse, coarse)
    ranges.tensors["L005_shortcut"] = Range(-1.0, 1.0, 1.0)
    quantization = Quantization(net, ranges, scheme)
    FakequantRunner(net, ranges, scheme, seen=lambda name, x: seen.update({name: x.copy()})).infer(batch)
    step = {name: np.float32(quantization.tensor(name).scale) for name in seen}

    def real(name):
        return seen[name] * step[name]

    mish = activate(real("L002_convolutional_before"), "mish")
    total = (real("L001_convolutional") + mish) / step["L003_shortcut"]
    assert (seen["L003_shortcut"] == np.clip(np.rint(total), -128, 127)).all()
    rounded = (real("L001_convolutional") + real("L002_convolutional")) / step["L003_shortcut"]
    assert (seen["L003_shortcut"] != np.clip(np.rint(rounded), -128, 127)).mean() > 0.05
    total = (real("L003_shortcut") + real("L004_convolutional")) / step["L005_shortcut"]  # a convolution is in no row
    assert (seen["L005_shortcut"] == np.clip(np.rint(total), -128, 127)).all()


def test_where_ranges_decide_float_layers_hand_each_other_floats(tmp_path):
    text = small_nets.cfg(conv(4, activation="linear"), conv(4), route(-2), conv(4, 1, "linear"), HEAD)
    net = small_nets.net(tmp_path, text, dead=0)
    ranges, batch = measured(net, keep_float=[0, 2, 3, 4]), pictures(net)
    expected = NumpyRunner(net).infer(batch)[3]
    for scheme, exact in ((IMPLICIT, True), (TENSORRT, False)):
        found = FakequantRunner(net, ranges, scheme).infer(batch)[3]
        assert np.allclose(found, expected, atol=1e-5) == exact


def test_where_ranges_decide_a_blur_reads_floats_and_is_rounded(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(4), conv(4, stride=2, antialiasing=1), conv(4, 1), HEAD), dead=0)
    assert names_of(recorded(net, scheme=IMPLICIT).names) == "1 2"
    batch = pictures(net)
    expected = NumpyRunner(net).infer(batch)[2]
    found = FakequantRunner(net, measured(net), IMPLICIT).infer(batch)[2]
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("scheme", [ONNXRUNTIME, TENSORRT, IMPLICIT])
def test_an_int8_net_is_close_to_the_float_net(tmp_path, scheme):
    text = small_nets.cfg(conv(8), conv(8), shortcut(-2), conv(16, 3, "relu", stride=2), conv(8, 1, "swish"), HEAD)
    net = small_nets.net(tmp_path, text, dead=0)
    batch = pictures(net)
    expected = NumpyRunner(net).infer(batch)
    found = FakequantRunner(net, measured(net), scheme).infer(batch)
    assert sorted(found) == sorted(expected)
    for index, y in expected.items():
        error = np.sqrt(np.mean((y - found[index]) ** 2) / np.mean(y**2))
        assert found[index].shape == y.shape and error < (0.05 if scheme is ONNXRUNTIME else 0.07)


def test_a_tensor_that_is_replaced_goes_on_as_what_replaced_it(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(4), conv(4, 1, "relu"), HEAD))
    ranges, batch = measured(net), pictures(net)
    zeros = lambda name, x: np.full_like(x, 0) if name == "L001_convolutional" else None  # noqa: E731
    found = FakequantRunner(net, ranges, seen=zeros).infer(batch, [2])[2]
    biases = net.layers[2].array("biases")
    np.testing.assert_array_equal(found, np.broadcast_to(biases.reshape(1, -1, 1, 1), found.shape))
