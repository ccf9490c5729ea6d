"""The stand-in of TensorRT 10 against NVIDIA's own library, TensorRT-RTX: shapes, types, and what cannot be built.

The stand-in refuses more: a scale of 0, layers of one name, a convolution of integers that were not dequantized, a
softmax over two axes. TensorRT-RTX builds these.
"""

import numpy as np
import pytest

import need
from stand_ins.loading import stand_in
from stand_ins.networks import Made


def pooled(m, size, kind="MAX", **more):
    layer = m.network.add_pooling_nd(m.x, m.trt.PoolingType[kind] if m.ours else getattr(m.trt.PoolingType, kind), size)
    return with_(layer, **more)


def with_(layer, **attributes):
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


def summed(m, shape, kind=np.float32):
    other = m.constant(np.ones(shape), kind)
    return m.network.add_elementwise(m.x, other, m.trt.ElementWiseOperation.SUM)


def half(m):
    return m.network.add_cast(m.x, m.trt.float16).get_output(0)


def equal(m):
    return m.network.add_elementwise(m.x, m.x, m.trt.ElementWiseOperation.EQUAL).get_output(0)


def integers(m):
    return m.network.add_quantize(m.x, m.constant(0.5), m.trt.int8).get_output(0)


def conv(m, shape=(3, 4, 3, 3), x=None, kind=np.float32, bias=None, **more):
    layer = m.conv(m.x if x is None else x, np.ones(shape), None if bias is None else np.ones(bias), kind)
    return with_(layer, **more)


