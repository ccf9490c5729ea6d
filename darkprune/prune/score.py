"""From scores of filters to scores of channel sets."""

from typing import Callable, Dict, Optional

import numpy as np

from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.prune.criteria import gamma, l2

CRITERIA: Dict[str, Callable[[Layer], Optional[np.ndarray]]] = {"gamma": gamma.score, "l2": l2.score}
GROUPINGS = ("max", "sum", "mean")


def set_scores(net: Net, channels: Channels, criterion: str = "gamma", grouping: str = "max") -> np.ndarray:
    """float64 by set number; nan where no member has a score.

    Args:
        criterion: gamma or l2. grouping: how the scores of a set's members combine: max, sum or mean.
    """
    if criterion not in CRITERIA:
        raise UsageError("unknown criterion {!r}".format(criterion), hint="use one of " + ", ".join(sorted(CRITERIA)))
    if grouping not in GROUPINGS:
        raise UsageError("unknown grouping {!r}".format(grouping), hint="use one of " + ", ".join(GROUPINGS))
    total = np.zeros(channels.size)
    count = np.zeros(channels.size, int)
    for layer, sets in channels.producers():
        if layer.index >= net.loaded:
            continue
        values = CRITERIA[criterion](layer)
        if values is None:
            continue
        (np.maximum if grouping == "max" else np.add).at(total, sets, values)
        np.add.at(count, sets, 1)
    if grouping == "mean":
        total = total / np.maximum(count, 1)
    return np.where(count > 0, total, np.nan)
