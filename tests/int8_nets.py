"""Ranges of small nets for tests: the smallest and the largest values on pictures, without the calibrator."""

import numpy as np

from darkprune.backends.forward import forward
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.quant.policy import default_float
from darkprune.quant.ranges import Range, Ranges
from darkprune.quant.tensors import INPUT, before_name, output_name, ranged_tensors
from darkprune.verify import test_batch


class _Watching(NumpyBuilder):
    """Remembers what the activation of each layer reads."""

    def __init__(self, dialect):
        super(_Watching, self).__init__(dialect)
        self.before = {}

    def activation(self, x, name):
        self.before[self.layer] = x
        return super(_Watching, self).activation(x, name)


def pictures(net, count=2, seed=3):
    """float32 [count,C,H,W]."""
    return np.concatenate([test_batch(net, seed=seed + i) for i in range(count)])


def measured(net, batch=None, keep_float=None):
    """The Ranges of a net: low and high are the extreme values, amax the farther one."""
    batch = pictures(net) if batch is None else batch
    builder, found = _Watching(net.dialect.name), {INPUT: batch}
    before = {}

    def hook(layer, y):
        found[output_name(layer)] = y
        before[before_name(layer)] = builder.before.get(layer.index)
        return y

    forward(net, builder, batch, hook=hook)
    ranges = Ranges(net)
    ranges.keep_float = default_float(net) if keep_float is None else list(keep_float)
    for tensor in ranged_tensors(net):
        values = before[tensor.name] if tensor.before else found[tensor.name]
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        ranges.tensors[tensor.name] = Range(low, high, max(-low, high))
    return ranges
