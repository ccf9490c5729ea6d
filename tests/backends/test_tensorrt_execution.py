"""What is handed to TensorRT 8.2 and 10, executed by the stand-ins, against numpy and fakequant."""

import types

import numpy as np
import pytest

import small_nets
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.tensorrt_layers import Layers
from darkprune.backends.tensorrt_network import define
from darkprune.backends.tensorrt_ops import TensorrtBuilder
from darkprune.darknet.weights import Header
from darkprune.engine.precision import Precision
from darkprune.errors import EngineError
from darkprune.graph.build import load as load_net
from darkprune.graph.net import heads
from darkprune.quant.quantization import IMPLICIT, TENSORRT, Quantization
from darkprune.quant.ranges import Range
from int8_nets import measured, pictures
from primitives import CASES, random
from random_checks import draw
from random_layers import Choices
from random_nets import write_weights
from stand_in_runs import Network, heads_of, steps_off
from stand_ins.loading import stand_in
from type_nets import CFGS, NOT_RUN, with_weights
from type_nets import load as load_type

OUTSIDE = "max_pool-1x1x3x3-1-(1,1)-2-alexeyab"  # windows that see nothing of the map: refused
CLOSE = {"fp32": 1e-5, "fp16": 4e-3}  # of the largest value


@pytest.fixture(params=["tensorrt82", "tensorrt10"])
def release(request):
    with stand_in(request.param, "xavier" if request.param == "tensorrt82" else None):
        yield request.param


@pytest.fixture
def old():
    with stand_in("tensorrt82", "xavier"):
        yield


def result(case, precision, any_number):
    """A primitive's value, as the network computes it."""
    made, images = Network(), len(case.tensors[0])
    nodes = Layers(made.api, made.network, precision, (1, images) if any_number else images, {0: "net"})
    builder = TensorrtBuilder(nodes, case.dialect)
    builder.layer = 0
    inputs = {"x{}".format(i): x for i, x in enumerate(case.tensors)}
    if any_number:
        made.allow(images, {name: x.shape for name, x in inputs.items()})
    tensors = [nodes.input(name, x.shape[1:]) for name, x in sorted(inputs.items())]
    y = case.on(builder, tensors)
    y = nodes.cast(nodes.copy(y, "output") if y in tensors else y, "fp32")
    made.network.mark_output(y.handle)
    return made.run(precision, inputs)[0][y.handle.name]


@pytest.mark.parametrize("kind, any_number", [("fp32", False), ("fp32", True), ("fp16", False)])
@pytest.mark.parametrize("name", sorted({case.name for case in CASES}))
def test_primitive(name, kind, any_number, release):
    for case in CASES:
        if case.name != name or str(case) == OUTSIDE:
            continue
        found, wanted = result(case, Precision(kind), any_number), case.wanted()
        largest = np.abs(wanted[np.isfinite(wanted)]).max()
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=CLOSE[kind] * largest, err_msg=str(case))


@pytest.mark.parametrize("batch", [1, 3, (1, 3)])
def test_constants_are_repeated_for_each_image(batch, release):
    values, x = random(3, 2, 1), random(batch if isinstance(batch, int) else 3, 3, 2, 1)
    made = Network()
    builder = TensorrtBuilder(Layers(made.api, made.network, Precision("fp32"), batch, {0: "net"}))
    builder.layer, data = 0, builder.nodes.input("x", (3, 2, 1))
    y = builder.concat([builder.constant(values), builder.mul(data, builder.constant(values))])
    made.network.mark_output(y.handle)
    if not isinstance(batch, int):
        made.allow(3, {"x": x.shape})
    found = made.run(Precision("fp32"), {"x": x})[0][y.handle.name]
    assert np.array_equal(found, np.concatenate([np.broadcast_to(values, x.shape), x * values], axis=1))


@pytest.mark.parametrize("name", sorted(set(CFGS) - NOT_RUN))
def test_every_layer_type(name, release, tmp_path):
    one = load_type(name, "alexeyab")
    with_weights(one, tmp_path)
    batch = np.random.RandomState(1).rand(2, 3, 8, 8).astype(np.float32)
    expected, found = NumpyRunner(one).infer(batch), heads_of(one, Precision("fp32"), batch)[0]
    assert sorted(found) == heads(one)
    for index, y in found.items():
        assert y.shape == expected[index].shape
        assert np.abs(y - expected[index]).max() <= 1e-5 * np.abs(expected[index]).max()


