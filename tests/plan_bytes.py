"""What a plan of TensorRT-RTX holds of a net: its constants lie in it as they are, beside a listing of its program.

Measured on TensorRT-RTX 1.7. Kernels of convolutions stand with the input channels last; those of int8 are padded to a
multiple of 4 channels, those of float16 to one of 8. A convolution on integers has with it, as float32, the products of
its filters' scales with that of its input, and its biases; what rounds has the reciprocal of the scale.

That a plan holds int8 weights alone says little: where the scale of a tensor has one axis and not none, TensorRT-RTX
builds a plan that makes floats of the integers when it runs, and convolves those. `convolutions` tells them apart.
"""

import re

import numpy as np

_TENSOR = re.compile(rb'  tensor=\{[^\n]* name="([^"\n]*)"[^\n]* type=(\w+) \}\n')
_CONVOLUTION = re.compile(rb'  corrltn=\{ name="([^"\n]*)" output=\{[^}\n]*\} input=\{"([^"\n]*)" "([^"\n]*)"')


def channels_last(weights, multiple=1):
    """[out, in, h, w] -> [out, h, w, in], with channels of zeros up to a multiple of `multiple`."""
    widths = [(0, 0), (0, -weights.shape[1] % multiple), (0, 0), (0, 0)]
    return np.ascontiguousarray(np.moveaxis(np.pad(weights, widths, "constant"), 1, -1))


def holds(plan, array):
    """Whether the plan, bytes, holds the array's values one behind the other."""
    return np.ascontiguousarray(array).tobytes() in plan


def holds_integers(plan, weights):
    """Whether it holds a convolution's int8 kernel [out, in, h, w], to the last byte."""
    return weights.dtype == np.int8 and holds(plan, channels_last(weights, 4))


def piece(weights):
    """The values of one tap that lie together in any padding, of the filter with the largest weight: [in], or where
    these are few the taps of the filter."""
    filters = channels_last(weights).reshape(len(weights), -1, weights.shape[1])
    largest = filters[np.abs(filters).max(axis=(1, 2)).argmax()]
    return largest[np.abs(largest).max(axis=1).argmax()] if largest.shape[1] > 2 else largest.reshape(-1)


def floats_held(plan, weights):
    """The types, float32 or float16, as which the plan holds a kernel, or a piece of it."""
    return [kind for kind in ("float32", "float16") if holds(plan, piece(weights).astype(kind))]


def convolutions(plan):
    """{name of a convolution: (type of its input, type of its kernel)}: "int8", "half" or "float"."""
    types = dict(_TENSOR.findall(plan))
    found = {}
    for name, source, kernel in _CONVOLUTION.findall(plan):
        found[name.decode("utf-8")] = (types.get(source, b"").decode(), types.get(kernel, b"").decode())
    return found
