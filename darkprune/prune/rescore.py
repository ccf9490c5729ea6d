"""Scores of channel sets by what was asked for, and pruning in steps that measure them anew.

A plan is always one of the original. In step k of K the sets that hold k / K of the share are chosen there and the net
without them is made; what the criteria find on that net is led back to the original's sets, where those that went
already come first (-inf). The last step's choice is the plan.
"""

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.backends.numpy_ import held
from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.apply_plan import apply_channels, carriers_of
from darkprune.prune.combine import combine, parse, ranks
from darkprune.prune.criteria.base import WEIGHTS, Values
from darkprune.prune.evidence import Evidence, moved, placed
from darkprune.prune.score import criterion_of, lacking, set_scores, values_of
from darkprune.prune.select import Options, Selection, select

Measure = Callable[[Net], Evidence]
Limits = Tuple[Optional[np.ndarray], Optional[np.ndarray]]

Scoring = NamedTuple(
    "Scoring",
    [
        ("steps", int),  # in which the share is reached, with scores measured again in between
        ("seed", int),  # of what is left to chance
        ("evidence", Optional[Evidence]),  # of the net that is pruned
        ("measure", Optional[Measure]),  # measures a net that was pruned in part
    ],
)


def check_scoring(net: Net, options: Options, scoring: Scoring) -> None:
    """Raises UsageError where criteria lack what they need."""
    if scoring.evidence is not None and scoring.evidence.net is not net:
        raise UsageError("the evidence was measured on another net", hint="measure the net that is pruned")
    if scoring.steps < 1:
        raise UsageError("steps must be at least 1", hint="1 prunes at once, 5 in five steps")
    given = scoring.evidence.values if scoring.evidence is not None else {}
    for name in parse(options.criterion, options.combine).names:
        criterion = criterion_of(name)
        if criterion.needs == WEIGHTS or scoring.measure is not None:
            continue
        if name not in given:
            raise lacking(criterion)
        if scoring.steps > 1:
            cause = "the criterion {} is measured again after each step, and there are no images".format(name)
            raise UsageError(cause, hint="give them too, or --steps 1")


def select_in_steps(
    net: Net,
    shorter: Net,
    channels: Channels,
    options: Options,
    scoring: Scoring,
    added: np.ndarray,
    limits: Limits = (None, None),
) -> Selection:
    """Chooses the channel sets to remove.

    Args:
        net: the original. shorter: without the blocks that go; `channels` are its. added: bool by set, see `select`.
        limits: `only` and `factors` of `select`.
    """
    values = moved(scoring.evidence, shorter) if scoring.evidence is not None else {}
    scores = score_sets(shorter, channels, options, values, added, scoring.seed)
    for step in range(1, scoring.steps):
        share = options.channels * step / scoring.steps
        found = select(shorter, channels, options._replace(channels=share), added, scores, *limits)
        scores = _scores_behind(shorter, channels, options, scoring, added, found)
    return select(shorter, channels, options, added, scores, *limits)


def score_sets(
    net: Net, channels: Channels, options: Options, values: Mapping[str, Values], added: np.ndarray, seed: int
) -> np.ndarray:
    """float64 by set number: by one criterion, or by the combination of several; nan where nothing scores a set.

    Args: values: what was measured on the net, by criterion; what needs weights alone is computed where it is missing.
    """
    wanted = parse(options.criterion, options.combine)
    found: List[np.ndarray] = []
    for name in wanted.names:
        mine = values.get(name)
        if mine is None:
            mine = values_of(net, channels, criterion_of(name), seed)
        found.append(set_scores(net, channels, name, options.group, mine))
    if len(found) == 1:
        return found[0]
    counts = np.where(added, 0, channels.filters)
    fixed = (channels.filters == 0) | (channels.pinned >= 0)
    groups = channels.widths() if options.scope == "layer" else None
    return combine([ranks(np.where(fixed, np.nan, one), counts, groups) for one in found], wanted)


def _scores_behind(
    net: Net, channels: Channels, options: Options, scoring: Scoring, added: np.ndarray, found: Selection
) -> np.ndarray:
    """The scores of a net's sets when the net without the `found` ones is measured."""
    constants = np.zeros(channels.size, bool)
    constants[list(found.carriers.values())] = True
    carriers, _ = carriers_of(net, channels, found.walk, constants)
    narrower = held(apply_channels(net, channels, found.removed, found.walk, options.absorb, carriers))
    values = measured(narrower, options, scoring)
    kept = ~found.removed | constants
    places = {layer.index: np.flatnonzero(kept[sets]) for layer, sets in channels.producers()}
    sizes = {layer.index: sets.size for layer, sets in channels.producers()}
    back: Dict[str, Values] = {name: placed(mine, places, sizes) for name, mine in values.items()}
    for mine in back.values():
        for layer, sets in channels.producers():
            if layer.index in mine:
                mine[layer.index][found.removed[sets]] = np.nan  # constants went too
    return np.where(found.removed, -np.inf, score_sets(net, channels, options, back, added, scoring.seed))


def measured(net: Net, options: Options, scoring: Scoring) -> Dict[str, Values]:
    """What the criteria find on a net, by name."""
    if scoring.measure is not None:
        return scoring.measure(net).values
    sets = Channels(net)
    names = parse(options.criterion, options.combine).names
    return {name: values_of(net, sets, criterion_of(name), scoring.seed) for name in names}
