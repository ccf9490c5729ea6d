"""FPGM: a filter near the geometric median of its layer's filters is what the others can stand in for (He et al. 2019).

The score is the sum of the Euclidean distances to all other filters of the layer, which is least at the median. It
judges a filter by its layer alone, so that between layers it is divided by the layer's mean.
"""

from typing import Optional

import numpy as np

from darkprune.graph.layer import Layer
from darkprune.prune.criteria.base import MEAN, WEIGHTS, Criterion, filters, of_layers, weights_each
from darkprune.prune.criteria.distances import distances


def score(layer: Layer) -> Optional[np.ndarray]:
    """float64 per filter; None for a layer without a row of weights per filter."""
    rows = filters(layer)
    return None if rows is None else distances(rows).sum(axis=1)


def unit(layer: Layer) -> float:
    """So many distances, each of so many weights."""
    return max(1, layer.shape.channels - 1) * weights_each(layer) ** 0.5


CRITERION = Criterion(
    "geometric_median",
    "sum of the Euclidean distances to the other filters of the layer",
    "He et al. 2019, Filter Pruning via Geometric Median",
    WEIGHTS,
    MEAN,
    unit,
    of_layers(score),
)
