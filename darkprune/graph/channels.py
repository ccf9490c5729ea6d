"""Channel sets: which channels live and die together, which may not go, and which must shrink evenly.

Every producing layer gives its output channels fresh labels; the other layers pass, join, slice, repeat or
tie them. Labels that are tied form one channel set: the unit that is scored, kept or removed whole.
"""

from typing import AbstractSet, Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.errors import GraphError
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net

Balance = NamedTuple("Balance", [("blocks", Tuple[np.ndarray, ...]), ("reason", str)])  # blocks hold set numbers
Tie = NamedTuple("Tie", [("a", np.ndarray), ("b", np.ndarray), ("reason", str), ("added", bool)])
_Overreach = NamedTuple(
    "_Overreach",
    [
        ("wide", np.ndarray),  # set numbers: the channels of a sum
        ("narrow", np.ndarray),  # of a narrower addend
        ("before", np.ndarray),  # of what the layer of that addend reads
        ("reason", str),
    ],
)


class Overreach(_Overreach):
    """A sum that must not come to the widths with which AlexeyAB's Darknet reads behind the end of an addend."""

    __slots__ = ()

    def broken(self, kept: np.ndarray) -> bool:
        """Whether the channel sets that `kept` marks (bool by set) have those widths."""
        narrow, wide = np.count_nonzero(kept[self.narrow]), np.count_nonzero(kept[self.wide])
        return bool(narrow < wide == np.count_nonzero(kept[self.before]))


MOST = 1 << 24  # channels of one tensor, or values of a flat one; no label array is larger


