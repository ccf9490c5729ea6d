"""Where an INT8 net rounds whose runtime is given ranges and no roundings: TensorRT 8 by flags (quantization.IMPLICIT).

As in darkprune.quant.placement, but

- element-wise layers in a row become one, so that a tensor is not rounded that an activation, sum or product makes and
  a single other one reads; a sum is one of reals, rounded once;
- what a float layer makes is float for all float layers, also where an int8 layer reads it rounded.

TensorRT Developer Guide 8.2, "Types of Fusions": pointwise fusion; NvInfer.h, ITensor::setDynamicRange.
"""

from collections import Counter
from typing import Tuple

import numpy as np

from darkprune.backends.base import Tensor
from darkprune.backends.int8_base import Int8Builder
from darkprune.graph.layer import Layer
from darkprune.graph.net import heads
from darkprune.ops.activation_functions import ACTIVATIONS, effective
from darkprune.quant.pending_value import Value
from darkprune.quant.placement import Quantizing
from darkprune.quant.quantization import Quantization


class QuantizingByRanges(Quantizing):
    """Lowers the net of a Quantization of an implicit scheme."""

    def __init__(self, inner: Int8Builder, quantization: Quantization) -> None:
        super(QuantizingByRanges, self).__init__(inner, quantization)
        readers = Counter(source.index for layer in self._net.layers for source in layer.inputs)
        self._read_once = {index for index, count in readers.items() if count == 1} - set(heads(self._net))

    def finish(self, layer: Layer, y: Value) -> Value:
        chain = y.chain
        y = super(QuantizingByRanges, self).finish(layer, y)
        y.chain = chain if layer.index in self._read_once else None
        return y

    def _round(self, x: Value, name: str) -> None:
        floats = self.real(x) if x.integers is None else None
        super(QuantizingByRanges, self)._round(x, name)
        if floats is not None and self._finished not in self.quantization.policy.int8:
            x.tensor = floats

    def conv2d(
        self,
        x: Value,
        weight: np.ndarray,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> Value:
        if self._finished != self.layer or x.integers is None:
            return super(QuantizingByRanges, self).conv2d(x, weight, stride, padding, dilation, groups)
        floats, like = self.inner.conv2d(self.real(x), weight, stride, padding, dilation, groups), x.integers.params
        return Value(make=lambda _, __, out: floats if out is None else self.inner.quantize(floats, out), like=like)

    def activation(self, x: Value, name: str) -> Value:
        which = effective(name, self.dialect.name).name
        layer, fused = self._int8(), self.quantization.scheme.fused or ()
        if layer is None or which == "linear" or ACTIVATIONS[which].couples_channels:
            return super(QuantizingByRanges, self).activation(x, name)
        if x.chain is not None:
            return self._chained(self.inner.activation(x.chain, name))
        if x.waiting and which in fused:  # part of the convolution
            return super(QuantizingByRanges, self).activation(x, name)
        source = self._before(layer, x)
        floats = self.real(x) if source is None else self.inner.dequantize(source)
        return self._chained(self.inner.activation(floats, name))

    def _of_both(self, name: str, a: Value, b: Value) -> Value:
        if self._int8() is None:
            return super(QuantizingByRanges, self)._of_both(name, a, b)
        left, right = self._within(a), self._within(b)
        if tuple(right.shape[1:]) != tuple(left.shape[1:]):  # one that is repeated is no part of the row
            right = self._real_of_integers(b)
        return self._chained(getattr(self.inner, name)(left, right))

    def _within(self, x: Value) -> Tensor:
        """The floats of what an int8 layer reads: of its integers, if it is rounded."""
        return self._real_of_integers(x) if x.chain is None else x.chain

    def _real_of_integers(self, x: Value) -> Tensor:
        integers = self._quantized(x)
        return self.real(x) if integers is None else self.inner.dequantize(integers)

    def _chained(self, floats: Tensor) -> Value:
        """The value of what an element-wise operation makes."""
        made = Value(floats)
        made.chain = floats
        return made


def placed(inner: Int8Builder, quantization: Quantization) -> Quantizing:
    """What lowers the net of a Quantization, by its scheme."""
    kind = QuantizingByRanges if quantization.scheme.implicit else Quantizing
    return kind(inner, quantization)
