"""Whose arithmetic a net speaks: the readers of Darknet files differ, and a caller says which one is meant."""

from typing import NamedTuple

import numpy as np

from darkprune.errors import UsageError

Dialect = NamedTuple(
    "Dialect",
    [
        ("name", str),
        ("inside", float),  # batch-norm epsilon added to the variance under the root
        ("outside", float),  # batch-norm epsilon added to the standard deviation
    ],
)

# Batch norm at inference: gamma * (x - mean) / (sqrt(variance + inside) + outside) + beta.
# pjreddie is the CPU build of 2018-09-14 (Debian's package); its GPU build computes as alexeyab.
DIALECTS = {
    "alexeyab": Dialect("alexeyab", 1e-5, 0.0),
    "pjreddie": Dialect("pjreddie", 0.0, 1e-6),
    "opencv": Dialect("opencv", 1e-6, 0.0),
}
DEFAULT = "alexeyab"  # the fork people train with


def dialect(name: str) -> Dialect:
    """The dialect called `name`. Raises UsageError for any other word."""
    if isinstance(name, Dialect):
        return name
    if name not in DIALECTS:
        raise UsageError("unknown dialect {!r}".format(name), hint="use one of " + ", ".join(sorted(DIALECTS)))
    return DIALECTS[name]


def deviation(which: Dialect, variance: np.ndarray) -> np.ndarray:
    """The divisor of batch norm, float32, per channel, for a `variance` array of any shape."""
    variance = np.asarray(variance, np.float32)
    return np.sqrt(variance + np.float32(which.inside)) + np.float32(which.outside)