CASES = {
    "convolution": lambda m: conv(m, bias=3),
    "convolution, strided and padded": lambda m: conv(m, stride_nd=(2, 1), pre_padding=(0, 2), post_padding=(1, 0)),
    "convolution, dilated": lambda m: conv(m, dilation_nd=(2, 2)),
    "convolution, in groups": lambda m: conv(m, (4, 2, 3, 3), num_groups=2),
    "convolution, rounded up": lambda m: conv(m, stride_nd=(2, 2), padding_mode=m.trt.PaddingMode.EXPLICIT_ROUND_UP),
    "convolution of half": lambda m: conv(m, x=half(m), kind=np.float16),
    "convolution of half by float": lambda m: conv(m, x=half(m)),
    "convolution, half biased by float": lambda m: with_(
        conv(m, x=half(m), kind=np.float16), bias=m.weights(np.ones(3))
    ),
    "convolution, too few weights": lambda m: conv(m, (3, 4, 3, 2), kernel_size_nd=(3, 3)),
    "convolution, too few biases": lambda m: conv(m, bias=2),
    "convolution, a window too large": lambda m: conv(m, (3, 4, 7, 7)),
    "pooling": lambda m: pooled(m, (2, 2)),
    "pooling, strided": lambda m: pooled(m, (3, 3), stride_nd=(2, 2)),
    "pooling, padded": lambda m: pooled(m, (2, 2), stride_nd=(2, 2), post_padding=(1, 1)),
    "pooling, rounded up": lambda m: pooled(
        m, (2, 3), stride_nd=(2, 2), padding_mode=m.trt.PaddingMode.EXPLICIT_ROUND_UP
    ),
    "pooling, averaged": lambda m: pooled(m, (2, 2), "AVERAGE", pre_padding=(1, 1)),
    "pooling, a window too large": lambda m: pooled(m, (9, 9)),
    "padding": lambda m: m.network.add_padding_nd(m.x, (1, 0), (2, -1)),
    "sum": lambda m: summed(m, (1, 4, 6, 7)),
    "sum, broadcast": lambda m: summed(m, (1, 4, 1, 1)),
    "sum of other ranks": lambda m: summed(m, (4,)),
    "sum of other lengths": lambda m: summed(m, (1, 3, 1, 1)),
    "sum of other types": lambda m: summed(m, (1, 4, 6, 7), np.float16),
    "comparison": lambda m: m.network.add_elementwise(m.x, m.x, m.trt.ElementWiseOperation.GREATER),
    "selection": lambda m: m.network.add_select(equal(m), m.x, m.constant([[[[1.0]]]])),
    "selection by floats": lambda m: m.network.add_select(m.x, m.x, m.x),
    "concatenation": lambda m: with_(m.network.add_concatenation([m.x, m.x]), axis=1),
    "concatenation, by its default": lambda m: m.network.add_concatenation([m.x, m.x]),
    "concatenation of other lengths": lambda m: with_(
        m.network.add_concatenation([m.x, m.constant(np.ones((1, 1, 5, 7)))]), axis=1
    ),
    "concatenation of other types": lambda m: m.network.add_concatenation([m.x, half(m)]),
    "slice": lambda m: m.network.add_slice(m.x, (0, 1, 0, 2), (1, 2, 3, 2), (1, 1, 2, 3)),
    "slice, repeated": lambda m: m.network.add_slice(m.x, (0, 1, 0, 2), (3, 2, 3, 2), (0, 1, 2, 3)),
    "slice, out of bounds": lambda m: m.network.add_slice(m.x, (0, 2, 0, 0), (1, 3, 6, 7), (1, 1, 1, 1)),
    "slice of three axes": lambda m: m.network.add_slice(m.x, (0, 1, 0), (1, 2, 3), (1, 1, 1)),
    "reshape": lambda m: with_(m.network.add_shuffle(m.x), reshape_dims=(0, 2, -1)),
    "reshape, impossible": lambda m: with_(m.network.add_shuffle(m.x), reshape_dims=(1, 5, -1)),
    "reshape of another volume": lambda m: with_(m.network.add_shuffle(m.x), reshape_dims=(1, 5, 4)),
    "transpose": lambda m: with_(m.network.add_shuffle(m.x), first_transpose=(0, 2, 3, 1)),
    "resize": lambda m: with_(m.network.add_resize(m.x), scales=[1, 1, 2, 2.5]),
    "resize, too few scales": lambda m: with_(m.network.add_resize(m.x), scales=[2, 2]),
    "resize of integers": lambda m: with_(m.network.add_resize(integers(m)), scales=[1, 1, 2, 2]),
    "shape": lambda m: m.network.add_shape(m.x),
    "activation": lambda m: m.network.add_activation(m.x, m.trt.ActivationType.TANH),
    "reduction": lambda m: m.network.add_reduce(m.x, m.trt.ReduceOperation.AVG, 0b1100, True),
    "reduction, without its axes": lambda m: m.network.add_reduce(m.x, m.trt.ReduceOperation.MAX, 0b0110, False),
    "reduction of no axis": lambda m: m.network.add_reduce(m.x, m.trt.ReduceOperation.SUM, 0, True),
    "softmax": lambda m: with_(m.network.add_softmax(m.x), axes=2),
    "products": lambda m: m.network.add_matrix_multiply(
        m.x, m.trt.MatrixOperation.NONE, m.x, m.trt.MatrixOperation.TRANSPOSE
    ),
    "products of other lengths": lambda m: m.network.add_matrix_multiply(
        m.x, m.trt.MatrixOperation.NONE, m.x, m.trt.MatrixOperation.NONE
    ),
    "scale": lambda m: m.network.add_scale_nd(
        m.x, m.trt.ScaleMode.CHANNEL, m.weights(np.ones(4)), m.weights(np.ones(4)), m.trt.Weights(), 1
    ),
    "scale, too few": lambda m: m.network.add_scale_nd(
        m.x, m.trt.ScaleMode.CHANNEL, m.weights(np.ones(3)), m.weights(np.ones(4)), m.trt.Weights(), 1
    ),
    "constant": lambda m: summed(m, (1, 1, 1, 1)),
    "constant, too many": lambda m: m.network.add_constant((2, 2), m.weights(np.ones(5))),
    "cast": lambda m: m.network.add_cast(m.x, m.trt.int32),
    "identity": lambda m: m.network.add_identity(m.x),
    "gather": lambda m: m.network.add_gather(m.x, m.constant([2, 0], np.int32), 1),
    "rounding": lambda m: m.network.add_dequantize(integers(m), m.constant(0.5), m.trt.float32),
    "rounding of integers": lambda m: m.network.add_quantize(integers(m), m.constant(0.5), m.trt.int8),
    "dequantization of floats": lambda m: m.network.add_dequantize(m.x, m.constant(0.5), m.trt.float32),
}


def found(trt, case, ours):
    """(the output's shape, its type) in a TensorRT that can build it; else None."""
    made = Made(trt)
    made.ours, made.x = ours, made.input(1, 4, 6, 7)
    layer = CASES[case](made)
    if layer is None:
        return None
    y = layer.get_output(0)
    return (tuple(y.shape), y.dtype.name) if made.build(y) is not None else None


@pytest.mark.parametrize("case", sorted(CASES))
def test_as_the_real_library_has_it(case):
    real = found(need.tensorrt_rtx(), case, False)
    with stand_in("tensorrt10") as trt:
        assert found(trt, case, True) == real