def written(seed, folder):
    """A random net."""
    case, paths = draw(Choices(seed)), [str(folder / "{}.{}".format(seed, suffix)) for suffix in ("cfg", "weights")]
    with open(paths[0], "wb") as stream:
        stream.write(case.data)
    write_weights(case.data, paths[1], seed, Header(0, 2, 5, 0, True), 0.3, case.dialect)
    return load_net(paths[0], paths[1], case.dialect)


# ---- integers


@pytest.mark.parametrize("keep", [None, []])
@pytest.mark.parametrize("activation", ["leaky", "relu", "mish", "swish", "logistic", "tanh"])
def test_integers_are_what_fakequant_says(activation, keep, release, tmp_path):
    net = small_nets.net(tmp_path, small_nets.every_kind(activation), dead=0)
    found = steps_off(net, measured(net, keep_float=keep))
    assert len(found) >= 12 and max(found.values()) <= 1 and sum(found.values()) <= 2


@pytest.mark.parametrize("first", range(0, 12, 6))
def test_integers_of_random_nets(first, release, tmp_path):
    tensors = []
    for seed in range(first, first + 6):
        net = written(seed, tmp_path)
        found = steps_off(net, measured(net, keep_float=[] if seed % 2 else None))
        assert max(list(found.values()) + [0]) <= 1, "seed {}: {}".format(seed, found)
        tensors += list(found.values())
    assert len(tensors) > 40 and sum(tensors) <= 0.05 * len(tensors)


# ---- a network without types


def test_every_tensor_has_a_range_and_float_layers_their_type(old, tmp_path):
    net = small_nets.net(tmp_path, small_nets.MIXED, dead=0)
    quantization = Quantization(net, measured(net), IMPLICIT)
    for half, float_type in ((True, "HALF"), (False, "FLOAT")):
        precision = Precision("int8", quantization=quantization, half=half)
        found, defined, plan = heads_of(net, precision, pictures(net))
        assert all(amax > 0 for _, amax in defined.tensors.values())
        assert all(tensor["range"][1] == -tensor["range"][0] for tensor in plan["tensors"])
        types = {layer["name"]: layer["precision"] for layer in plan["layers"]}
        for index in (0, 7):
            assert {types[name] for name in defined.layers[index][1]} == {float_type}
        for index in (2, 3, 5, 6):
            assert {types[name] for name in defined.layers[index][1]} == {None}
    ranges = {name: amax for name, (_, amax) in defined.tensors.items()}
    assert ranges["L002_convolutional"] == quantization.tensor("L002_convolutional").scale * 127
    assert ranges["L002_convolutional_before"] == quantization.tensor("L002_convolutional_before").scale * 127
    assert ranges["L002_convolutional_softplus"] == pytest.approx(ranges["L002_convolutional_before"], rel=0.5)
    assert ranges["L002_convolutional_tanh"] == 1


@pytest.mark.parametrize("name", ["activation", "softmax", "lrn", "avg_pool", "add", "mul", "local_conv2d", "sign"])
def test_bounds_of_inner_tensors_hold(name, old):
    float_policy = types.SimpleNamespace(policy=types.SimpleNamespace(int8=frozenset()))
    for case in (one for one in CASES if one.name == name):
        made, precision = Network(), Precision("int8", quantization=float_policy, half=False)
        nodes = Layers(made.api, made.network, precision, len(case.tensors[0]), {0: "net"})
        builder = TensorrtBuilder(nodes, case.dialect)
        builder.layer, inputs = 0, {"x{}".format(i): x for i, x in enumerate(case.tensors)}
        tensors = [nodes.input(key, x.shape[1:]) for key, x in sorted(inputs.items())]
        for tensor, x in zip(tensors, case.tensors):
            nodes.set_range(tensor, np.abs(x).max())
        assert case.on(builder, tensors).handle is not None
        for layer in nodes.made.get(0, []):
            if layer.get_output(0).name in nodes.ranges:
                made.network.mark_output(layer.get_output(0))
        if not made.network.num_outputs:  # linear
            continue
        for key, values in made.run(Precision("fp32"), inputs)[0].items():
            if not np.isnan(values).any():  # the readers' lrn may take a power of what is negative
                assert np.abs(values).max() <= nodes.ranges[key] * (1 + 1e-5), (str(case), key)


