"""From a net and options to a plan, and from a net and a plan to the pruned net."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.errors import DarkpruneError, Notice, UsageError
from darkprune.graph.build import totals
from darkprune.graph.channels import Channels
from darkprune.graph.key import KeyJob
from darkprune.graph.net import Net
from darkprune.prune.apply_plan import apply_channels, carriers_of, numbering
from darkprune.prune.block_scores import by_criterion
from darkprune.prune.blocks import Block
from darkprune.prune.combine import parse
from darkprune.prune.damage import FATAL, gamma_histogram, predict, worst_layers
from darkprune.prune.evidence import Evidence
from darkprune.prune.explain import BlockRow, LayerRow, block_rows, layer_rows
from darkprune.prune.plan import Plan
from darkprune.prune.remove_blocks import Chosen, choose_blocks, remove_blocks, silence
from darkprune.prune.rescore import Measure, Scoring, check_scoring, select_in_steps
from darkprune.prune.score import IMAGES, unscored
from darkprune.prune.select import DEFAULTS, Options, Selection, check_options

Pruned = NamedTuple(
    "Pruned",
    [
        ("net", Net),
        ("plan", Plan),
        ("notices", List[Notice]),
        ("preflight", Dict[str, Any]),  # gamma histogram and predicted damage
        ("reached", Optional[float]),  # share of the removable filters that went
        ("layers", List[LayerRow]),  # what became of each layer's filters, and why
        ("blocks", List[BlockRow]),  # and of each shortcut block
    ],
)


Only = Mapping[int, Sequence[int]]

_Limits = NamedTuple("_Limits", [("only", Optional[Only]), ("factors", Optional[Mapping[int, float]])])


class Limits(_Limits):
    """Which channels may go, and how much of each tied width; see `prune`."""

    __slots__ = ()

    def by_set(self, net: Net, shorter: Net, sets: Channels) -> Tuple[Optional[np.ndarray], Optional[np.ndarray]]:
        """bool by set: sets all of whose channels are among `only`; float by set: the factors. None for no limit."""
        number = numbering(net, shorter)
        only = None if self.only is None else np.ones(sets.size, bool)
        factors = None if self.factors is None else np.ones(sets.size)
        for layer, mine in sets.producers():
            if only is not None and self.only is not None:
                named = np.zeros(mine.size, bool)
                named[list(self.only.get(number[layer.index], ()))] = True
                only[mine[~named]] = False
            if factors is not None and self.factors is not None:
                factors[mine] = self.factors.get(number[layer.index], 1.0)
        return only, factors


def prune(
    net: Net,
    channels: Optional[float] = None,
    blocks: int = 0,
    scope: str = "global",
    group: str = "max",
    criterion: Optional[str] = None,
    min_keep: float = DEFAULTS.min_keep,
    round: int = 1,
    absorb: str = "exact",
    block_rank: str = "mean",
    force: bool = False,
    force_blocks: Optional[bool] = None,
    combine: Optional[str] = None,
    steps: int = 1,
    seed: int = 0,
    evidence: Optional[Evidence] = None,
    measure: Optional[Measure] = None,
    score: Optional[str] = None,
    only: Optional[Only] = None,
    factors: Optional[Mapping[int, float]] = None,
) -> Pruned:
    """Prunes shortcut blocks, then channels.

    Args:
        channels: share of the removable filters that goes, 0..1. blocks: number of shortcut blocks that go.
        scope, group, criterion, min_keep, round, absorb, combine: see `darkprune.prune.select.Options`.
        block_rank: mean or last, see `find_blocks`; criterion, damage: see `darkprune.prune.block_scores`.
        force: prune even where the predicted damage is fatal, and blocks that are not plain residual sums.
        force_blocks: whether such blocks may go; None: as `force` says.
        steps: how often scores are measured, each time on what is left. seed: of what is left to chance.
        evidence: what criteria found on this net (darkprune.prune.evidence), for those that weights do not suffice.
        measure: finds it, for a net that has been pruned in part; and for this one where there is no evidence.
        score: an older name of `criterion`.
        only: layer -> its output channels that alone may go, by the net's layer numbers; the share is of these.
        factors: layer -> by how much more (or less) than others its tied width loses; needs the scope layer.

    Returns the pruned net (lazy: its arrays are computed when read), the plan, and what to tell the user.
    Raises UsageError, GraphError.
    """
    named = criterion or score or DEFAULTS.criterion
    options = Options(channels or 0.0, scope, group, named, min_keep, round, absorb, combine)
    check_options(options)
    check_scoring(net, options, Scoring(steps, seed, evidence, measure))
    if net.source is None and not net.loaded:
        raise UsageError("the net has no values to prune by", hint="load the weights too")
    if channels is None and not blocks:
        raise UsageError("nothing to prune was asked for", hint="give --channels 0.5, --blocks 4, or both")
    key = KeyJob(net)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if evidence is None and measure is not None:
                evidence = measure(net)
            scoring = Scoring(steps, seed, evidence, measure)
            plan = Plan(key, net.dialect.name, _record(options, blocks, block_rank, scoring))
            forced = force, force if force_blocks is None else force_blocks
            limits = Limits(only, factors)
            return _pruned(net, channels, blocks, block_rank, forced, options, scoring, plan, limits)
    except (ArithmeticError, ValueError, DarkpruneError):
        key.result()  # raises where a value of the weights is not finite: then that is what went wrong
        raise


def _pruned(
    net: Net,
    channels: Optional[float],
    blocks: int,
    block_rank: str,
    forced: Tuple[bool, bool],
    options: Options,
    scoring: Scoring,
    plan: Plan,
    limits: "Limits",
) -> Pruned:
    """forced: whether fatal damage is, and blocks that are not plain sums."""
    notices: List[Notice] = []
    preflight: Dict[str, Any] = {"gamma": gamma_histogram(net), "damage": 0.0, "layers": []}
    shorter, reached, left, kept = net, None, 1.0, 1.0
    layers: List[LayerRow] = []
    of_blocks: List[BlockRow] = []
    if blocks:
        scores = _block_scores(net, block_rank, options, scoring)
        chosen = choose_blocks(net, blocks, block_rank, options.absorb, forced[1], scores)
        _record_blocks(chosen, plan, notices)
        of_blocks = block_rows(chosen.found, chosen.blocks, chosen.passed)
        left = _signal_left(net, chosen.blocks)
        shorter = remove_blocks(net, chosen.blocks, options.absorb, options.round)
    result = shorter
    if channels is not None:
        sets = Channels(shorter)
        limit = limits.by_set(net, shorter, sets)
        found = select_in_steps(net, shorter, sets, options, scoring, _added(net, shorter, sets), limit)
        _refuse_nothing(sets, found, options)
        predicted, reached = predict(shorter, sets, found.removed), found.reached
        kept = 1.0 - predicted.total
        preflight["layers"] = worst_layers(predicted)
        constants = np.zeros(sets.size, bool)
        constants[list(found.carriers.values())] = True
        carriers, _ = carriers_of(shorter, sets, found.walk, constants)
        result = apply_channels(shorter, sets, found.removed, found.walk, options.absorb, carriers)
        _record_channels(net, shorter, sets, found.removed, constants, plan)
        layers = layer_rows(sets, found, numbering(net, shorter), unscored(options.criterion))
        _record_kept(sets, found, plan, options)
        if limits.only is None:
            _notice_channels(options, found, sets, notices)
    preflight["damage"] = round_(1.0 - left * kept)
    _notice_damage(preflight, 1.0 - kept, forced[0], notices)
    plan.predicted = dict(totals(result), damage=preflight["damage"])
    return Pruned(result, plan, notices, preflight, reached, layers, of_blocks)


def _block_scores(net: Net, ranking: str, options: Options, scoring: Scoring) -> Optional[Dict[int, float]]:
    """By the index of the shortcut; None where the ranking is by gamma. Raises UsageError where images are missing."""
    evidence = scoring.evidence
    if ranking == "criterion":
        return by_criterion(net, options, {} if evidence is None else evidence.values, scoring.seed)
    if ranking != "damage":
        return None
    if evidence is None or evidence.blocks is None:
        raise UsageError("the damage of removing blocks is measured on images, and there are none", hint=IMAGES)
    return evidence.blocks


def _signal_left(net: Net, blocks: List[Block]) -> float:
    """Share of the signal that is predicted to be left without the blocks."""
    quiet = silence(net, blocks)
    return 1.0 - predict(net, quiet.channels, np.zeros(quiet.channels.size, bool), quiet.muted).total


def _added(net: Net, shorter: Net, sets: Channels) -> np.ndarray:
    """bool by set: channels that the original has not, added to carry the constants of removed blocks."""
    added, number = np.zeros(sets.size, bool), numbering(net, shorter)
    for layer, mine in sets.producers():
        added[mine[net.layers[number[layer.index]].shape.channels :]] = True
    return added


def _refuse_nothing(sets: Channels, found: Selection, options: Options) -> None:
    """Raises UsageError where no filter may go at all, with the reasons."""
    if found.eligible.any():
        return
    reasons = sorted({str(sets.pin_reason(n)) for n in np.flatnonzero(sets.pinned >= 0)} - {"the image"})
    if (np.isnan(found.scores) & (sets.filters > 0) & (sets.pinned < 0)).any():
        cure = "its filters have {}; --criterion l2 scores them by their weights".format(_missing(options))
    else:
        cure = "; ".join(reasons[:4])
    raise UsageError("no filter of this net can be removed", hint=cure)


def _missing(options: Options) -> str:
    """What filters lack that have no score."""
    by_gamma = unscored(options.criterion) == unscored(DEFAULTS.criterion)
    return "no batch norm to score" if by_gamma else "no {} to score".format(options.criterion)


def round_(value: float) -> float:
    """A predicted share, to the digits that mean something."""
    return float("{:.4f}".format(value))


def _record(options: Options, blocks: int, block_rank: str, scoring: Scoring) -> Dict[str, Any]:
    """The plan's options; what has no part in it is left out, and the criterion stands under its older name, so that
    plans of older versions keep their bytes."""
    record = dict(options._asdict())
    record.update(blocks=blocks, block_rank=block_rank, score=record.pop("criterion"))
    if record["combine"] is None:
        del record["combine"]
    if scoring.steps > 1:
        record["steps"] = scoring.steps
    images = 0 if scoring.evidence is None else scoring.evidence.images
    if images:
        record["images"] = images
    if scoring.seed and (images or "random" in parse(options.criterion, options.combine).names):
        record["seed"] = scoring.seed
    return {key: record[key] for key in sorted(record)}


def _record_blocks(chosen: Chosen, plan: Plan, notices: List[Notice]) -> None:
    for block in sorted(chosen.blocks, key=lambda b: b.shortcut.index):
        layers = [layer.index for layer in block.branch] + [block.shortcut.index]
        plan.removed_blocks.append({"shortcut": block.shortcut.index, "layers": layers})
        if block.obstacle:
            notices.append(Notice("block {} was forced although {}".format(block.shortcut.index, block.obstacle)))
    for index, why in sorted(chosen.passed.items()):
        plan.kept.append({"block": index, "reason": why})


def _record_channels(
    net: Net, shorter: Net, sets: Channels, removed: np.ndarray, constants: np.ndarray, plan: Plan
) -> None:
    number = numbering(net, shorter)
    for layer, mine in sets.producers():
        for lists, mask in ((plan.removed_channels, removed & ~constants), (plan.constants, constants)):
            places = np.flatnonzero(mask[mine]).tolist()
            if places:
                lists[number[layer.index]] = places


def _record_kept(sets: Channels, found: Any, plan: Plan, options: Options) -> None:
    reasons: Dict[str, int] = {}
    for why in found.kept.values():
        reasons[why] = reasons.get(why, 0) + 1
    plan.kept += [{"sets": count, "reason": why} for why, count in sorted(reasons.items())]
    missing = int(np.count_nonzero(np.isnan(found.scores) & (sets.pinned < 0) & (sets.filters > 0)))
    if missing:
        plan.kept.append({"sets": missing, "reason": unscored(options.criterion)})
    pins: Dict[str, int] = {}
    for number in np.flatnonzero((sets.pinned >= 0) & (sets.filters > 0)):
        why = str(sets.pin_reason(number))
        pins[why] = pins.get(why, 0) + 1
    plan.kept += [{"sets": count, "reason": why} for why, count in sorted(pins.items())]


def _notice_channels(options: Options, found: Any, sets: Channels, notices: List[Notice]) -> None:
    if abs(found.reached - options.channels) > 0.01:
        notices.append(
            Notice(
                "{:.1%} of the filters were to go, {:.1%} did".format(options.channels, found.reached),
                None,
                "floors, rounding, balance and constants keep the rest; --explain says which",
            )
        )
    missing = np.isnan(found.scores) & (sets.filters > 0) & (sets.pinned < 0)
    if missing.any():
        cause = "{} channel sets have {} and are kept".format(int(np.count_nonzero(missing)), _missing(options))
        notices.append(Notice(cause, None, "--criterion l2 scores them by their weights"))


def _notice_damage(preflight: Dict[str, Any], by_channels: float, force: bool, notices: List[Notice]) -> None:
    """Warns of damage. Raises UsageError where the chosen channels would destroy the model and nobody forces it;
    blocks are counted by the user, who expects to train again."""
    gamma, damage = preflight["gamma"], preflight["damage"]
    if damage > 0.01 and not gamma["sparsified"]:
        cause = "this net was never trained for sparsity: {:.1%} of its gammas are near zero".format(gamma["near_zero"])
        notices.append(Notice(cause, None, "expect to fine-tune the pruned net"))
    if damage < FATAL:
        return
    most = " ({})".format(", ".join(preflight["layers"])) if preflight["layers"] else ""
    cause = "pruning would remove {:.0%} of the signal{}".format(damage, most)
    if by_channels >= FATAL and not force:
        raise UsageError(cause, hint="prune less, use --scope layer, train for sparsity first, or --force")
    notices.append(Notice(cause.replace("would remove", "removes"), None, "the pruned net has to be trained again"))
