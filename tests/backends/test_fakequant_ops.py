"""The arithmetic on integers against loops in Python's own numbers."""

import numpy as np
import pytest

from darkprune.backends.fakequant_ops import FakequantBuilder
from darkprune.backends.int8_base import Filters, Quantized
from darkprune.quant.quantization import QParams

U8 = QParams(float(np.float32(0.02)), 37, False)
OUT = QParams(float(np.float32(0.05)), 101, False)
S8 = QParams(float(np.float32(0.03)), 0, True)


def builder():
    return FakequantBuilder("alexeyab")


def integers(shape, params, seed=0):
    low, high = params.limits
    values = np.random.RandomState(seed).randint(low, high + 1, shape)
    return Quantized(values.astype(np.int8 if params.signed else np.uint8), params)


def rounded(total, factor, out, relu=False):
    """One sum of products, an exact integer, as ONNX Runtime rounds it."""
    steps = np.float32(total) * factor
    steps = max(steps, np.float32(0)) if relu else steps
    low, high = out.limits
    return int(np.clip(np.rint(steps) + out.zero_point, low, high))


@pytest.mark.parametrize("source, out", [(U8, OUT), (S8, S8)])
@pytest.mark.parametrize("groups, relu, stride, padding", [(1, False, 1, 1), (2, True, 2, 0), (4, False, 1, 0)])
def test_a_convolution_is_exact_before_it_is_rounded(source, out, groups, relu, stride, padding):
    random = np.random.RandomState(1)
    x = integers((1, 4, 5, 6), source)
    weights = random.randint(-127, 128, (4, 4 // groups, 3, 3)).astype(np.int8)
    filters = Filters(weights, random.rand(4).astype(np.float32) / 100, random.randint(-3000, 3000, 4).astype(np.int32))
    found = builder().int8_conv2d(x, filters, (stride, stride), padding, 1, groups, relu, out)
    assert found.params == out and found.tensor.dtype == x.tensor.dtype
    centred = np.pad(x.tensor.astype(int) - source.zero_point, [(0, 0), (0, 0)] + 2 * [(padding, padding)], "constant")
    width = 4 // groups
    for (_, n, i, j), value in np.ndenumerate(found.tensor):
        part = centred[0, n // (4 // groups) * width :, i * stride :, j * stride :][:width, :3, :3]
        total = int((part * weights[n].astype(int)).sum()) + int(filters.biases[n])
        factor = np.float32(source.scale) * filters.scales[n] / np.float32(out.scale)
        assert value == rounded(total, factor, out, relu)


@pytest.mark.parametrize("depth", [16, 3000])  # sums that float32 holds, and that it does not
def test_large_sums_lose_nothing(depth):
    x = Quantized(np.full((1, depth, 1, 1), 254, np.uint8), QParams(1.0, 0, False))
    weights = np.full((2, depth), 127, np.int8)
    weights[1, 0] = 126
    filters = Filters(weights, np.full(2, 1, np.float32), np.array([-127 * 254 * depth, -127 * 254 * depth], np.int32))
    found = builder().int8_linear(x, filters, False, QParams(2.0, 200, False))
    assert found.tensor.reshape(-1).tolist() == [200, 200 - 127]


def test_a_float_result_is_the_sum_in_steps():
    x = integers((2, 3, 1, 1), U8)
    filters = Filters(np.array([[1, -2, 3]], np.int8), np.array([0.5], np.float32), np.array([7], np.int32))
    centred = x.tensor.reshape(2, 3).astype(int) - 37
    expected = (centred.dot([1, -2, 3]) + 7).astype(np.float32) * (np.float32(0.02) * np.float32(0.5))
    np.testing.assert_array_equal(builder().int8_linear(x, filters, False, None).reshape(-1), expected)


@pytest.mark.parametrize("name", ["leaky", "mish", "relu", "logistic"])
def test_an_activation_is_rounded_once_for_each_integer(name):
    x = Quantized(np.arange(256).astype(np.uint8).reshape(1, 4, 8, 8), U8)
    b = builder()
    expected = b.quantize(b.activation(b.dequantize(x), name), OUT)
    np.testing.assert_array_equal(b.int8_activation(x, name, OUT).tensor, expected.tensor)


def test_rounding_is_half_to_even_and_saturates():
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9], np.float32).reshape(1, -1, 1, 1)
    found = builder().quantize(values, QParams(1.0, 10, False)).tensor.reshape(-1).tolist()
    assert found == [10, 12, 12, 10, 8, 255, 0]
    assert builder().quantize(values, QParams(1.0, 0, True)).tensor.reshape(-1).tolist() == [0, 2, 2, 0, -2, 127, -128]


@pytest.mark.parametrize("relu", [False, True])
def test_sums_products_and_means_are_within_one_step_of_the_exact_ones(relu):
    a, b, exact = integers((2, 3, 4, 5), U8, 1), integers((2, 3, 4, 5), QParams(0.011, 200, False), 2), builder()
    reals = [(q.tensor.astype(np.float64) - q.params.zero_point) * q.params.scale for q in (a, b)]
    found = [
        (exact.int8_add(a, b, relu, OUT), reals[0] + reals[1]),
        (exact.int8_mul(a, b, relu, OUT), reals[0] * reals[1]),
        (exact.int8_global_avg_pool(a, relu, OUT), reals[0].mean(axis=(2, 3), keepdims=True)),
        (exact.int8_concat([a, b], relu, OUT), np.concatenate(reals, axis=1)),
    ]
    for q, real in found:
        steps = np.clip((np.maximum(real, 0) if relu else real) / OUT.scale + OUT.zero_point, 0, 255)
        assert q.params == OUT and np.abs(q.tensor - steps).max() < 0.51


def test_moved_integers_are_the_same_integers():
    x, b = integers((1, 4, 4, 4), U8), builder()
    pooled = b.int8_moved(x, lambda inner, tensor: inner.max_pool(tensor, 2, (2, 2), 1))
    assert pooled.params == U8 and pooled.tensor.dtype == np.uint8
    np.testing.assert_array_equal(pooled.tensor[0, 0, 0, 0], x.tensor[0, 0, :2, :2].max())
    padded = b.int8_pad_channels(x, 6).tensor
    np.testing.assert_array_equal(padded[:, :4], x.tensor)
    assert (padded[:, 4:] == 37).all()  # the integer of 0.0


def test_a_filter_of_zeros_puts_out_its_bias():
    filters = Filters(np.zeros((1, 4, 1, 1), np.int8), np.ones(1, np.float32), np.array([50], np.int32))
    found = builder().int8_conv2d(integers((1, 4, 2, 2), U8), filters, (1, 1), 0, 1, 1, False, OUT)
    assert (found.tensor == 101 + 20).all()  # 50 steps of 0.02 are 20 of 0.05
