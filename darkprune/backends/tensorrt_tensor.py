"""A tensor of a TensorRT network, and bounds of the values that an operation makes.

A network that follows flags must know a range of every tensor of an int8 net. Most were measured; for the others, such
as those within a mish, the bounds here hold whatever the weights are: `a`, `b` bound the absolute values that are read.
"""

import math
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.tensorrt_api import FP32

LARGEST = 1e30  # what a bound is cut to, so that ranges and their scales stay finite


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


_ACTIVATIONS: Dict[str, Callable[[float, float, float], float]] = {  # of a and the two parameters
    "RELU": lambda a, alpha, beta: a,
    "LEAKY_RELU": lambda a, alpha, beta: a * max(1.0, abs(alpha)),
    "SIGMOID": lambda a, alpha, beta: 1.0,
    "TANH": lambda a, alpha, beta: min(a, 1.0),
    "SCALED_TANH": lambda a, alpha, beta: abs(alpha),
    "SOFTPLUS": lambda a, alpha, beta: a + math.log1p(math.exp(-min(a, 700.0))),
    "ELU": lambda a, alpha, beta: max(a, abs(alpha)),
    "SELU": lambda a, alpha, beta: abs(beta) * max(a, abs(alpha)),
    "CLIP": lambda a, low, high: min(a, max(-low, high)) if low <= 0 <= high else max(abs(low), abs(high)),
}
_ELEMENTWISE: Dict[str, Callable[[float, float], float]] = {
    "SUM": lambda a, b: a + b,
    "SUB": lambda a, b: a + b,
    "PROD": lambda a, b: a * b,
    "MAX": max,
    "MIN": max,
    "GREATER": lambda a, b: 1.0,
}
_UNARY: Dict[str, Callable[[float], float]] = {
    "EXP": lambda a: math.exp(min(a, 69.0)),
    "NEG": lambda a: a,
    "FLOOR": lambda a: math.ceil(a),
}


def activation_bound(kind: str, a: float, alpha: float, beta: float) -> float:
    """Of an IActivationLayer."""
    return _ACTIVATIONS[kind](a, alpha, beta)


def elementwise_bound(operation: str, a: float, b: float) -> float:
    """Of an IElementWiseLayer; quotients and powers have none."""
    return _ELEMENTWISE[operation](a, b)


def unary_bound(operation: str, a: float) -> float:
    """Of an IUnaryLayer."""
    return _UNARY[operation](a)


def convolution_bound(weight: np.ndarray, bias: Optional[np.ndarray], a: float) -> float:
    """Of an IConvolutionLayer."""
    sums = np.abs(weight.reshape(len(weight), -1)).sum(axis=1, dtype=np.float64) * a
    return float((sums if bias is None else sums + np.abs(bias)).max())
