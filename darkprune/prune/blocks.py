"""Shortcut blocks: finding the branches of residual sums in the graph, ranking them, and taking them out."""

from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.prune.absorb import Absorption
from darkprune.prune.emission import Walk, walk
from darkprune.prune.readers import audible, choose_constants, readers_of, usable_sets
from darkprune.prune.reshape import regather, widen

Block = NamedTuple(
    "Block",
    [
        ("shortcut", Layer),
        ("trunk", Any),  # the layer whose output passes the block unchanged
        ("branch", Tuple[Layer, ...]),  # what is removed besides the shortcut, in order
        ("score", float),  # mean |gamma| of its convolutions
        ("obstacle", Optional[str]),  # why it is not removed unless forced
    ],
)


def find_blocks(net: Net, ranking: str = "mean") -> List[Block]:
    """All shortcut blocks in order.

    A block is a sum of a tensor x and a branch that starts at x, reads nothing but x and itself, is read by
    nobody else, and makes all channels that it adds. Its length and its layer types do not matter.

    Args:
        ranking: mean (over all convolutions of the branch) or last (of the last one only).
    """
    if ranking not in ("mean", "last"):
        raise UsageError("unknown block ranking {!r}".format(ranking), hint="use mean or last")
    readers: Dict[int, List[Layer]] = {}
    for layer in net.layers:
        for source in layer.inputs:
            readers.setdefault(source.index, []).append(layer)
    found, channels = [], Channels(net)
    for layer in net.layers[: net.loaded]:
        if not layer.op.residual or len(layer.inputs) != 2:
            continue
        for trunk, end in ((layer.inputs[1], layer.inputs[0]), (layer.inputs[0], layer.inputs[1])):
            branch = _branch(layer, trunk, end, readers)
            if branch and _is_own(branch, trunk, channels) and _can_close(net, layer, trunk, branch):
                found.append(Block(layer, trunk, branch, _score(branch, ranking), _obstacle(layer, trunk, branch)))
                break
    return found


def _branch(shortcut: Layer, trunk: Any, end: Any, readers: Dict[int, List[Layer]]) -> Tuple[Layer, ...]:
    """The layers between `trunk` and `end`, or nothing where they are not a branch of their own."""
    inside: Dict[int, Layer] = {}
    waiting: List[Any] = [end]
    while waiting:
        layer = waiting.pop()
        if layer is trunk or layer.index in inside:
            continue
        if layer.index <= trunk.index:
            return ()
        inside[layer.index] = layer
        waiting.extend(layer.inputs)
    allowed = set(inside) | {shortcut.index}
    for index in inside:
        if any(reader.index not in allowed for reader in readers.get(index, [])):
            return ()
    return tuple(inside[index] for index in sorted(inside))


def _is_own(branch: Tuple[Layer, ...], trunk: Any, channels: Channels) -> bool:
    """Whether all that leaves the branch is made in it, by the layers that own the labels of its end."""
    makers: Set[int] = set()
    waiting: List[Any] = [branch[-1]]
    while waiting:
        layer = waiting.pop()
        if layer is trunk:
            return False
        if channels.produces(layer):
            makers.add(layer.index)
        else:
            waiting.extend(layer.inputs)
    return makers == _ends(channels, branch)


def _can_close(net: Net, shortcut: Layer, trunk: Any, branch: Tuple[Layer, ...]) -> bool:
    """Whether the layer behind the shortcut, if it reads the layer before it, then stands behind the trunk."""
    after = net.layers[shortcut.index + 1 : shortcut.index + 2]
    between = shortcut.index - trunk.index - 1
    return len(branch) == between or not any(layer.op.implicit for layer in after)


def _score(branch: Tuple[Layer, ...], ranking: str) -> float:
    gammas = [float(np.mean(np.abs(layer.array("scales")))) for layer in branch if layer.has("scales")]
    if not gammas:
        return float("inf")
    return gammas[-1] if ranking == "last" else sum(gammas) / len(gammas)


