"""The range of what a table activation reads: the one behind which the least squared error comes out.

In INT8 such an activation (leaky, mish, swish...) is a table from 8 bits to 8 bits, so that its input is rounded, and
then its output once more. What counts is the output: behind leaky an error of a negative value counts a hundredth. So
both are rounded here, for many ranges of the input, and compared with the activation of the unrounded values.

Leaky activations can be inverted: the histogram of the input is that of the output, its negative part ten times as
wide, and nobody needs to measure it.
"""

import numpy as np

from darkprune.graph.layer import Layer
from darkprune.ops.activation_functions import NEGATIVE_SLOPES, effective
from darkprune.quant.histogram import Histogram
from darkprune.quant.ranges import Range
from darkprune.quant.rounding_error import Rounding, Spread, asymmetric, least, levels, rounded, symmetric
from darkprune.quant.tensors import activation_of


def invertible(layer: Layer) -> bool:
    """Whether the histogram of what the layer's activation reads follows from that of what it puts out."""
    return effective(activation_of(layer), layer.dialect_name).name in NEGATIVE_SLOPES


def before_range(layer: Layer, after: Histogram, before: Histogram, output: Range) -> Range:
    """The range of what the layer's activation reads.

    Args:
        after: of what the activation puts out. before: of what it reads; the same one where that is `invertible`.
        output: the range of what it puts out.
    """
    activation = effective(activation_of(layer), layer.dialect_name)
    if invertible(layer):
        wanted, counts = after.values()
        values = np.where(wanted < 0, wanted / NEGATIVE_SLOPES[activation.name], wanted)
    else:
        values, counts = before.values()
        wanted = activation.function(values.astype(np.float32)).astype(np.float64)
    if not values.size or values[0] == values[-1] == 0:
        return Range(0.0, 0.0, 0.0)
    spread = Spread(values, counts, wanted)

    def error(inner: Rounding, outer: Rounding) -> np.ndarray:
        made = activation.function(levels(inner).astype(np.float32)).astype(np.float64)
        return spread.error(inner, rounded(made, outer))

    ends = _one(output.low), _one(output.high)
    low, high = least(
        lambda lows, highs: error(asymmetric(lows, highs), asymmetric(*ends)),
        (min(float(values[0]), 0.0), 0.0),
        (0.0, max(float(values[-1]), 0.0)),
    )
    largest = max(-float(values[0]), float(values[-1]))
    _, amax = least(lambda _, highs: error(symmetric(highs), symmetric(_one(output.amax))), (0.0, 0.0), (0.0, largest))
    return Range(low, high, amax)


def _one(value: float) -> np.ndarray:
    """The value as an array, which numpy repeats for every row."""
    return np.array([value], np.float64)
