"""What a layer of an INT8 net hands on while it is being lowered (darkprune.quant.placement)."""

from typing import Any, Callable, Optional

import numpy as np

from darkprune.backends.base import Tensor
from darkprune.backends.int8_base import Quantized
from darkprune.quant.quantization import QParams

Make = Callable[[Optional[np.ndarray], bool, Optional[QParams]], Any]  # of biases, relu and what to round to


class Value(object):
    """A tensor between primitives: floats, integers, or both; or what still waits for its bias and activation.

    Attributes:
        tensor: the inner backend's float tensor, if it was made.
        integers: Quantized, where the tensor is rounded.
        chain: what an element-wise operation made, for another one to read, where nothing is rounded between both.
        like: how to round what waits where an int8 layer reads it: as the tensor that it is a mean of.
    """

    __slots__ = ("tensor", "integers", "like", "chain", "_make", "_biases", "_relu")

    def __init__(
        self,
        tensor: Tensor = None,
        integers: Optional[Quantized] = None,
        like: Optional[QParams] = None,
        make: Optional[Make] = None,
        biases: Optional[np.ndarray] = None,
        relu: bool = False,
    ) -> None:
        self.tensor, self.integers, self.like = tensor, integers, like
        self.chain: Tensor = None
        self._make, self._biases, self._relu = make, biases, relu

    @property
    def inner(self) -> Tensor:
        """The backend's own float tensor; None where there is none yet."""
        return self.tensor

    @property
    def waiting(self) -> bool:
        """Whether it is still to be made."""
        return self._make is not None

    def with_biases(self, biases: np.ndarray) -> "Value":
        """The same sums with biases."""
        return Value(make=self._make, biases=biases)

    def with_relu(self) -> "Value":
        """The same, 0 where it would be negative."""
        return Value(make=self._make, biases=self._biases, relu=True)

    def made(self, out: Optional[QParams]) -> Any:
        """Quantized, or a float tensor where `out` is None."""
        assert self._make is not None
        return self._make(self._biases, self._relu, out)


class Batch(Value):
    """The net's input, whose shape is asked for."""

    __slots__ = ("shape", "ndim", "_images")

    def __init__(self, tensor: Tensor) -> None:
        super(Batch, self).__init__(tensor)
        self.shape, self.ndim, self._images = tensor.shape, tensor.ndim, len(tensor)

    def __len__(self) -> int:
        return int(self._images)
