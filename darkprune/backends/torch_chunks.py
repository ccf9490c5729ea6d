"""What darkprune.backends.chunked needs to run chunks of images in torch.

Imports torch: only what needs it imports this module.
"""

from typing import Any, Tuple

import numpy as np
import torch
from torch import Tensor

from darkprune.backends.chunked import Convert
from darkprune.backends.torch_ops import TorchBuilder
from darkprune.graph.layer import Layer


class _Builder(TorchBuilder):
    """Holds the arrays of the net that it lowers as tensors, on a device."""

    def __init__(self, dialect_name: str, device: str) -> None:
        super().__init__(dialect_name)
        self.device = device

    def array(self, layer: Layer, name: str) -> Any:
        return torch.from_numpy(np.array(layer.array(name), np.float32, order="C")).to(self.device)


def torch_backend(dialect_name: str) -> Tuple[_Builder, Convert, Convert]:
    """(builder, from numpy, to numpy), on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def enter(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    def leave(tensor: Tensor) -> np.ndarray:
        array: np.ndarray = tensor.contiguous().cpu().numpy()
        return array

    return _Builder(dialect_name, device), enter, leave