def _obstacle(shortcut: Layer, trunk: Any, branch: Tuple[Layer, ...]) -> Optional[str]:
    if not isinstance(trunk, Layer):
        return "its trunk is the image"
    if trunk.shape != shortcut.shape:
        return "it changes the shape"
    if shortcut["activation"] != "linear":
        return "its activation is {}".format(shortcut["activation"])
    if shortcut.params:
        return "it is weighted"
    if any(layer.pointers for layer in branch):
        return "it shares weights"
    return None


def remove_blocks(net: Net, blocks: List[Block], absorb: str) -> Tuple[Net, Dict[int, str], Walk]:
    """A net without the blocks, the constants of their branches absorbed.

    Returns the net, and block (by shortcut index) -> why its constant could not be absorbed (then nothing was
    removed), and the walk of the constants through `net`.
    """
    channels = Channels(net)
    nothing = np.zeros(channels.size, bool)
    muted: Dict[int, int] = {}
    for block in blocks:
        for index in _ends(channels, block.branch):
            muted[index] = block.shortcut.index
    gone = {layer.index for block in blocks for layer in block.branch + (block.shortcut,)}
    result = walk(net, channels, nothing, set(muted))
    if absorb == "exact":
        stuck = {muted[index]: why for index, why in result.muted_stuck.items()}
        if stuck:
            return net, stuck, result
        readers = [r for r in readers_of(net, channels, result.emissions, gone) if r.padded]
        if readers:
            return _with_constants(net, blocks, channels, readers, muted, gone, result)
    return _cut(net, blocks, channels, nothing, result, absorb, {}, gone), {}, result


def _with_constants(
    net: Net,
    blocks: List[Block],
    channels: Channels,
    readers: List[Any],
    muted: Dict[int, int],
    gone: Set[int],
    result: Walk,
) -> Tuple[Net, Dict[int, str], Walk]:
    """Removal where padded readers need a constant channel: the trunk gets one more channel that carries it."""
    widths = channels.widths()
    usable = usable_sets(net, channels, _extensible(channels, widths) & (channels.filters > 0) & channels.scored)
    carriers, unserved = choose_constants(channels, readers, usable, audible(net, channels))
    if unserved:
        why = "padded layer {} reads it, and its trunk cannot get a constant channel".format(unserved[0])
        return net, {index: why for index in muted.values()}, result
    wide = net
    for width in sorted({int(widths[s]) for s in carriers.values()}):
        now = Channels(wide)
        first = _first_label(channels, width)
        wide = widen(wide, now, now.widths() == now.widths()[now.sets[_label(now, *first)]])
    now = Channels(wide)
    removed = np.zeros(now.size, bool)
    new_carriers = {}
    for reader, carrier in carriers.items():
        layer = wide.layers[_first_label(channels, int(widths[carrier]))[0]]
        number = int(now.sets[now.outputs[layer.index][-1]])
        removed[number] = True
        new_carriers[reader] = number
    result = walk(wide, now, removed, set(muted))
    twins = [_twin(block, wide) for block in blocks]
    return _cut(wide, twins, now, removed, result, "exact", new_carriers, gone), {}, result


def _extensible(channels: Channels, widths: np.ndarray) -> np.ndarray:
    """bool by set: its tied width can get one more channel, one more filter in each layer that makes it."""
    fixed = channels.pinned >= 0
    for balance in channels.balances:
        for block in balance.blocks:
            fixed[block] = True
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


def _cut(
    net: Net,
    blocks: List[Block],
    channels: Channels,
    removed: np.ndarray,
    result: Walk,
    absorb: str,
    carriers: Dict[int, int],
    gone: Set[int],
) -> Net:
    absorption = Absorption(net, channels, removed, result, absorb, carriers, gone)
    new = regather(net, {}, absorption.patches)
    twins = [_twin(block, new) for block in blocks]
    for block in sorted(twins, key=lambda b: -b.shortcut.index):
        new.remove(list(block.branch) + [block.shortcut], replace=block.trunk)
    new.check()
    return new


def _ends(channels: Channels, branch: Tuple[Layer, ...]) -> Set[int]:
    """The producing layers of the branch's last tensor."""
    return set(channels.owner[channels.outputs[branch[-1].index]].tolist())
