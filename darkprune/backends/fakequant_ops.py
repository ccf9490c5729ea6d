"""The primitives on integers in numpy: what an INT8 graph computes, step by step as ONNX Runtime's kernels do it.

Sums of products are exact. What is rounded is rounded as in MLAS, ONNX Runtime's library, on x86-64: all factors are
float32, `rint` is half to even, and QLinearAdd uses fused multiply-adds.
"""

from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.int8_base import Filters, Int8Builder, Move, Quantized
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.graph.layer import Layer
from darkprune.ops.activation_functions import activate
from darkprune.quant.quantization import QParams

Seen = Callable[[str, np.ndarray], Optional[np.ndarray]]
EXACT = 2**24  # integers below that are exact in float32


class _Float64(NumpyBuilder):
    """Sums of integers below 2**53, which are exact."""

    dtype = np.float64


class FakequantBuilder(NumpyBuilder, Int8Builder):
    """`Quantized` tensors are uint8 or int8 arrays [N,C,H,W].

    Args:
        seen: called with the name and the array of every rounded tensor; what it returns, if not None, replaces it.
    """

    backend = "fakequant"

    def __init__(self, dialect_name: str, seen: Optional[Seen] = None) -> None:
        super(FakequantBuilder, self).__init__(dialect_name)
        self._wide = _Float64(dialect_name)
        self._seen = seen
        self._arrays: Dict[Tuple[int, str], np.ndarray] = {}

    def array(self, layer: Layer, name: str) -> np.ndarray:
        """The values of a parameter, read once."""
        key = (layer.index, name)
        if key not in self._arrays:
            self._arrays[key] = layer.array(name)
        return self._arrays[key]

    def named(self, x: Quantized, name: str) -> Quantized:
        other = None if self._seen is None else self._seen(name, x.tensor)
        return x if other is None else Quantized(other, x.params)

    def quantize(self, x: np.ndarray, params: QParams) -> Quantized:
        return _rounded(np.asarray(x, np.float32) / np.float32(params.scale), params)

    def dequantize(self, x: Quantized) -> np.ndarray:
        return _centred(x) * np.float32(x.params.scale)

    # Layers with weights.

    def int8_conv2d(
        self,
        x: Quantized,
        filters: Filters,
        stride: Tuple[int, int],
        padding: int,
        dilation: int,
        groups: int,
        relu: bool,
        out: Optional[QParams],
    ) -> Any:
        builder = self._exact(x.params, filters)
        sums = builder.conv2d(_centred(x, builder.dtype), filters.weights, stride, padding, dilation, groups)
        return self._requantized(sums, x.params, filters, relu, out)

    def int8_linear(self, x: Quantized, filters: Filters, relu: bool, out: Optional[QParams]) -> Any:
        builder = self._exact(x.params, filters)
        sums = builder.linear(_centred(x, builder.dtype), filters.weights)
        return self._requantized(sums, x.params, filters, relu, out)

    def _exact(self, params: QParams, filters: Filters) -> NumpyBuilder:
        """The narrowest builder in which no sum is ever rounded, in whichever order it is added up."""
        magnitudes = np.abs(filters.weights.reshape(len(filters.weights), -1).astype(np.int64)).sum(axis=1)
        furthest = max(abs(limit - params.zero_point) for limit in params.limits)
        return self if int(magnitudes.max()) * furthest < EXACT else self._wide

    def _requantized(
        self, sums: np.ndarray, source: QParams, filters: Filters, relu: bool, out: Optional[QParams]
    ) -> Any:
        totals = sums.astype(np.float64)
        totals += filters.biases.reshape(1, -1, 1, 1)
        steps = np.float32(source.scale) * filters.scales.reshape(1, -1, 1, 1)
        if out is None:
            return _positive(totals.astype(np.float32) * steps, relu)
        return _rounded(_positive(totals.astype(np.float32) * (steps / np.float32(out.scale)), relu), out)

    # Element by element.

    def int8_activation(self, x: Quantized, name: str, out: QParams) -> Quantized:
        return _looked_up(x, lambda reals: activate(reals, name, self.dialect.name), out)

    def int8_add(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        if out is None:
            return _positive(self.dequantize(a) + self.dequantize(b), relu)
        scale = np.float32(out.scale)
        left, right = np.float32(a.params.scale) / scale, np.float32(b.params.scale) / scale
        part = _fused(left, np.float32(a.params.zero_point), right * np.float32(b.params.zero_point))
        total = _fused(right, b.tensor, np.float32(out.zero_point) - part)
        total = _fused(left, a.tensor, total)
        return _saturated(_positive(np.rint(total), relu, out.zero_point), out)

    def int8_mul(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        if out is None:
            return _positive(self.dequantize(a) * self.dequantize(b), relu)
        factor = np.float32(a.params.scale) * np.float32(b.params.scale) / np.float32(out.scale)
        total = (_centred(a) * _centred(b)) * factor + np.float32(out.zero_point)
        return _saturated(_positive(np.rint(total), relu, out.zero_point), out)

    def int8_global_avg_pool(self, x: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        if out is None:
            return _positive(self.global_avg_pool(self.dequantize(x)), relu)
        area = x.tensor.shape[2] * x.tensor.shape[3]
        sums = x.tensor.sum(axis=(2, 3), dtype=np.int64, keepdims=True) - area * x.params.zero_point
        factor = np.float32(x.params.scale) / (np.float32(out.scale) * np.float32(area))
        return _rounded(_positive(sums.astype(np.float32) * factor, relu), out)

    # Wiring.

    def int8_concat(self, xs: Sequence[Quantized], relu: bool, out: Optional[QParams]) -> Any:
        if out is None:
            return _positive(self.concat([self.dequantize(x) for x in xs]), relu)
        parts = [x.tensor if x.params == out and not relu else _looked_up(x, _identity(relu), out).tensor for x in xs]
        return Quantized(np.concatenate(parts, axis=1), out)

    def int8_moved(self, x: Quantized, move: Move) -> Quantized:
        return _saturated(move(self, _centred(x)) + np.float32(x.params.zero_point), x.params)


def _dtype(params: QParams) -> Any:
    return np.int8 if params.signed else np.uint8


def _centred(x: Quantized, dtype: Any = np.float32) -> np.ndarray:
    """integer - zero_point: whole numbers, as floats."""
    return x.tensor.astype(dtype) - dtype(x.params.zero_point)


def _rounded(steps: np.ndarray, params: QParams) -> Quantized:
    """float32 steps from the zero point, rounded."""
    low, high = [limit - params.zero_point for limit in params.limits]
    with np.errstate(invalid="ignore"):
        return _saturated(np.rint(np.clip(steps, low, high)) + np.float32(params.zero_point), params)


def _saturated(integers: np.ndarray, params: QParams) -> Quantized:
    """Whole numbers as the tensor's type, those beyond its limits as these."""
    return Quantized(np.clip(integers, *params.limits).astype(_dtype(params)), params)


def _positive(values: np.ndarray, relu: bool, zero: float = 0) -> np.ndarray:
    return np.maximum(values, np.float32(zero)) if relu else values


def _fused(factor: Any, integers: Any, addend: Any) -> np.ndarray:
    """factor * integers + addend with one rounding, to float32: in float64 nothing else is rounded."""
    return (np.float64(factor) * np.asarray(integers, np.float64) + np.float64(addend)).astype(np.float32)


def _identity(relu: bool) -> Callable[[np.ndarray], np.ndarray]:
    return lambda reals: _positive(reals, relu)


def _looked_up(x: Quantized, function: Callable[[np.ndarray], np.ndarray], out: QParams) -> Quantized:
    """A function of the reals by a table of all 256 integers."""
    low, high = x.params.limits
    integers = np.arange(low, high + 1).astype(_dtype(x.params)).reshape(1, 1, 1, -1)
    reals = _centred(Quantized(integers, x.params)) * np.float32(x.params.scale)
    table = _rounded(function(reals) / np.float32(out.scale), out).tensor.reshape(-1)
    return Quantized(table[x.tensor.astype(np.int16) - low], out)
