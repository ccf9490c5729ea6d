"""The L2 norm of each filter's weights: needs no batch norm and no sparsity training (Li et al. 2017).

Between layers the norms are compared as they are: a layer of many or large weights loses few filters.
"""

from typing import Optional

import numpy as np

from darkprune.graph.layer import Layer
from darkprune.prune.criteria.base import NONE, WEIGHTS, Criterion, of_layers, weights_each


def score(layer: Layer) -> Optional[np.ndarray]:
    """float64 per filter; None for a layer without a weight per filter."""
    if not layer.has("weights"):
        return None
    return np.sqrt(squares(layer.array("weights").reshape(layer.shape.channels, -1)))


def squares(weights: np.ndarray) -> np.ndarray:
    """float64 sum of the squares of each row, in an order that no library or processor changes."""
    sums = np.empty(len(weights))
    for start in range(0, len(weights), 64):  # bounded memory
        part = weights[start : start + 64].astype(np.float64)
        sums[start : start + 64] = (part * part).sum(axis=1)
    return sums


CRITERION = Criterion(
    "l2",
    "root of the sum of the squared weights of the filter",
    "Li et al. 2017, Pruning Filters for Efficient ConvNets",
    WEIGHTS,
    NONE,
    lambda layer: weights_each(layer) ** 0.5,
    of_layers(score),
)
