"""|gamma|: the batch-norm scale that sparsity training drives to zero (network slimming, Liu et al. 2017)."""

from typing import Optional

import numpy as np

from darkprune.graph.layer import Layer
from darkprune.prune.criteria.base import NONE, WEIGHTS, Criterion, of_layers, one


def score(layer: Layer) -> Optional[np.ndarray]:
    """float64 per filter; None for a layer without batch norm."""
    return np.abs(layer.array("scales").astype(np.float64)) if layer.has("scales") else None


CRITERION = Criterion(
    "gamma",
    "absolute batch-norm scale",
    "Liu et al. 2017, Learning Efficient Convolutional Networks through Network Slimming",
    WEIGHTS,
    NONE,
    one,
    of_layers(score),
)