def test_a_tensor_without_a_range_is_an_error_before_the_build(old):
    made = Network()
    quantization = types.SimpleNamespace(policy=types.SimpleNamespace(int8=frozenset()))
    nodes = Layers(made.api, made.network, Precision("int8", quantization=quantization))
    x = nodes.input("data", (1, 2, 3))
    nodes.set_range(x, 1.0)
    made.network.add_identity(x.handle).get_output(0).name = "other"
    with pytest.raises(EngineError) as caught:
        nodes.tensors()
    assert str(caught.value) == "error: other has no range\nhint: calibrate again, or use fp16"
    for amax in (float("inf"), float("nan")):
        with pytest.raises(EngineError) as caught:
            nodes.set_range(x, amax)
        assert str(caught.value) == "error: the range of data is not finite\nhint: calibrate again"


def test_a_range_that_makes_no_step(release, tmp_path):
    net = small_nets.net(tmp_path, small_nets.MIXED)
    ranges, made = measured(net), Network()
    ranges.tensors["L006_convolutional"] = Range(-1.0, 1.0, float("inf"))
    scheme = TENSORRT if made.api.strong else IMPLICIT
    with pytest.raises(EngineError) as caught:
        define(made.api, made.network, net, Precision("int8", quantization=Quantization(net, ranges, scheme)))
    wrong = {"tensorrt82": "the range of L006_convolutional_prod is not finite"}
    wrong["tensorrt10"] = "a step of inf cannot be that of integers"
    assert caught.value.message == wrong[release] and caught.value.hint == "calibrate again"


def test_tensorrt_gets_our_integers_back_from_their_real_values(old, tmp_path):
    """By its own rule, the largest weight of a filter over 127; also from filters whose rounding was learned."""
    from darkprune.quant.quantization import pack

    net = small_nets.net(tmp_path, small_nets.MIXED, dead=0)
    ranges = measured(net)
    layer = Quantization(net, ranges, IMPLICIT).net.layers[2]
    ranges.adjustments.rounding[2] = pack(np.zeros(layer.array("weights").shape, bool))  # all down, the largest too
    quantization = Quantization(net, ranges, IMPLICIT)
    integers, scales = quantization.weights(layer, layer.array("weights"))
    _, _, plan = heads_of(net, Precision("int8", quantization=quantization), pictures(net))
    kernel = next(one["arrays"]["kernel"] for one in plan["layers"] if one["name"] == "L002_convolutional_before")
    kernel = kernel.reshape(integers.shape)
    steps = np.abs(kernel.reshape(len(kernel), -1)).max(axis=1) / 127
    assert (np.rint(kernel / steps.reshape(-1, 1, 1, 1)) == integers).all()
    np.testing.assert_allclose(steps, scales, rtol=1e-6)
    assert (integers < layer.array("weights") / scales.reshape(-1, 1, 1, 1) + 1e-3).all()


def test_weights_that_fp16_cannot_hold_are_refused_here_too(old, tmp_path):
    net = small_nets.net(tmp_path, small_nets.MIXED)
    net.layers[2].set_param("scales", np.full(8, 1e7, np.float32))
    with pytest.raises(EngineError) as caught:
        heads_of(net, Precision("fp16"), random(1, 3, 16, 16))
    assert caught.value.hint == "--keep-float 2 computes that layer in fp32"
    made = Network()
    define(made.api, made.network, net, Precision("fp16", keep_float=[2]))
    layers = [made.network.get_layer(i) for i in range(made.network.num_layers)]
    asked = {layer.name: layer.precision.name for layer in layers}
    assert asked["L002_convolutional"] == asked["L002_convolutional_tanh"] == "FLOAT"
    assert asked["L003_shortcut"] == asked["L001_maxpool"] == "HALF"
    typed = [layer.name for layer in layers if layer.output_type_is_set(0)]
    assert "L002_convolutional" in typed and all(name.startswith("L002_") for name in typed)
