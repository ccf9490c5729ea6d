"""Pooling, resampling and wiring in TensorRT's layers."""

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends import geometry
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.backends.recorded import Recorded
from darkprune.backends.tensorrt_bounds import LARGEST
from darkprune.backends.tensorrt_layers import Layers
from darkprune.backends.tensorrt_tensor import TensorrtTensor
from darkprune.darknet.dialect_epsilon import DEFAULT


class TensorrtMaps(Recorded):
    """Adds layers by `nodes`; tensors are TensorrtTensors, parameters numpy arrays."""

    backend = "tensorrt"

    def __init__(self, nodes: Layers, dialect_name: str = DEFAULT) -> None:
        self.nodes = nodes
        super(TensorrtMaps, self).__init__(dialect_name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == "layer":
            self.nodes.layer = value

    def _per_channel(self, values: Any, suffix: str) -> TensorrtTensor:
        return self.nodes.constant(np.reshape(values, (1, -1, 1, 1)), suffix)

    def _number(self, value: float, suffix: str) -> TensorrtTensor:
        return self.nodes.constant(np.full((1, 1, 1, 1), value), suffix)

    def _times(self, x: Any, factor: Any) -> TensorrtTensor:
        """factor: a number, or an array of four axes."""
        factor = np.reshape(factor, (1, 1, 1, 1)) if np.ndim(factor) == 0 else factor
        return self.nodes.elementwise("PROD", x, self.nodes.constant(factor, "factor"))

    def _map(self, values: Any, suffix: str) -> TensorrtTensor:
        """The constant [c, h, w] for as many images as there are."""
        return self.nodes.repeated(self.nodes.constant(np.asarray(values)[None], suffix), suffix)

    # Pooling and resampling.

    def max_pool(self, x: Any, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> TensorrtTensor:
        shape = (x.shape[1],) + geometry.pooled(self, x, size, stride, padding)
        if padding - padding // 2 >= size:
            raise self.unsupported("a maximum of {0}x{0} windows with a padding of {1}".format(size, padding))
        return self.nodes.pool(x, "MAX", [size] * 2, stride, _borders(padding), shape)

    def avg_pool(self, x: Any, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> TensorrtTensor:
        shape = (x.shape[1],) + geometry.pooled(self, x, size, stride, padding)
        pads = _borders(padding)
        if max(pads) < size:
            return self.nodes.pool(x, "AVERAGE", [size] * 2, stride, pads, shape)
        inside = np.pad(np.ones(x.shape[2:], np.float32), [pads[::2], pads[1::2]], "constant")[None, None]
        share = NumpyBuilder().avg_pool(inside, size, stride)  # of each window; 0 for one outside of the map
        factors = np.where(share > 0, 1 / np.maximum(share, 1e-9), 0) / (size * size)
        ones = np.ones((x.shape[1], 1, size, size), np.float32)
        sums = self.nodes.convolution(x, ones, None, shape, "sums", stride, pads, groups=x.shape[1])
        return self._times(sums, factors)

    def global_avg_pool(self, x: Any) -> TensorrtTensor:
        return self.nodes.pool(x, "AVERAGE", x.shape[2:], (1, 1), [0] * 4, (x.shape[1], 1, 1))

    def upsample(self, x: Any, stride: int, scale: float = 1.0) -> TensorrtTensor:
        y = self._enlarged(x, stride)
        return y if scale == 1 else self._times(y, scale)

    def _enlarged(self, x: Any, stride: int) -> Any:
        shape = (x.shape[1], x.shape[2] * stride, x.shape[3] * stride)
        return self.nodes.resize(x, stride, shape) if stride > 1 else x

    def downsample_sum(self, x: Any, stride: int, scale: float = 1.0) -> TensorrtTensor:
        geometry.require_cells(self, x, stride, "downsample_sum")
        shape = (x.shape[1], x.shape[2] // stride, x.shape[3] // stride)
        means = self.nodes.pool(x, "AVERAGE", [stride] * 2, [stride] * 2, [0] * 4, shape)
        return self._times(means, scale * stride * stride)

    def spread(self, x: Any, stride: int) -> TensorrtTensor:
        corner = np.zeros((1, 1, stride, stride), np.float32)
        corner[..., 0, 0] = 1
        return self._times(self._enlarged(x, stride), np.tile(corner, (1, 1) + tuple(x.shape[2:])))

    def crop(self, x: Any, height: int, width: int) -> TensorrtTensor:
        top, left = geometry.cropped(self, x, height, width)
        return self.nodes.slice(x, [0, top, left], [x.shape[1], height, width], "cropped")

    # Wiring.

    def concat(self, xs: Sequence[Any]) -> TensorrtTensor:
        return self.nodes.concat(list(xs))

    def slice_channels(self, x: Any, start: int, stop: int) -> TensorrtTensor:
        size = [min(stop, x.shape[1]) - start, x.shape[2], x.shape[3]]
        return self.nodes.slice(x, [start, 0, 0], size, "channels")

    def pad_channels(self, x: Any, count: int) -> TensorrtTensor:
        missing = geometry.missing_channels(self, x, count)
        if not missing:
            return x
        zeros = self._map(np.zeros((missing,) + tuple(x.shape[2:]), np.float32), "zeros")
        self.nodes.set_range(zeros, x.bound)
        return self.nodes.concat([x, zeros], suffix="padded")

    def flatten(self, x: Any) -> TensorrtTensor:
        return self._reshape(x, (int(np.prod(x.shape[1:])), 1, 1), "flat")

    def _reshape(self, x: Any, shape: Sequence[int], suffix: str, order: Optional[Sequence[int]] = None) -> Any:
        """A view [N, *shape] of each image's values; then the axes in another order."""
        return self.nodes.shuffle(x, suffix, [0] + list(shape), order)

    def interleave(self, x: Any, shape: Tuple[int, int, int], reverse: bool = False) -> TensorrtTensor:
        c, area = x.shape[1], x.shape[2] * x.shape[3]
        columns = self._reshape(x, (area, c) if reverse else (c, area), "columns", (0, 2, 1))
        return self._reshape(columns, shape, "interleaved")

    def space_to_depth(self, x: Any, stride: int, reverse: bool = False) -> TensorrtTensor:
        c, h, w = x.shape[1:]
        s = stride
        if reverse:
            geometry.require_depth(self, x, stride, "space_to_depth")
            cells = self._reshape(x, (s, s, c // (s * s), h, w), "cells", (0, 3, 4, 1, 5, 2))
            return self._reshape(cells, (c // (s * s), h * s, w * s), "joined")
        geometry.require_cells(self, x, stride, "space_to_depth")
        cells = self._reshape(x, (c, h // s, s, w // s, s), "cells", (0, 3, 5, 1, 2, 4))
        return self._reshape(cells, (c * s * s, h // s, w // s), "joined")

    # Across channels.

    def max_channels(self, x: Any, out_channels: int) -> TensorrtTensor:
        """Where channels are missing, those take their place that they are compared with anyway."""
        geometry.require_fewer_channels(self, x, out_channels)
        c, h, w = x.shape[1:]
        missing = -c % out_channels
        if missing:
            x = self.nodes.concat([x, self.slice_channels(x, out_channels - missing, out_channels)])
        rows = self._reshape(x, ((c + missing) // out_channels, out_channels, h * w), "rows")
        largest = self.nodes.reduce(rows, "MAX", 1, keep=False)
        return self._reshape(largest, (out_channels, h, w), "maximum")

    def softmax(self, x: Any, groups: int = 1, temperature: float = 1.0, spatial: bool = False) -> TensorrtTensor:
        shape = geometry.softmax_runs(self, x, groups, spatial)[1:]
        if temperature != 1:
            x = self._times(x, 1 / temperature)
        if groups == 1 and shape[2] == x.shape[2] * x.shape[3]:
            return self.nodes.softmax(x, 1)
        runs = self.nodes.softmax(self._reshape(x, shape, "runs"), 2)
        return self._reshape(runs, x.shape[1:], "joined")

    def lrn(self, x: Any, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, kappa: float = 1.0) -> TensorrtTensor:
        """TensorRT's ILRNLayer adds all channels; the readers miss one (base.Builder.lrn), so the sum is a convolution
        here."""
        c = x.shape[1]
        weight = geometry.lrn_window(c, size)
        with self.nodes.in_fp32():  # whose squares do not overflow
            squares = self.nodes.elementwise("PROD", x, x)
            weight = weight[:, :, None, None] * np.float32(alpha)
            total = self.nodes.convolution(squares, weight, np.full(c, kappa), x.shape[1:], "around")
            least = kappa - alpha * squares.bound  # the channel that the sum misses may be all there is
            most = least**-beta if least > 0 else LARGEST
            factors = self.nodes.elementwise("POW", total, self._number(-beta, "power"), bound=most)
            return self.nodes.elementwise("PROD", x, factors)


def _borders(padding: int) -> List[int]:
    """Top, left, bottom, right of Darknet's padding, which is the total of two sides."""
    return [padding // 2] * 2 + [padding - padding // 2] * 2
