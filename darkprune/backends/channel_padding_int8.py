"""Widened convolutions on 8-bit integers: darkprune.backends.channel_padding for what rounds; new filters: scale 1."""

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.base import Builder, Tensor
from darkprune.backends.channel_padding import Padded
from darkprune.backends.channel_slots import Map, flat, joined, placed
from darkprune.backends.int8_base import Filters, Int8Builder, Move, Quantized
from darkprune.quant.quantization import QParams


class PaddedInt8(Padded, Int8Builder):
    """`Quantized` tensors are Maps of the inner builder's."""

    inner: Int8Builder

    def quantize(self, x: Map, params: QParams) -> Quantized:
        return _outer(self.inner.quantize(x.inner, params), x.slots)

    def dequantize(self, x: Quantized) -> Map:
        return Map(self.inner.dequantize(_inner(x)), x.tensor.slots)

    def named(self, x: Quantized, name: str) -> Quantized:
        return _outer(self.inner.named(_inner(x), name), x.tensor.slots)

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
        read, placing = self._convolved(x.tensor, filters.weights, stride, padding, dilation, groups)
        if read is not x.tensor:
            x = self.int8_moved(x, lambda b, tensor: b._dense(tensor))  # type: ignore[attr-defined]
        scales, biases = placing.each(filters.scales, 1), placing.each(filters.biases)
        held = Filters(placing.placed(filters.weights), scales, biases)
        y = self.inner.int8_conv2d(_inner(x), held, stride, padding, dilation, placing.groups, relu, out)
        return _outer(y, placing.slots)

    def int8_linear(self, x: Quantized, filters: Filters, relu: bool, out: Optional[QParams]) -> Any:
        area = int(x.tensor.shape[2]) * int(x.tensor.shape[3])
        weights = placed(filters.weights, flat(x.tensor), x.tensor.width * area, 1)
        y = self.inner.int8_linear(_inner(x), filters._replace(weights=weights), relu, out)
        return _outer(y, np.arange(len(weights)))

    # Element by element.

    def int8_activation(self, x: Quantized, name: str, out: QParams) -> Quantized:
        return _outer(self.inner.int8_activation(_inner(x), name, out), x.tensor.slots)

    def int8_add(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return _outer(self.inner.int8_add(_inner(a), self._as(b, a), relu, out), a.tensor.slots)

    def int8_mul(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return _outer(self.inner.int8_mul(_inner(a), self._as(b, a), relu, out), a.tensor.slots)

    def _as(self, x: Quantized, y: Quantized) -> Quantized:
        """The inner tensor of `x` with its channels where `y` has them."""
        if x.tensor.width == y.tensor.width and np.array_equal(x.tensor.slots, y.tensor.slots):
            return _inner(x)
        move = lambda b, tensor: b.wrap(b._like(tensor, y.tensor))  # noqa: E731
        return _inner(self.int8_moved(x, move))

    def int8_global_avg_pool(self, x: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return _outer(self.inner.int8_global_avg_pool(_inner(x), relu, out), x.tensor.slots)

    # Wiring.

    def int8_concat(self, xs: Sequence[Quantized], relu: bool, out: Optional[QParams]) -> Any:
        return _outer(self.inner.int8_concat([_inner(x) for x in xs], relu, out), joined([x.tensor for x in xs]))

    def int8_moved(self, x: Quantized, move: Move) -> Quantized:
        made: List[Map] = []

        def inside(b: Builder, tensor: Tensor) -> Tensor:
            made.append(move(Padded(b, self.multiple, self.exact), Map(tensor, x.tensor.slots)))
            return made[-1].inner

        y = self.inner.int8_moved(_inner(x), inside)
        return _outer(y, made[-1].slots)

    def int8_pad_channels(self, x: Quantized, count: int) -> Quantized:
        if not x.tensor.dense:
            x = self.int8_moved(x, lambda b, tensor: b._dense(tensor))  # type: ignore[attr-defined]
        y = self.inner.int8_pad_channels(_inner(x), self._width(count))
        return _outer(y, np.arange(count))


def _inner(x: Quantized) -> Quantized:
    return Quantized(x.tensor.inner, x.params)


def _outer(y: Any, slots: np.ndarray) -> Any:
    """What the inner builder gave, integers or floats, as a Map."""
    return Quantized(Map(y.tensor, slots), y.params) if isinstance(y, Quantized) else Map(y, slots)
