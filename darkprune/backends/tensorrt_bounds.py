"""Bounds of the values that an operation makes.

A TensorRT network that follows flags must know a range of every tensor of an int8 net. Most were measured; for the
others, such as those within a mish, the bounds here hold whatever the weights are: `a`, `b` bound the absolute values
that are read.
"""

import math
from typing import Callable, Dict, Optional

import numpy as np

LARGEST = 1e30  # what a bound is cut to, so that ranges and their scales stay finite

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
