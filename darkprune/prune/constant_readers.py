"""Who meets the constants of removed channels: the weighted layers, what each gets, and which channels can serve it."""

import threading
from itertools import groupby
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from darkprune.errors import GraphError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.activation_functions import inverse
from darkprune.ops.base import Emission
from darkprune.prune.emission import joined, walk

THREADS = 2  # that share the sums
AUDIBLE = 2.0**-10  # of what a constant was where it is emitted

Key = Tuple[int, int]  # of a reader: its layer, and the number of its first input channel
Carriers = Dict[Key, int]  # padded reader -> the channel set that stays as its constant channel

_Reader = NamedTuple(
    "_Reader",
    [
        ("layer", Layer),
        ("padded", bool),
        ("columns", slice),  # of the layer's 'in' axis
        ("rows", slice),  # its filters that read them
        ("labels", np.ndarray),  # along the columns
        ("offset", np.ndarray),  # float64 along the columns
    ],
)


class Reader(_Reader):
    """A weighted layer that meets constants; of a padded grouped convolution, one of its groups."""

    __slots__ = ()

    @property
    def key(self) -> Key:
        """What names it."""
        return self.layer.index, self.columns.start


def readers_of(
    net: Net, channels: Channels, emissions: Dict[int, Emission], skip: Set[int], mode: str = "exact"
) -> List[Reader]:
    """Who meets constants, in order; `skip` holds layers that go themselves."""
    found: List[Reader] = []
    for layer in net.layers[: net.loaded]:
        absorber = layer.op.absorber(layer)
        if absorber is None or layer.index in skip or "weights" not in layer.params:
            continue
        offset, labels = joined(emissions, layer), channels.axes[layer.index]["in"]
        if not (offset != 0).any():
            continue
        groups = absorber.groups if absorber.padded and mode == "exact" else 1
        if groups == labels.size > 1:
            continue  # what a padded depthwise layer would have to take over is stuck, and kept, before it comes here
        per, rows = labels.size // groups, layer.params["weights"].shape[0] // groups
        for group in range(groups):
            columns = slice(group * per, (group + 1) * per)
            if (offset[columns] != 0).any():
                mine = slice(group * rows, (group + 1) * rows)
                found.append(Reader(layer, absorber.padded, columns, mine, labels[columns], offset[columns]))
    return found


def audible(net: Net, channels: Channels) -> Dict[int, Emission]:
    """Layer index -> what arrives, per channel, of a constant 1 that every channel set emits which is not pinned.

    Of filters whose maps are added up only the first emits it, so a reader of another one alone gets nothing.
    """
    seeds = {}
    for layer, _ in channels.producers():
        labels = channels.outputs[layer.index]
        seeds[layer.index] = (channels.added[labels] == labels).astype(np.float64)
    return walk(net, channels, channels.pinned < 0, seeds=seeds).emissions


def served(reader: Reader, heard: Dict[int, Emission]) -> np.ndarray:
    """bool along the reader's columns: whether it gets the constant of that channel's set."""
    return np.abs(joined(heard, reader.layer)[reader.columns]) >= AUDIBLE


def choose_constants(
    channels: Channels, readers: List[Reader], usable: np.ndarray, heard: Dict[int, Emission]
) -> Tuple[Carriers, List[Key]]:
    """The fewest channel sets, found greedily, whose constants serve every padded reader.

    Args:
        usable: bool by set number: removed sets that can emit a constant. heard: see `audible`.

    Returns:
        padded reader -> set, and the readers that no set serves.
    """
    waiting: Dict[Key, np.ndarray] = {}
    votes = np.zeros(channels.size, int)
    fans: Dict[int, List[Key]] = {}
    for reader in readers:
        if reader.padded:
            candidates = np.unique(channels.sets[reader.labels[served(reader, heard)]])
            waiting[reader.key] = candidates[usable[candidates]]
            votes[waiting[reader.key]] += 1
            for number in waiting[reader.key].tolist():
                fans.setdefault(number, []).append(reader.key)
    unserved = sorted(key for key, sets in waiting.items() if not sets.size)
    for key in unserved:
        del waiting[key]
    chosen: Carriers = {}
    while waiting:
        best = np.flatnonzero(votes == votes.max())
        carrier = int(best[np.argmin(channels.filters[best])])
        for key in fans[carrier]:
            if key in waiting:
                chosen[key] = carrier
                votes[waiting.pop(key)] -= 1
    return chosen, unserved


