"""From the histogram of a tensor to its range: entropy, max, percentile, mse.

- entropy: least Kullback-Leibler divergence of |x| (darkprune.quant.entropy). Behind a relu most values may be 0, which
  every range holds exactly: there the first bin counts for no more than the second, as NVIDIA's pytorch-quantization
  has it, since those zeros, spread over a level, would make all but the narrowest ranges look bad.
- max: all values.
- percentile: without the share of values that is the largest. Of P percent, amax leaves 100 - P percent of |x| out, low
  and high half of that each, as ONNX Runtime does.
- mse: least squared error of the values behind the quantiser itself, with its rounded zero point. low and high of an
  asymmetric one are searched together, amax of a symmetric one by itself.

A range never reaches further than the values, but for the half bin by which the threshold of entropy may lie beyond
them, and it always holds 0. Where all values are 0, all three numbers are.
"""

import re
from collections import OrderedDict
from typing import Any, Dict, NamedTuple, Optional

import numpy as np

from darkprune.errors import UsageError
from darkprune.quant import entropy
from darkprune.quant.histogram import Histogram
from darkprune.quant.ranges import Range
from darkprune.quant.rounding_error import Spread, asymmetric, least, symmetric

ENTROPY, MAX, PERCENTILE, MSE = METHODS = ("entropy", "max", "percentile", "mse")
DEFAULT_PERCENTILE = 99.99
MOST_BINS = 1 << 14  # of the search for the least divergence

_Method = NamedTuple(
    "_Method",
    [
        ("name", str),  # one of METHODS
        ("bins", int),  # of entropy
        ("levels", int),  # of entropy
        ("percent", float),  # of percentile
    ],
)


class Method(_Method):
    """How ranges are chosen. Raises UsageError for settings that make no sense."""

    __slots__ = ()

    def __new__(
        cls,
        name: str = ENTROPY,
        bins: int = entropy.BINS,
        levels: int = entropy.LEVELS,
        percent: float = DEFAULT_PERCENTILE,
    ) -> "Method":
        if name not in METHODS:
            raise UsageError("unknown method {}".format(name[:40]), hint="use " + ", ".join(METHODS))
        if not 2 <= levels <= bins <= MOST_BINS:
            cause = "no search over {} bins and {} levels".format(bins, levels)
            raise UsageError(cause, hint="give 2 levels or more, and at most {} bins".format(MOST_BINS))
        if not 50 <= percent <= 100:
            raise UsageError("a percentile of {:g}".format(percent), hint="give one from 50 to 100, such as 99.99")
        return super(Method, cls).__new__(cls, name, bins, levels, float(percent))

    @classmethod
    def parse(cls, text: str, levels: Optional[int] = None) -> "Method":
        """The method that `--method` names: `entropy`, `percentile:99.9`... Raises UsageError."""
        name, colon, setting = text.partition(":")
        options: Dict[str, Any] = {} if levels is None else {"levels": levels}
        if colon:
            if name != PERCENTILE or not re.match(r"[0-9]{1,3}(\.[0-9]{1,12})?\Z", setting):
                hint = "use {}, or percentile:99.9".format(", ".join(METHODS))
                raise UsageError("unknown method {}".format(text[:40]), hint=hint)
            options["percent"] = float(setting)
        if levels is not None and name in METHODS and name != ENTROPY:
            raise UsageError("the method {} has no levels".format(name), hint="leave --levels out")
        return cls(name, **options)

    def to_dict(self) -> Dict[str, Any]:
        """What ranges.json says of it."""
        settings: Dict[str, Any] = OrderedDict([("name", self.name)])
        if self.name == ENTROPY:
            settings.update([("bins", self.bins), ("levels", self.levels)])
        if self.name == PERCENTILE:
            settings["percent"] = self.percent
        return settings


def range_of(found: Histogram, method: Method) -> Range:
    """The range of a tensor."""
    if not found.amax:
        return Range(0.0, 0.0, 0.0)
    if method.name == MSE:
        return _least_error(found)
    if method.name == MAX:
        return _within(found, found.low, found.high, found.amax)
    if method.name == ENTROPY:
        magnitudes = found.magnitudes(method.bins)
        if found.low >= 0:
            magnitudes[0] = min(magnitudes[0], magnitudes[1])
        amax = entropy.threshold(magnitudes, found.amax, method.levels)
        return _within(found, -amax, amax, amax)
    share = method.percent / 100
    beyond = (1 - share) / 2
    magnitudes = found.magnitudes(method.bins)
    below = np.concatenate(([0], np.cumsum(magnitudes))) / magnitudes.sum()
    amax = float(np.interp(share, below, np.arange(below.size) * (found.amax / magnitudes.size)))
    return _within(found, found.quantile(beyond), found.quantile(1 - beyond), amax)


def _within(found: Histogram, low: float, high: float, amax: float) -> Range:
    return Range(min(max(low, found.low), 0.0), max(min(high, found.high), 0.0), amax)


def _least_error(found: Histogram) -> Range:
    values, counts = found.values()
    spread = Spread(values, counts, values)
    low, high = least(
        lambda lows, highs: spread.error(asymmetric(lows, highs)),
        (min(found.low, 0.0), 0.0),
        (0.0, max(found.high, 0.0)),
    )
    _, amax = least(lambda _, highs: spread.error(symmetric(highs)), (0.0, 0.0), (0.0, found.amax))
    return Range(low, high, amax)
