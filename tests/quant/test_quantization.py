"""Which layers are int8, and what their integers are."""

import numpy as np
import pytest

import small_nets
from darkprune.errors import CalibrationError, UsageError
from darkprune.quant import quantization
from darkprune.quant.float_layers import Policy, default_float
from darkprune.quant.quantization import IMPLICIT, ONNXRUNTIME, TENSORRT, QParams, Quantization
from darkprune.quant.ranges import Range, Ranges
from darkprune.quant.tensors import ranged_tensors
from small_nets import HEAD, conv, route, section, shortcut

RESIDUAL = small_nets.cfg(
    conv(8),  # 0
    conv(4, size=1),
    conv(8),
    shortcut(-3),  # 3
    section("maxpool", size=2, stride=2),
    conv(4, size=1),
    section("upsample", stride=2),  # 6
    route(-1, 3),
    HEAD,
)


def quantized(net, scheme=ONNXRUNTIME, keep=None):
    """The net with ranges of -1..2 for all tensors."""
    ranges = Ranges(net)
    ranges.keep_float = default_float(net) if keep is None else keep
    for tensor in ranged_tensors(net):
        ranges.tensors[tensor.name] = Range(-1.0, 2.0, 2.0)
    return Quantization(net, ranges, scheme)


def test_the_first_and_the_head_convolution_stay_float(tmp_path):
    net = small_nets.net(tmp_path, RESIDUAL)
    assert default_float(net) == [0, 8]
    policy = Policy(net, default_float(net))
    assert sorted(policy.int8) == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(policy.rounded) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_nothing_is_rounded_for_float_layers(tmp_path):
    net = small_nets.net(tmp_path, RESIDUAL)
    policy = Policy(net, [0, 1, 2, 8])
    assert sorted(policy.int8) == [5, 6, 7]  # sums of floats are pooled as floats, and then rounded
    assert sorted(policy.rounded) == [3, 4, 5, 6, 7]
    assert not Policy(net, [0, 1, 2, 5, 8]).rounded


def test_a_classifiers_last_layer_is_found_behind_its_pooling(tmp_path):
    scores = conv(4, size=1, activation="linear")
    text = small_nets.cfg(conv(8), conv(6), scores, section("avgpool"), section("softmax"))
    assert default_float(small_nets.net(tmp_path, text)) == [0, 2]


def test_pooling_keeps_the_scale_of_its_input(tmp_path):
    net = small_nets.net(tmp_path, RESIDUAL)
    found = quantized(net)
    found.ranges.tensors["L003_shortcut"] = Range(0.0, 9.0, 9.0)
    again = Quantization(net, found.ranges)
    assert again.tensor("L004_maxpool") == again.tensor("L003_shortcut") == quantization.qparams(
        Range(0.0, 9.0, 9.0), ONNXRUNTIME
    )
    assert again.tensor("data") is None and again.tensor("L008_convolutional") is None


def test_what_a_table_reads_is_rounded_only_where_the_scheme_says_so(tmp_path):
    net = small_nets.net(tmp_path, RESIDUAL)
    assert quantized(net).tensor("L001_convolutional_before") is not None
    assert quantized(net, TENSORRT).tensor("L001_convolutional_before") is None
    assert quantized(net).tensor("L000_convolutional_before") is None  # a float layer's
    assert quantized(net, IMPLICIT).tensor("L001_convolutional_before") is None  # fused


def test_the_ranges_of_rounded_and_other_tensors(tmp_path):
    net = small_nets.net(tmp_path, RESIDUAL)
    found = quantized(net, IMPLICIT)
    assert found.amax("L001_convolutional") == found.tensor("L001_convolutional").scale * 127
    assert found.amax("data") == found.ranges.tensors["data"].amax and found.amax("L099_shortcut") is None


@pytest.mark.parametrize(
    "found, scheme, expected",
    [
        (Range(0.0, 2.55, 2.55), ONNXRUNTIME, QParams(float(np.float32(0.01)), 0, False)),
        (Range(-1.0, 1.55, 1.55), ONNXRUNTIME, QParams(float(np.float32(0.01)), 100, False)),
        (Range(0.0, 0.0, 0.0), ONNXRUNTIME, QParams(1.0, 0, False)),
        (Range(-1.0, 0.5, 1.27), TENSORRT, QParams(float(np.float32(0.01)), 0, True)),
        (Range(0.0, 0.0, 0.0), TENSORRT, QParams(1.0, 0, True)),
        (Range(-1e-45, 0.0, 1e-45), ONNXRUNTIME, QParams(1.0, 0, False)),  # too small for any scale
    ],
)
def test_scales_and_zero_points(found, scheme, expected):
    assert quantization.qparams(found, scheme) == expected


