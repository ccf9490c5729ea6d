"""From a net and options to a plan, and from a net and a plan to the pruned net."""

from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from darkprune.errors import DarkpruneError, Notice, PlanError, UsageError
from darkprune.graph.build import totals
from darkprune.graph.channels import Channels
from darkprune.graph.key import KeyJob
from darkprune.graph.net import Net
from darkprune.prune.absorb import Absorption
from darkprune.prune.blocks import Block, find_blocks, remove_blocks
from darkprune.prune.damage import FATAL, gamma_histogram, predict, worst_layers
from darkprune.prune.emission import Walk, walk
from darkprune.prune.plan import Plan, require_pair
from darkprune.prune.readers import audible, choose_constants, readers_of, usable_sets
from darkprune.prune.reshape import narrow
from darkprune.prune.select import DEFAULTS, Options, check_options, select

Pruned = NamedTuple(
    "Pruned",
    [
        ("net", Net),
        ("plan", Plan),
        ("notices", List[Notice]),
        ("preflight", Dict[str, Any]),  # gamma histogram and predicted damage
        ("reached", Optional[float]),  # share of the removable filters that went
    ],
)


def prune(
    net: Net,
    channels: Optional[float] = None,
    blocks: int = 0,
    scope: str = "global",
    group: str = "max",
    score: str = "gamma",
    min_keep: float = DEFAULTS.min_keep,
    round: int = 1,
    absorb: str = "exact",
    block_rank: str = "mean",
    force: bool = False,
) -> Pruned:
    """Prunes shortcut blocks, then channels.

    Args:
        channels: share of the removable filters that goes, 0..1. blocks: number of shortcut blocks that go.
        scope, group, score, min_keep, round, absorb: see `darkprune.prune.select.Options`.
        block_rank: mean or last, see `find_blocks`.
        force: prune even where the predicted damage is fatal, and blocks that are not plain residual sums.

    Returns the pruned net (lazy: its arrays are computed when read), the plan, and what to tell the user.
    Raises UsageError, GraphError.
    """
    options = Options(channels or 0.0, scope, group, score, min_keep, round, absorb)
    check_options(options)
    if channels is None and not blocks:
        raise UsageError("nothing to prune was asked for", hint="give --channels 0.5, --blocks 4, or both")
    key = KeyJob(net)
    plan = Plan(key, net.dialect.name, _record(options, blocks, block_rank))
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return _pruned(net, channels, blocks, block_rank, force, options, plan)
    except (ArithmeticError, ValueError, DarkpruneError):
        key.result()  # raises where a value of the weights is not finite: then that is what went wrong
        raise


def _pruned(
    net: Net, channels: Optional[float], blocks: int, block_rank: str, force: bool, options: Options, plan: Plan
) -> Pruned:
    absorb = options.absorb
    notices: List[Notice] = []
    shorter = _choose_blocks(net, blocks, block_rank, absorb, force, plan, notices)
    result, reached, damage = shorter, None, 0.0
    preflight: Dict[str, Any] = {"gamma": gamma_histogram(net), "damage": 0.0, "layers": []}
    if channels is not None:
        sets = Channels(shorter)
        found = select(shorter, sets, options)
        predicted = predict(shorter, sets, found.removed)
        damage, reached = predicted.total, found.reached
        preflight.update(damage=round_(damage), layers=worst_layers(predicted))
        constants = np.zeros(sets.size, bool)
        constants[list(found.carriers.values())] = True
        carriers, _ = _carriers(shorter, sets, found.walk, constants)
        result = _apply_channels(shorter, sets, found.removed, found.walk, absorb, carriers)
        _record_channels(net, shorter, sets, found.removed, found.carriers, plan)
        _record_kept(sets, found, plan)
        _notice_channels(options, found, sets, notices)
    _notice_damage(preflight, damage, force, notices)
    plan.predicted = dict(totals(result), damage=round_(damage))
    return Pruned(result, plan, notices, preflight, reached)


def apply_plan(net: Net, plan: Plan) -> Net:
    """Carries out a plan. Raises PlanError when it was made for another pair or names what is not there."""
    require_pair(plan, net)
    try:
        return _applied(net, plan)
    except PlanError as error:
        error.where = error.where or plan.where
        raise