class Channels:
    """The channel labels of a net.

    Labels are integers; `sets` maps a label to the number of its channel set. Arrays given to ops hold
    labels, everything below "after the walk" speaks of set numbers.

    Attributes:
        size: number of labels (and an upper bound of set numbers).
        outputs: layer index -> labels of its output channels.
        axes: layer index -> axis name ('in', 'out') -> labels along that axis of its parameters.
        owner: label -> index of the layer that produced it (-1 for the image). place: label -> channel there.
        sets: label -> channel set. added: label -> set of labels that meet in a sum of maps.
        balances: blocks of set numbers that must keep equally many.
        overreaches: sums whose widths must not meet in a way that one reader misreads.
        filters: set -> number of filters (rows of weights) it holds. scored: set -> has a batch-norm gamma.

    Args:
        blocks: shortcut -> the layers of its branch, by index: shortcut blocks that are taken out. They tie, pin
            and balance nothing, and what reads the shortcut reads its trunk.
    """

    def __init__(self, net: Net, blocks: Optional[Mapping[int, AbstractSet[int]]] = None) -> None:
        self.net = net
        self._blocks = blocks or {}
        self._gone = set(self._blocks).union(*self._blocks.values())
        self.size = 0
        self.outputs: Dict[int, np.ndarray] = {}
        self.axes: Dict[int, Dict[str, np.ndarray]] = {}
        self._owners: List[Tuple[int, int]] = []
        self._ties: List[Tie] = []
        self._pins: List[Tuple[np.ndarray, str]] = []
        self._balances: List[Tuple[List[np.ndarray], str]] = []
        self._overreaches: List[Tuple[np.ndarray, np.ndarray, np.ndarray, str]] = []
        self._walk()
        self._finish()

    # ---- what ops call

    def fresh(self, layer: Any, count: int) -> np.ndarray:
        """New labels for the output channels of a producing layer."""
        labels = np.arange(self.size, self.size + count)
        self.size += count
        self._owners.append((layer.index, count))
        return labels

    def axis(self, layer: Layer, name: str, labels: np.ndarray) -> None:
        """Says which labels run along a named parameter axis."""
        self.axes.setdefault(layer.index, {})[name] = labels

    def tie(self, a: np.ndarray, b: np.ndarray, reason: str, added: bool = False) -> None:
        """Ties labels pairwise; `added` says that their maps are summed, so that constants add up."""
        if a.size != b.size:
            raise GraphError("cannot tie {} channels to {} ({})".format(a.size, b.size, reason))
        self._ties.append(Tie(a, b, reason, added))

    def pin(self, labels: np.ndarray, reason: str) -> None:
        """Forbids the removal of labels."""
        if labels.size:
            self._pins.append((labels, reason))

    def balance(self, blocks: Sequence[np.ndarray], reason: str) -> None:
        """Asks that as many labels are kept in each block."""
        self._balances.append((list(blocks), reason))

    def overreach(self, wide: np.ndarray, narrow: np.ndarray, before: np.ndarray, reason: str) -> None:
        """Says that a sum of `wide` with an addend of `narrow` labels, whose layer reads `before`, must not come to
        as many channels as that layer reads (see `Overreach`)."""
        self._overreaches.append((wide, narrow, before, reason))

    def output(self, layer: Any) -> np.ndarray:
        """Labels of a layer's output channels."""
        return self.outputs[layer.index]

    def inputs(self, layer: Layer) -> np.ndarray:
        """Labels of the channels a layer reads, all inputs joined."""
        return np.concatenate([np.zeros(0, int)] + [self.outputs[x.index] for x in layer.inputs])

    # ---- the walk

    def _walk(self) -> None:
        net = self.net
        for layer in [net.input] + list(net.layers):
            _refuse_wide(net, layer)
        image = self.fresh(net.input, net.input.shape.channels)
        self.pin(image, "the image")
        self.outputs[-1] = image
        for layer in net.layers:
            labels = self._labels(layer)
            if labels.size != layer.shape.channels:
                raise GraphError("layer {} has {} labels for {} channels".format(layer, labels.size, layer.shape))
            self.outputs[layer.index] = labels
        for layer in net.outputs():
            self.pin(self.outputs[layer.index], "output of the net, layer {}".format(layer.number))
        if net.partial:
            for layer in net.layers[net.loaded :]:
                reason = "layer {} has no values in partial weights".format(layer.number)
                self.pin(self.outputs[layer.index], reason)
                self.pin(self.inputs(layer), reason)

    def _labels(self, layer: Layer) -> np.ndarray:
        told: Tuple[List[Any], ...] = (self._ties, self._pins, self._balances, self._overreaches)
        marks = [len(found) for found in told]
        labels = layer.op.channels(layer, [self.outputs[x.index] for x in layer.inputs], self)
        if layer.index in self._gone:
            for found, mark in zip(told, marks):
                del found[mark:]
            branch = self._blocks.get(layer.index)
            if branch is not None:
                labels = next(self.outputs[x.index] for x in layer.inputs if x.index not in branch)
        return labels

    def _finish(self) -> None:
        self.owner = np.repeat([o for o, _ in self._owners], [n for _, n in self._owners])
        self.place = np.concatenate([np.arange(n) for _, n in self._owners])
        self.sets = components(self.size, [(t.a, t.b) for t in self._ties])
        self.added = components(self.size, [(t.a, t.b) for t in self._ties if t.added])
        self.balances = [
            Balance(tuple(self.sets[block] for block in blocks), reason) for blocks, reason in self._balances
        ]
        self.overreaches = [Overreach(self.sets[w], self.sets[n], self.sets[b], r) for w, n, b, r in self._overreaches]
        self.pinned = np.full(self.size, -1)
        for number, (labels, _) in reversed(list(enumerate(self._pins))):
            self.pinned[self.sets[labels]] = number
        self.filters = np.zeros(self.size, int)
        self.scored = np.zeros(self.size, bool)
        for layer in self.net.layers:
            labels = self.axes.get(layer.index, {}).get("out")
            if labels is None or not self.produces(layer) or layer.index in self._gone:
                continue
            np.add.at(self.filters, self.sets[labels], 1)
            if layer.has("scales"):
                self.scored[self.sets[labels]] = True

    # ---- after the walk

    def produces(self, layer: Layer) -> bool:
        """Whether the layer's output labels are its own: it has weights that make new channels."""
        labels = self.axes.get(layer.index, {}).get("out")
        return labels is not None and labels.size > 0 and self.owner[labels[0]] == layer.index

    def producers(self) -> List[Tuple[Layer, np.ndarray]]:
        """(layer, set number of each output channel) of all layers that make channels, in order."""
        return [(la, self.sets[self.outputs[la.index]]) for la in self.net.layers if self.produces(la)]

    def pin_reason(self, number: Any) -> Optional[str]:
        """Why a channel set may not go; None if it may."""
        pin = self.pinned[number]
        return None if pin < 0 else self._pins[pin][1]

    def members(self, number: int) -> List[Tuple[int, int]]:
        """(layer index, output channel) of the labels in a channel set."""
        labels = np.flatnonzero(self.sets == number)
        return list(zip(self.owner[labels].tolist(), self.place[labels].tolist()))

    def reasons(self, number: int) -> List[str]:
        """Why a channel set is what it is: its ties, its balances and its pin, for people to read."""
        found = [t.reason for t in self._ties if (self.sets[t.a] == number).any()]
        found += [b.reason for b in self.balances if any((block == number).any() for block in b.blocks)]
        pin = self.pin_reason(number)
        return found + (["kept: " + pin] if pin else [])

    def widths(self) -> np.ndarray:
        """Set -> number of its tied width: sets that share a producing layer move together."""
        pairs = [(np.repeat(sets[:1], sets.size), sets) for _, sets in self.producers()]
        return components(self.size, pairs)


def _refuse_wide(net: Net, layer: Any) -> None:
    count = layer.shape.channels
    if count > MOST:
        where = layer.place() if isinstance(layer, Layer) else net.config.place()
        raise GraphError("{} channels are more than any net has".format(count), where, "check the sizes in the cfg")


def components(count: int, pairs: Sequence[Tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The smallest number that each of 0..count-1 is connected to through pairs of equal-length arrays."""
    root = np.arange(count)
    if not pairs:
        return root
    a = np.concatenate([p for p, _ in pairs])
    b = np.concatenate([q for _, q in pairs])
    while True:
        low = np.minimum(root[a], root[b])
        new = root.copy()
        np.minimum.at(new, root[a], low)
        np.minimum.at(new, root[b], low)
        while True:
            jumped = new[new]
            if np.array_equal(jumped, new):
                break
            new = jumped
        if np.array_equal(new, root):
            return root
        root = new
