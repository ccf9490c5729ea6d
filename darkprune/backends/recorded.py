"""What backends share that record a graph, in place of computing: parameters are numpy arrays, and a layer that only
moves values is put together from views."""

from typing import Any, Sequence

import numpy as np

from darkprune.backends import geometry
from darkprune.backends.base import Builder, Tensor
from darkprune.backends.numpy_ops import NumpyBuilder


class Recorded(Builder):
    """Primitives in terms of a `_reshape` of the backend's own."""

    def _reshape(self, x: Any, shape: Sequence[int], suffix: str) -> Any:
        """A view [N, *shape] of each image's values."""
        raise self.unsupported("reshape")

    def binarised(self, weight: Any) -> np.ndarray:
        return NumpyBuilder().binarised(weight)

    def source_factors(self, weights: Any, normalization: str) -> np.ndarray:
        return NumpyBuilder().source_factors(weights, normalization)

    def reorg(self, x: Any, stride: int, reverse: bool = False) -> Tensor:
        geometry.require_depth(self, x, stride, "reorg")
        if reverse:
            return self.space_to_depth(x, stride, True)
        geometry.require_cells(self, x, stride, "reorg")
        c, h, w = x.shape[1:]
        view = self._reshape(x, (c // (stride * stride), h * stride, w * stride), "reread")
        cells = self.space_to_depth(view, stride)
        return self._reshape(cells, (c * stride * stride, h // stride, w // stride), "reorg")