def _applied(net: Net, plan: Plan) -> Net:
    absorb = plan.options.get("absorb", "exact")
    shorter = _remove_planned_blocks(net, plan, absorb)
    if plan.removed_channels or plan.constants:
        sets = Channels(shorter)
        removed = _planned_sets(net, shorter, sets, plan)
        result = walk(shorter, sets, removed)
        carriers: Dict[int, int] = {}
        if absorb == "exact":
            constants = _mask(net, shorter, sets, plan.constants)
            carriers, unserved = _carriers(shorter, sets, result, constants)
            if unserved or result.stuck:
                raise PlanError("the plan's constants do not serve every reader", hint="make the plan again")
        shorter = _apply_channels(shorter, sets, removed, result, absorb, carriers)
    return shorter


def round_(value: float) -> float:
    """A predicted share, to the digits that mean something."""
    return float("{:.4f}".format(value))


def _record(options: Options, blocks: int, block_rank: str) -> Dict[str, Any]:
    record = dict(options._asdict())
    record.update(blocks=blocks, block_rank=block_rank)
    return {key: record[key] for key in sorted(record)}


# ---- blocks


def _choose_blocks(
    net: Net, count: int, ranking: str, absorb: str, force: bool, plan: Plan, notices: List[Notice]
) -> Net:
    if count < 0:
        raise UsageError("blocks must not be negative", hint="give the number of shortcut blocks to remove")
    if not count:
        return net
    blocks = find_blocks(net, ranking)
    usable = [b for b in blocks if b.obstacle is None or (force and b.trunk.shape == b.shortcut.shape)]
    left = sorted(usable, key=lambda b: (b.score, b.shortcut.index))
    stuck: Dict[int, str] = {}
    while len(left) >= count:
        chosen = left[:count]
        shorter, why, _ = remove_blocks(net, chosen, absorb)
        if not why:
            _record_blocks(chosen, stuck, plan, notices)
            return shorter
        stuck.update(why)
        left = [b for b in left if b.shortcut.index not in why]
    others = ["layer {}: {}".format(b.shortcut.index, b.obstacle) for b in blocks if b not in usable]
    others += ["layer {}: {}".format(index, why) for index, why in sorted(stuck.items())]
    raise UsageError(
        "{} shortcut blocks were asked for, {} of {} can go".format(count, len(left), len(blocks)),
        hint="; ".join(others[:6]) or "ask for fewer",
    )


def _record_blocks(chosen: List[Block], stuck: Dict[int, str], plan: Plan, notices: List[Notice]) -> None:
    for block in sorted(chosen, key=lambda b: b.shortcut.index):
        layers = [layer.index for layer in block.branch] + [block.shortcut.index]
        plan.removed_blocks.append({"shortcut": block.shortcut.index, "layers": layers})
        if block.obstacle:
            notices.append(Notice("block {} was forced although {}".format(block.shortcut.index, block.obstacle)))
    for index, why in sorted(stuck.items()):
        plan.kept.append({"block": index, "reason": why})


def _remove_planned_blocks(net: Net, plan: Plan, absorb: str) -> Net:
    if not plan.removed_blocks:
        return net
    known = {block.shortcut.index: block for block in find_blocks(net)}
    chosen = []
    for entry in plan.removed_blocks:
        block = known.get(entry["shortcut"])
        if block is None or [x.index for x in block.branch] + [block.shortcut.index] != entry["layers"]:
            cause = "layers {} are no shortcut block".format(entry["layers"][:9])
            raise PlanError(cause, hint="make the plan again")
        chosen.append(block)
    shorter, stuck, _ = remove_blocks(net, chosen, absorb)
    if stuck:
        raise PlanError("blocks {} cannot be removed".format(sorted(stuck)), hint="make the plan again")
    return shorter


# ---- channels


def _apply_channels(
    net: Net, sets: Channels, removed: np.ndarray, result: Walk, absorb: str, carriers: Dict[int, int]
) -> Net:
    absorption = Absorption(net, sets, removed, result, absorb, carriers, set())
    kept = ~removed
    kept[absorption.constants] = True
    new = narrow(net, sets, kept, absorption.patches)
    new.check()
    return new


def _carriers(net: Net, sets: Channels, result: Walk, constants: np.ndarray) -> Tuple[Dict[int, int], List[int]]:
    """Padded reader -> its constant, when only the sets in `constants` may serve; and the readers left over."""
    readers = readers_of(net, sets, result.emissions, set())
    return choose_constants(sets, readers, usable_sets(net, sets, constants), audible(net, sets))


def _numbering(net: Net, shorter: Net) -> Dict[int, int]:
    """Layer number after the removal of blocks -> in the original."""
    original = {id(layer.section): layer.index for layer in net.layers}
    return {layer.index: original[id(layer.section)] for layer in shorter.layers}


