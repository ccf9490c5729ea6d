"""Darknet's activations: what each name computes, in which reader, and its inverse.

Source of the formulas: the readers' own behaviour, docs/darknet-format.md section 2.8. Every function takes
and returns float32, [N,C,H,W] or [N,C]; it never writes into its input nor returns it, and is free of
overflow warnings over the whole float32 range.
"""

from typing import Callable, Dict, NamedTuple, Optional

import numpy as np

from darkprune.darknet.dialect_epsilon import DEFAULT, dialect

Activation = NamedTuple(
    "Activation",
    [
        ("name", str),
        ("function", Callable[[np.ndarray], np.ndarray]),
        ("couples_channels", bool),  # a channel's output depends on the other channels
        ("pjreddie", bool),  # known to that reader; it computes relu for any other name
        ("opencv", bool),  # OpenCV DNN loads it; any other name is a load error there
        ("precise", Optional[Callable[[np.ndarray], np.ndarray]]),  # the same in float64, where float32 is not exact
    ],
)

# What 8-bit integers need no table for: an int8 convolution puts out their result itself.
DIRECT = frozenset(["linear", "relu"])

# Activations that multiply what is negative and leave the rest.
NEGATIVE_SLOPES = {"leaky": 0.1, "relie": 0.01, "revleaky": 0.1}

FLOAT32_MAX = float(np.finfo(np.float32).max)
REACHED = 1e-3  # relative distance up to which `inverse` accepts a pre-activation value


def _logistic(x):
    # exp of a non-positive number only: it cannot overflow.
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, decay) / (1 + decay)


def _mish(x):
    # tanh(log(1 + e)) = e(e + 2) / (e(e + 2) + 2) for e = exp(x). From x = 20 on the quotient is 1 in float32,
    # so the clip is also the softplus threshold of the AlexeyAB fork; below -20 it tends to exp(x), as there.
    e = np.exp(np.minimum(x, 20))
    n = e * (e + 2)
    return x * (n / (n + 2))


def _hard_mish(x):
    y = np.clip(x, -2, 0)
    return np.where(x > 0, x, y * (0.5 * y + 1))


def _gelu(x):
    # tanh is 1 in float32 long before |x| = 16, and the cube of a clipped x cannot overflow.
    y = np.clip(x, -16, 16)
    return 0.5 * x * (1 + np.tanh(0.797885 * y + 0.035677 * y * y * y))


def _plse(x):
    return np.where(x < -4, 0.01 * (x + 4), np.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5))


def _lhtan(x):
    return np.where(x < 0, 0.001 * x, np.where(x > 1, 0.001 * (x - 1) + 1, x))


def _stair(x):
    n = np.floor(x)
    half = np.floor(x / 2)
    return np.where(n % 2 == 0, half, (x - n) + half)


def _normalize_channels(x):
    positive = np.maximum(x, 0)
    return positive / (1e-4 + positive.sum(axis=1, keepdims=True))


def _normalize_channels_softmax(x):
    # Numerator and denominator times exp(-shift): the same quotient, and no exponent above 0.
    shift = np.maximum(x.max(axis=1, keepdims=True), 0)
    e = np.exp(x - shift)
    return e / (1e-4 * np.exp(-shift) + e.sum(axis=1, keepdims=True))