def assign(
    net: Net,
    channels: Channels,
    readers: List[Reader],
    usable: np.ndarray,
    heard: Optional[Dict[int, Emission]] = None,
) -> Tuple[Carriers, List[Key]]:
    """`choose_constants`, with what is heard in this net unless that is given."""
    return choose_constants(channels, readers, usable, audible(net, channels) if heard is None else heard)


def usable_sets(net: Net, channels: Channels, removed: np.ndarray) -> np.ndarray:
    """bool by set: all its filters can be silenced, and their activations reach positive constants."""
    usable = removed.copy()
    for layer, sets in channels.producers():
        if not layer.has("biases") or plain_bias(layer) is None:
            usable[sets] = False
    return usable


def plain_bias(layer: Layer) -> Optional[float]:
    """The bias with which a filter without weights emits 1, or 0.25 where it cannot; None where it emits neither."""
    found = [inverse(layer["activation"], value, layer.dialect_name) for value in (1.0, 0.25)]
    return next((bias for bias in found if bias is not None), None)


Sums = NamedTuple(
    "Sums",
    [
        ("total", np.ndarray),  # float64 [kept filters, taps]: over channels, weight times constant
        ("largest", float),  # of the kept filters' |weights| for live channels; only for padded readers
    ],
)
Job = Tuple[Reader, np.ndarray, np.ndarray]  # a reader, its kept filters, bool by column: a live channel


def sums_of(weights: np.ndarray, job: Job) -> Sums:
    """What a reader's kept filters get from the constants of its input; `weights` are its layer's.

    The order of the sums is fixed, so that the same files come out everywhere.
    """
    reader, rows, live = job
    n, per = weights.shape[0], weights.shape[1]
    flat = weights.reshape(n, per, -1)
    if per < reader.offset.size:  # all groups of an unpadded convolution
        groups = reader.offset.size // per
        offset = reader.offset.reshape(groups, per).repeat(n // groups, axis=0)
        return Sums(_fold(flat[rows] * offset[rows][:, :, None]), 0.0)
    used, others = np.flatnonzero(reader.offset), np.flatnonzero(live)
    total, largest = np.zeros((rows.size, flat.shape[2]), np.float64), 0.0
    for start in range(0, rows.size, 64):  # bounded memory
        part = flat[rows[start : start + 64]]
        if reader.padded and others.size:
            kept = part.take(others, axis=1)
            largest = max(largest, float(kept.max()), -float(kept.min()))
        part = part.take(used, axis=1).astype(np.float64)
        part *= reader.offset[used][:, None]
        total[start : start + 64] = _fold(part)
    return Sums(total, largest)


def all_sums(jobs: List[Job]) -> Dict[Key, Sums]:
    """Reader -> `sums_of` each job. Threads share the layers; each sum is one thread's own, so no bit depends on that.

    Raises GraphError where a sum is not finite: the weights are then of no use.
    """
    sums: Dict[Key, Sums] = {}
    failed: List[Exception] = []
    layers = [list(group) for _, group in groupby(jobs, key=lambda job: job[0].layer.index)]

    def work(first: int) -> None:
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # which each thread has to say for itself
                for mine in layers[first::THREADS]:
                    weights = mine[0][0].layer.array("weights")
                    for job in mine:
                        sums[job[0].key] = sums_of(weights, job)
        except Exception as error:  # raised again where it can be caught
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, THREADS)]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    for reader, _, _ in jobs:
        if not np.isfinite(sums[reader.key].total).all():
            raise too_large(reader.layer)
    return sums


def too_large(layer: Layer) -> GraphError:
    """The error to raise where a layer would have to take over more than float32 can say."""
    cause = "the constants that layer {} [{}] would take over are too large for float32".format(layer.index, layer.type)
    return GraphError(cause, layer.place(), "check the weights, or use --absorb none")


def _fold(terms: np.ndarray) -> np.ndarray:
    """The sum over axis 1 of [n, count, taps], by halving: an order that no library or processor changes."""
    count = terms.shape[1]
    if not count:
        return np.zeros((terms.shape[0], terms.shape[2]))
    while count > 1:
        half = (count + 1) // 2
        terms[:, : count - half] += terms[:, half:count]
        count = half
    return terms[:, 0]
