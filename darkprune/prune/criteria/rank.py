"""HRank: the rank of a channel's map as a matrix, averaged over images (Lin et al. 2020).

A map of low rank holds little that the others do not, and the mean over some hundred images hardly depends on which
they are. Ranks grow with the size of the maps, so that between layers they are divided by the mean of their layer.
"""

from typing import Any

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.prune.criteria.base import MAPS, MEAN, Criterion, MeanOverImages, Observer, removable


def ranks(maps: np.ndarray, _: Any) -> np.ndarray:
    """float64 [n,C]: the rank of each map; of a flat layer's, 1 where the value is not 0."""
    if maps.shape[2:] == (1, 1):
        return (maps[:, :, 0, 0] != 0).astype(np.float64)
    found = np.empty(maps.shape[:2])
    for number, image in enumerate(maps):
        singular = np.linalg.svd(image, compute_uv=False)
        least = singular.max(axis=1) * max(maps.shape[2:]) * np.finfo(np.float32).eps  # what rounding leaves of a zero
        found[number] = (singular > least[:, None]).sum(axis=1)
    return found


def observer(net: Net, channels: Channels, seed: int) -> Observer:
    """What averages them."""
    return MeanOverImages(removable(net, channels), ranks)


def unit(layer: Layer) -> float:
    """The largest rank that its maps can have."""
    return float(max(1, min(layer.shape.w, layer.shape.h)))


CRITERION = Criterion(
    "rank",
    "rank of the channel's map as a matrix, mean over the images",
    "Lin et al. 2020, HRank: Filter Pruning using High-Rank Feature Map",
    MAPS,
    MEAN,
    unit,
    observer,
)
