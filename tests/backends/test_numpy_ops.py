"""Every primitive of the numpy backend against loops over single values in float64."""

import math

import numpy as np
import pytest

from darkprune.backends import numpy_ops
from darkprune.backends.base import Builder, Runner
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.errors import Unsupported


def random(*shape):
    return np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)


def near(actual, wanted):
    assert actual.dtype == np.float32
    assert actual.shape == np.shape(wanted)
    np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


def cells(shape):
    return np.ndindex(*shape)


def slow_conv(x, weight, stride, padding, dilation, groups):
    filters, depth, kh, kw = weight.shape
    h, w = x.shape[2:]
    oh = (h + 2 * padding - dilation * (kh - 1) - 1) // stride[0] + 1
    ow = (w + 2 * padding - dilation * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((x.shape[0], filters, oh, ow))
    for image, f, i, j, d, ky, kx in cells(out.shape + (depth, kh, kw)):
        y, z = i * stride[0] - padding + ky * dilation, j * stride[1] - padding + kx * dilation
        if 0 <= y < h and 0 <= z < w:
            channel = f // (filters // groups) * depth + d
            out[image, f, i, j] += float(weight[f, d, ky, kx]) * float(x[image, channel, y, z])
    return out


def slow_pool(x, size, stride, padding, reduce):
    h, w = x.shape[2:]
    oh, ow = (h + padding - size) // stride[0] + 1, (w + padding - size) // stride[1] + 1
    out = np.zeros(x.shape[:2] + (oh, ow))
    for n, c, i, j in cells(out.shape):
        top, left = i * stride[0] - padding // 2, j * stride[1] - padding // 2
        window = [
            float(x[n, c, y, z])
            for y in range(top, top + size)
            for z in range(left, left + size)
            if 0 <= y < h and 0 <= z < w
        ]
        out[n, c, i, j] = reduce(window)
    return out


def mean(window):
    return math.fsum(window) / len(window)


# c, n, kernel, stride, padding, dilation, groups
CONVS = [
    (3, 4, (3, 3), (1, 1), 1, 1, 1),
    (3, 4, (3, 3), (2, 2), 1, 1, 1),
    (2, 3, (5, 5), (2, 2), 2, 1, 1),
    (2, 3, (2, 2), (1, 1), 1, 1, 1),
    (2, 3, (4, 4), (2, 2), 2, 1, 1),
    (2, 3, (3, 3), (1, 1), 0, 1, 1),
    (2, 3, (3, 3), (1, 1), 3, 1, 1),
    (3, 2, (3, 3), (1, 2), 1, 1, 1),
    (3, 2, (3, 3), (2, 1), 1, 1, 1),
    (3, 2, (3, 3), (1, 1), 2, 2, 1),
    (3, 2, (3, 1), (1, 1), 0, 1, 1),
    (3, 5, (1, 1), (1, 1), 0, 1, 1),
    (3, 5, (1, 1), (2, 2), 0, 1, 1),
    (3, 5, (1, 1), (1, 1), 1, 1, 1),
    (6, 4, (1, 1), (1, 1), 0, 1, 2),
    (6, 4, (3, 3), (2, 2), 1, 1, 2),
    (6, 9, (3, 3), (1, 1), 2, 2, 3),
    (4, 4, (3, 3), (1, 1), 1, 1, 4),
    (4, 4, (5, 5), (2, 2), 2, 1, 4),
    (4, 4, (3, 3), (1, 2), 2, 2, 4),
    (4, 8, (3, 3), (1, 1), 1, 1, 4),
    (4, 8, (1, 1), (1, 1), 0, 1, 4),
    (1, 3, (3, 3), (1, 1), 1, 1, 1),
]


@pytest.mark.parametrize("bound", [None, 100])
@pytest.mark.parametrize("case", CONVS)
def test_conv2d(case, bound, monkeypatch):
    c, n, kernel, stride, padding, dilation, groups = case
    if bound:
        monkeypatch.setattr(numpy_ops, "COLUMN_FLOATS", bound)  # several bands of rows
    x, weight = random(2, c, 9, 7), random(n, c // groups, *kernel)
    before = x.copy()
    y = NumpyBuilder().conv2d(x, weight, stride, padding, dilation, groups)
    near(y, slow_conv(x, weight, stride, padding, dilation, groups))
    np.testing.assert_array_equal(x, before)


def test_conv2d_of_a_view_and_after_a_larger_one():
    b = NumpyBuilder()
    x, weight = random(2, 6, 5, 5), random(3, 4, 3, 3)
    b.conv2d(random(1, 4, 20, 20), weight)
    first = b.conv2d(x[:, 1:5], weight)
    b.conv2d(x[:, 2:6], weight)  # must not write into an earlier result
    near(first, slow_conv(x[:, 1:5], weight, (1, 1), 0, 1, 1))
    pointwise = random(3, 4, 1, 1)
    near(b.conv2d(x[:, 1:5], pointwise), slow_conv(x[:, 1:5], pointwise, (1, 1), 0, 1, 1))


@pytest.mark.parametrize("groups, filters", [(1, 3), (2, 4), (4, 4)])
@pytest.mark.parametrize("stride, padding", [((2, 2), 0), ((2, 1), 0), ((2, 2), 1)])
def test_pointwise_convolution_of_pjreddie_reads_the_raw_buffer(stride, padding, groups, filters):
    x, weight = random(2, 4, 7, 5), random(filters, 4 // groups, 1, 1)
    y = NumpyBuilder("pjreddie").conv2d(x, weight, stride, padding, 1, groups)
    depth = 4 // groups
    wanted = np.zeros(slow_conv(x, weight, stride, padding, 1, groups).shape)
    oh, ow = wanted.shape[2:]
    for image, f, i, j, k in cells(wanted.shape + (depth,)):
        buffer = x[image].ravel()[f // (filters // groups) * depth * 35 :]
        wanted[image, f, i, j] += float(weight[f, k, 0, 0]) * float(buffer[k * oh * ow + i * ow + j])
    near(y, wanted)


def test_pointwise_convolution_of_pjreddie_that_reads_past_the_image_is_refused():
    b = NumpyBuilder("pjreddie")
    b.layer = 7
    with pytest.raises(Unsupported) as caught:
        b.conv2d(random(1, 2, 5, 4), random(3, 2, 1, 1), padding=1)
    assert str(caught.value) == (
        "error: layer 7: the numpy backend cannot run a 1x1 convolution that enlarges 5x4 to 7x6\n"
        "hint: pjreddie's reader reads past the end of the image here; its numbers are undefined"
    )


def test_conv2d_refuses_groups_that_do_not_divide():
    for shape, groups in [((4, 2, 3, 3), 2), ((5, 3, 3, 3), 2), ((4, 6, 3, 3), 0)]:
        with pytest.raises(Unsupported):
            NumpyBuilder().conv2d(random(1, 6, 5, 5), random(*shape), groups=groups)
    with pytest.raises(Unsupported):
        NumpyBuilder().conv2d(random(1, 2, 2, 2), random(1, 2, 3, 3))


# size, stride, padding: Darknet's usual ones have padding = size - 1
POOLS = [
    (2, (2, 2), 1),
    (2, (1, 1), 1),
    (3, (1, 1), 2),
    (3, (2, 2), 0),
    (3, (2, 2), 2),
    (13, (1, 1), 12),
    (13, (1, 1), 4),
    (5, (1, 2), 4),
    (4, (3, 2), 3),
    (1, (2, 2), 0),
    (2, (3, 3), 0),
]


@pytest.mark.parametrize("size, stride, padding", POOLS)
def test_max_pool_and_avg_pool(size, stride, padding):
    x = random(2, 3, 15, 13) - 5  # below 0, so that padding by 0 would show
    b = NumpyBuilder()
    near(b.max_pool(x, size, stride, padding), slow_pool(x, size, stride, padding, max))
    near(b.avg_pool(x, size, stride, padding), slow_pool(x, size, stride, padding, mean))


def test_shapes_of_pooling_as_in_darknet():
    b, x = NumpyBuilder(), random(1, 2, 12, 16)
    assert b.max_pool(x, 13, (1, 1), 4).shape == (1, 2, 4, 8)
    assert b.max_pool(x, 3, (2, 2), 0).shape == (1, 2, 5, 7)
    assert b.max_pool(random(1, 8, 13, 15), 2, (2, 2), 1).shape == (1, 8, 7, 8)
    assert b.max_pool(x, 2, (1, 1), 1).shape == (1, 2, 12, 16)
    with pytest.raises(Unsupported):
        b.max_pool(x, 20, (1, 1), 0)


def test_a_window_outside_of_the_map_is_minus_infinity():
    y = NumpyBuilder().max_pool(random(1, 1, 3, 3), 1, (1, 1), 2)
    assert y.shape == (1, 1, 5, 5) and y[0, 0, 0, 0] == -np.inf and np.isfinite(y[0, 0, 1:4, 1:4]).all()


def test_global_avg_pool():
    x = random(2, 3, 5, 7)
    near(NumpyBuilder().global_avg_pool(x), x.astype(np.float64).mean(axis=(2, 3)).reshape(2, 3, 1, 1))


@pytest.mark.parametrize("dialect, factor", [("alexeyab", 316.07), ("pjreddie", 9900.99), ("opencv", 995.04)])
def test_batch_norm_of_a_tiny_variance_differs_by_reader(dialect, factor):
    one = np.ones(1, np.float32)
    y = NumpyBuilder(dialect).batch_norm(np.ones((1, 1, 1, 1), np.float32), one, 0 * one, 0 * one, 1e-8 * one)
    assert float(y[0, 0, 0, 0]) == pytest.approx(factor, rel=1e-5)


def test_per_channel_arithmetic():
    b, x, p = NumpyBuilder(), random(2, 5, 3, 4), random(4, 5)
    variance = np.abs(p[3])
    wide = [v.reshape(1, 5, 1, 1).astype(np.float64) for v in (p[0], p[1], p[2], variance)]
    near(b.batch_norm(x, p[0], p[1], p[2], variance), (x - wide[2]) / np.sqrt(wide[3] + 1e-5) * wide[0] + wide[1])
    near(b.bias(x, p[0]), x + wide[0])
    near(b.scale_channels_by(x, p[0]), x * wide[0])
    np.testing.assert_array_equal(x, random(2, 5, 3, 4))


def test_element_wise():
    b, x = NumpyBuilder(), random(2, 5, 3, 4)
    for other in (random(2, 5, 3, 4), random(2, 5, 1, 1), random(2, 1, 3, 4)):
        near(b.add(x, other), x.astype(np.float64) + other)
        near(b.mul(x, other), x.astype(np.float64) * other)
    near(b.activation(x, "leaky"), np.where(x > 0, x, 0.1 * x))
    near(NumpyBuilder("pjreddie").activation(x, "mish"), np.maximum(x, 0))
    near(b.activation(x, "linear"), x)


def test_linear_and_flatten():
    x, weight = random(2, 3, 4, 5), random(7, 60)
    wanted = [[math.fsum(float(a) * float(c) for a, c in zip(row, image.ravel())) for row in weight] for image in x]
    near(NumpyBuilder().linear(x, weight), np.reshape(wanted, (2, 7, 1, 1)))
    near(NumpyBuilder().flatten(x), np.array([image.ravel() for image in x]).reshape(2, 60, 1, 1))


def test_upsample_and_downsample_sum():
    b, x = NumpyBuilder(), random(2, 3, 4, 6)
    up, down = np.zeros((2, 3, 12, 18)), np.zeros((2, 3, 2, 3))
    for n, c, i, j in cells(up.shape):
        up[n, c, i, j] = 0.5 * x[n, c, i // 3, j // 3]
    for n, c, i, j in cells(x.shape):
        down[n, c, i // 2, j // 2] += 1.5 * x[n, c, i, j]
    near(b.upsample(x, 3, 0.5), up)
    near(b.downsample_sum(x, 2, 1.5), down)
    near(b.upsample(x, 1), x)
    with pytest.raises(Unsupported):
        b.downsample_sum(x, 4)


def test_channels_and_crop():
    b, x = NumpyBuilder(), random(2, 5, 7, 6)
    near(b.concat([x, x[:, :2]]), np.array([list(image) + list(image[:2]) for image in x]))
    near(b.slice_channels(x, 1, 3), np.array([[image[1], image[2]] for image in x]))
    near(b.pad_channels(x, 7), np.array([list(image) + [np.zeros((7, 6))] * 2 for image in x]))
    near(b.pad_channels(x, 5), x)
    near(b.crop(x, 4, 3), np.array([[m[1:5, 1:4] for m in image] for image in x]))
    for call in (lambda: b.pad_channels(x, 4), lambda: b.crop(x, 8, 2)):
        with pytest.raises(Unsupported):
            call()


@pytest.mark.parametrize("s, shape", [(2, (2, 8, 6, 4)), (3, (1, 9, 3, 6)), (1, (1, 3, 2, 2))])
def test_reorg(s, shape):
    x, b = random(*shape), NumpyBuilder()
    n, c, h, w = shape
    forward, reverse, q = np.zeros((n, c * h * w)), np.zeros((n, c * h * w)), c // (s * s)
    for image, k, j, i in cells(shape):
        off, small = k // q, i + w * (j + h * k)
        large = (i * s + off % s) + w * s * ((j * s + off // s) + h * s * (k % q))
        forward[image, small] = x[image].ravel()[large]
        reverse[image, large] = x[image].ravel()[small]
    near(b.reorg(x, s), forward.reshape(n, c * s * s, h // s, w // s))
    near(b.reorg(x, s, reverse=True), reverse.reshape(n, q, h * s, w * s))


@pytest.mark.parametrize("s", [1, 2, 3])
def test_space_to_depth(s):
    x, b = random(2, 5, 6, 12), NumpyBuilder()
    wanted = np.zeros((2, 5 * s * s, 6 // s, 12 // s))
    for n, k, j, i in cells(wanted.shape):
        off = k // 5
        wanted[n, k, j, i] = x[n, k % 5, j * s + off // s, i * s + off % s]
    y = b.space_to_depth(x, s)
    near(y, wanted)
    near(b.space_to_depth(y, s, reverse=True), x)


def test_spread():
    x = random(2, 3, 4, 2)
    wanted = np.zeros((2, 3, 12, 6))
    for n, k, j, i in cells(x.shape):
        wanted[n, k, j * 3, i * 3] = x[n, k, j, i]
    near(NumpyBuilder().spread(x, 3), wanted)


def test_interleave():
    x, b = random(2, 5, 3, 4), NumpyBuilder()
    flat = np.zeros((2, 60))
    for n, k, j, i in cells(x.shape):
        flat[n, (j * 4 + i) * 5 + k] = x[n, k, j, i]
    y = b.interleave(x, (20, 1, 3))
    near(y, flat.reshape(2, 20, 1, 3))
    near(b.interleave(y.reshape(x.shape), (5, 3, 4), reverse=True), x)


def test_constant():
    b, values = NumpyBuilder(), random(3, 2, 1)
    b.images = 4
    near(b.constant(values), np.array([values] * 4))


@pytest.mark.parametrize("stride, padding, out", [(1, 0, (5, 3)), (2, 1, (4, 3))])
def test_local_conv2d(stride, padding, out):
    x, weight = random(2, 3, 7, 5), random(*(out + (4, 3, 3, 3)))
    wanted = np.zeros((2, 4) + out)
    for image, f, i, j in cells(wanted.shape):
        for d, ky, kx in cells((3, 3, 3)):
            y, z = i * stride - padding + ky, j * stride - padding + kx
            if 0 <= y < 7 and 0 <= z < 5:
                wanted[image, f, i, j] += float(weight[i, j, f, d, ky, kx]) * float(x[image, d, y, z])
    near(NumpyBuilder().local_conv2d(x, weight, stride, padding), wanted)


def test_reorganisations_that_do_not_fit_are_refused():
    b, x = NumpyBuilder(), random(1, 4, 5, 6)
    calls = [
        lambda: b.reorg(x, 2),
        lambda: b.reorg(x[:, :3, :4], 2),
        lambda: b.reorg(x[:, :3], 2, reverse=True),
        lambda: b.space_to_depth(x, 2),
        lambda: b.space_to_depth(x[:, :3], 2, reverse=True),
        lambda: b.max_channels(x, 5),
        lambda: b.softmax(x, groups=7),
    ]
    for call in calls:
        with pytest.raises(Unsupported):
            call()


@pytest.mark.parametrize("count", [1, 3, 7])
def test_max_channels(count):
    x = random(2, 7, 3, 2)
    wanted = [[np.max([image[k] for k in range(7) if k % count == g], axis=0) for g in range(count)] for image in x]
    near(NumpyBuilder().max_channels(x, count), np.array(wanted))


def slow_softmax(values, temperature):
    e = [math.exp(float(v) / temperature) for v in values]
    return [v / math.fsum(e) for v in e]


def test_softmax():
    b, x = NumpyBuilder(), random(2, 6, 3, 2)
    wanted = [[slow_softmax(run, 0.5) for run in image.reshape(4, 9)] for image in x]
    near(b.softmax(x, 4, 0.5), np.reshape(wanted, x.shape))
    spatial = np.zeros(x.shape)
    for n, i, j in cells((2, 3, 2)):
        spatial[n, :, i, j] = slow_softmax(x[n, :, i, j], 1.0)
    near(b.softmax(x, spatial=True), spatial)
    far = b.softmax(np.array([1e5, -1e5, 1e5], np.float32).reshape(1, 3, 1, 1))
    near(far, np.reshape([0.5, 0, 0.5], (1, 3, 1, 1)))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 15])
def test_lrn(size):
    x = random(2, 7, 3, 2)
    wanted = np.zeros(x.shape)
    for n, k, i, j in cells(x.shape):
        window = range(max(0, k - (size - 1) // 2), min(7, k + size // 2 + 1))
        total = math.fsum(float(x[n, m, i, j]) ** 2 for m in window)
        if size // 2 < 7:  # the readers' running sum leaves this channel out, wherever the window stands
            total -= float(x[n, size // 2, i, j]) ** 2
        wanted[n, k, i, j] = x[n, k, i, j] * (2 + 0.3 * total) ** -0.75
    near(NumpyBuilder().lrn(x, size, 0.3, 0.75, 2.0), wanted)


def test_a_builder_without_a_primitive_names_itself():
    b = Builder("opencv")
    b.backend, b.layer = "toy", 3
    with pytest.raises(Unsupported) as caught:
        b.softmax(None)
    assert str(caught.value) == "error: layer 3: the toy backend cannot run softmax"
    given = {"array", "backend", "unsupported", "output", "dropout", "wrap", "unwrap"}
    assert {name for name in vars(Builder) if not name.startswith("_")} - given <= set(vars(NumpyBuilder))


def test_a_runner_is_opened_and_closed_by_with():
    calls = []

    class Recorder(Runner):
        name = "recorder"

        def open(self):
            calls.append("open")

        def close(self):
            calls.append("close")

    with pytest.raises(ZeroDivisionError):
        with Recorder() as runner:
            calls.append(runner.name)
            raise ZeroDivisionError
    assert calls == ["open", "recorder", "close"]
    with pytest.raises(NotImplementedError):
        runner.infer(random(1, 1, 1, 1))
