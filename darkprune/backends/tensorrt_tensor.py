"""A tensor of a TensorRT network."""

from typing import Any, Callable, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.tensorrt_api import FP32


class TensorrtTensor(object):
    """What a layer of the network makes; that is added when the tensor's handle is asked for first.

    Attributes:
        shape: (N, c, h, w) of maps, N = -1 for any number; within a primitive also of other lengths.
        kind: "fp32", "fp16", "int8" or "bool" in a typed network; in others "fp32" for all floats.
        with_bias: for sums of products, what makes the tensor anew with a bias of each filter in the same layer.
        flat: for constants, the same values as a tensor [1, c, h, w].
        real: for integers of a typed network, the tensor of what they stand for, once there is one.
    """

    __slots__ = ("shape", "kind", "with_bias", "flat", "real", "_handle", "_bound", "_make")

    ndim = 4

    def __init__(
        self,
        shape: Sequence[int],
        kind: str = FP32,
        handle: Any = None,
        bound: Optional[float] = None,
        make: Optional[Callable[[], "TensorrtTensor"]] = None,
        with_bias: Optional[Callable[[np.ndarray], "TensorrtTensor"]] = None,
        flat: Optional["TensorrtTensor"] = None,
    ) -> None:
        self.shape: Tuple[int, ...] = tuple(int(n) for n in shape)
        self.kind = kind
        self.with_bias, self.flat = with_bias, flat
        self.real: Optional["TensorrtTensor"] = None
        self._handle, self._bound, self._make = handle, bound, make

    def __len__(self) -> int:
        """Images; 1 where there may be any number."""
        return max(1, self.shape[0])

    @property
    def handle(self) -> Any:
        """The ITensor."""
        if self._handle is None:
            assert self._make is not None
            made = self._make()
            self._handle, self._bound = made.handle, made.bound
        return self._handle

    @property
    def made(self) -> bool:
        """Whether it is in the network already."""
        return self._handle is not None

    @property
    def bound(self) -> float:
        """No value is larger; 0 where nobody needs to know."""
        assert self.handle is not None
        return self._bound or 0.0

    def bounded(self, bound: float) -> None:
        """From now on that is its range."""
        self._bound = bound
