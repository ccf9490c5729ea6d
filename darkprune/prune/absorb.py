"""Absorbing what removed channels still emit: into biases and means, or through constant channels.

Where a reader sees whole kernels everywhere, the sum of the constants goes into its bias or its batch-norm
mean. Where a reader is padded, its borders see less of the constants, as zeros are not constants: there one
removed channel stays as a constant channel, and the reader's weights for it carry the whole sum, tap by tap.
"""

import math
from typing import Any, Dict, List, Set, Tuple

import numpy as np

from darkprune.errors import GraphError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.activation_functions import inverse
from darkprune.ops.base import Emission
from darkprune.ops.common import activated
from darkprune.prune.constant_readers import (
    AUDIBLE,
    Carriers,
    Key,
    Reader,
    Sums,
    all_sums,
    audible,
    plain_bias,
    readers_of,
    served,
    too_large,
)
from darkprune.prune.emission import Walk, joined, walk
from darkprune.prune.gather_channels import Patch

SMALLEST = 2.0**-10  # of a constant channel's value; smaller ones lose bits where they meet real values


class Absorption:
    """The changes to arrays that make readers whole again, and the constants that stay.

    Attributes: constants (set numbers), patches (by layer index and parameter, on the new arrays).
    """

    def __init__(
        self,
        net: Net,
        channels: Channels,
        removed: np.ndarray,
        result: Walk,
        mode: str,
        carriers: Carriers,
        skip: Set[int],
    ) -> None:
        self.net, self.channels, self.removed, self.mode = net, channels, removed, mode
        self.carriers, self.skip = carriers, skip
        self.constants = sorted(set(carriers.values()))
        self.patches: Dict[Tuple[int, str], Patch] = {}
        self._kept = ~removed
        self._kept[self.constants] = True
        self._constant = np.zeros(channels.size, bool)
        self._constant[self.constants] = True
        if mode == "none":
            return
        readers = readers_of(net, channels, result.emissions, skip, mode)
        sums = all_sums([(r, self._rows(r), ~removed[channels.sets[r.labels]]) for r in readers])
        self._heard = audible(net, channels) if carriers else {}
        values = self._emitters(readers, sums)
        self._silence_columns()
        for reader in readers:
            self._patch_reader(reader, sums[reader.key].total, values)

    # ---- constant channels

    def _emitters(self, readers: List[Reader], sums: Dict[Key, Sums]) -> Dict[int, Emission]:
        """Turns the filters of constant sets into constants; returns what then arrives at every layer."""
        if not self.constants:
            return {}
        demand, plain = self._demand(readers, sums), np.zeros(self.channels.size, bool)
        seeds, values = self._emit(demand, plain)
        faint = [self.carriers[r.key] for r in readers if r.key in self.carriers and self._faint(r, seeds, values)]
        if faint:
            plain[faint] = True
            seeds, values = self._emit(demand, plain)
        for layer, bias in self._biases(demand, plain):
            self._patch_producer(layer, bias)
        return values

    def _emit(self, demand: Dict[int, float], plain: np.ndarray) -> Tuple[Dict[int, np.ndarray], Dict[int, Emission]]:
        """What every producer of constants emits, and what arrives of it. `plain`: as in `_biases`."""
        skipped = [layer for layer, _ in self._producers() if layer.index in self.skip]
        seeds = {layer.index: np.zeros(layer.shape.channels) for layer in skipped}
        for layer, bias in self._biases(demand, plain):
            seed = np.zeros(layer.shape.channels)
            seed[list(bias)] = activated(layer, np.array(list(bias.values())))
            seeds[layer.index] = seed
        return seeds, walk(self.net, self.channels, self.removed, seeds=seeds).emissions

    def _producers(self) -> List[Tuple[Layer, np.ndarray]]:
        """The layers that make constants."""
        return [(layer, sets) for layer, sets in self.channels.producers() if self._constant[sets].any()]

    def _biases(self, demand: Dict[int, float], plain: np.ndarray) -> List[Tuple[Layer, Dict[int, float]]]:
        """Layer and its constants' biases. Of filters whose maps are added up, the first emits, the others 0.

        `plain`: bool by set: all that the set makes is as `audible` has it, and not only what somebody reads.
        """
        found = []
        for layer, sets in self._producers():
            if layer.index in self.skip:
                continue
            labels, bias = self.channels.outputs[layer.index], {}
            for k in np.flatnonzero(self._constant[sets]).tolist():
                group = int(self.channels.added[labels[k]])
                bias[k] = 0.0
                if group == labels[k] and plain[sets[k]]:
                    bias[k] = plain_bias(layer) or 0.0
                elif group == labels[k] and group in demand:
                    bias[k] = self._bias(layer, sets, demand[group])
            found.append((layer, bias))
        return found

    def _faint(self, reader: Reader, seeds: Dict[int, np.ndarray], values: Dict[int, Emission]) -> bool:
        """Whether too little arrives of a reader's constant: a batch norm or a relu stands before it, or a factor."""
        column = self._column(reader, self.carriers[reader.key])
        label = int(self.channels.added[reader.labels[column]])
        emitted = float(seeds[int(self.channels.owner[label])][int(self.channels.place[label])])
        value = float(joined(values, reader.layer)[reader.columns][column])
        return not (emitted > 0 and abs(value) >= AUDIBLE / 2 * emitted)

    def _demand(self, readers: List[Reader], sums: Dict[Key, Sums]) -> Dict[int, float]:
        """Group of added labels -> the value its constant should have for the readers it serves."""
        demand: Dict[int, float] = {}
        for reader in readers:
            carrier = self.carriers.get(reader.key)
            if carrier is None:
                continue
            column = self._column(reader, carrier)
            group = int(self.channels.added[reader.labels[column]])
            total, largest = sums[reader.key]
            needed = float(np.abs(total).max()) / largest if largest and total.size else 1.0
            needed /= abs(float(joined(self._heard, reader.layer)[reader.columns][column]))  # what arrives of a 1
            demand[group] = max(demand.get(group, 0.0), needed, SMALLEST)
        return demand

    def _bias(self, layer: Layer, sets: np.ndarray, needed: float) -> float:
        """beta of a constant: the power of two that is needed, but at most the tensor's estimated amax."""
        mantissa, exponent = math.frexp(needed)  # mantissa in [0.5, 1)
        value = math.ldexp(1.0, exponent if mantissa > 0.5 else exponent - 1)
        live = ~self.removed[sets]
        if layer.has("scales") and live.any():
            amax = np.abs(layer.array("biases")[live]) + 3 * np.abs(layer.array("scales")[live])
            limit = float(amax.max())
            if 0 < limit < value:
                value = max(math.ldexp(1.0, math.frexp(limit)[1] - 1), SMALLEST)
        while value >= SMALLEST:
            beta = inverse(layer["activation"], value, layer.dialect_name)
            if beta is not None:
                return float(beta)
            value /= 2
        return float(plain_bias(layer) or 0.25)

    def _patch_producer(self, layer: Layer, bias: Dict[int, float]) -> None:
        rows = self._positions(layer, "out", np.array(list(bias)))
        values = [bias[k] for k in bias]
        for name, fill in (("biases", values), ("scales", 0), ("mean", 0), ("variance", 1), ("weights", 0)):
            if name in layer.params:
                self._add(layer, name, _setter(rows, fill))

    def _silence_columns(self) -> None:
        """No reader keeps its old weights for a constant channel."""
        for layer in self.net.layers[: self.net.loaded]:
            absorber = layer.op.absorber(layer)
            labels = self.channels.axes.get(layer.index, {}).get("in")
            if absorber is None or labels is None or layer.index in self.skip:
                continue
            mine = np.flatnonzero(self._constant[self.channels.sets[labels]])
            if mine.size and absorber.groups < labels.size:  # a depthwise layer's own filter is the constant
                columns = self._positions(layer, "in", mine)
                self._add(layer, "weights", _silencer(columns, absorber.groups))

    # ---- readers

    def _patch_reader(self, reader: Reader, total: np.ndarray, values: Dict[int, Emission]) -> None:
        layer = reader.layer
        rows = self._rows(reader)
        carrier = self.carriers.get(reader.key)
        if carrier is None:
            absorber = layer.op.absorber(layer)
            assert absorber is not None
            self._add(
                layer, absorber.target, _adder(layer, absorber.sign * total.sum(axis=1), self._fixed(layer, rows))
            )
            return
        column = self._column(reader, carrier)
        value = joined(values, layer)[reader.columns][column]
        if not abs(value) > 0:
            raise _unheard(layer)
        carried = total / value
        filters = self._positions(layer, "out", rows)
        place = self._positions(layer, "in", reader.columns.start + column)
        self._add(layer, "weights", _column_setter(filters, int(place), _float32(layer, carried)))

    def _column(self, reader: Reader, carrier: int) -> int:
        """The reader's column where it gets the constant of the set `carrier`."""
        mine = np.flatnonzero((self.channels.sets[reader.labels] == carrier) & served(reader, self._heard))
        if not mine.size:
            raise _unheard(reader.layer)
        return int(mine[0])

    def _rows(self, reader: Reader) -> np.ndarray:
        """The filters of a reader that take its constants over."""
        sets = self.channels.sets[self.channels.axes[reader.layer.index]["out"]]
        kept = self._kept[sets]
        if reader.key in self.carriers:
            kept = kept & ~self._constant[sets]  # constants themselves take nothing over
        return reader.rows.start + np.flatnonzero(kept[reader.rows])

    def _fixed(self, layer: Layer, rows: np.ndarray) -> np.ndarray:
        """bool by filter of `rows`: constants themselves, which take nothing over."""
        if not self.channels.produces(layer):
            return np.zeros(rows.size, bool)
        return self._constant[self.channels.sets[self.channels.outputs[layer.index]][rows]]

    def _positions(self, layer: Layer, axis: str, old: Any) -> np.ndarray:
        """Positions, after surgery, of old positions along a labelled axis."""
        kept = self._kept[self.channels.sets[self.channels.axes[layer.index][axis]]]
        return (np.cumsum(kept) - 1)[old]

    def _add(self, layer: Layer, name: str, patch: Patch) -> None:
        before = self.patches.get((layer.index, name))
        self.patches[layer.index, name] = patch if before is None else _chain(before, patch)


