"""APoZ, the average percentage of zeros in a channel's map (Hu et al. 2016), for convolutions and [connected] alike.

A ReLU puts out exact zeros, a leaky one none: here a value counts as zero where it is not positive, which is the same
for a ReLU. The score is the share of positive values over all positions and images, 1 - APoZ.
"""

from typing import Any

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.criteria.base import MAPS, NONE, Criterion, MeanOverImages, Observer, one, removable


def positive(maps: np.ndarray, _: Any) -> np.ndarray:
    """float64 [n,C]: the share of positive values in each map."""
    return (maps > 0).reshape(maps.shape[0], maps.shape[1], -1).mean(axis=2)


def observer(net: Net, channels: Channels, seed: int) -> Observer:
    """What counts them."""
    return MeanOverImages(removable(net, channels), positive)


CRITERION = Criterion(
    "apoz",
    "share of the map's values that are positive",
    "Hu et al. 2016, Network Trimming: A Data-Driven Neuron Pruning Approach",
    MAPS,
    NONE,
    one,
    observer,
)
