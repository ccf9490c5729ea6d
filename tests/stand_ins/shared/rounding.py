"""Rounding to 8 bits, to half, and integers that are kept beside what they stand for."""

import numpy as np


class Integers(object):
    """int8 `values` and their `scale`, float32, one or one per index of `axis`."""

    def __init__(self, values, scale, axis=None):
        self.values, self.scale, self.axis = values, np.asarray(scale, np.float32).reshape(-1), axis

    def steps(self):
        """The scale in a shape that broadcasts against the values."""
        if self.scale.size == 1:
            return self.scale.reshape(())
        shape = [1] * self.values.ndim
        shape[self.axis] = self.scale.size
        return self.scale.reshape(shape)

    @property
    def real(self):
        """NvInfer.h, IDequantizeLayer: (input - zeroPt) * scale, with zero points of 0."""
        return self.values.astype(np.float32) * self.steps()


def quantized(x, scale, axis=None):
    """NvInfer.h, IQuantizeLayer: clamp(round(input / scale)), to nearest, ties to even, -128..127."""
    found = Integers(None, scale, axis)
    found.values = x
    steps = np.asarray(x, np.float32) / found.steps()
    found.values = np.clip(np.rint(steps), -128, 127).astype(np.int8)
    return found


def range_scale(low, high):
    """The step of a tensor's dynamic range: the larger absolute value over 127 (samples/sampleINT8/README.md, 8.2:
    the scale of the calibration cache, and ITensor::setDynamicRange: "only symmetric ranges are supported")."""
    return np.float32(max(abs(low), abs(high)) / 127.0)


def weight_integers(kernel):
    """Weights of an implicitly quantised layer: per output channel, by the largest |w| over 127.

    Developer Guide, "Working with INT8": weights are quantised symmetrically, by the builder, per channel for
    convolutions; "if a channel is all zero" is not said: then any step will do.
    """
    largest = np.abs(kernel.reshape(len(kernel), -1)).max(axis=1).astype(np.float32)
    scales = (largest / np.float32(127)).astype(np.float32)
    scales[scales == 0] = 1
    return quantized(kernel, scales, 0)


def half(x):
    """Rounded to float16 and back; beyond 65504 infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)
