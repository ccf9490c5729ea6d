"""Chance, the control that every other criterion has to beat: the same for the same seed and net.

Each channel set gets one number, so that sets of many filters are neither favoured nor the contrary.
"""

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.criteria.base import NONE, WEIGHTS, Criterion, Values, one


def score(net: Net, channels: Channels, seed: int) -> Values:
    """float64 per filter, in 0..1: that of its set."""
    numbers = np.random.RandomState(seed).random_sample(channels.size)
    return {la.index: numbers[sets] for la, sets in channels.producers() if la.index < net.loaded}


CRITERION = Criterion(
    "random",
    "a number drawn by --seed",
    "the control",
    WEIGHTS,
    NONE,
    one,
    score,
)
