"""Darknet's activations in ONNX's operators, by the names and formulas of darkprune.ops.activation_functions.

Branches are written as sums of clipped parts, without comparisons, which fewer readers know; each is as exact as the
branch. `Formula` makes the nodes.
"""

from typing import Any, Callable, Dict

import numpy as np

from darkprune.backends.onnx_graph import OnnxGraph


class Formula(object):
    """Element-wise operators, and sums over the channels, on names of tensors."""

    def __init__(self, graph: OnnxGraph, name: str) -> None:
        self._graph = graph
        self._name = name

    def _call(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Numbers among the inputs become constants."""
        texts = [x if isinstance(x, str) else self._graph.constant(x, self._name + "_value") for x in inputs]
        return self._graph.node(operator, texts, "{}_{}".format(self._name, operator.lower()), **attributes)

    def __getattr__(self, operator: str) -> Callable[..., str]:
        """An operator by its ONNX name: f.Mul(x, 0.5)."""
        return lambda *inputs, **attributes: self._call(operator, *inputs, **attributes)

    def total(self, x: str) -> str:
        """The sum over the channels, [N,1,H,W]; opset 13 takes the axis as an input."""
        axes = self._graph.constant([1], self._name + "_axes", np.int64)
        return self._call("ReduceSum", x, axes, keepdims=1)

    def largest(self, x: str) -> str:
        """The maximum over the channels, [N,1,H,W]."""
        return self._call("ReduceMax", x, axes=[1], keepdims=1)


def _hard_mish(f: Any, x: str) -> str:
    y = f.Clip(x, -2.0, 0.0)
    return str(f.Add(f.Relu(x), f.Mul(y, f.Add(f.Mul(y, 0.5), 1.0))))


def _gelu(f: Any, x: str) -> str:
    # tanh is 1 in float32 long before |x| = 16, and the cube of a clipped x cannot overflow.
    y = f.Clip(x, -16.0, 16.0)
    cube = f.Mul(f.Mul(f.Mul(y, 0.035677), y), y)
    return str(f.Mul(f.Mul(x, 0.5), f.Add(f.Tanh(f.Add(f.Mul(y, 0.797885), cube)), 1.0)))


def _bent(low: float, high: float, inside: Callable[[Any, str], str], slope: float) -> Callable[[Any, str], str]:
    """`inside` of x clipped to low..high, and `slope` beyond."""

    def formula(f: Any, x: str) -> str:
        y = f.Clip(x, low, high)
        return str(f.Add(inside(f, y), f.Mul(f.Sub(x, y), slope)))

    return formula


def _stair(f: Any, x: str) -> str:
    n, half = f.Floor(x), f.Floor(f.Mul(x, 0.5))
    odd = f.Sub(n, f.Mul(half, 2.0))
    return str(f.Add(half, f.Mul(odd, f.Sub(x, n))))


def _normalize_channels(f: Any, x: str) -> str:
    positive = f.Relu(x)
    return str(f.Div(positive, f.Add(f.total(positive), 1e-4)))


def _normalize_channels_softmax(f: Any, x: str) -> str:
    # Numerator and denominator times exp(-shift): the same quotient, and no exponent above 0.
    shift = f.Relu(f.largest(x))
    e = f.Exp(f.Sub(x, shift))
    return str(f.Div(e, f.Add(f.total(e), f.Mul(f.Exp(f.Neg(shift)), 1e-4))))


def _normalize_channels_softmax_maxval(f: Any, x: str) -> str:
    e = f.Exp(f.Sub(x, f.largest(x)))
    return str(f.Div(e, f.Add(f.total(e), 1e-4)))


FUNCTIONS: Dict[str, Callable[[Any, str], str]] = {
    "linear": lambda f, x: x,
    "logistic": lambda f, x: f.Sigmoid(x),
    "leaky": lambda f, x: f.LeakyRelu(x, alpha=0.1),
    "relu": lambda f, x: f.Relu(x),
    "tanh": lambda f, x: f.Tanh(x),
    "swish": lambda f, x: f.Mul(x, f.Sigmoid(x)),
    "mish": lambda f, x: f.Mul(x, f.Tanh(f.Softplus(x))),  # opset 18 has Mish; few readers have that
    "relu6": lambda f, x: f.Clip(x, 0.0, 6.0),
    "hard_mish": _hard_mish,
    "elu": lambda f, x: f.Elu(x, alpha=1.0),
    "selu": lambda f, x: f.Selu(x, alpha=1.6732, gamma=1.0507),
    "gelu": _gelu,
    "ramp": lambda f, x: f.Add(f.Relu(x), f.Mul(x, 0.1)),
    "relie": lambda f, x: f.LeakyRelu(x, alpha=0.01),
    "loggy": lambda f, x: f.Tanh(f.Mul(x, 0.5)),
    "plse": _bent(-4.0, 4.0, lambda f, y: f.Add(f.Mul(y, 0.125), 0.5), 0.01),
    "hardtan": lambda f, x: f.Clip(x, -1.0, 1.0),
    "lhtan": _bent(0.0, 1.0, lambda f, y: y, 0.001),
    "stair": _stair,
    "revleaky": lambda f, x: f.LeakyRelu(x, alpha=0.1),
    "normalize_channels": _normalize_channels,
    "normalize_channels_softmax": _normalize_channels_softmax,
    "normalize_channels_softmax_maxval": _normalize_channels_softmax_maxval,
}
