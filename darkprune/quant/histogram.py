"""A histogram of all values that a tensor takes over many images: one pass, little memory, the same in any order.

The bins have a power of two for width, and so has the reach, the end of the last one:

    bin of x = trunc(x / width)      width = reach / BINS      reach = a power of two > max |x|

x / width is then exact in float32, and so is trunc: every machine counts alike. Bin 0 is (-width, width), bin k > 0
[k, k + 1) * width and bin -k its mirror image, so that trunc(trunc(x / width) / 2) = trunc(x / (2 * width)): where a
larger value comes, neighbouring bins are added up, and the counts are those that the wider bins would have had from the
beginning. Nothing depends on the order of the images, nor on how they are split into batches.
"""

import threading
from typing import Callable, Optional, Tuple

import numpy as np

BINS = 8192  # on each side of 0; at the end between half of them and all of them are in use
LEAST, MOST = 2.0**-100, 2.0**127  # of the reach: the factor 1 / width stays a normal float32
BLOCK = 1 << 18  # values that are binned at once: they stay in the processor's cache
_SNAP = 1e-9  # of a bin: edges as near as that are the same

Count = Callable[[np.ndarray], np.ndarray]
_MEMORY = threading.local()


class Histogram(object):
    """Counts of the values of one tensor.

    Attributes:
        counts: int64 [2 * BINS]; bin k stands at BINS + k, and the first one is never used.
        reach: |x| < reach for all values; 0.0 while all of them are 0.
        count: how many values. low, high: the smallest and the largest; inf and -inf where there are none.
        finite: whether all values were; those that came along with others that were not are not counted.

    Not to be changed from two threads at once; several histograms may be.
    """

    __slots__ = ("counts", "reach", "count", "low", "high", "finite")

    def __init__(self) -> None:
        self.counts = np.zeros(2 * BINS, np.int64)
        self.reach = 0.0
        self.count = 0
        self.low, self.high = float("inf"), float("-inf")
        self.finite = True

    def add(self, values: np.ndarray, count: Optional[Count] = None) -> None:
        """Counts float32 values of any shape. `count`: how bins are counted; by default the fastest way there is."""
        flat, count = np.ascontiguousarray(values, np.float32).reshape(-1), count or counter()
        for start in range(0, flat.size, BLOCK):
            self._block(flat[start : start + BLOCK], count)

    def _block(self, values: np.ndarray, count: Count) -> None:
        low, high = float(values.min()), float(values.max())
        largest = max(-low, high)
        if not largest < MOST or low != low:  # not a number, infinite, or as good as that
            self.finite = False
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += values.size
        if largest == 0 and not self.reach:
            self.counts[BINS] += values.size
            return
        if largest >= self.reach:
            self._grow(power_above(largest))
        scaled, bins = _scratch(values.size)
        np.multiply(values, np.float32(BINS / self.reach), out=scaled)
        np.copyto(bins, scaled, casting="unsafe")  # truncates
        bins += BINS
        self.counts += count(bins)

    def _grow(self, reach: float) -> None:
        self.counts, self.reach = self._reaching(reach), reach

    def _reaching(self, reach: float) -> np.ndarray:
        """The counts with neighbours added up, so that the bins reach to `reach`: a new array."""
        if reach == self.reach or not self.reach:
            return self.counts.copy()
        factor = int(min(reach / self.reach, BINS))
        up, down = self.counts[BINS:], self.counts[BINS:0:-1].copy()
        down[0] = 0  # bin 0, which `up` holds
        found = np.zeros_like(self.counts)
        found[BINS : BINS + BINS // factor] = up.reshape(-1, factor).sum(axis=1)
        found[BINS : BINS - BINS // factor : -1] += down.reshape(-1, factor).sum(axis=1)
        return found

    def merge(self, other: "Histogram") -> None:
        """Counts in what another one counted."""
        self.count += other.count
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.finite = self.finite and other.finite
        reach = max(self.reach, other.reach)
        self._grow(reach)
        self.counts += other._reaching(reach)

    @property
    def amax(self) -> float:
        """The largest |x|; 0.0 where there are no values."""
        return max(-self.low, self.high, 0.0) if self.count else 0.0

    def magnitudes(self, bins: int) -> np.ndarray:
        """float64 [bins]: how many values have |x| in each of `bins` equal parts of 0..amax.

        A bin of ours that an edge cuts is split as if its values were spread evenly over it; where edges meet, the
        counts are exact. All zeros for a tensor that is 0 everywhere but for the first part.
        """
        side = self.counts[BINS:].copy()
        side[1:] += self.counts[BINS - 1 : 0 : -1]
        if not self.amax:
            return np.array([self.count] + [0] * (bins - 1), np.float64)
        end = self.amax * (BINS / self.reach)  # of the values, in our bins
        last = int(end)
        if end == last:  # what lies in the last bin lies on its edge
            side[last - 1] += side[last]
            last -= 1
        starts = np.concatenate((np.arange(last + 1, dtype=np.float64), [end]))
        below = np.concatenate(([0], np.cumsum(side[: last + 1]))).astype(np.float64)
        edges = np.arange(bins + 1) * (end / bins)
        whole = np.rint(edges)
        edges = np.where(np.abs(edges - whole) < _SNAP, whole, edges)
        edges[-1] = end
        return np.diff(np.interp(edges, starts, below))

    def values(self) -> Tuple[np.ndarray, np.ndarray]:
        """(float64 [n], float64 [n]): the middles of the bins that hold values, in ascending order, and how many those
        are. The middle of bin 0 is 0; no middle lies beyond the smallest or largest value."""
        used = np.flatnonzero(self.counts)
        bins = used - BINS
        middles = (bins + 0.5 * np.sign(bins)) * (self.reach / BINS)
        return np.clip(middles, min(self.low, 0.0), max(self.high, 0.0)), self.counts[used].astype(np.float64)

    def quantile(self, share: float) -> float:
        """The value that `share` (0..1) of the values lie below, as if they were spread evenly over their bins."""
        used = np.flatnonzero(self.counts)
        if not used.size:
            return 0.0
        width, bins = self.reach / BINS, used - BINS
        starts = np.clip((bins - (bins <= 0)) * width, self.low, self.high)
        ends = np.clip((bins + (bins >= 0)) * width, self.low, self.high)
        below = np.concatenate(([0], np.cumsum(self.counts[used]))).astype(np.float64)
        at = int(np.clip(np.searchsorted(below, share * self.count, side="left") - 1, 0, used.size - 1))
        inside = (share * self.count - below[at]) / (below[at + 1] - below[at])
        return float(starts[at] + (ends[at] - starts[at]) * min(max(inside, 0.0), 1.0))


def power_above(value: float) -> float:
    """The smallest power of two above a value, at least LEAST."""
    return max(float(2.0 ** np.frexp(value)[1]), LEAST)


def counter() -> Count:
    """Counts how often each of 0..2 * BINS - 1 occurs in an int16 array of at most BLOCK of them: int64 [2 * BINS].

    OpenCV's way where that is installed: it is faster, and other threads run meanwhile.
    """
    try:
        import cv2
    except ImportError:
        return count_in_numpy
    calculate, channels, sizes, limits = cv2.calcHist, [0], [2 * BINS], [0, 2 * BINS]

    def count(bins: np.ndarray) -> np.ndarray:
        found = calculate([bins.view(np.uint16).reshape(1, -1)], channels, None, sizes, limits)
        return np.asarray(found.reshape(-1).astype(np.int64))  # float32, exact as there are fewer than 2^24 values

    return count


def count_in_numpy(bins: np.ndarray) -> np.ndarray:
    """What `counter` gives, without OpenCV."""
    return np.bincount(bins, minlength=2 * BINS)


def _scratch(size: int) -> Tuple[np.ndarray, np.ndarray]:
    """Arrays of float32 and int16 to work in, of this thread's own."""
    if not hasattr(_MEMORY, "arrays"):
        _MEMORY.arrays = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int16)
    return _MEMORY.arrays[0][:size], _MEMORY.arrays[1][:size]
