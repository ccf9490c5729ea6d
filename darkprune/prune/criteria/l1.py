"""The L1 norm of each filter's weights (Li et al. 2017), which compares filters of one layer.

Layers differ in the number and the size of their weights, so that between layers the norms are divided by the mean of
their layer.
"""

from typing import Optional

import numpy as np

from darkprune.graph.layer import Layer
from darkprune.prune.criteria.base import MEAN, WEIGHTS, Criterion, filters, of_layers, weights_each


def score(layer: Layer) -> Optional[np.ndarray]:
    """float64 per filter: sum(|w|); None for a layer without a row of weights per filter."""
    rows = filters(layer)
    return None if rows is None else absolute(rows)


def absolute(rows: np.ndarray) -> np.ndarray:
    """float64 sum of the absolute values of each row."""
    sums = np.empty(len(rows))
    for start in range(0, len(rows), 64):  # bounded memory
        sums[start : start + 64] = np.abs(rows[start : start + 64].astype(np.float64)).sum(axis=1)
    return sums


CRITERION = Criterion(
    "l1",
    "sum of the absolute weights of the filter",
    "Li et al. 2017, Pruning Filters for Efficient ConvNets",
    WEIGHTS,
    MEAN,
    weights_each,
    of_layers(score),
)
