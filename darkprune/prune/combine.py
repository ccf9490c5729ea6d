"""Several criteria in one plan: what was asked for, and one score per channel set out of the scores of each.

Scores of different criteria do not compare, so each is turned into ranks first: sets are ordered by score, and the rank
of a set is the share of the filters that its criterion would remove up to and with that set, 0..1. With --scope layer
the order is that within each tied width. Then

    rank          the mean of the ranks
    weighted      their mean weighted by NAME=W
    union         the lowest rank:  a set goes early where any criterion wants that
    intersection  the highest rank: a set goes early where all of them want it

A set's lowest rank is at most t exactly where it is within the first t of some criterion's order, so that removing by
the lowest rank is the same as growing the cut of every criterion alike until the union of the cuts has the size that
was asked for; by the highest rank, until their intersection has.
"""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.errors import UsageError
from darkprune.prune.score import criterion_of

COMBINATIONS = ("rank", "weighted", "union", "intersection")

Wanted = NamedTuple(
    "Wanted",
    [
        ("names", Tuple[str, ...]),  # of the criteria
        ("weights", Tuple[float, ...]),  # of each, for weighted
        ("how", str),  # one of COMBINATIONS
    ],
)


def parse(text: str, how: Optional[str] = None) -> Wanted:
    """What `NAME[=W][,NAME[=W]...]` and a word of COMBINATIONS ask for. Raises UsageError.

    Without the word criteria with weights are weighted, and others combine by rank.
    """
    names: List[str] = []
    weights: List[Optional[float]] = []
    for part in text.split(","):
        name, sign, number = part.strip().partition("=")
        name = criterion_of(name.strip()).name
        if name in names:
            raise UsageError("the criterion {} is given twice".format(name), hint="name each criterion once")
        names.append(name)
        weights.append(_weight(name, number) if sign else None)
    given = [weight for weight in weights if weight is not None]
    chosen = ("weighted" if given else "rank") if how is None else how
    if chosen not in COMBINATIONS:
        raise UsageError("unknown combination {!r}".format(chosen), hint="use one of " + ", ".join(COMBINATIONS))
    if how is not None and len(names) == 1:
        hint = "name several criteria, such as l1,entropy, or do not say how they combine"
        raise UsageError("one criterion has nothing to combine with", hint=hint)
    if given and chosen != "weighted":
        cause = "{} takes no weights".format(chosen)
        raise UsageError(cause, hint="use --combine weighted, or leave =W out")
    if chosen == "weighted" and len(given) < len(names):
        missing = names[weights.index(None)]
        raise UsageError("the criterion {} has no weight".format(missing), hint="write --criterion l1=1,gamma=2")
    return Wanted(tuple(names), tuple(1.0 if weight is None else weight for weight in weights), chosen)


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not (math.isfinite(weight) and weight > 0):
        cause = "{!r} is no weight for the criterion {}".format(text[:24], name)
        raise UsageError(cause, hint="use a number above 0, as in l1=0.5")
    return weight


def ranks(scores: np.ndarray, counts: np.ndarray, groups: Optional[np.ndarray] = None) -> np.ndarray:
    """The share of the filters that goes up to and with each set, 0..1; nan where the score is. Sets of the same score
    go together: all of them have the rank of the last.

    Args:
        scores: by set. counts: filters of each set. groups: number of the group that each set is ordered in.
    """
    found = np.full(scores.shape, np.nan)
    there = np.flatnonzero(~np.isnan(scores))
    order = there[np.argsort(scores[there], kind="mergesort")]
    parts = [order] if groups is None else [order[groups[order] == number] for number in np.unique(groups[order])]
    for part in parts:
        held = np.cumsum(counts[part])
        if held.size:
            last = np.searchsorted(scores[part], scores[part], side="right") - 1
            found[part] = held[last] / float(max(1, held[-1]))
    return found


def combine(found: Sequence[np.ndarray], wanted: Wanted) -> np.ndarray:
    """One score by set of the ranks by each criterion. What a criterion cannot score is left to the others; nan where
    none can."""
    rows = np.array(found)
    there = ~np.isnan(rows)
    if wanted.how == "union":
        total = np.where(there, rows, np.inf).min(axis=0)
    elif wanted.how == "intersection":
        total = np.where(there, rows, -np.inf).max(axis=0)
    else:
        weights = np.array(wanted.weights)[:, None] * there
        total = (np.where(there, rows, 0.0) * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-300)
    return np.where(there.any(axis=0), total, np.nan)
