"""Nets as TensorRT networks, built by TensorRT-RTX without a GPU."""

import pytest

import need
from darkprune.backends.tensorrt_api import load
from darkprune.backends.tensorrt_network import define
from darkprune.engine.precision import Precision
from small_nets import HEAD, cfg, conv, net, route, section, shortcut

NET = cfg(
    conv(8),
    section("maxpool", size=2, stride=2),
    conv(8, 3, "mish"),
    shortcut(-2),
    section("upsample", stride=2),
    route(-1, 0),
    conv(8, 1, "swish"),
    HEAD,
)


@pytest.fixture
def api():
    need.tensorrt_rtx()
    return load("tensorrt_rtx")


def defined(api, one, precision, batch=1):
    """(Defined, network, plan)."""
    builder = api.trt.Builder(api.logger)
    network = api.network(builder)
    found = define(api, network, one, precision, batch)
    return found, network, builder.build_serialized_network(network, builder.create_builder_config())


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_an_engine_is_built(name, api, tmp_path):
    found, network, plan = defined(api, net(tmp_path, NET), Precision(name))
    assert plan is not None and plan.nbytes > 1000
    assert found.inputs == ["data"] and found.outputs == {7: "L007_convolutional"}
    assert network.get_output(0).dtype == api.dtype("fp32")
    assert found.tensors["L005_route"] == ((1, 16, 16, 16), None)
    assert found.layers[0][0] == name and found.layers[3][1] == ["L003_shortcut"]
    half = api.dtype("fp16" if name == "fp16" else "fp32")
    assert network.get_layer(1).get_output(0).dtype == half
