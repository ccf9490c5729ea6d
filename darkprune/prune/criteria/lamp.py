"""LAMP, the layer-adaptive magnitude (Lee et al. 2021), of whole filters.

The paper scores single weights: w^2 over the sum of the squares of all weights of the layer that are not smaller. Here
a filter's squared L2 norm takes the place of w^2. The largest filter of each layer has score 1, so that one cut through
all layers leaves something in each: the scores are made to be compared.
"""

from typing import Optional

import numpy as np

from darkprune.graph.layer import Layer
from darkprune.prune.criteria.base import NONE, WEIGHTS, Criterion, filters, of_layers
from darkprune.prune.criteria.l2 import squares


def score(layer: Layer) -> Optional[np.ndarray]:
    """float64 per filter; None for a layer without a row of weights per filter."""
    rows = filters(layer)
    if rows is None:
        return None
    size = squares(rows)
    order = np.argsort(size, kind="mergesort")
    left = np.cumsum(size[order][::-1])[::-1]
    found = np.zeros(size.shape)
    found[order] = np.where(left > 0, size[order] / np.where(left > 0, left, 1.0), 0.0)
    return found


CRITERION = Criterion(
    "lamp",
    "squared L2 norm over the sum of those of the layer's filters that are not smaller",
    "Lee et al. 2021, Layer-Adaptive Sparsity for the Magnitude-Based Pruning",
    WEIGHTS,
    NONE,
    None,
    of_layers(score),
)
