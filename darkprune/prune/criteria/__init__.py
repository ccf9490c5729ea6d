"""What makes a channel worth keeping: one criterion a file, each scores filters; channel sets combine them."""

from collections import OrderedDict
from typing import Dict

from darkprune.prune.criteria import (
    apoz,
    entropy,
    gamma,
    gamma_next,
    geometric_median,
    l1,
    l2,
    lamp,
    random,
    rank,
    reconstruction,
    similarity,
    taylor,
)
from darkprune.prune.criteria.base import Criterion

_MODULES = (
    gamma,
    l1,
    l2,
    geometric_median,
    similarity,
    lamp,
    gamma_next,
    entropy,
    rank,
    apoz,
    reconstruction,
    taylor,
    random,
)
CRITERIA: Dict[str, Criterion] = OrderedDict((module.CRITERION.name, module.CRITERION) for module in _MODULES)
