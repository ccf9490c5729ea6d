"""Convolutions with more filters than they have, in any backend: zeros up to a multiple, for kernels that like that.

A tensor may hold channels that the net does not have. Which ones it has is known here, and readers' weights are zero
for all others; so nothing needs to be copied into order, except where an operation looks at all channels, and nothing
changes but rounding. What the added channels hold does not matter, as long as it is finite.
"""

from typing import Any, Collection, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends import geometry
from darkprune.backends.base import Builder
from darkprune.backends.channel_slots import Map, Placing, flat, joined, placed
from darkprune.ops.activation_functions import effective


class Padded(Builder):
    """Another builder's primitives, with convolutions of a multiple of channels. Tensors are Maps of its own.

    Args:
        inner: the builder that computes.
        multiple: of the channels.
        exact: layers whose convolutions stay as wide as they are, because their outputs leave the net.
    """

    def __init__(self, inner: Builder, multiple: int, exact: Collection[int] = ()) -> None:
        self.inner = inner
        self.backend, self.dialect = inner.backend, inner.dialect
        self.multiple = multiple
        self.exact = frozenset(exact)

    @property
    def layer(self) -> Optional[int]:
        """The inner builder's."""
        return self.inner.layer

    @layer.setter
    def layer(self, index: Optional[int]) -> None:
        self.inner.layer = index

    @property
    def images(self) -> int:
        """The inner builder's."""
        return self.inner.images

    @images.setter
    def images(self, count: int) -> None:
        self.inner.images = count

    def array(self, layer: Any, name: str) -> Any:
        return self.inner.array(layer, name)

    def wrap(self, tensor: Any) -> Map:
        return Map(tensor, np.arange(tensor.shape[1]))

    def unwrap(self, x: Map) -> Any:
        return self._gathered(x, len(x.slots)) if not x.dense else x.inner

    def _dense(self, x: Map) -> Map:
        return x if x.dense else self.wrap(self.unwrap(x))

    def _width(self, channels: int) -> int:
        """How many channels hold so many; one alone is a map that gates others, and stays alone."""
        if channels == 1 or self.layer in self.exact:
            return channels
        return -(-channels // self.multiple) * self.multiple

    def _gathered(self, x: Map, width: int, slots: Optional[np.ndarray] = None) -> Any:
        """The inner tensor with the channels at `slots`, by default the first ones, of `width`; zeros in between."""
        slots = np.arange(len(x.slots)) if slots is None else slots
        bounds = np.flatnonzero((np.diff(x.slots) != 1) | (np.diff(slots) != 1)) + 1
        starts, stops = [0] + bounds.tolist(), bounds.tolist() + [len(slots)]
        parts = []
        for start, stop in zip(starts, stops):
            first, last = int(x.slots[start]), int(x.slots[stop - 1]) + 1
            part = x.inner if last - first == x.width else self.inner.slice_channels(x.inner, first, last)
            room = (int(slots[stop]) if stop < len(slots) else width) - int(slots[start])
            parts.append(part if room == last - first else self.inner.pad_channels(part, room))
        return parts[0] if len(parts) == 1 else self.inner.concat(parts)

    def _like(self, x: Map, y: Map) -> Any:
        """The inner tensor of `x` with its channels where `y` has them; a single channel alone."""
        if len(x.slots) != len(y.slots):
            return self.unwrap(x)
        if x.width == y.width and np.array_equal(x.slots, y.slots):
            return x.inner
        return self._gathered(x, y.width, y.slots)

    # Layers with parameters.

    def conv2d(
        self,
        x: Map,
        weight: np.ndarray,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> Map:
        x, placing = self._convolved(x, weight, stride, padding, dilation, groups)
        y = self.inner.conv2d(x.inner, placing.placed(weight), stride, padding, dilation, placing.groups)
        return Map(y, placing.slots)

    def _convolved(
        self, x: Map, weight: Any, stride: Tuple[int, int], padding: int, dilation: int, groups: int
    ) -> Tuple[Map, Placing]:
        """What a convolution reads, and where its filters lie."""
        out = geometry.convolved(self, x, weight, stride, padding, dilation, groups)
        if geometry.reinterprets(self, x, weight, stride, padding, out) or 1 < groups < x.shape[1]:
            x = self._dense(x)
        count = len(weight)
        if groups == 1:
            return x, Placing(np.arange(count), self._width(count), x.slots, x.width, 1)
        if groups < x.shape[1]:
            return x, Placing(np.arange(count), count, None, 0, groups)
        each = count // groups
        slots = (x.slots[:, None] * each + np.arange(each)).reshape(-1)
        return x, Placing(slots, x.width * each, None, 0, x.width)

    def local_conv2d(self, x: Map, weight: np.ndarray, stride: int = 1, padding: int = 0) -> Map:
        return self.wrap(self.inner.local_conv2d(x.inner, placed(weight, x.slots, x.width, 3), stride, padding))

    def constant(self, values: np.ndarray) -> Map:
        return self.wrap(self.inner.constant(values))

    def linear(self, x: Map, weight: np.ndarray) -> Map:
        area = int(x.shape[2]) * int(x.shape[3])
        return self.wrap(self.inner.linear(x.inner, placed(weight, flat(x), x.width * area, 1)))

    def bias(self, x: Map, b: np.ndarray) -> Map:
        return Map(self.inner.bias(x.inner, placed(b, x.slots, x.width)), x.slots)

    def batch_norm(self, x: Map, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Map:
        gamma, beta, mean = (placed(values, x.slots, x.width) for values in (gamma, beta, mean))
        variance = placed(variance, x.slots, x.width, fill=1)
        return Map(self.inner.batch_norm(x.inner, gamma, beta, mean, variance), x.slots)

    def scale_channels_by(self, x: Map, factors: np.ndarray) -> Map:
        if np.size(factors) != 1:
            factors = placed(np.reshape(factors, -1), x.slots, x.width)
        return Map(self.inner.scale_channels_by(x.inner, factors), x.slots)

    # Arrays computed from parameters.

    def binarised(self, weight: np.ndarray) -> Any:
        return self.inner.binarised(weight)

    def source_factors(self, weights: np.ndarray, normalization: str) -> Any:
        return self.inner.source_factors(weights, normalization)

    # Element-wise.

    def activation(self, x: Map, name: str) -> Map:
        if effective(name, self.dialect.name).couples_channels:
            x = self._dense(x)
        return Map(self.inner.activation(x.inner, name), x.slots)

    def sign(self, x: Map) -> Map:
        return Map(self.inner.sign(x.inner), x.slots)

    def add(self, a: Map, b: Map) -> Map:
        return Map(self.inner.add(a.inner, self._like(b, a)), a.slots)

    def mul(self, a: Map, b: Map) -> Map:
        return Map(self.inner.mul(a.inner, self._like(b, a)), a.slots)

    # Pooling and resampling: each channel alone.

    def max_pool(self, x: Map, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> Map:
        return Map(self.inner.max_pool(x.inner, size, stride, padding), x.slots)

    def avg_pool(self, x: Map, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> Map:
        return Map(self.inner.avg_pool(x.inner, size, stride, padding), x.slots)

    def global_avg_pool(self, x: Map) -> Map:
        return Map(self.inner.global_avg_pool(x.inner), x.slots)

    def upsample(self, x: Map, stride: int, scale: float = 1.0) -> Map:
        return Map(self.inner.upsample(x.inner, stride, scale), x.slots)

    def downsample_sum(self, x: Map, stride: int, scale: float = 1.0) -> Map:
        return Map(self.inner.downsample_sum(x.inner, stride, scale), x.slots)

    def spread(self, x: Map, stride: int) -> Map:
        return Map(self.inner.spread(x.inner, stride), x.slots)

    def crop(self, x: Map, height: int, width: int) -> Map:
        return Map(self.inner.crop(x.inner, height, width), x.slots)

    def dropout(self, x: Map, probability: float, blocks: bool = False) -> Map:
        return Map(self.inner.dropout(x.inner, probability, blocks), x.slots)

    # Wiring.

    def concat(self, xs: Sequence[Map]) -> Map:
        return Map(self.inner.concat([x.inner for x in xs]), joined(xs))

    def slice_channels(self, x: Map, start: int, stop: int) -> Map:
        """Its added channels are those that follow: they cost nothing, and the width is a multiple."""
        slots = x.slots[start:stop]
        first, last = int(slots[0]), int(slots[-1]) + 1
        end = min(x.width, first + self._width(last - first))
        inner = x.inner if end - first == x.width else self.inner.slice_channels(x.inner, first, end)
        return Map(inner, slots - first)

    def pad_channels(self, x: Map, count: int) -> Map:
        geometry.missing_channels(self, x, count)
        return Map(self._gathered(x, self._width(count)), np.arange(count))

    def flatten(self, x: Map) -> Map:
        return Map(self.inner.flatten(x.inner), flat(x))

    def interleave(self, x: Map, shape: Tuple[int, int, int], reverse: bool = False) -> Map:
        return self.wrap(self.inner.interleave(self.unwrap(x), shape, reverse))

    def reorg(self, x: Map, stride: int, reverse: bool = False) -> Map:
        return self.wrap(self.inner.reorg(self.unwrap(x), stride, reverse))

    def space_to_depth(self, x: Map, stride: int, reverse: bool = False) -> Map:
        if reverse:
            return self.wrap(self.inner.space_to_depth(self.unwrap(x), stride, True))
        slots = np.arange(stride * stride)[:, None] * x.width + x.slots
        return Map(self.inner.space_to_depth(x.inner, stride), slots.reshape(-1))

    def output(self, x: Map, layer_index: int) -> Map:
        return self.wrap(self.inner.output(self.unwrap(x), layer_index))

    # Across channels.

    def max_channels(self, x: Map, out_channels: int) -> Map:
        return self.wrap(self.inner.max_channels(self.unwrap(x), out_channels))

    def softmax(self, x: Map, groups: int = 1, temperature: float = 1.0, spatial: bool = False) -> Map:
        return self.wrap(self.inner.softmax(self.unwrap(x), groups, temperature, spatial))

    def lrn(self, x: Map, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, kappa: float = 1.0) -> Map:
        return self.wrap(self.inner.lrn(self.unwrap(x), size, alpha, beta, kappa))
