"""INT8 graphs: what ONNX Runtime makes of them, and that it computes what fakequant says."""

from collections import Counter

import numpy as np
import pytest

import need
import small_nets
from darkprune.darknet.weights import Header
from darkprune.errors import DarkpruneError
from darkprune.graph.build import load
from darkprune.quant.quantization import Quantization
from int8_nets import differences, measured, optimised, pictures
from random_checks import draw
from random_layers import Choices
from random_nets import write_weights
from small_nets import HEAD, conv, route, section, shortcut

onnx = need.onnx()
need.onnxruntime()

TINY = small_nets.cfg(  # shaped like YOLOv3-tiny, with a sum
    conv(16),
    section("maxpool", size=2, stride=2),
    conv(32),
    conv(16, 1),
    conv(32),
    shortcut(-3),
    section("maxpool", size=2, stride=2),
    conv(32),
    section("maxpool", size=2, stride=1),
    conv(16, 1),
    conv(18, 1, "linear", None),
    section("yolo", mask="0,1,2", anchors="10,14,23,27,37,58", classes=1, num=3),
    route(-3),
    conv(16, 1),
    section("upsample", stride=2),
    route(-1, 5),
    conv(32, 3, "relu"),
    conv(18, 1, "linear", None),
    section("yolo", mask="0,1,2", anchors="10,14,23,27,37,58", classes=1, num=3),
)


def made(net, keep_float=None, batch=1):
    """Counts of the nodes that ONNX Runtime runs."""
    return optimised(Quantization(net, measured(net, keep_float=keep_float)), batch)


def test_a_detector_becomes_integers_from_its_first_to_its_last_layers(tmp_path):
    found = made(small_nets.net(tmp_path, TINY, dead=0))
    assert found["QLinearConv"] == 7 and found["QLinearLeakyRelu"] == 6 and found["QLinearAdd"] == 1
    assert found["QLinearConcat"] == 1 and found["Resize"] == 1
    assert found["Conv"] == 3 and found["QuantizeLinear"] == 1 and found["DequantizeLinear"] == 2
    assert found["LeakyRelu"] == 1  # of slope 1, between the pooling of floats and their rounding
    assert not {"Relu", "Add", "Concat", "Mul", "Pad"} & set(found)


def test_a_classifier_becomes_integers(tmp_path):
    text = small_nets.cfg(
        conv(8),
        conv(16, stride=2),
        conv(16),
        shortcut(-2, "relu"),
        section("avgpool"),
        section("connected", output=12, activation="leaky"),
        section("connected", output=5, activation="linear"),
        section("softmax"),
    )
    found = made(small_nets.net(tmp_path, text, dead=0))
    assert (found["QLinearConv"], found["QLinearGlobalAveragePool"], found["QGemm"]) == (2, 1, 1)
    assert (found["Conv"], found["Gemm"], found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 1, 1, 1)


def test_sums_of_uneven_maps_stay_integers(tmp_path):
    text = small_nets.cfg(conv(8), conv(4), shortcut(-2), conv(8), shortcut(-2), HEAD)
    net = small_nets.net(tmp_path, text, dead=0)
    for batch in (1, "N"):
        found = made(net, batch=batch)
        assert found["QLinearAdd"] == 2 and found["QLinearConv"] == 4 and not found["Pad"]  # two hand channels on
        assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 1)
    assert set(differences(net, measured(net), pictures(net)).values()) == {0}


def test_weights_and_biases_are_integers_in_the_file(tmp_path):
    from darkprune.backends.onnx_int8 import lowering

    net = small_nets.net(tmp_path, small_nets.cfg(conv(8), conv(6), conv(6, 1, "relu"), HEAD))
    net.layers[2].set_param("weights", np.zeros((6, 6, 1, 1)))
    model = lowering(Quantization(net, measured(net)))(None, "N").model()
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    arrays = {value.name: onnx.numpy_helper.to_array(value) for value in model.graph.initializer}
    kinds = Counter((array.dtype.name, array.ndim) for array in arrays.values())
    assert kinds["int8", 4] == 2 and kinds["float32", 4] == 2  # those of the first and the last convolution
    assert (arrays["L002_convolutional_weights_scales"] == 1).all()  # of filters of zeros
    assert {value.name for value in model.graph.output} == {"L003_convolutional"}


def test_a_layer_that_is_kept_float_is_float_in_onnxruntime(tmp_path):
    text = small_nets.cfg(conv(8), conv(8), conv(8, 3, "relu"), conv(8, 1, "linear"), conv(8), HEAD)
    net = small_nets.net(tmp_path, text, dead=0)
    assert made(net)["QLinearConv"] == 4
    found = made(net, keep_float=[0, 2, 3, 5])
    assert (found["QLinearConv"], found["Conv"]) == (2, 4)
    ranges = measured(net, keep_float=[0, 2, 5])
    assert max(differences(net, ranges, pictures(net)).values()) <= 1


@pytest.mark.parametrize("keep", [None, []])
@pytest.mark.parametrize("activation", ["leaky", "relu", "mish", "swish", "logistic", "tanh", "hard_mish"])
def test_every_kind_of_layer_is_what_fakequant_says(tmp_path, activation, keep):
    net = small_nets.net(tmp_path, small_nets.every_kind(activation), dead=0)
    found = differences(net, measured(net, keep_float=keep), pictures(net))
    assert len(found) >= 14 and max(found.values()) <= 1


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_random_nets_are_what_fakequant_says(tmp_path, first):
    tensors, equal = 0, 0
    for seed in range(first, first + 8):
        case = draw(Choices(seed))
        paths = [str(tmp_path / "{}.{}".format(seed, suffix)) for suffix in ("cfg", "weights")]
        with open(paths[0], "wb") as stream:
            stream.write(case.data)
        try:
            write_weights(case.data, paths[1], seed, Header(0, 2, 5, 0, True), 0.3, case.dialect)
            net = load(paths[0], paths[1], case.dialect)
            batch = pictures(net)
            ranges = measured(net, batch, keep_float=[] if seed % 2 else None)
            found = differences(net, ranges, batch, alone=bool(seed % 4 > 1))
        except DarkpruneError:
            continue  # a layer that numpy or ONNX lacks
        assert max(list(found.values()) + [0]) <= 1, "seed {}: {}".format(seed, found)
        tensors, equal = tensors + len(found), equal + sum(value == 0 for value in found.values())
    assert tensors > 60 and equal > 0.97 * tensors
