"""|gamma| times the norm of the weights that read the channel: what it can do to the next layers.

Behind batch norm a channel varies by |gamma|, and adds gamma times a weight to each of its readers. The norm is the L2
norm of all weights, of all layers, that read the channel's set: through routes, pools and sums too. Readers differ in
size, so that between layers it is divided by the mean of the layer.
"""

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.layer import Param
from darkprune.graph.net import Net
from darkprune.prune.criteria import gamma
from darkprune.prune.criteria.base import MEAN, WEIGHTS, Criterion, Values, one
from darkprune.prune.criteria.l2 import squares


def score(net: Net, channels: Channels, seed: int) -> Values:
    """float64 per filter of each layer with batch norm."""
    norms = np.sqrt(readers_squares(net, channels))
    found: Values = {}
    for layer, sets in channels.producers():
        scales = gamma.score(layer) if layer.index < net.loaded else None
        if scales is not None:
            found[layer.index] = scales * norms[sets]
    return found


def readers_squares(net: Net, channels: Channels) -> np.ndarray:
    """float64 by set number: the sum of the squares of all weights that read it."""
    total = np.zeros(channels.size)
    for layer in net.layers[: net.loaded]:
        labels = channels.axes.get(layer.index, {}).get("in")
        for param in layer.params.values():
            if labels is not None and "in" in param.spec.axes:
                np.add.at(total, channels.sets[labels], _columns(param))
    return total


def _columns(param: Param) -> np.ndarray:
    """float64 per label along the 'in' axis: the sum of the squares of its weights."""
    spec = param.spec
    array = np.moveaxis(param.value, spec.axes.index("in"), 0)  # [labels of one group, filters, ...]
    parts = np.split(array, spec.groups, axis=1)  # a group's filters read their own slice of the labels
    return np.concatenate([squares(part.reshape(len(part), -1)) for part in parts])


CRITERION = Criterion(
    "gamma_next",
    "absolute batch-norm scale times the L2 norm of all weights that read the channel",
    "Liu et al. 2017 with the next layers' weights, as Li et al. 2017 compare them",
    WEIGHTS,
    MEAN,
    one,
    score,
)
