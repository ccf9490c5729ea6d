"""Darknet's activations in torch, differentiable, by the names and formulas of darkprune.ops.activation_functions.

Imports torch: only what needs it imports this module.
"""

from typing import Callable, Dict

import torch
from torch import Tensor
from torch.nn import functional


def _hard_mish(x: Tensor) -> Tensor:
    y = x.clamp(-2, 0)
    return torch.where(x > 0, x, y * (0.5 * y + 1))


def _selu(x: Tensor) -> Tensor:
    return functional.elu(x, alpha=1.6732) * 1.0507


def _gelu(x: Tensor) -> Tensor:
    # tanh is 1 in float32 long before |x| = 16, and the cube of a clipped x cannot overflow.
    y = x.clamp(-16, 16)
    return 0.5 * x * (1 + torch.tanh(0.797885 * y + 0.035677 * y * y * y))


def _plse(x: Tensor) -> Tensor:
    return torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5))


def _lhtan(x: Tensor) -> Tensor:
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


def _stair(x: Tensor) -> Tensor:
    n, half = torch.floor(x), torch.floor(x / 2)
    return torch.where(n % 2 == 0, half, (x - n) + half)


def _normalize_channels(x: Tensor) -> Tensor:
    positive = x.relu()
    return positive / (1e-4 + positive.sum(1, keepdim=True))


def _normalize_channels_softmax(x: Tensor) -> Tensor:
    # Numerator and denominator times exp(-shift): the same quotient, and no exponent above 0.
    shift = x.amax(1, keepdim=True).clamp(min=0)
    e = torch.exp(x - shift)
    return e / (1e-4 * torch.exp(-shift) + e.sum(1, keepdim=True))


def _normalize_channels_softmax_maxval(x: Tensor) -> Tensor:
    e = torch.exp(x - x.amax(1, keepdim=True))
    return e / (1e-4 + e.sum(1, keepdim=True))


def _leaky(slope: float) -> Callable[[Tensor], Tensor]:
    return lambda x: functional.leaky_relu(x, slope)


FUNCTIONS: Dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "logistic": torch.sigmoid,
    "leaky": _leaky(0.1),
    "relu": torch.relu,
    "tanh": torch.tanh,
    "swish": functional.silu,
    "mish": functional.mish,
    "relu6": functional.relu6,
    "hard_mish": _hard_mish,
    "elu": functional.elu,
    "selu": _selu,
    "gelu": _gelu,
    "ramp": lambda x: x.relu() + 0.1 * x,
    "relie": _leaky(0.01),
    "loggy": lambda x: torch.tanh(0.5 * x),
    "plse": _plse,
    "hardtan": lambda x: x.clamp(-1, 1),
    "lhtan": _lhtan,
    "stair": _stair,
    "revleaky": _leaky(0.1),
    "normalize_channels": _normalize_channels,
    "normalize_channels_softmax": _normalize_channels_softmax,
    "normalize_channels_softmax_maxval": _normalize_channels_softmax_maxval,
}
