"""The L2 norm of each filter's weights: needs no batch norm and no sparsity training (Li et al. 2017)."""

from typing import Optional

import numpy as np

from darkprune.graph.layer import Layer


def score(layer: Layer) -> Optional[np.ndarray]:
    """float64 per filter; None for a layer without a weight per filter."""
    if not layer.has("weights"):
        return None
    weights = layer.array("weights").reshape(layer.shape.channels, -1)
    return np.sqrt(np.einsum("ij,ij->i", weights, weights, dtype=np.float64))