def _normalize_channels_softmax_maxval(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / (1e-4 + e.sum(axis=1, keepdims=True))


def _float32(function):
    """`function` on float32 in and out; what exceeds float32 becomes inf without a warning, as in the readers."""

    def call(x):
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(function(np.asarray(x, np.float32)), np.float32)

    return call


def _leaky(slope):
    return lambda x: np.maximum(x, slope * x)


_EVERYWHERE = (True, True)  # pjreddie, opencv
_DARKNET = (True, False)
_NO_PJREDDIE = (False, True)
_FORKS = (False, False)  # AlexeyAB and its descendants only

_FORMULAS = [
    ("linear", np.copy, _EVERYWHERE),
    ("logistic", _logistic, _EVERYWHERE),
    ("leaky", _leaky(NEGATIVE_SLOPES["leaky"]), _EVERYWHERE),
    ("relu", lambda x: np.maximum(x, 0), _EVERYWHERE),
    ("tanh", np.tanh, _EVERYWHERE),
    ("swish", lambda x: x * _logistic(x), _NO_PJREDDIE),
    ("mish", _mish, _NO_PJREDDIE),
    ("relu6", lambda x: np.clip(x, 0, 6), _FORKS),
    ("hard_mish", _hard_mish, _FORKS),
    ("elu", lambda x: np.where(x >= 0, x, np.expm1(np.minimum(x, 0))), _DARKNET),
    ("selu", lambda x: np.where(x >= 0, 1.0507 * x, 1.0507 * 1.6732 * np.expm1(np.minimum(x, 0))), _DARKNET),
    ("gelu", _gelu, _FORKS),
    ("ramp", lambda x: np.maximum(x, 0) + 0.1 * x, _DARKNET),
    ("relie", _leaky(NEGATIVE_SLOPES["relie"]), _DARKNET),
    ("loggy", lambda x: np.tanh(0.5 * x), _DARKNET),  # 2 / (1 + exp(-x)) - 1, without the cancellation at 0
    ("plse", _plse, _DARKNET),
    ("hardtan", lambda x: np.clip(x, -1, 1), _DARKNET),
    ("lhtan", _lhtan, _DARKNET),
    ("stair", _stair, _DARKNET),
    ("revleaky", _leaky(NEGATIVE_SLOPES["revleaky"]), _FORKS),
    ("normalize_channels", _normalize_channels, _FORKS),
    ("normalize_channels_softmax", _normalize_channels_softmax, _FORKS),
    ("normalize_channels_softmax_maxval", _normalize_channels_softmax_maxval, _FORKS),
]

_TRANSCENDENTAL = ("logistic", "tanh", "swish", "mish", "elu", "selu", "gelu", "loggy") + tuple(
    name for name, _, _ in _FORMULAS if name.startswith("normalize_channels")
)

ACTIVATIONS: Dict[str, Activation] = {
    name: Activation(
        name,
        _float32(function),
        name.startswith("normalize_channels"),
        *known,
        precise=function if name in _TRANSCENDENTAL else None
    )
    for name, function, known in _FORMULAS
}


def effective(name: str, dialect_name: str = DEFAULT) -> Activation:
    """The activation that the reader computes for `name`. Raises KeyError for a name that is in no table."""
    entry = ACTIVATIONS[name]
    if dialect(dialect_name).name == "pjreddie" and not entry.pjreddie:
        return ACTIVATIONS["relu"]
    return entry


def activate(x: np.ndarray, name: str, dialect_name: str = DEFAULT) -> np.ndarray:
    """`name` applied to `x` [N,C,H,W] or [N,C] as the dialect's reader does it: a new float32 array.

    A name that pjreddie's reader does not know computes as relu in that dialect. Whether a layer type honours
    the activation at all (darknet-format.md, end of 2.8) is the layer's matter. Raises KeyError for an unknown name.
    """
    return effective(name, dialect_name).function(x)


def constants(x: np.ndarray, name: str, dialect_name: str = DEFAULT) -> np.ndarray:
    """`activate` for what is written into files: a new float32 array, the same bits wherever it is computed.

    numpy's float32 functions such as exp differ in their last bits between releases and processors. In float64 they
    differ too, but in bits that rounding to float32 takes off.
    """
    entry = effective(name, dialect_name)
    if not entry.precise:
        return entry.function(x)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(entry.precise(np.asarray(x, np.float32).astype(np.float64)), np.float32)


def scalar(name: str, value: float, dialect_name: str = DEFAULT) -> float:
    """The activation of one value, rounded to float32 before and after, as a reader holds it; see `constants`.

    For an activation that couples channels: its value on a map of one single channel.
    """
    return float(constants(np.full((1, 1), value, np.float32), name, dialect_name)[0, 0])


def _from_bits(bits):
    """The float32 whose bit pattern is `bits`: for positive numbers, patterns are ordered as the numbers are."""
    return float(np.array([bits], np.int32).view(np.float32)[0])


def inverse(name: str, target: float, dialect_name: str = DEFAULT) -> Optional[float]:
    """A float32 value b with act(b) as near `target` (> 0) as float32 allows, b in [0, 2 * target + 8].

    None when the activation couples channels, or comes within 1e-3 (relative) of `target` nowhere in that range:
    bounded activations, the values of plse and logistic below 0.5, the flat upper branches of plse and lhtan.
    """
    if not target > 0:
        raise ValueError("the inverse of an activation is defined for targets above 0, not {!r}".format(target))
    if effective(name, dialect_name).couples_channels or target > FLOAT32_MAX:
        return None
    rounded = float(np.float32(target))
    if scalar(name, rounded, dialect_name) == rounded:
        return rounded
    low = 0
    high = int(np.array([min(2 * target + 8, FLOAT32_MAX)], np.float32).view(np.int32)[0])
    while high - low > 1:
        middle = (low + high) // 2
        if scalar(name, _from_bits(middle), dialect_name) < target:
            low = middle
        else:
            high = middle
    distance, value = min((abs(scalar(name, b, dialect_name) - target), b) for b in (_from_bits(low), _from_bits(high)))
    return value if distance <= REACHED * target else None
