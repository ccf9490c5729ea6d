"""Shortcut blocks: finding the branches of residual sums in the graph, ranking them, and taking them out."""

from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net

Block = NamedTuple(
    "Block",
    [
        ("shortcut", Layer),
        ("trunk", Any),  # the layer whose output passes the block unchanged
        ("branch", Tuple[Layer, ...]),  # what is removed besides the shortcut, in order
        ("score", float),  # mean |gamma| of its convolutions, or by another ranking
        ("obstacle", Optional[str]),  # why it is not removed unless forced
        ("forcible", bool),  # whether force helps
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
        hint = "use mean or last, or, to prune, criterion or damage"
        raise UsageError("unknown block ranking {!r}".format(ranking), hint=hint)
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
                obstacle, forcible = _obstacle(net, layer, trunk, branch)
                found.append(Block(layer, trunk, branch, _score(branch, ranking), obstacle, forcible))
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
    """Whether all that leaves the branch is made in it."""
    return ends(channels, branch) <= {layer.index for layer in branch}


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


def _obstacle(net: Net, shortcut: Layer, trunk: Any, branch: Tuple[Layer, ...]) -> Tuple[Optional[str], bool]:
    """(why the block is not removed, whether force helps)."""
    inside = {id(layer) for layer in branch + (shortcut,)}
    users = [la for la in net.layers if id(la) not in inside and inside & {id(x) for x in la.pointers.values()}]
    if not isinstance(trunk, Layer):
        return "its trunk is the image", False
    if trunk.shape != shortcut.shape:
        return "it changes the shape", False
    if not net.readers(shortcut):
        return "its sum is an output of the net", False
    if any(layer.pointers for layer in branch):
        return "it uses the weights of another layer", False
    if users:
        return "layer {} shares its weights".format(users[0].index), False
    if not is_plain(shortcut):
        weighted = shortcut.params or shortcut["activation"] == "linear"  # by alpha and beta
        return "it is weighted" if weighted else "its activation is {}".format(shortcut["activation"]), True
    return None, True


def is_plain(shortcut: Layer) -> bool:
    """Whether the sum is nothing but a sum, so that without its branch it is its trunk."""
    factors = [shortcut["alpha"], shortcut["beta"]]
    return bool(shortcut["activation"] == "linear") and factors == [1, 1] and not shortcut.params


def ends(channels: Channels, branch: Tuple[Layer, ...]) -> Set[int]:
    """The layers that make what the branch's last tensor consists of: sums, products and routes pass theirs on."""
    makers: Set[int] = set()
    waiting: List[Any] = [branch[-1]]
    while waiting:
        layer = waiting.pop()
        if channels.produces(layer) or not isinstance(layer, Layer):
            makers.add(layer.index)
        else:
            waiting.extend(layer.inputs)
    return makers
