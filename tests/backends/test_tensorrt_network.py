"""Nets as TensorRT networks, built by TensorRT-RTX without a GPU."""

import numpy as np
import pytest

import need
from darkprune.backends.tensorrt_api import load
from darkprune.backends.tensorrt_network import define
from darkprune.engine.precision import Precision
from darkprune.errors import EngineError, Unsupported
from darkprune.quant.quantization import TENSORRT, Quantization
from int8_nets import measured
from plan_bytes import convolutions, held, holds, pieces
from plan_bytes import integers as kernel_of
from small_nets import MIXED, cfg, conv, net, section
from type_nets import CFGS, NOT_RUN, with_weights
from type_nets import load as load_type


@pytest.fixture
def api():
    need.tensorrt_rtx()
    return load("tensorrt_rtx")


def int8(one, **options):
    return Precision("int8", quantization=Quantization(one, measured(one), TENSORRT), **options)


def defined(api, one, precision, batch=1):
    """(Defined, network, plan)."""
    builder = api.trt.Builder(api.logger)
    network, config = api.network(builder), builder.create_builder_config()
    found = define(api, network, one, precision, batch)
    if not isinstance(batch, int):
        profile, shape = builder.create_optimization_profile(), one.input.shape
        low, high = [(count, shape.c, shape.h, shape.w) for count in batch]
        profile.set_shape("data", low, high, high)
        config.add_optimization_profile(profile)
    return found, network, builder.build_serialized_network(network, config)


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_an_engine_of_floats(name, api, tmp_path):
    found, network, plan = defined(api, net(tmp_path, MIXED), Precision(name))
    assert plan is not None and plan.nbytes > 1000
    assert found.inputs == ["data"] and found.outputs == {7: "L007_convolutional"}
    assert network.get_output(0).dtype == api.dtype("fp32")
    assert found.tensors["L005_route"] == ((1, 16, 16, 16), None)
    assert found.layers[0][0] == name and found.layers[3][1] == ["L003_shortcut"]
    half = api.dtype("fp16" if name == "fp16" else "fp32")
    assert network.get_layer(1).get_output(0).dtype == half


def floats_held(plan, weights):
    """The types, float32 or float16, as which the plan holds a kernel."""
    return [kind for kind in ("float32", "float16") if any(held(plan, [p.astype(kind) for p in pieces(weights)]))]


@pytest.mark.parametrize("half", [False, True])
def test_an_engine_of_integers_holds_ours(half, api, tmp_path):
    one = net(tmp_path, MIXED, dead=0)
    precision = int8(one, half=half)
    found, network, plan = defined(api, one, precision)
    plan, folded = bytes(plan), precision.quantization.net
    kinds = convolutions(plan)
    for index, layer in ((i, folded.layers[i]) for i in (2, 6)):
        weights = layer.array("weights")
        integers, scales = precision.quantization.weights(layer, weights)
        source = precision.quantization.tensor("L001_maxpool" if index == 2 else "L005_route")
        assert holds(plan, kernel_of(integers)) and floats_held(plan, weights) == []
        assert holds(plan, scales * np.float32(source.scale)) and holds(plan, 1 / np.float32(source.scale))
        assert found.layers[index][0] == "int8"
        assert kinds["L{:03d}_convolutional_before".format(index)] == ("int8", "int8")
    assert floats_held(plan, folded.layers[7].array("weights")) == ["float16" if half else "float32"]
    names = {network.get_layer(i).name: network.get_layer(i) for i in range(network.num_layers)}
    assert names["L001_maxpool_quantized"].type == api.trt.LayerType.QUANTIZE
    assert names["L001_maxpool"].type == api.trt.LayerType.DEQUANTIZE
    assert {"L002_convolutional_quantized", "L003_shortcut_quantized", "L005_route_quantized"} <= set(names)
    assert not [name for name in found.tensors if name.startswith("(Unnamed")]


def test_a_layer_that_stays_fp32(api, tmp_path):
    one = net(tmp_path, MIXED)
    found, network, plan = defined(api, one, Precision("fp16", keep_float=[2]))
    types = {}
    for i in range(network.num_layers):
        tensor = network.get_layer(i).get_output(0)
        types[tensor.name] = api.kind(tensor.dtype)
    assert types["L002_convolutional"] == "fp32" and types["L003_shortcut"] == types["L001_maxpool"] == "fp16"
    assert plan is not None and [found.layers[i][0] for i in (1, 2, 3)] == ["fp16", "fp32", "fp16"]


def test_weights_that_fp16_cannot_hold(api, tmp_path):
    one = net(tmp_path, MIXED)
    one.layers[2].set_param("scales", np.full(8, 1e7, np.float32))
    with pytest.raises(EngineError) as caught:
        defined(api, one, Precision("fp16"))
    message = caught.value.message
    assert message.startswith("layer 2 has weights of up to ") and message.endswith(", and fp16 holds at most 65504")
    assert caught.value.hint == "--keep-float 2 computes that layer in fp32"
    assert caught.value.where.text == "[convolutional]"
    assert defined(api, one, Precision("fp16", keep_float=[2]))[2] is not None
    one.layers[0].set_param("scales", np.full(8, 1e7, np.float32))
    with pytest.raises(EngineError) as caught:
        defined(api, one, int8(one))
    assert caught.value.hint == "use --precision fp32, or fp16 with --keep-float 0"
    assert defined(api, one, int8(one, half=False))[2] is not None


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_any_number_of_images(name, api, tmp_path):
    one = net(tmp_path, MIXED)
    found, network, plan = defined(api, one, int8(one) if name == "int8" else Precision(name), (1, 4))
    assert plan is not None
    assert found.tensors["data"][0] == (-1, 3, 16, 16) and found.tensors["L007_convolutional"][0] == (-1, 5, 16, 16)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_output_that_another_layer_makes_is_a_copy(batch, api, tmp_path):
    text = cfg(conv(8), section("dropout"), section("route", layers="-1"))
    found, network, plan = defined(api, net(tmp_path, text), Precision("fp32"), batch)
    assert plan is not None and found.outputs == {2: "L002_route"}
    assert found.tensors["L000_convolutional"][0] == found.tensors["L002_route"][0] == (batch, 8, 16, 16)


@pytest.mark.parametrize("name", sorted(CFGS))
def test_every_layer_type_is_built_or_refused_by_name(name, api, tmp_path):
    one = load_type(name, "alexeyab")
    with_weights(one, tmp_path)
    try:
        plan = defined(api, one, Precision("fp16"))[2]
    except Unsupported as error:
        assert name in NOT_RUN and "[{}] cannot be run by the tensorrt backend".format(name) in str(error)
        assert error.where.line is not None
        return
    assert name not in NOT_RUN and plan is not None