def test_weights_have_a_scale_per_filter_and_an_empty_one_has_1():
    weights = np.array([[127.0, -63.4], [0.0, 0.0], [-1.27, 0.635]], np.float32)
    scales = quantization.weight_scales(weights)
    assert np.allclose(scales, [1, 1, 0.01])
    assert quantization.round_weights(weights, scales).tolist() == [[127, -63], [0, 0], [-127, 64]]
    up = np.array([[True, True], [False, False], [False, False]])
    assert quantization.round_weights(weights, scales, up)[0].tolist() == [127, -63]  # never beyond 127


def test_learned_rounding_survives_packing():
    up = np.random.RandomState(0).rand(7, 3, 3) > 0.5
    assert (quantization.unpack(quantization.pack(up), up.shape) == up).all()
    with pytest.raises(CalibrationError, match="the learned rounding is that of"):
        quantization.unpack(quantization.pack(up), (70, 3, 3))
    with pytest.raises(CalibrationError, match="the learned rounding is that of"):
        quantization.unpack(quantization.pack(np.ones(10**6, bool)), (7, 3, 3))
    with pytest.raises(CalibrationError, match="the learned rounding is damaged"):
        quantization.unpack("no base64", (7, 3, 3))


def test_biases_have_both_scales():
    found = Quantization.biases(None, np.array([1.0, -1e30]), np.array([0.5, 0.5], np.float32), QParams(0.25, 3, False))
    assert found.tolist() == [8, -(2**31) + 1]


def test_a_filter_of_tiny_weights_keeps_its_bias(tmp_path):
    net = small_nets.net(tmp_path, RESIDUAL)
    layer = net.layers[1]
    layer.set_param("scales", np.array([1e-6, 1, 1, 1], np.float32))
    layer.set_param("biases", np.array([3, 0, 1, -1], np.float32))
    found = quantized(net)
    layer, source = found.net.layers[1], found.tensor("L000_convolutional")
    _, scales = found.weights(layer, layer.array("weights"))
    whole = found.biases(layer.array("biases"), scales, source)
    assert np.allclose(whole * scales * source.scale, layer.array("biases"), atol=1e-3)
    assert scales[1] == quantization.weight_scales(layer.array("weights"))[1]


def test_corrected_biases_are_added_to_folded_ones(tmp_path):
    net = small_nets.net(tmp_path, RESIDUAL)
    found = quantized(net)
    change = np.linspace(-1, 1, 4)
    found.ranges.adjustments.biases[1] = change
    again = Quantization(net, found.ranges)
    assert np.allclose(again.net.layers[1].array("biases"), found.net.layers[1].array("biases") + change, atol=1e-6)
    found.ranges.adjustments.biases[1] = change[1:]
    with pytest.raises(CalibrationError, match="correct biases of layer 1, which has others"):
        Quantization(net, found.ranges)


@pytest.mark.parametrize("name", ["L003_shortcut", "L001_convolutional_before"])
def test_a_missing_tensor_is_named(tmp_path, name):
    net = small_nets.net(tmp_path, RESIDUAL)
    found = quantized(net)
    del found.ranges.tensors[name]
    with pytest.raises(CalibrationError) as caught:
        Quantization(net, found.ranges)
    assert caught.value.message == "the ranges hold none of " + name


@pytest.mark.parametrize("kind, layer", [("keep", 9), ("keep", 10**30), ("rounding", 99), ("factors", 3)])
def test_layers_that_cannot_be_meant_are_refused(tmp_path, kind, layer):
    net = small_nets.net(tmp_path, RESIDUAL)
    found = quantized(net)
    if kind == "keep":
        found.ranges.keep_float.append(layer)
    else:
        getattr(found.ranges.adjustments, kind)[layer] = "" if kind == "rounding" else np.ones(8)
    with pytest.raises(CalibrationError, match="which is none with weights of this net"):
        Quantization(net, found.ranges)


def test_layers_to_keep_are_named_by_number_or_word(tmp_path):
    net = small_nets.net(tmp_path, RESIDUAL)
    assert quantization.keep_float(net, None) == [0, 8]
    assert quantization.keep_float(net, "none") == []
    assert quantization.keep_float(net, "first-and-heads, 5") == [0, 5, 8]
    with pytest.raises(UsageError) as caught:
        quantization.keep_float(net, "\u00b2")
    assert caught.value.message == "--keep-float names \u00b2, which is no layer of this net"
    with pytest.raises(UsageError) as caught:
        quantization.keep_float(net, "9")
    assert caught.value.message == "--keep-float names 9, which is no layer of this net"
    assert caught.value.hint == "use numbers of 0 to 8, first-and-heads or none"
