"""|gamma|: the batch-norm scale that sparsity training drives to zero (network slimming, Liu et al. 2017)."""

from typing import Optional

import numpy as np

from darkprune.graph.layer import Layer


def score(layer: Layer) -> Optional[np.ndarray]:
    """float64 per filter; None for a layer without batch norm."""
    return np.abs(layer.array("scales").astype(np.float64)) if layer.has("scales") else None
