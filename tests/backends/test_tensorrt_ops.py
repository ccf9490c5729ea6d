"""Every primitive as TensorRT-RTX takes it: the shapes, and that it is built. What it computes is for the stand-ins."""

import pytest

import need
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.backends.tensorrt_activations import FUNCTIONS
from darkprune.backends.tensorrt_api import FP32, load
from darkprune.backends.tensorrt_layers import Layers
from darkprune.backends.tensorrt_ops import TensorrtBuilder
from darkprune.engine.precision import Precision
from darkprune.errors import Unsupported
from darkprune.ops.activation_functions import ACTIVATIONS
from primitives import CASES, REFUSED, primitives, random

need.tensorrt_rtx()
OUTSIDE = "max_pool-1x1x3x3-1-(1,1)-2-alexeyab"  # windows that see nothing of the map


@pytest.fixture
def api():
    found = load("tensorrt_rtx")
    found.maker = found.trt.Builder(found.logger)  # which must outlive its networks
    return found


def builder_of(api, precision="fp32", batch=1, dialect="alexeyab", network=None, name="net"):
    network = api.network(api.maker) if network is None else network
    builder = TensorrtBuilder(Layers(api, network, Precision(precision), batch, {7: name}), dialect)
    builder.layer = 7
    return builder


@pytest.mark.parametrize("precision, any_number", [("fp32", False), ("fp16", True)])
@pytest.mark.parametrize("name", sorted({case.name for case in CASES}))
def test_primitive(name, precision, any_number, api):
    """All cases of one as one network."""
    maker = api.maker
    network, config, profile = api.network(maker), maker.create_builder_config(), maker.create_optimization_profile()
    for number, case in enumerate(one for one in CASES if one.name == name and str(one) != OUTSIDE):
        images = len(case.tensors[0])
        batch = (1, images) if any_number else images
        builder = builder_of(api, precision, batch, case.dialect, network, "case{}".format(number))
        nodes = builder.nodes
        inputs = [nodes.input("x{}_{}".format(number, i), x.shape[1:]) for i, x in enumerate(case.tensors)]
        for x, values in zip(inputs, case.tensors):
            profile.set_shape(x.handle.name, (1,) + values.shape[1:], values.shape, values.shape)
        y = case.on(builder, inputs)
        wanted = case.wanted().shape
        assert y.ndim == 4 and y.shape == (-1 if any_number else images,) + wanted[1:], str(case)
        assert y in inputs or y.kind == precision or name in ("lrn", "activation")
        y = nodes.cast(nodes.copy(y, "output") if y in inputs else y, FP32)
        assert tuple(y.handle.shape) == y.shape
        network.mark_output(y.handle)
    if any_number:
        config.add_optimization_profile(profile)
    api.log.clear()
    assert maker.build_serialized_network(network, config) is not None
    assert api.log.errors == api.log.warnings == []


def test_every_primitive_is_there():
    assert primitives() <= set(dir(TensorrtBuilder)) and set(FUNCTIONS) == set(ACTIVATIONS)
    own = {name for kind in TensorrtBuilder.__mro__[:3] for name in vars(kind)}
    assert primitives() - own == {"dropout"}  # nothing at inference


@pytest.mark.parametrize("name, args", REFUSED)
def test_what_numpy_refuses_is_refused_in_the_same_words(name, args, api):
    messages = []
    for kind in ("numpy", "tensorrt"):
        b = NumpyBuilder("pjreddie") if kind == "numpy" else builder_of(api, dialect="pjreddie")
        b.layer = 7
        x = random(1, 4, 5, 6) if kind == "numpy" else b.nodes.input("x", (4, 5, 6))
        with pytest.raises(Unsupported) as caught:
            getattr(b, name)(x, *args)
        messages.append(str(caught.value))
    assert messages[1].startswith("error: layer 7: the tensorrt backend cannot run ")
    assert messages[0].replace("numpy", "tensorrt") == messages[1]


def test_windows_outside_of_the_map_are_refused(api):
    b = builder_of(api)
    with pytest.raises(Unsupported) as caught:
        b.max_pool(b.nodes.input("x", (1, 3, 3)), 1, (1, 1), 2)
    assert str(caught.value) == (
        "error: layer 7: the tensorrt backend cannot run a maximum of 1x1 windows with a padding of 2"
    )


@pytest.mark.parametrize("batch", [1, 4, (1, 4)])
def test_constant(batch, api):
    """As it is, and beside a tensor, where it need not be repeated for each image."""
    values = random(3, 2, 1)
    for combine in (False, True):
        b = builder_of(api, batch=batch)
        data = b.nodes.input("x", (3, 2, 1))
        y = b.constant(values)
        assert y.shape == (b.nodes.batch, 3, 2, 1)
        y = b.add(data, y) if combine else b.concat([y, data])
        assert y.shape == (b.nodes.batch, 3 if combine else 6, 2, 1)
        kinds = [layer.type.name for layer in b.nodes.made[7]]
        assert kinds == ["CONSTANT", "ELEMENTWISE"] if combine else ("SLICE" in kinds) == (batch != 1)


def test_a_bias_is_part_of_the_sum_of_products(api):
    for name, weight in (("conv2d", random(4, 3, 1, 1)), ("linear", random(4, 6))):
        b = builder_of(api)
        y = b.bias(getattr(b, name)(b.nodes.input("x", (3, 2, 1)), weight), random(4))
        assert tuple(y.handle.shape) == y.shape
        assert [layer.type.name for layer in b.nodes.made[7]][-1] == "CONVOLUTION"
