"""Pooling, resampling and wiring in ONNX's operators, and what all primitives make nodes with.

Imports onnx: only what needs it imports this module.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends import geometry
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.backends.onnx_graph import Length, OnnxGraph, OnnxTensor
from darkprune.backends.recorded import Recorded
from darkprune.darknet.dialect_epsilon import DEFAULT


class OnnxMaps(Recorded):
    """Adds nodes to `graph`; tensors are OnnxTensors, parameters numpy arrays.

    Args:
        names: what the layers' nodes and constants are called after, by layer index.

    Attributes:
        graph: the OnnxGraph.
        before: by layer index, what the layer's activation reads.
    """

    backend = "onnx"

    def __init__(self, dialect_name: str = DEFAULT, names: Optional[Dict[int, str]] = None) -> None:
        super().__init__(dialect_name)
        self.graph = OnnxGraph()
        self.names = names or {}
        self.before: Dict[int, OnnxTensor] = {}
        self._batch: Length = 1

    def input(self, name: str, shape: Sequence[Length]) -> OnnxTensor:
        """The model's input [N, c, h, w]; N is a number, or onnx_graph.BATCH for any."""
        self._batch = shape[0]
        return self.graph.input(name, shape)

    def label(self, suffix: str) -> str:
        """A name for something of the layer being lowered."""
        return self.names.get(-1 if self.layer is None else self.layer, "net") + "_" + suffix

    def node(self, operator: str, inputs: Sequence[Any], suffix: str, shape: Sequence[int], **attributes: Any) -> Any:
        """A tensor [N, *shape] that one node makes of `inputs`: tensors, or names."""
        texts = [x.name if isinstance(x, OnnxTensor) else x for x in inputs]
        name = self.graph.node(operator, texts, self.label(suffix), **attributes)
        return OnnxTensor((self._batch,) + tuple(shape), name)

    def constants(self, values: Any, suffix: str, dtype: Any = np.float32) -> str:
        """The name of a new constant of this layer."""
        return self.graph.constant(values, self.label(suffix), dtype)

    def _per_channel(self, values: Any, suffix: str) -> str:
        return self.constants(np.reshape(values, (1, -1, 1, 1)), suffix)

    def _reshape(self, x: Any, shape: Sequence[int], suffix: str) -> Any:
        """A view of each image's values; of more than three axes the first three are the tensor's."""
        return self.node("Reshape", [x, self.constants((0,) + tuple(shape), "shape", np.int64)], suffix, shape)

    def _slice(self, x: Any, axes: Sequence[int], starts: Sequence[int], stops: Sequence[int], suffix: str) -> Any:
        shape = list(x.shape)
        for axis, start, stop in zip(axes, starts, stops):
            shape[axis] = min(stop, shape[axis]) - start
        parts = [("starts", starts), ("stops", stops), ("axes", axes)]
        inputs = [x] + [self.constants(values, name, np.int64) for name, values in parts]
        return self.node("Slice", inputs, suffix, shape[1:])

    # Pooling and resampling.

    def max_pool(self, x: Any, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> OnnxTensor:
        shape = (x.shape[1],) + geometry.pooled(self, x, size, stride, padding)
        pads = _borders(padding)
        if max(pads) >= size:  # readers allow less than the window
            x, pads = self._padded(x, pads, -np.inf), [0] * 4
        window = {"kernel_shape": [size] * 2, "strides": list(stride), "pads": pads}
        return self.node("MaxPool", [x], "maxpool", shape, **window)

    def avg_pool(self, x: Any, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> OnnxTensor:
        shape = (x.shape[1],) + geometry.pooled(self, x, size, stride, padding)
        pads = _borders(padding)
        window = {"kernel_shape": [size] * 2, "strides": list(stride)}
        if max(pads) < size:
            return self.node("AveragePool", [x], "avgpool", shape, pads=pads, **window)
        inside = np.pad(np.ones(x.shape[2:], np.float32), [pads[::2], pads[1::2]], "constant")[None, None]
        share = NumpyBuilder().avg_pool(inside, size, stride)  # of each window; 0 for one outside of the map
        factors = np.where(share > 0, 1 / np.maximum(share, 1e-9), 0) / (size * size)
        ones = self.constants(np.ones((x.shape[1], 1, size, size)), "ones")
        sums = self.node("Conv", [x, ones], "sums", shape, pads=pads, group=x.shape[1], **window)
        return self._times(sums, factors)

    def _padded(self, x: Any, pads: Sequence[int], fill: float) -> OnnxTensor:
        """With rows and columns of `fill` at the four sides: top, left, bottom, right."""
        shape = (x.shape[1], x.shape[2] + pads[0] + pads[2], x.shape[3] + pads[1] + pads[3])
        return self._pad(x, [0, 0] + list(pads[:2]) + [0, 0] + list(pads[2:]), fill, shape)

    def _pad(self, x: Any, pads: Sequence[int], fill: float, shape: Sequence[int]) -> OnnxTensor:
        inputs = [x, self.constants(pads, "pads", np.int64), self.constants(fill, "fill")]
        return self.node("Pad", inputs, "padded", shape)

    def global_avg_pool(self, x: Any) -> OnnxTensor:
        return self.node("GlobalAveragePool", [x], "avgpool", (x.shape[1], 1, 1))

    def upsample(self, x: Any, stride: int, scale: float = 1.0) -> OnnxTensor:
        y = self._enlarged(x, stride)
        return y if scale == 1 else self._times(y, scale)

    def _enlarged(self, x: Any, stride: int) -> Any:
        """Nearest neighbour."""
        shape = (x.shape[1], x.shape[2] * stride, x.shape[3] * stride)
        inputs = [x, "", self.constants([1, 1, stride, stride], "scales")]
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", inputs, "resized", shape, **mode) if stride > 1 else x

    def _times(self, x: Any, factor: Any) -> OnnxTensor:
        return self.node("Mul", [x, self.constants(factor, "factor")], "scaled", x.shape[1:])

    def downsample_sum(self, x: Any, stride: int, scale: float = 1.0) -> OnnxTensor:
        geometry.require_cells(self, x, stride, "downsample_sum")
        shape = (x.shape[1], x.shape[2] // stride, x.shape[3] // stride)
        means = self.node("AveragePool", [x], "means", shape, kernel_shape=[stride] * 2, strides=[stride] * 2)
        return self._times(means, scale * stride * stride)

    def spread(self, x: Any, stride: int) -> OnnxTensor:
        corner = np.zeros((1, 1, stride, stride), np.float32)
        corner[..., 0, 0] = 1
        return self._times(self._enlarged(x, stride), np.tile(corner, (1, 1) + tuple(x.shape[2:])))

    def crop(self, x: Any, height: int, width: int) -> OnnxTensor:
        top, left = geometry.cropped(self, x, height, width)
        return self._slice(x, [2, 3], [top, left], [top + height, left + width], "cropped")

    # Wiring.

    def concat(self, xs: Sequence[Any]) -> OnnxTensor:
        shape = (sum(x.shape[1] for x in xs),) + tuple(xs[0].shape[2:])
        return self.node("Concat", list(xs), "concat", shape, axis=1)

    def slice_channels(self, x: Any, start: int, stop: int) -> OnnxTensor:
        return self._slice(x, [1], [start], [stop], "channels")

    def pad_channels(self, x: Any, count: int) -> OnnxTensor:
        """As a concatenation where the number of images is known: runtimes keep that in INT8, a Pad not."""
        missing = geometry.missing_channels(self, x, count)
        if not missing:
            return self._slice(x, [1], [0], [count], "channels")
        shape = tuple(x.shape[2:])
        if isinstance(self._batch, int):
            zeros = self.constants(np.zeros((self._batch, missing) + shape), "zeros")
            return self.node("Concat", [x, zeros], "padded", (count,) + shape, axis=1)
        return self._pad(x, [0] * 5 + [missing, 0, 0], 0.0, (count,) + shape)

    def flatten(self, x: Any) -> OnnxTensor:
        return self._reshape(x, (int(np.prod(x.shape[1:])), 1, 1), "flat")

    def interleave(self, x: Any, shape: Tuple[int, int, int], reverse: bool = False) -> OnnxTensor:
        c, area = x.shape[1], x.shape[2] * x.shape[3]
        view = self._reshape(x, (area, c) if reverse else (c, area), "rows")
        return self._reshape(self.node("Transpose", [view], "columns", (), perm=[0, 2, 1]), shape, "interleaved")

    def space_to_depth(self, x: Any, stride: int, reverse: bool = False) -> OnnxTensor:
        """Darknet's order of channels is that of ONNX: the place in the cell first."""
        c, h, w = x.shape[1:]
        if reverse:
            geometry.require_depth(self, x, stride, "space_to_depth")
            shape = (c // (stride * stride), h * stride, w * stride)
            return self.node("DepthToSpace", [x], "cells", shape, blocksize=stride, mode="DCR")
        geometry.require_cells(self, x, stride, "space_to_depth")
        shape = (c * stride * stride, h // stride, w // stride)
        return self.node("SpaceToDepth", [x], "cells", shape, blocksize=stride)

    # Across channels.

    def max_channels(self, x: Any, out_channels: int) -> OnnxTensor:
        geometry.require_fewer_channels(self, x, out_channels)
        c, h, w = x.shape[1:]
        missing = -c % out_channels
        if missing:
            x = self._pad(x, [0] * 5 + [missing, 0, 0], -np.inf, (c + missing, h, w))
        rows = self._reshape(x, ((c + missing) // out_channels, out_channels, h * w), "rows")
        largest = self.node("ReduceMax", [rows], "largest", (), axes=[1], keepdims=0)
        return self._reshape(largest, (out_channels, h, w), "maximum")

    def softmax(self, x: Any, groups: int = 1, temperature: float = 1.0, spatial: bool = False) -> OnnxTensor:
        shape = geometry.softmax_runs(self, x, groups, spatial)[1:]
        if temperature != 1:
            x = self._times(x, 1 / temperature)
        if groups == 1 and shape[2] == x.shape[2] * x.shape[3]:
            return self.node("Softmax", [x], "softmax", x.shape[1:], axis=1)
        runs = self.node("Softmax", [self._reshape(x, shape, "runs")], "softmax", shape, axis=2)
        return self._reshape(runs, x.shape[1:], "joined")

    def lrn(self, x: Any, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, kappa: float = 1.0) -> OnnxTensor:
        """ONNX's LRN adds all channels; the readers miss one (base.Builder.lrn), so the sum is a convolution here."""
        c = x.shape[1]
        weight = geometry.lrn_window(c, size)
        squares = self.node("Mul", [x, x], "squares", x.shape[1:])
        window = self.constants(weight[:, :, None, None] * alpha, "window")
        inputs = [squares, window, self.constants([kappa] * c, "kappa")]
        total = self.node("Conv", inputs, "around", x.shape[1:], kernel_shape=[1, 1])
        factors = self.node("Pow", [total, self.constants(-beta, "power")], "factors", x.shape[1:])
        return self.node("Mul", [x, factors], "normalized", x.shape[1:])


def _borders(padding: int) -> List[int]:
    """Top, left, bottom, right of Darknet's padding, which is the total of two sides."""
    return [padding // 2] * 2 + [padding - padding // 2] * 2