def _record_channels(
    net: Net, shorter: Net, sets: Channels, removed: np.ndarray, carriers: Dict[int, int], plan: Plan
) -> None:
    number = _numbering(net, shorter)
    constant = np.zeros(sets.size, bool)
    constant[list(carriers.values())] = True
    for layer, mine in sets.producers():
        for lists, mask in ((plan.removed_channels, removed & ~constant), (plan.constants, constant)):
            places = np.flatnonzero(mask[mine]).tolist()
            if places:
                lists[number[layer.index]] = places


def _planned_sets(net: Net, shorter: Net, sets: Channels, plan: Plan) -> np.ndarray:
    gone = _mask(net, shorter, sets, plan.removed_channels) | _mask(net, shorter, sets, plan.constants)
    for number in np.flatnonzero(gone):
        if sets.pin_reason(number):
            cause = "the plan removes a channel that must stay: {}".format(sets.pin_reason(number))
            raise PlanError(cause, hint="make the plan again")
    for layer, mine in sets.producers():
        if gone[mine].all():
            raise PlanError("the plan leaves no filter in layer {}".format(layer.index), hint="make the plan again")
    return gone


def _mask(net: Net, shorter: Net, sets: Channels, lists: Dict[int, List[int]]) -> np.ndarray:
    """bool by set: the sets of the listed channels. Raises PlanError where a set is listed in part."""
    number = _numbering(net, shorter)
    mask, listed = np.zeros(sets.size, bool), np.zeros(sets.size, int)
    known: Set[int] = set()
    for layer, mine in sets.producers():
        places = lists.get(number[layer.index], [])
        known.add(number[layer.index])
        if places and max(places) >= mine.size:
            cause = "the plan names channel {} of layer {}, which has {}".format(
                max(places), number[layer.index], mine.size
            )
            raise PlanError(cause, hint="make the plan again")
        mask[mine[places]] = True
        np.add.at(listed, mine[places], 1)
    if set(lists) - known:
        cause = "the plan removes channels of layer {}, which makes none".format(min(set(lists) - known))
        raise PlanError(cause, hint="make the plan again")
    if (listed[mask] != sets.filters[mask]).any():
        partly = np.flatnonzero(mask & (listed != sets.filters))
        owner, channel = sets.members(int(partly[0]))[0]
        cause = "the plan removes a part of the channel set that channel {} of layer {} is in".format(
            channel, number.get(owner, owner)
        )
        raise PlanError(cause, hint="channels that are tied must go together: make the plan again")
    return mask


def _record_kept(sets: Channels, found: Any, plan: Plan) -> None:
    reasons: Dict[str, int] = {}
    for why in found.kept.values():
        reasons[why] = reasons.get(why, 0) + 1
    plan.kept += [{"sets": count, "reason": why} for why, count in sorted(reasons.items())]
    unscored = int(np.count_nonzero(np.isnan(found.scores) & (sets.pinned < 0) & (sets.filters > 0)))
    if unscored:
        plan.kept.append({"sets": unscored, "reason": "no batch-norm gamma to score"})
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
                'floors, rounding, balance and constants keep the rest; see "kept" in the plan',
            )
        )
    unscored = np.isnan(found.scores) & (sets.filters > 0) & (sets.pinned < 0)
    if unscored.any():
        notices.append(
            Notice(
                "{} channel sets have no batch norm to score and are kept".format(int(np.count_nonzero(unscored))),
                None,
                "--score l2 scores them by their weights",
            )
        )


def _notice_damage(preflight: Dict[str, Any], damage: float, force: bool, notices: List[Notice]) -> None:
    gamma = preflight["gamma"]
    if damage > 0.01 and not gamma["sparsified"]:
        notices.append(
            Notice(
                "this net was never trained for sparsity: {:.1%} of its gammas are near zero".format(
                    gamma["near_zero"]
                ),
                None,
                "expect to fine-tune the pruned net",
            )
        )
    if damage < FATAL:
        return
    cause = "pruning would remove {:.0%} of the signal ({})".format(damage, ", ".join(preflight["layers"]))
    if not force:
        raise UsageError(cause, hint="prune less, use --scope layer, train for sparsity first, or --force")
    notices.append(Notice(cause, None, "the pruned net has to be trained again"))


def block_count(net: Net) -> Tuple[int, int]:
    """(shortcut blocks, those that can go without force)."""
    blocks = find_blocks(net)
    return len(blocks), sum(b.obstacle is None for b in blocks)
