"""The information entropy of a channel's map: how evenly its values spread over what the layer puts out.

Values of all positions and images are counted in bins that all channels of the layer share: 64 at most, as narrow as
a power of two can be. With p the share of the channel's values in each bin the score is -sum(p log2 p), in bits. A
channel that is nearly constant beside the others falls into one bin and has 0. Luo and Wu 2017 take the entropy of the
pooled maps over the images; here the whole maps count, so that some dozen images will do.

Layers differ in how far a few large values stretch their bins, so that between layers the entropy is divided by the
mean of its layer: then one global cut serves.

The bins follow from the lowest and the highest value alone, and narrower ones merge exactly into wider ones, so that
the images' order and the size of the batches make no difference.
"""

import math
from typing import Dict, Iterable, Mapping, Optional

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.criteria.base import MAPS, MEAN, Criterion, Observer, Values, one, removable

BINS = 64
FINEST = 40  # bits below the largest value: no bin is narrower
LOWEST = -1000  # exponent of the bins where all is 0: below that of any float32


class Counts(object):
    """The values of each channel of a layer, counted.

    Attributes: counts: int64 [C,BINS], of the bins (start + i) 2^exponent <= x < (start + i + 1) 2^exponent.
    """

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, BINS), np.int64)
        self.exponent = self.start = 0
        self._low, self._high = math.inf, -math.inf

    def add(self, image: np.ndarray) -> None:
        """Counts float32 [C,...]."""
        rows = image.reshape(len(self.counts), -1).astype(np.float64)
        self._widen(float(rows.min()), float(rows.max()))
        bins = np.floor(np.ldexp(rows, -self.exponent)).astype(np.int64) - self.start
        bins += np.arange(len(rows))[:, None] * BINS
        self.counts += np.bincount(bins.ravel(), minlength=self.counts.size).reshape(self.counts.shape)

    def entropy(self) -> np.ndarray:
        """float64 [C], in bits."""
        shares = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1).astype(np.float64)
        return -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=1) + 0.0

    def _widen(self, low: float, high: float) -> None:
        """Makes the bins reach over these values too."""
        empty = self._low > self._high
        self._low, self._high = min(self._low, low), max(self._high, high)
        exponent = _exponent(self._low, self._high)
        start = int(math.floor(math.ldexp(self._low, -exponent)))
        if not empty:
            wider = np.zeros_like(self.counts)
            old = ((np.arange(BINS) + self.start) >> min(exponent - self.exponent, 62)) - start
            used = self.counts.any(axis=0)
            np.add.at(wider.T, old[used], self.counts.T[used])
            self.counts = wider
        self.exponent, self.start = exponent, start


def _exponent(low: float, high: float) -> int:
    """The least e for which bins of 2^e between the two values are BINS at most."""
    largest = max(abs(low), abs(high))
    least = math.frexp(largest)[1] - FINEST if largest else LOWEST
    found = least if low == high else max(least, math.frexp(high - low)[1] - BINS.bit_length() - 1)
    while math.floor(math.ldexp(high, -found)) - math.floor(math.ldexp(low, -found)) >= BINS:
        found += 1
    return found


class _Entropy(Observer):
    def __init__(self, net: Net, layers: Iterable[int]) -> None:
        super(_Entropy, self).__init__(layers)
        self._counts: Dict[int, Counts] = {index: Counts(net.layers[index].shape.channels) for index in self.layers}

    def see(self, maps: Mapping[int, np.ndarray], gradients: Optional[Mapping[int, np.ndarray]] = None) -> None:
        for index, counts in self._counts.items():
            for image in maps[index]:
                counts.add(image)

    def values(self) -> Values:
        return {index: counts.entropy() for index, counts in self._counts.items()}


def observer(net: Net, channels: Channels, seed: int) -> Observer:
    """What counts the values of the maps."""
    return _Entropy(net, removable(net, channels))


CRITERION = Criterion(
    "entropy",
    "information entropy of the values of the channel's map",
    "Luo and Wu 2017, An Entropy-based Pruning Method for CNN Compression",
    MAPS,
    MEAN,
    one,
    observer,
)
