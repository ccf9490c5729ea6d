"""The numpy execution of recorded networks, against sums written out here and numbers worked out by hand."""

import ast
import itertools
import math

import numpy as np
import pytest

import need
from stand_ins.loading import stand_in
from stand_ins.networks import Made

RANDOM = np.random.RandomState(3)


@pytest.fixture(params=["tensorrt82", "tensorrt10"])
def trt(request):
    with stand_in(request.param) as module:
        yield module


@pytest.fixture
def old():
    with stand_in("tensorrt82", "xavier") as module:
        yield module


@pytest.fixture
def new():
    with stand_in("tensorrt10") as module:
        yield module


def test_the_stand_ins_share_nothing_with_darkprune():
    """Only numpy, Python's own modules, and themselves; but for the tests and their helpers."""
    names = set()
    for path in (need.ROOT / "tests" / "stand_ins").rglob("*.py"):
        if path.parent.name == "stand_ins":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names.add(node.module.split(".")[0])
    python = "atexit collections ctypes enum functools importlib inspect io itertools json math os struct sys threading"
    assert names == set(python.split()) | {"weakref", "numpy", "tensorrt", "pycuda", "simulated_gpu"}


# ---- windows


def windows(x, size, stride, before, after, dilation=1):
    """(image, channel, out y, out x, the window's values with None outside)."""
    n, c, h, w = x.shape
    reach = [dilation * (k - 1) + 1 for k in size]
    rows = (h + before[0] + after[0] - reach[0]) // stride[0] + 1
    columns = (w + before[1] + after[1] - reach[1]) // stride[1] + 1
    for image, channel, i, j in itertools.product(range(n), range(c), range(rows), range(columns)):
        cells = []
        for r, s in itertools.product(range(size[0]), range(size[1])):
            y, z = i * stride[0] - before[0] + r * dilation, j * stride[1] - before[1] + s * dilation
            cells.append(x[image, channel, y, z] if 0 <= y < h and 0 <= z < w else None)
        yield image, channel, i, j, cells


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "size, stride, before, after, dilation",
    [((3, 3), (1, 1), (1, 1), (1, 1), 1), ((2, 3), (2, 1), (0, 2), (1, 0), 1), ((2, 2), (1, 2), (1, 0), (2, 2), 2)],
)
def test_convolution(groups, size, stride, before, after, dilation, trt):
    x = RANDOM.randn(2, 4, 6, 5).astype(np.float32)
    kernel, bias = RANDOM.randn(*((4, 4 // groups) + size)), RANDOM.randn(4)
    made = Made(trt)
    layer = made.conv(made.input(*x.shape), kernel, bias)
    layer.stride_nd, layer.dilation_nd, layer.num_groups = stride, (dilation, dilation), groups
    layer.pre_padding, layer.post_padding = before, after
    y = layer.get_output(0)
    expected = np.zeros(tuple(y.shape))
    for image, channel, i, j, cells in windows(x, size, stride, before, after, dilation):
        each = 4 // groups
        for k in range(channel // each * each, (channel // each + 1) * each):
            taps = kernel[k, channel % each].ravel()
            expected[image, k, i, j] += sum(w * v for w, v in zip(taps, cells) if v is not None)
    expected += bias.reshape(1, -1, 1, 1)
    np.testing.assert_allclose(made.run(x, y)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["MAX", "AVERAGE"])
@pytest.mark.parametrize(
    "size, stride, before, after", [((2, 2), (2, 2), (0, 0), (1, 1)), ((3, 2), (1, 2), (1, 1), (2, 0))]
)
def test_pooling(kind, size, stride, before, after, trt):
    x = RANDOM.randn(1, 2, 5, 7).astype(np.float32) - 3
    made = Made(trt)
    layer = made.network.add_pooling_nd(made.input(*x.shape), trt.PoolingType[kind], size)
    layer.stride_nd, layer.pre_padding, layer.post_padding = stride, before, after
    y = layer.get_output(0)
    expected = np.zeros(tuple(y.shape))
    for image, channel, i, j, cells in windows(x, size, stride, before, after):
        inside = [v for v in cells if v is not None]
        expected[image, channel, i, j] = max(inside) if kind == "MAX" else sum(inside) / len(inside)
    np.testing.assert_allclose(made.run(x, y)[0], expected, rtol=1e-6)


# ---- values

FORMULAS = {
    "RELU": lambda x, a, b: max(x, 0),
    "SIGMOID": lambda x, a, b: 1 / (1 + math.exp(-x)),
    "TANH": lambda x, a, b: math.tanh(x),
    "LEAKY_RELU": lambda x, a, b: x if x >= 0 else a * x,
    "ELU": lambda x, a, b: x if x >= 0 else a * (math.exp(x) - 1),
    "SELU": lambda x, a, b: b * x if x > 0 else b * (a * math.exp(x) - a),
    "SOFTSIGN": lambda x, a, b: x / (1 + abs(x)),
    "SOFTPLUS": lambda x, a, b: a * math.log(math.exp(b * x) + 1),
    "CLIP": lambda x, a, b: max(a, min(b, x)),
    "HARD_SIGMOID": lambda x, a, b: max(0, min(1, a * x + b)),
    "SCALED_TANH": lambda x, a, b: a * math.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: x if x > a else 0,
}


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_activation(name, trt):
    x = np.array([-3, -1.5, -0.25, 0, 0.25, 1.5, 3], np.float32).reshape(1, 1, 1, -1)
    made = Made(trt)
    layer = made.network.add_activation(made.input(*x.shape), trt.ActivationType[name])
    layer.alpha, layer.beta = 0.5, 0.75
    found = made.run(x, layer.get_output(0))[0].ravel()
    np.testing.assert_allclose(found, [FORMULAS[name](float(v), 0.5, 0.75) for v in x.ravel()], rtol=1e-6)


def test_every_activation_has_a_formula_here(trt):
    assert set(FORMULAS) == set(trt.ActivationType.__members__)


def test_moves_and_picks(trt):
    x = np.arange(24, dtype=np.float32).reshape(1, 4, 2, 3)
    made = Made(trt)
    data = made.input(*x.shape)
    cut = made.network.add_slice(data, (0, 1, 0, 2), (1, 2, 2, 2), (1, 2, 1, -2))
    filled = made.network.add_slice(data, (0, 2, 0, 0), (1, 4, 2, 3), (1, 1, 1, 1))
    filled.mode = [mode for mode in type(filled.mode) if mode.name == "FILL"][0]
    turned = made.network.add_shuffle(data)
    turned.first_transpose, turned.reshape_dims, turned.second_transpose = (0, 2, 3, 1), (0, 6, -1), (2, 0, 1)
    larger = made.network.add_resize(data)
    larger.scales = [1, 1, 2, 2]
    joined = made.network.add_concatenation([data, made.constant(np.full((1, 1, 2, 3), 7))])
    joined.axis = 1
    padded = made.network.add_padding_nd(data, (1, -1), (0, 1))
    layers = (cut, filled, turned, larger, joined, padded)
    found = made.run(x, *[layer.get_output(0) for layer in layers])
    assert found[0].ravel().tolist() == [8, 6, 11, 9, 20, 18, 23, 21]
    assert np.array_equal(found[1], np.concatenate([x[:, 2:], np.zeros((1, 2, 2, 3))], axis=1))
    assert found[2].shape == (4, 1, 6) and found[2][2, 0].tolist() == x[0, 2].ravel().tolist()
    assert np.array_equal(found[3][0, 0], x[0, 0].repeat(2, axis=0).repeat(2, axis=1))
    assert found[4].shape == (1, 5, 2, 3) and found[4][0, 4].ravel().tolist() == [7] * 6
    assert found[5][0, 0].tolist() == [[0, 0, 0], [1, 2, 0], [4, 5, 0]]


def test_sums_over_axes_and_of_pairs(trt):
    x = RANDOM.rand(1, 3, 2, 2).astype(np.float32) + 0.5
    made = Made(trt)
    data, network = made.input(*x.shape), made.network
    other = made.constant(np.array([1, 2, 3]).reshape(1, 3, 1, 1))
    layers = [network.add_elementwise(data, other, getattr(trt.ElementWiseOperation, name)) for name in ("DIV", "POW")]
    layers.append(network.add_reduce(data, trt.ReduceOperation.AVG, 0b1100, True))
    layers.append(network.add_reduce(data, trt.ReduceOperation.MAX, 0b0010, False))
    layers.append(network.add_softmax(data))
    layers[-1].axes = 0b0010
    shift, scale = made.weights([1, 2, 3]), made.weights([4, 5, 6])
    layers.append(network.add_scale_nd(data, trt.ScaleMode.CHANNEL, shift, scale, None, 1))
    layers.append(network.add_matrix_multiply(data, trt.MatrixOperation.NONE, data, trt.MatrixOperation.TRANSPOSE))
    above = network.add_elementwise(data, made.constant(np.ones((1, 1, 1, 1))), trt.ElementWiseOperation.GREATER)
    layers.append(network.add_select(above.get_output(0), data, other))
    layers.append(network.add_unary(data, trt.UnaryOperation.EXP))
    found = made.run(x, *[layer.get_output(0) for layer in layers])
    factors = np.array([1, 2, 3]).reshape(1, 3, 1, 1)
    expected = [x / factors, x**factors, x.mean(axis=(2, 3), keepdims=True), x.max(axis=1)]
    expected += [np.exp(x) / np.exp(x).sum(axis=1), x * (factors + 3) + factors]
    expected += [np.einsum("nchw,nciw->nchi", x, x), np.where(x > 1, x, np.zeros_like(x) + factors), np.exp(x)]
    for one, wanted in zip(found, expected):
        np.testing.assert_allclose(one, wanted, rtol=1e-5)
        assert one.shape == wanted.shape


def test_a_batch_of_any_length_is_sliced_by_its_shape(trt):
    made = Made(trt)
    data, network = made.input(-1, 3, 2, 2), made.network
    shape = network.add_shape(data).get_output(0)
    assert shape.dtype.name == ("INT64" if hasattr(trt, "int64") else "INT32")
    if hasattr(trt, "int64"):
        shape = network.add_cast(shape, trt.int32).get_output(0)
    first = network.add_slice(shape, (0,), (1,), (1,)).get_output(0)
    size = network.add_concatenation([first, made.constant([2, 2, 2], np.int32)]).get_output(0)
    cut = network.add_slice(data, (0, 1, 0, 0), (0, 2, 2, 2), (1, 1, 1, 1))
    cut.set_input(2, size)
    assert tuple(cut.get_output(0).shape) == (-1, 2, 2, 2)
    profile = made.builder.create_optimization_profile()
    profile.set_shape("data", (1, 3, 2, 2), (1, 3, 2, 2), (4, 3, 2, 2))
    made.config.add_optimization_profile(profile)
    x = RANDOM.rand(3, 3, 2, 2).astype(np.float32)
    assert np.array_equal(made.run(x, cut.get_output(0))[0], x[:, 1:])


# ---- half


def test_typed_networks_round_to_half_what_a_layer_puts_out(new):
    made = Made(new)
    half = made.network.add_cast(made.input(1, 1, 1, 4), new.float16).get_output(0)
    layer = made.conv(half, np.full((1, 1, 1, 1), 1.0), kind=np.float16)
    back = made.network.add_cast(layer.get_output(0), new.float32).get_output(0)
    x = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, 70000, 1e-9]).reshape(1, 1, 1, 4)
    assert made.run(x, back)[0].ravel().tolist() == [1.0, 1 + 2.0**-9, float("inf"), 0.0]


def test_flags_round_to_half_all_but_what_is_kept_from_it(old):
    x = np.full((1, 1, 1, 1), 1 + 2.0**-11)
    for kept, expected in ((False, 1.0), (True, 1 + 2.0**-11)):
        made = Made(old)
        layer = made.network.add_activation(made.input(1, 1, 1, 1), old.ActivationType.RELU)
        made.config.set_flag(old.BuilderFlag.FP16)
        if kept:
            layer.precision = old.float32
            made.config.set_flag(old.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
        assert made.run(x, layer.get_output(0))[0].item() == expected


# ---- integers


def test_rounding_is_half_to_even_and_saturates(trt):
    made = Made(trt)
    y = made.rounded(made.input(1, 1, 1, 8), 2.0)
    x = np.array([1, 3, 5, -1, -3, 253, 255, -300], np.float32).reshape(1, 1, 1, 8)
    assert made.run(x, y)[0].ravel().tolist() == [0, 4, 4, 0, -4, 252, 254, -256]


def test_typed_int8_convolution_adds_up_integers_with_a_scale_for_each_filter(new):
    made = Made(new)
    x = RANDOM.uniform(-1, 1, (1, 3, 4, 4)).astype(np.float32)
    integers = RANDOM.randint(-127, 128, (2, 3, 3, 3)).astype(np.int8)
    steps, bias = np.array([0.01, 0.5], np.float32), np.array([3, -5], np.float32)
    rounded = made.rounded(made.input(*x.shape), 0.007)
    layer = made.network.add_convolution_nd(rounded, 2, (3, 3), new.Weights(), made.weights(bias))
    kernel = made.network.add_dequantize(made.constant(integers, np.int8), made.constant(steps))
    kernel.axis = 0
    layer.set_input(1, kernel.get_output(0))
    found = made.run(x, layer.get_output(0))[0]
    whole = np.clip(np.rint(x / np.float32(0.007)), -128, 127).astype(np.int64)
    sums = np.zeros((1, 2, 2, 2), np.int64)
    for _, channel, i, j, cells in windows(whole, (3, 3), (1, 1), (0, 0), (0, 0)):
        for k in range(2):
            sums[0, k, i, j] += sum(int(w) * int(v) for w, v in zip(integers[k, channel].ravel(), cells))
    scale = np.float32(0.007) * steps.reshape(1, 2, 1, 1)
    assert np.array_equal(found, sums.astype(np.float32) * scale + bias.reshape(1, 2, 1, 1))


def ranged(trt, kind, between=1.27):
    """A convolution by 1 and an activation, by flags: the range of the input is 1.27, of the output 127."""
    made = Made(trt)
    x = made.input(1, 1, 1, 4)
    layer = made.conv(x, np.full((1, 1, 1, 1), 100.0))
    act = made.network.add_activation(layer.get_output(0), getattr(trt.ActivationType, kind))
    act.alpha, act.beta = (0.1, 0.0) if kind == "LEAKY_RELU" else (0.0, 60.0)
    for tensor, amax in ((x, 1.27), (layer.get_output(0), between), (act.get_output(0), 127.0)):
        tensor.set_dynamic_range(-amax, amax)
    made.config.set_flag(trt.BuilderFlag.INT8)
    return made, act.get_output(0)


def test_ranges_round_what_is_read_and_made_but_not_what_lies_within(old):
    """x is rounded to steps of 0.01, times 100 it is whole; the range in front of the activation has no say."""
    x = np.array([0.104, 0.256, -0.5, 3], np.float32).reshape(1, 1, 1, 4)
    for kind, expected in (("RELU", [10, 26, 0, 127]), ("LEAKY_RELU", [10, 26, -5, 127]), ("CLIP", [10, 26, 0, 60])):
        made, y = ranged(old, kind)
        assert made.run(x, y)[0].ravel().tolist() == expected
    made, y = ranged(old, "SIGMOID")  # which no convolution takes in: what it reads is cut at 1.27
    assert made.run(x, y)[0].ravel().tolist() == [1, 1, 0, 1]


def test_other_fusions_can_be_asked_for(old):
    x = np.full((1, 1, 1, 4), 0.5)
    for options, expected in (({}, 50), ({"leaky": False}, 1), ({"fuse": False}, 1)):
        made, y = ranged(old, "LEAKY_RELU")
        assert made.run(x, y, **options)[0][0, 0, 0, 0] == expected
    made, y = ranged(old, "RELU")
    assert made.run(x, y, leaky=False)[0][0, 0, 0, 0] == 50


def test_chains_of_pointwise_layers_are_rounded_at_their_end_only(old):
    """Mish: the ranges of softplus and tanh would leave nothing of it."""
    made = Made(old)
    x = made.input(1, 1, 1, 4)
    soft = made.network.add_activation(x, old.ActivationType.SOFTPLUS)
    soft.alpha = soft.beta = 1.0
    tanh = made.network.add_activation(soft.get_output(0), old.ActivationType.TANH)
    y = made.network.add_elementwise(x, tanh.get_output(0), old.ElementWiseOperation.PROD).get_output(0)
    for tensor, amax in ((x, 12.7), (soft.get_output(0), 1e-6), (tanh.get_output(0), 1e-6), (y, 12.7)):
        tensor.set_dynamic_range(-amax, amax)
    made.config.set_flag(old.BuilderFlag.INT8)
    values = np.array([-2.0, -0.5, 1.0, 4.0], np.float32)
    expected = [0.1 * round(10 * v * math.tanh(math.log1p(math.exp(v)))) for v in values]
    found = made.run(values.reshape(1, 1, 1, 4), y)[0].ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weights_are_rounded_by_the_largest_of_each_filter(old):
    made = Made(old)
    x = made.input(1, 2, 1, 1)
    layer = made.conv(x, np.array([[1.27, 0.004], [0.0127, 0.00004]]).reshape(2, 2, 1, 1))
    x.set_dynamic_range(-127, 127)
    layer.get_output(0).set_dynamic_range(-127, 127)
    made.config.set_flag(old.BuilderFlag.INT8)
    seen = {}
    made.run(np.array([0, 100]).reshape(1, 2, 1, 1), layer.get_output(0), seen=lambda name, x: seen.update({name: x}))
    assert sorted(seen) == ["data", "out0"] and seen["data"].ravel().tolist() == [0, 100]
    assert seen["out0"].ravel().tolist() == [0, 0]  # 0.004 is less than half a step of 0.01
