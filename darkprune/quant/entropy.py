"""The range of least Kullback-Leibler divergence, as NVIDIA published it.

Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017, S7310. Of a histogram of |x| with `n` bins over 0..amax,
every length i = levels..n is tried:

    P = the first i bins, with all that lies beyond them added to the last one
    Q = the first i bins, merged into `levels` levels; each level spread evenly over those of its bins that hold values
    divergence of i = sum of p * log(p / q) over the bins with p > 0; P and Q are normalised to sum 1

and the range ends in the middle of the bin behind the i of the least divergence: (i + 0.5) * amax / n, as TensorRT's
own calibration caches show. Level j is made of the bins j * i // levels <= bin < (j + 1) * i // levels. Where P has
values in a bin in which Q has none (the last one, which nothing lies in but what is added) the divergence is infinite.
So it is, other than published, where the last bin is the only one with values and others lie beyond it: P and Q are the
same single bin then, and agree on a range that clips all there is, as of photographs without any black.
Divergences within 1e-12 of the least count as equal, and the widest range wins: nothing is clipped without a gain.
"""

import numpy as np

BINS, LEVELS = 2048, 128
EQUAL = 1e-12
_AT_ONCE = 128  # lengths, so that the arrays stay in the cache


def divergences(histogram: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """float64 [bins - levels + 1]: the divergence of every length from `levels` to all bins, at once by sums over
    prefixes. `histogram`: how many values lie in each bin, >= 0 [bins]."""
    mass = np.asarray(histogram, np.float64)
    lengths = np.arange(levels, mass.size + 1)
    inside, filled = _prefix(mass), _prefix(mass > 0)
    p_log_q, last_log_q = np.empty(lengths.size), np.empty(lengths.size)
    for start in range(0, lengths.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        edges = lengths[part, None] * np.arange(levels + 1) // levels
        level_mass, level_bins = np.diff(inside.take(edges), axis=1), np.diff(filled.take(edges), axis=1)
        spread = np.log(np.where(level_mass > 0, level_mass, 1) / np.maximum(level_bins, 1))  # Q, not normalised
        p_log_q[part], last_log_q[part] = (level_mass * spread).sum(axis=1), spread[:, -1]
    total, kept, last = inside[-1], inside[lengths], mass[lengths - 1]
    p_log_p = _prefix(_x_log_x(mass))[lengths] - _x_log_x(last) + _x_log_x(last + total - kept)
    with np.errstate(divide="ignore"):
        found = (p_log_p - p_log_q - (total - kept) * last_log_q) / total - np.log(total) + np.log(kept)
    found[((last == 0) | (kept == last)) & (total > kept)] = np.inf
    return np.asarray(found)


def best_length(histogram: np.ndarray, levels: int = LEVELS) -> int:
    """How many bins the range of least divergence covers; all of them for a histogram without values."""
    if not np.any(histogram):
        return len(histogram)
    found = divergences(histogram, levels)
    return levels + int(np.flatnonzero(found <= found.min() + EQUAL)[-1])


def threshold(histogram: np.ndarray, amax: float, levels: int = LEVELS) -> float:
    """The |x| that a symmetric quantiser clips at, for a histogram of |x| over 0..amax."""
    return (best_length(histogram, levels) + 0.5) * (amax / len(histogram))


def _prefix(values: np.ndarray) -> np.ndarray:
    """The sums of the first 0, 1, 2... of them."""
    return np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0)), 0.0)
