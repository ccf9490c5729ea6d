"""Taking shortcut blocks out of a net, and choosing which can go."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

import numpy as np

from darkprune.errors import GraphError, UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.absorb import Absorption
from darkprune.prune.blocks import Block, ends, find_blocks, is_plain
from darkprune.prune.constant_readers import Carriers, Key, Reader, assign, readers_of, usable_sets
from darkprune.prune.emission import Walk, walk
from darkprune.prune.gather_channels import regather, widen

Silence = NamedTuple(
    "Silence",
    [
        ("channels", Channels),
        ("muted", Set[int]),  # layers whose whole output is silenced: the ends of the branches
        ("gone", Set[int]),  # all layers that are taken out
        ("bypassed", Dict[int, int]),  # sums that are more than sums -> the trunk that takes their place
        ("walk", Walk),
    ],
)
Chosen = NamedTuple(
    "Chosen",
    [
        ("blocks", List[Block]),
        ("passed", Dict[int, str]),  # shortcuts of weaker blocks that stay -> why
        ("found", List[Block]),  # all blocks there are
    ],
)


def choose_blocks(
    net: Net, count: int, ranking: str, absorb: str, force: bool, scores: Optional[Mapping[int, float]] = None
) -> Chosen:
    """The `count` lowest-ranked blocks that can go together.

    Args: scores: by the index of the shortcut, in place of a ranking by gamma.

    Raises UsageError, with the reasons, if fewer can.
    """
    if count < 0:
        raise UsageError("blocks must not be negative", hint="give the number of shortcut blocks to remove")
    blocks = find_blocks(net, ranking) if scores is None else find_blocks(net)
    if scores is not None:
        blocks = [block._replace(score=float(scores.get(block.shortcut.index, np.inf))) for block in blocks]
    passed = {b.shortcut.index: b.obstacle for b in blocks if b.obstacle and not (force and b.forcible)}
    ranked = sorted((b for b in blocks if b.shortcut.index not in passed), key=lambda b: (b.score, b.shortcut.index))
    chosen = ranked[:count]
    if len(chosen) < count or hindrance(net, chosen, absorb):
        chosen = []
        for block in ranked:
            why = hindrance(net, chosen + [block], absorb) if len(chosen) < count else None
            if why:
                passed[block.shortcut.index] = why
            elif len(chosen) < count:
                chosen.append(block)
    if len(chosen) < count:
        reasons = ["layer {}: {}".format(index, why) for index, why in sorted(passed.items())]
        raise UsageError(
            "{} shortcut blocks were asked for, {} of {} can go".format(count, len(chosen), len(blocks)),
            hint="; ".join(reasons[:6]) or "ask for fewer",
        )
    last = max(((b.score, b.shortcut.index) for b in chosen), default=(0.0, -1))
    weaker = {b.shortcut.index for b in blocks if (b.score, b.shortcut.index) < last}
    return Chosen(chosen, {index: str(why) for index, why in passed.items() if index in weaker}, blocks)


def silence(net: Net, blocks: List[Block]) -> Silence:
    """The constants that the branches of blocks leave behind, followed through the net."""
    channels = Channels(net)
    muted = {index for block in blocks for index in ends(channels, block.branch)}
    gone = {layer.index for block in blocks for layer in block.branch + (block.shortcut,)}
    bypassed = {b.shortcut.index: b.trunk.index for b in blocks if not is_plain(b.shortcut)}
    result = walk(net, channels, np.zeros(channels.size, bool), muted, bypassed=bypassed)
    return Silence(channels, muted, gone, bypassed, result)


def hindrance(net: Net, blocks: List[Block], absorb: str) -> Optional[str]:
    """Why the blocks cannot go together, or their constants cannot be absorbed as asked; None if they can."""
    gone: Set[int] = set()
    for block in blocks:
        layers = {layer.index for layer in block.branch + (block.shortcut,)}
        if layers & gone:
            return "a block that goes has layers of it"
        gone |= layers
    if absorb != "exact" or not blocks:
        return None
    quiet = silence(net, blocks)
    for why in quiet.walk.muted_stuck.values():
        return why
    for layer in net.outputs():
        if (quiet.walk.emissions[layer.index].offset != 0).any():
            return "its constant reaches layer {}, an output of the net".format(layer.index)
    readers = padded_readers(net, quiet)
    _, unserved = _carriers(net, quiet.channels, readers)
    if unserved:
        return "padded layer {} reads it, and its trunk cannot get a constant channel".format(unserved[0][0])
    return None


def padded_readers(net: Net, quiet: Silence) -> List[Reader]:
    """The layers that need a constant channel."""
    return [r for r in readers_of(net, quiet.channels, quiet.walk.emissions, quiet.gone) if r.padded]


def _carriers(net: Net, channels: Channels, readers: List[Reader]) -> Tuple[Carriers, List[Key]]:
    """Padded reader -> a set whose tied width can get one more channel that reaches it; and those without."""
    if not readers:
        return {}, []
    free = _extensible(channels, channels.widths()) & (channels.filters > 0) & channels.scored
    return assign(net, channels, readers, usable_sets(net, channels, free))


def remove_blocks(net: Net, blocks: List[Block], absorb: str, step: int = 1) -> Net:
    """A net without the blocks, the constants of their branches absorbed.

    Args:
        step: a tied width that needs a constant channel grows to a multiple of this.

    Raises GraphError where `hindrance` has something to say.
    """
    why = hindrance(net, blocks, absorb)
    if why:
        raise GraphError("the shortcut blocks cannot be removed: {}".format(why), net.config.place(), "remove others")
    quiet = silence(net, blocks)
    removed = np.zeros(quiet.channels.size, bool)
    carriers: Carriers = {}
    readers = padded_readers(net, quiet) if absorb == "exact" else []
    if readers:
        net, removed, carriers = _with_constants(net, quiet.channels, readers, step)
        blocks = [_twin(block, net) for block in blocks]
        channels = Channels(net)
        result = walk(net, channels, removed, quiet.muted, bypassed=quiet.bypassed)
        quiet = quiet._replace(channels=channels, walk=result)
    absorption = Absorption(net, quiet.channels, removed, quiet.walk, absorb, carriers, quiet.gone)
    new = regather(net, {}, absorption.patches)
    for block in sorted((_twin(block, new) for block in blocks), key=lambda b: -b.shortcut.index):
        new.remove(list(block.branch) + [block.shortcut], replace=block.trunk)
    new.check()
    return new


def _with_constants(
    net: Net, channels: Channels, readers: List[Reader], step: int
) -> Tuple[Net, np.ndarray, Carriers]:
    """The net with one more channel in each tied width that has to carry a constant.

    Returns it, the sets of those channels (bool), and padded reader -> set.
    """
    carriers, _ = _carriers(net, channels, readers)
    widths = channels.widths()
    grown = {width: _first_label(channels, width) for width in sorted({int(widths[s]) for s in carriers.values()})}
    wide = net
    for owner, place in grown.values():
        now = Channels(wide)
        count = 1 if step == 1 else step - wide.layers[owner].shape.channels % step
        wide = widen(wide, now, now.widths() == now.widths()[now.sets[_label(now, owner, place)]], count)
    now = Channels(wide)
    removed, served = np.zeros(now.size, bool), {}
    for reader, carrier in carriers.items():
        owner, _ = grown[int(widths[carrier])]
        number = int(now.sets[now.outputs[owner][net.layers[owner].shape.channels]])
        removed[number] = True
        served[reader] = number
    return wide, removed, served


def _extensible(channels: Channels, widths: np.ndarray) -> np.ndarray:
    """bool by set: its tied width can get one more channel, one more filter in each layer that makes it."""
    fixed = channels.pinned >= 0
    for balance in channels.balances:
        for block in balance.blocks:
            fixed[block] = True
    for rule in channels.overreaches:
        fixed[rule.before] = True  # one more channel might make the widths meet
    lengths = np.bincount(widths[np.unique(channels.sets)], minlength=channels.size)
    for layer, sets in channels.producers():
        absorber = layer.op.absorber(layer)
        whole = np.unique(sets).size == sets.size == lengths[widths[sets[0]]]
        if not whole or (absorber is not None and absorber.groups > 1):
            fixed[sets] = True
    for layer in channels.net.layers:
        if layer.params and "out" in channels.axes.get(layer.index, {}) and not channels.produces(layer):
            fixed[channels.sets[channels.outputs[layer.index]]] = True  # its factors for a new channel would be 0
    free = np.ones(channels.size, bool)
    free[np.unique(widths[fixed])] = False
    return free[widths]


def _first_label(channels: Channels, width: int) -> Tuple[int, int]:
    """(layer, channel) of the first label whose set has that number."""
    label = int(np.flatnonzero(channels.sets == width)[0])
    return int(channels.owner[label]), int(channels.place[label])


def _label(channels: Channels, owner: int, place: int) -> int:
    return int(np.flatnonzero((channels.owner == owner) & (channels.place == place))[0])


def _twin(block: Block, net: Net) -> Block:
    layers = net.layers
    return block._replace(
        shortcut=layers[block.shortcut.index],
        trunk=layers[block.trunk.index],
        branch=tuple(layers[layer.index] for layer in block.branch),
    )
