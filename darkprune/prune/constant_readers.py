"""Who meets the constants of removed channels: the weighted layers, what each gets, and which channels can serve it."""

import threading
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.activations import inverse
from darkprune.ops.base import Emission
from darkprune.prune.emission import joined, walk

AUDIBLE = 2.0**-10  # of what a constant was where it is emitted

Reader = NamedTuple(
    "Reader",
    [
        ("layer", Layer),
        ("padded", bool),
        ("labels", np.ndarray),  # along its 'in' axis
        ("offset", np.ndarray),  # float64 along its 'in' axis
    ],
)


def readers_of(
    net: Net, channels: Channels, emissions: Dict[int, Emission], skip: Set[int], mode: str = "exact"
) -> List[Reader]:
    """The weighted layers that meet constants, in order; `skip` holds layers that go themselves."""
    found = []
    for layer in net.layers[: net.loaded]:
        absorber = layer.op.absorber(layer)
        if absorber is None or layer.index in skip or "weights" not in layer.params:
            continue
        if absorber.padded and absorber.groups > 1 and mode == "exact":
            continue  # what such a layer would have to take over is stuck, and kept, before it comes to this
        offset = joined(emissions, layer)
        if (offset != 0).any():
            found.append(Reader(layer, absorber.padded, channels.axes[layer.index]["in"], offset))
    return found


def audible(net: Net, channels: Channels) -> Dict[int, Emission]:
    """Layer index -> what arrives, per channel, of a constant 1 that every channel set emits.

    Of filters whose maps are added up only the first emits it, so a reader of another one alone gets nothing.
    """
    seeds = {}
    for layer, _ in channels.producers():
        labels = channels.outputs[layer.index]
        seeds[layer.index] = (channels.added[labels] == labels).astype(np.float64)
    return walk(net, channels, np.ones(channels.size, bool), seeds=seeds).emissions


def served(reader: Reader, heard: Dict[int, Emission]) -> np.ndarray:
    """bool along the reader's 'in' axis: whether it gets the constant of that channel's set."""
    return np.abs(joined(heard, reader.layer)) >= AUDIBLE


def choose_constants(
    channels: Channels, readers: List[Reader], usable: np.ndarray, heard: Dict[int, Emission]
) -> Tuple[Dict[int, int], List[int]]:
    """The fewest channel sets, found greedily, whose constants serve every padded reader.

    Args:
        usable: bool by set number: removed sets that can emit a constant. heard: see `audible`.

    Returns:
        reader index -> set, and the indices of readers that no set serves.
    """
    waiting = {}
    for reader in readers:
        if reader.padded:
            candidates = np.zeros(channels.size, bool)
            candidates[channels.sets[reader.labels[served(reader, heard)]]] = True
            waiting[reader.layer.index] = np.flatnonzero(candidates & usable)
    unserved = sorted(index for index, sets in waiting.items() if not sets.size)
    for index in unserved:
        del waiting[index]
    chosen: Dict[int, int] = {}
    while waiting:
        votes = np.zeros(channels.size, int)
        for sets in waiting.values():
            votes[sets] += 1
        best = np.flatnonzero(votes == votes.max())
        carrier = int(best[np.argmin(channels.filters[best])])
        for index in [i for i, sets in waiting.items() if carrier in sets]:
            chosen[index] = carrier
            del waiting[index]
    return chosen, unserved


def assign(
    net: Net,
    channels: Channels,
    readers: List[Reader],
    usable: np.ndarray,
    heard: Optional[Dict[int, Emission]] = None,
) -> Tuple[Dict[int, int], List[int]]:
    """`choose_constants`, with only those constants heard that are then really emitted (a product needs two)."""
    heard = audible(net, channels) if heard is None else heard
    carriers, unserved = choose_constants(channels, readers, usable, heard)
    columns = {}
    for reader in readers:
        if reader.layer.index in carriers:
            mine = channels.sets[reader.labels] == carriers[reader.layer.index]
            columns[reader.layer.index] = int(np.flatnonzero(mine & served(reader, heard))[0])
    groups = {int(channels.added[r.labels[columns[r.layer.index]]]) for r in readers if r.layer.index in columns}
    seeds = {}
    for layer, _ in channels.producers():
        labels = channels.outputs[layer.index]
        seeds[layer.index] = np.array([float(label in groups) for label in labels.tolist()])
    found = walk(net, channels, np.ones(channels.size, bool), seeds=seeds).emissions if groups else {}
    for reader in readers:
        column = columns.get(reader.layer.index)
        if column is not None and not abs(joined(found, reader.layer)[column]) >= AUDIBLE:
            unserved.append(reader.layer.index)
            del carriers[reader.layer.index]
    return carriers, sorted(unserved)


def usable_sets(net: Net, channels: Channels, removed: np.ndarray) -> np.ndarray:
    """bool by set: all its filters can be silenced, and their activations reach positive constants."""
    usable = removed.copy()
    for layer, sets in channels.producers():
        if not layer.has("scales"):
            usable[sets[channels.scored[sets]]] = False
        if inverse(layer["activation"], 0.25, layer.dialect_name) is None:
            usable[sets] = False
    return usable


Sums = NamedTuple(
    "Sums",
    [
        ("total", np.ndarray),  # float64 [kept filters, taps]: over channels, weight times constant
        ("largest", float),  # of the kept filters' |weights| for live channels; only for padded readers
    ],
)


def sums_of(reader: Reader, rows: np.ndarray, live: np.ndarray) -> Sums:
    """What a reader's kept filters (`rows`) get from the constants of its input; `live` is bool along its 'in' axis.

    The order of the sums is fixed, so that the same files come out everywhere.
    """
    weights = reader.layer.array("weights")
    n, per = weights.shape[0], weights.shape[1]
    flat = weights.reshape(n, per, -1)
    absorber = reader.layer.op.absorber(reader.layer)
    if absorber is not None and absorber.groups > 1:
        offset = reader.offset.reshape(absorber.groups, per).repeat(n // absorber.groups, axis=0)
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


def all_sums(jobs: List[Tuple[Reader, np.ndarray, np.ndarray]]) -> Dict[int, Sums]:
    """Layer index -> `sums_of` each job. Two threads share them; each sum is one thread's own: no bit depends on it."""
    sums: Dict[int, Sums] = {}
    failed: List[Exception] = []

    def work(first: int) -> None:
        try:
            for reader, rows, live in jobs[first::2]:
                sums[reader.layer.index] = sums_of(reader, rows, live)
        except Exception as error:  # raised again where it can be caught
            failed.append(error)

    thread = threading.Thread(target=work, args=(1,))
    thread.start()
    work(0)
    thread.join()
    if failed:
        raise failed[0]
    return sums


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
