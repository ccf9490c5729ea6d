"""Surgery on channels: every labelled axis of every parameter is gathered anew. No layer type is named here."""

from typing import Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from darkprune.errors import GraphError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Param
from darkprune.graph.net import Net
from darkprune.ops.base import ParamSpec

Gather = Dict[int, Dict[str, np.ndarray]]  # layer index -> axis -> positions in the old axis, -1 for a new zero one
MANY = 1 << 30  # more channels than any layer has
Patch = Callable[[np.ndarray], np.ndarray]
Patches = Mapping[Tuple[int, str], Patch]  # (layer index, parameter) -> change after gathering


def narrow(net: Net, channels: Channels, kept: np.ndarray, patches: Patches) -> Net:
    """A net with the channel sets that `kept` (bool by set number) marks, and `patches` done to its arrays."""
    gather: Gather = {}
    for index, axes in channels.axes.items():
        gather[index] = {name: np.flatnonzero(kept[channels.sets[labels]]) for name, labels in axes.items()}
    return regather(net, gather, patches)


def widen(net: Net, channels: Channels, width: np.ndarray, count: int = 1) -> Net:
    """A net that computes the same, with `count` more channels, all zeros, in each layer that makes sets of `width`.

    Args:
        width: bool by set number: the sets of one tied width that is neither balanced nor uneven.
    """
    new, grown = net.copy(), set()
    for layer, sets in channels.producers():
        if width[sets].any():
            twin = new.layers[layer.index]
            lengths = {name: labels.size for name, labels in channels.axes[layer.index].items()}
            lengths["out"] += count
            for key, value in layer.op.narrowed(layer, lengths).items():
                twin.set(key, value)
            grown.add(layer.index)
    new.infer()
    after = Channels(new)
    before = {layer.index: layer.shape.channels for layer in net.layers}
    gather: Gather = {}
    for index, axes in after.axes.items():
        gather[index] = {}
        for name, labels in axes.items():
            owner = after.owner[labels]
            old = np.array([before[o] if o in grown else MANY for o in owner.tolist()])
            fresh = after.place[labels] >= old
            gather[index][name] = np.where(fresh, -1, np.cumsum(~fresh) - 1)
    return regather(net, gather, {})


def regather(net: Net, gather: Gather, patches: Patches) -> Net:
    """A net whose labelled axes hold the given positions of the old ones; values are computed when asked for."""
    new = net.copy()
    for layer, twin in zip(net.layers, new.layers):
        positions = gather.get(layer.index)
        if positions:
            lengths = {name: index.size for name, index in positions.items()}
            for key, value in layer.op.narrowed(layer, lengths).items():
                if layer[key] != value:
                    twin.set(key, value)
    new.infer()
    for layer, twin in zip(net.layers, new.layers):
        specs = {spec.name: spec for spec in twin.op.parameters(twin)}
        for name, old in layer.params.items():
            patch = patches.get((layer.index, name))
            positions = _moved(old.spec, gather.get(layer.index, {}))
            if positions or patch:
                twin.params[name] = _derived(specs[name], old, positions, patch)
    return new


def _moved(spec: ParamSpec, positions: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The axes of a parameter that really change."""
    moved = {}
    for number, name in enumerate(spec.axes):
        index = positions.get(name)
        if index is not None:
            length = spec.shape[number] * (spec.groups if name == "in" else 1)
            if index.size != length or not np.array_equal(index, np.arange(length)):
                moved[name] = index
    if spec.groups > 1 and moved:
        return {name: positions[name] for name in ("out", "in")}
    return moved


def _derived(spec: ParamSpec, old: Param, positions: Dict[str, np.ndarray], patch: Optional[Patch]) -> Param:
    def load() -> np.ndarray:
        array = old.value
        if positions:
            array = (
                _take_grouped(array, old.spec, positions) if old.spec.groups > 1 else _take(array, old.spec, positions)
            )
        if patch is not None:
            array = patch(np.array(array, np.float32))
        return np.ascontiguousarray(array)

    return Param(spec, load)


def _take(array: np.ndarray, spec: ParamSpec, positions: Dict[str, np.ndarray]) -> np.ndarray:
    for number, name in enumerate(spec.axes):
        index = positions.get(name)
        if index is not None:
            array = array.take(np.maximum(index, 0), axis=number) if array.shape[number] else array
            if (index < 0).any():
                array[(slice(None),) * number + (index < 0,)] = 0
    return array


def _take_grouped(array: np.ndarray, spec: ParamSpec, positions: Dict[str, np.ndarray]) -> np.ndarray:
    """Weights [n, c / groups, ...]: each group keeps its own rows and columns, as many in every group."""
    out, into = positions["out"], positions["in"]
    per_out, per_in = spec.shape[0] // spec.groups, spec.shape[1]
    if per_in == 1:  # depthwise: whole groups go
        array = array[np.maximum(out, 0)]
        array[out < 0] = 0
        return array
    parts = []
    for group in range(spec.groups):
        rows = out[out // per_out == group]
        columns = into[into // per_in == group] - group * per_in
        parts.append(array[rows][:, columns])
    if len({part.shape for part in parts}) != 1:
        raise GraphError("the groups of a convolution would keep different numbers of channels")
    return np.concatenate(parts)
