"""Darknet's activations in TensorRT's layers, by the names and formulas of darkprune.ops.activation_functions.

As in ONNX's operators branches are sums of clipped parts. `Formula` adds the layers.
"""

from typing import Any, Callable, Dict, Optional

import numpy as np

from darkprune.backends.tensorrt_layers import Layers
from darkprune.backends.tensorrt_tensor import TensorrtTensor


class Formula(object):
    """Element-wise layers, and sums over the channels; numbers among what they read become constants."""

    def __init__(self, nodes: Layers) -> None:
        self._nodes = nodes

    def act(self, kind: str, x: TensorrtTensor, alpha: Optional[float] = None, beta: Optional[float] = None) -> Any:
        """An IActivationLayer."""
        return self._nodes.activation(x, kind, alpha, beta)

    def clip(self, x: TensorrtTensor, low: float, high: float) -> Any:
        """x, at least `low` and at most `high`."""
        return self.act("CLIP", x, low, high)

    def unary(self, operation: str, x: TensorrtTensor) -> Any:
        """An IUnaryLayer."""
        return self._nodes.unary(operation, x)

    def add(self, a: TensorrtTensor, b: Any) -> Any:
        return self._both("SUM", a, b)

    def sub(self, a: TensorrtTensor, b: Any) -> Any:
        return self._both("SUB", a, b)

    def mul(self, a: TensorrtTensor, b: Any, bound: Optional[float] = None) -> Any:
        return self._both("PROD", a, b, bound)

    def share(self, a: TensorrtTensor, b: Any) -> Any:
        """a / b, where that is at most 1."""
        return self._both("DIV", a, b, 1.0)

    def _both(self, operation: str, a: TensorrtTensor, b: Any, bound: Optional[float] = None) -> Any:
        if not isinstance(b, TensorrtTensor):
            b = self._nodes.constant(np.full((1, 1, 1, 1), b), "value")
        return self._nodes.elementwise(operation, a, b, bound)

    def total(self, x: TensorrtTensor) -> Any:
        """The sum over the channels, [N,1,H,W]."""
        return self._nodes.reduce(x, "SUM", 1)

    def largest(self, x: TensorrtTensor) -> Any:
        """The maximum over the channels, [N,1,H,W]."""
        return self._nodes.reduce(x, "MAX", 1)


Function = Callable[[Formula, Any], Any]


def _hard_mish(f: Formula, x: Any) -> Any:
    y = f.clip(x, -2.0, 0.0)
    return f.add(f.act("RELU", x), f.mul(y, f.add(f.mul(y, 0.5), 1.0)))


def _gelu(f: Formula, x: Any) -> Any:
    # tanh is 1 in float32 long before |x| = 16, and the cube of a clipped x cannot overflow.
    y = f.clip(x, -16.0, 16.0)
    cube = f.mul(f.mul(f.mul(y, 0.035677), y), y)
    return f.mul(f.mul(x, 0.5), f.add(f.act("TANH", f.add(f.mul(y, 0.797885), cube)), 1.0))


def _bent(low: float, high: float, inside: Function, slope: float) -> Function:
    """`inside` of x clipped to low..high, and `slope` beyond."""

    def formula(f: Formula, x: Any) -> Any:
        y = f.clip(x, low, high)
        return f.add(inside(f, y), f.mul(f.sub(x, y), slope))

    return formula


def _stair(f: Formula, x: Any) -> Any:
    n, half = f.unary("FLOOR", x), f.unary("FLOOR", f.mul(x, 0.5))
    odd = f.sub(n, f.mul(half, 2.0))
    return f.add(half, f.mul(odd, f.sub(x, n)))


def _normalize_channels(f: Formula, x: Any) -> Any:
    positive = f.act("RELU", x)
    return f.share(positive, f.add(f.total(positive), 1e-4))


def _normalize_channels_softmax(f: Formula, x: Any) -> Any:
    # Numerator and denominator times exp(-shift): the same quotient, and no exponent above 0.
    shift = f.act("RELU", f.largest(x))
    e = _decay(f, f.sub(x, shift))
    return f.share(e, f.add(f.total(e), f.mul(_decay(f, f.unary("NEG", shift)), 1e-4)))


def _normalize_channels_softmax_maxval(f: Formula, x: Any) -> Any:
    e = _decay(f, f.sub(x, f.largest(x)))
    return f.share(e, f.add(f.total(e), 1e-4))


def _decay(f: Formula, x: Any) -> Any:
    """exp(x) of an x that is never above 0."""
    return f.clip(f.unary("EXP", x), 0.0, 1.0)


FUNCTIONS: Dict[str, Function] = {
    "linear": lambda f, x: x,
    "logistic": lambda f, x: f.act("SIGMOID", x),
    "leaky": lambda f, x: f.act("LEAKY_RELU", x, 0.1),
    "relu": lambda f, x: f.act("RELU", x),
    "tanh": lambda f, x: f.act("TANH", x),
    "swish": lambda f, x: f.mul(x, f.act("SIGMOID", x)),
    "mish": lambda f, x: f.mul(x, f.act("TANH", f.act("SOFTPLUS", x, 1.0, 1.0))),
    "relu6": lambda f, x: f.clip(x, 0.0, 6.0),
    "hard_mish": _hard_mish,
    "elu": lambda f, x: f.act("ELU", x, 1.0),
    "selu": lambda f, x: f.act("SELU", x, 1.6732, 1.0507),
    "gelu": _gelu,
    "ramp": lambda f, x: f.add(f.act("RELU", x), f.mul(x, 0.1)),
    "relie": lambda f, x: f.act("LEAKY_RELU", x, 0.01),
    "loggy": lambda f, x: f.act("SCALED_TANH", x, 1.0, 0.5),
    "plse": _bent(-4.0, 4.0, lambda f, y: f.add(f.mul(y, 0.125), 0.5), 0.01),
    "hardtan": lambda f, x: f.clip(x, -1.0, 1.0),
    "lhtan": _bent(0.0, 1.0, lambda f, y: y, 0.001),
    "stair": _stair,
    "revleaky": lambda f, x: f.act("LEAKY_RELU", x, 0.1),
    "normalize_channels": _normalize_channels,
    "normalize_channels_softmax": _normalize_channels_softmax,
    "normalize_channels_softmax_maxval": _normalize_channels_softmax_maxval,
}
BRANCHED = frozenset(["hard_mish", "gelu", "plse", "lhtan", "stair"])  # formulas that read an inner value twice
