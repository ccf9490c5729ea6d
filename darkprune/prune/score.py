"""From scores of filters to scores of channel sets."""

from typing import Any, Dict, Mapping, Optional

import numpy as np

from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.criteria import CRITERIA
from darkprune.prune.criteria.base import MAPS, MEAN, WEIGHTS, Criterion, Values

GROUPINGS = ("max", "sum", "mean")
IMAGES = "give --images DIR, or --data FILE.data"  # the cure where there are none
BY_GAMMA = ("gamma", "gamma_next")  # what layers without batch norm have no score by


def criterion_of(name: str) -> Criterion:
    """The criterion of that name. Raises UsageError."""
    if name not in CRITERIA:
        raise UsageError("unknown criterion {!r}".format(name), hint="use one of " + ", ".join(sorted(CRITERIA)))
    return CRITERIA[name]


def set_scores(
    net: Net, channels: Channels, criterion: str = "gamma", grouping: str = "max", values: Optional[Values] = None
) -> np.ndarray:
    """float64 by set number; nan where no member has a score.

    Args:
        criterion: a name of CRITERIA. grouping: how the scores of a set's members combine: max, sum or mean.
        values: what was measured, by layer index; None: computed from the weights.

    Raises UsageError for unknown words, and where a criterion that needs images is given no values.
    """
    found = criterion_of(criterion)
    if grouping not in GROUPINGS:
        raise UsageError("unknown grouping {!r}".format(grouping), hint="use one of " + ", ".join(GROUPINGS))
    return joined(channels, scaled(values_of(net, channels, found) if values is None else values, found), grouping)


def values_of(net: Net, channels: Channels, criterion: Criterion, seed: int = 0) -> Values:
    """The values of a criterion that needs nothing but weights. Raises UsageError for another one."""
    if criterion.needs != WEIGHTS:
        raise lacking(criterion)
    values: Values = criterion.score(net, channels, seed)
    return values


def lacking(criterion: Criterion) -> UsageError:
    """The error for a criterion without the images that it needs."""
    if criterion.needs == MAPS:
        return UsageError("the criterion {} looks at images, and there are none".format(criterion.name), hint=IMAGES)
    cause = "the criterion {} needs images with labels, and there are none".format(criterion.name)
    return UsageError(cause, hint="give --data FILE.data")


def unscored(criterion: str) -> str:
    """Why a filter has no score by what was asked for."""
    by_gamma = criterion.strip() in BY_GAMMA
    return "no batch-norm gamma to score" if by_gamma else "no {} to score".format(criterion)


def scaled(values: Mapping[int, np.ndarray], criterion: Criterion) -> Values:
    """The values as they compare between layers. A filter that is not there, nan, has no part in a mean."""
    if criterion.scale != MEAN:
        return dict(values)
    found: Dict[int, np.ndarray] = {}
    for index, mine in values.items():
        there = mine[~np.isnan(mine)]
        mean = float(there.mean()) if there.size else 0.0
        found[index] = mine / mean if mean > 0 else mine
    return found


def joined(channels: Channels, values: Mapping[int, np.ndarray], grouping: str) -> np.ndarray:
    """float64 by set number, of values per filter by layer index; nan where no member has a value."""
    total = np.full(channels.size, -np.inf if grouping == "max" else 0.0)
    count = np.zeros(channels.size, int)
    combine: Any = np.maximum if grouping == "max" else np.add
    for layer, sets in channels.producers():
        mine = values.get(layer.index)
        if mine is None:
            continue
        there = ~np.isnan(mine)
        combine.at(total, sets[there], mine[there])
        np.add.at(count, sets[there], 1)
    if grouping == "mean":
        total = total / np.maximum(count, 1)
    return np.where(count > 0, total, np.nan)
