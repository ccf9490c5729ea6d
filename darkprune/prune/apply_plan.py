"""Carrying out a decision: from a net and a plan, or chosen channel sets, to the pruned net."""

from typing import Dict, List, Set, Tuple

import numpy as np

from darkprune.errors import PlanError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.absorb import Absorption
from darkprune.prune.blocks import find_blocks
from darkprune.prune.constant_readers import Carriers, Key, assign, readers_of, usable_sets
from darkprune.prune.emission import Walk, walk
from darkprune.prune.gather_channels import narrow
from darkprune.prune.plan import Plan, require_pair
from darkprune.prune.remove_blocks import hindrance, remove_blocks

AGAIN = "make the plan again"


def apply_plan(net: Net, plan: Plan) -> Net:
    """Carries out a plan. Raises PlanError when it was made for another pair or names what is not there."""
    require_pair(plan, net)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
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
        carriers: Carriers = {}
        if absorb == "exact":
            constants = _mask(net, shorter, sets, plan.constants)
            carriers, unserved = carriers_of(shorter, sets, result, constants)
            if unserved or result.stuck or set(carriers.values()) != set(np.flatnonzero(constants).tolist()):
                raise PlanError("the plan's constants do not fit the readers of padded layers", hint=AGAIN)
        shorter = apply_channels(shorter, sets, removed, result, absorb, carriers)
    return shorter


def apply_channels(
    net: Net, sets: Channels, removed: np.ndarray, result: Walk, absorb: str, carriers: Carriers
) -> Net:
    absorption = Absorption(net, sets, removed, result, absorb, carriers, set())
    kept = ~removed
    kept[absorption.constants] = True
    new = narrow(net, sets, kept, absorption.patches)
    new.check()
    return new


def carriers_of(net: Net, sets: Channels, result: Walk, constants: np.ndarray) -> Tuple[Carriers, List[Key]]:
    """Padded reader -> its constant, when only the sets in `constants` may serve; and the readers left over."""
    readers = readers_of(net, sets, result.emissions, set())
    return assign(net, sets, readers, usable_sets(net, sets, constants))


def numbering(net: Net, shorter: Net) -> Dict[int, int]:
    """Layer number after the removal of blocks -> in the original."""
    original = {id(layer.section): layer.index for layer in net.layers}
    return {layer.index: original[id(layer.section)] for layer in shorter.layers}


def _remove_planned_blocks(net: Net, plan: Plan, absorb: str) -> Net:
    if not plan.removed_blocks:
        return net
    known = {block.shortcut.index: block for block in find_blocks(net)}
    chosen = []
    for entry in plan.removed_blocks:
        block = known.get(entry["shortcut"])
        if block is None or [x.index for x in block.branch] + [block.shortcut.index] != entry["layers"]:
            cause = "layers {} are no shortcut block".format(entry["layers"][:9])
            raise PlanError(cause, hint=AGAIN)
        chosen.append(block)
    why = hindrance(net, chosen, absorb)
    if why:
        raise PlanError("the plan's blocks cannot be removed: {}".format(why), hint=AGAIN)
    return remove_blocks(net, chosen, absorb, plan.options.get("round", 1))


def _planned_sets(net: Net, shorter: Net, sets: Channels, plan: Plan) -> np.ndarray:
    constants, number = _mask(net, shorter, sets, plan.constants), numbering(net, shorter)
    gone = _mask(net, shorter, sets, plan.removed_channels) | constants
    for pinned in np.flatnonzero(gone & (sets.pinned >= 0)):
        cause = "the plan removes a channel that must stay: {}".format(sets.pin_reason(pinned))
        raise PlanError(cause, hint=AGAIN)
    for layer, mine in sets.producers():
        if gone[mine].all():
            raise PlanError("the plan leaves no filter in layer {}".format(number[layer.index]), hint=AGAIN)
    kept = ~gone | constants
    for balance in sets.balances:
        if len({np.count_nonzero(kept[block]) for block in balance.blocks}) > 1:
            raise PlanError("the plan keeps different numbers of channels in the {}".format(balance.reason), hint=AGAIN)
    for rule in sets.overreaches:
        if rule.broken(kept) and not rule.broken(np.ones(sets.size, bool)):
            raise PlanError("the plan leads to {}".format(rule.reason), hint=AGAIN)
    return gone


def _mask(net: Net, shorter: Net, sets: Channels, lists: Dict[int, List[int]]) -> np.ndarray:
    """bool by set: the sets of the listed channels. Raises PlanError where a set is listed in part."""
    number = numbering(net, shorter)
    mask, listed = np.zeros(sets.size, bool), np.zeros(sets.size, int)
    known: Set[int] = set()
    for layer, mine in sets.producers():
        places = lists.get(number[layer.index], [])
        known.add(number[layer.index])
        if places and max(places) >= mine.size:
            cause = "the plan names channel {} of layer {}, which has {}".format(
                max(places), number[layer.index], mine.size
            )
            raise PlanError(cause, hint=AGAIN)
        mask[mine[places]] = True
        np.add.at(listed, mine[places], 1)
    if set(lists) - known:
        cause = "the plan removes channels of layer {}, which makes none".format(min(set(lists) - known))
        raise PlanError(cause, hint=AGAIN)
    if (listed[mask] != sets.filters[mask]).any():
        partly = np.flatnonzero(mask & (listed != sets.filters))
        owner, channel = sets.members(int(partly[0]))[0]
        cause = "the plan removes a part of the channel set that channel {} of layer {} is in".format(
            channel, number.get(owner, owner)
        )
        raise PlanError(cause, hint="channels that are tied must go together: make the plan again")
    return mask