def _unheard(layer: Layer) -> GraphError:
    cause = "no constant channel reaches padded layer {} [{}]".format(layer.number, layer.type)
    return GraphError(cause, layer.place(), "use --absorb bias or none")


def _chain(first: Patch, second: Patch) -> Patch:
    return lambda array: second(first(array))


def _setter(rows: np.ndarray, fill: Any) -> Patch:
    def patch(array: np.ndarray) -> np.ndarray:
        array[rows] = np.asarray(fill, np.float32)
        return array

    return patch


def _silencer(columns: np.ndarray, groups: int) -> Patch:
    def patch(array: np.ndarray) -> np.ndarray:
        rows, per = array.shape[0] // groups, array.shape[1]
        for column in columns:
            group = column // per
            array[group * rows : (group + 1) * rows, column % per] = 0
        return array

    return patch


def _column_setter(rows: np.ndarray, column: int, values: np.ndarray) -> Patch:
    def patch(array: np.ndarray) -> np.ndarray:
        place = column % array.shape[1]  # of a grouped convolution, within its group
        array[rows, place] = values.reshape(array[rows, place].shape)
        return array

    return patch


def _adder(layer: Layer, amount: np.ndarray, fixed: np.ndarray) -> Patch:
    def patch(array: np.ndarray) -> np.ndarray:
        return np.where(fixed, array, _float32(layer, array.astype(np.float64) + amount))

    return patch


def _float32(layer: Layer, values: np.ndarray) -> np.ndarray:
    """What `layer` takes over, as its file can hold it. Raises GraphError where that is not finite."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise too_large(layer)
    return rounded
