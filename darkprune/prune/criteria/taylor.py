"""First-order Taylor: how much the loss changes, to first order, when the channel goes (Molchanov et al. 2017, 2019).

Setting a map z to zero changes the loss L by about -sum(z dL/dz) over its positions. The score is the mean over images
of the square of that sum: the 2019 paper's importance of a gate behind the channel, which needs no scaling between
layers; the 2017 paper takes the absolute value in place of the square.
"""

from typing import Any

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.criteria.base import GRADIENTS, NONE, Criterion, MeanOverImages, Observer, one, removable


def changes(maps: np.ndarray, slopes: Any) -> np.ndarray:
    """float64 [n,C]: (sum of z dL/dz)^2 of each map."""
    flat = (maps.astype(np.float64) * slopes).reshape(maps.shape[0], maps.shape[1], -1)
    return flat.sum(axis=2) ** 2


def observer(net: Net, channels: Channels, seed: int) -> Observer:
    """What averages them."""
    return MeanOverImages(removable(net, channels), changes)


CRITERION = Criterion(
    "taylor",
    "square of the sum of the map times the loss's slope there, mean over the images",
    "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning",
    GRADIENTS,
    NONE,
    one,
    observer,
)
