"""The squared error that 8-bit rounding makes of the values in a histogram, for many ranges at once; and the best one.

The values between two neighbouring rounding borders become one, y. So their error is the sum of n * (x - y)^2
= sum(n x^2) - 2 y sum(n x) + y^2 sum(n), whose three sums are differences of sums over prefixes: a range costs 256
look-ups, however many values there are.
"""

from typing import Callable, NamedTuple, Optional, Tuple

import numpy as np

LEVELS = 256  # of 8 bits
GRID = 9  # ranges that are tried at once, for each end
STEPS = 4  # grids, each around the best of the one before
SHRINK = 0.35  # of a grid against the one before

Rounding = NamedTuple(
    "Rounding",
    [
        ("scales", np.ndarray),  # float64 [k], of float32 values: the steps of k quantisers
        ("zero_points", np.ndarray),  # float64 [k]: the integers of 0.0
        ("first", int),  # the smallest integer: 0 or -128
    ],
)


def asymmetric(lows: np.ndarray, highs: np.ndarray) -> Rounding:
    """uint8 for each pair of ends, as darkprune.quant.quantization.qparams makes it."""
    scales = ((highs - lows) / 255).astype(np.float32).astype(np.float64)
    scales[~(scales > 0)] = 1
    return Rounding(scales, np.clip(np.rint(-lows / scales), 0, 255), 0)


def symmetric(ends: np.ndarray) -> Rounding:
    """int8 for each amax."""
    scales = (ends / 127).astype(np.float32).astype(np.float64)
    scales[~(scales > 0)] = 1
    return Rounding(scales, np.zeros(scales.size), -128)


def levels(rounding: Rounding) -> np.ndarray:
    """float64 [k, 256]: the values that are left."""
    integers = np.arange(rounding.first, rounding.first + LEVELS)
    return (integers - rounding.zero_points[:, None]) * rounding.scales[:, None]


def borders(rounding: Rounding) -> np.ndarray:
    """float64 [k, 255]: between which of them values are rounded up or down."""
    integers = np.arange(rounding.first, rounding.first + LEVELS - 1) + 0.5
    return (integers - rounding.zero_points[:, None]) * rounding.scales[:, None]


def rounded(values: np.ndarray, rounding: Rounding) -> np.ndarray:
    """`values` [k, n] as the quantiser of their row leaves them."""
    scales, zero_points = rounding.scales[:, None], rounding.zero_points[:, None]
    integers = np.clip(np.rint(values / scales) + zero_points, rounding.first, rounding.first + LEVELS - 1)
    return (integers - zero_points) * scales


class Spread(object):
    """Values, how often they come, and what should come out for them.

    Args:
        values: ascending [n]. counts: [n]. wanted: [n], the values themselves, or what a function makes of them.
    """

    def __init__(self, values: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> None:
        self.values = values
        parts = [counts, counts * wanted, counts * wanted * wanted]
        self._sums = [np.concatenate(([0.0], np.cumsum(part))) for part in parts]

    def error(self, rounding: Rounding, results: Optional[np.ndarray] = None) -> np.ndarray:
        """float64 [k]: the sum of squared errors. `results` [k, 256]: what comes out for each level, by default it."""
        k = rounding.scales.size
        places = np.searchsorted(self.values, borders(rounding))
        ends = np.concatenate([np.zeros((k, 1), np.intp), places, np.full((k, 1), self.values.size)], axis=1)
        number, first, second = [np.diff(sums[ends], axis=1) for sums in self._sums]
        y = levels(rounding) if results is None else results
        return np.asarray((second - 2 * y * first + y * y * number).sum(axis=1))


def least(
    error: Callable[[np.ndarray, np.ndarray], np.ndarray], low: Tuple[float, float], high: Tuple[float, float]
) -> Tuple[float, float]:
    """The (low, high) of least error, within the two intervals; of equal ones the widest, and never an empty one.

    Args: error: of arrays of lows and highs [k] -> [k].

    Grids, each around the best point of the one before: the error of clipping falls as a range widens, that of
    rounding rises, so that beside small jumps there is one valley.
    """
    best, sizes = None, (low[1] - low[0], high[1] - high[0])
    centre = (0.5 * (low[0] + low[1]), 0.5 * (high[0] + high[1]))
    for step in range(STEPS):
        axes = [
            np.unique(np.clip(middle + (np.linspace(0, 1, GRID) - 0.5) * size * SHRINK**step, *limits))
            for middle, size, limits in zip(centre, sizes, (low, high))
        ]
        lows, highs = [grid.reshape(-1) for grid in np.meshgrid(axes[0], axes[1], indexing="ij")]
        found = np.where(highs > lows, error(lows, highs), np.inf)
        order = np.lexsort((lows - highs, found))
        if best is None or found[order[0]] < best[0]:
            best = (found[order[0]], float(lows[order[0]]), float(highs[order[0]]))
        centre = best[1:]
    assert best is not None
    return best[1], best[2]
