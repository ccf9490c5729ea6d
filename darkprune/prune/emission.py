"""What silenced channels still emit, tensor by tensor.

The net we compare with is the original with gamma := 0 on every channel that goes (and weights := 0 where a
whole set has no gamma). Such a channel is constant inside the map; everything behind it that is linear carries
that constant on, until a layer with weights takes it over.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.base import Emission, Fate

Walk = NamedTuple(
    "Walk",
    [
        ("emissions", Dict[int, Emission]),  # layer index (-1: the image) -> what its output emits
        ("stuck", Dict[int, str]),  # channel set -> why what it emits cannot be taken over
        ("muted_stuck", Dict[int, str]),  # the same for layers that are silenced whole, by index
    ],
)


def walk(
    net: Net,
    channels: Channels,
    removed: np.ndarray,
    muted: Optional[Set[int]] = None,
    seeds: Optional[Any] = None,
    bypassed: Optional[Mapping[int, int]] = None,
) -> Walk:
    """Follows the constants through the net.

    Args:
        removed: bool by set number.
        muted: indices of layers whose whole output is silenced (the ends of removed branches).
        seeds: layer index -> float64 constants that removed channels emit, instead of what they do emit.
        bypassed: layer -> the earlier layer that takes its place (sums that are taken out with their activation).
    """
    muted, bypassed = muted or set(), bypassed or {}
    shared = {target.index for layer in net.layers for target in layer.pointers.values()}
    length = net.input.shape.channels
    emissions = {-1: Emission(np.zeros(length), np.ones(length, bool))}
    stuck: Dict[int, str] = {}
    muted_stuck: Dict[int, str] = {}
    lately: Dict[int, str] = {}  # set -> where what it emits was lost; that only matters to a layer that reads it
    spoilt: Set[int] = set()  # sets of which a constant was lost where it met what is none
    for layer in net.layers[: net.loaded]:
        ins = [emissions[x.index] for x in layer.inputs]
        for number in _unknown(layer, channels, ins):
            stuck.setdefault(number, lately[number])
        fate = fate_of(layer, channels, removed, muted)
        emission = layer.op.emit(layer, ins, fate)
        if layer.index in bypassed:
            emission = emissions[bypassed[layer.index]]
        if layer.index in shared and any((e.offset != 0).any() for e in ins):
            emission = Emission(np.full(emission.offset.shape, np.nan), emission.live)  # another layer uses its arrays
        if seeds is not None and layer.index in seeds:
            offset = np.where(fate.removed, seeds[layer.index], emission.offset)
            emission = Emission(offset, emission.live)
        lost = np.isnan(emission.offset)
        if lost.any():
            out = channels.sets[channels.outputs[layer.index]]
            later = lost & removed[out]
            late = set(out[later].tolist())
            met = late & _constants(layer, channels, ins) - spoilt
            lately.update({number: _why(layer) for number in met | late - set(lately)})
            spoilt |= met
            lost &= ~later
            if lost.any():
                _blame(layer, channels, removed, ins, stuck, muted, muted_stuck)
                emission = Emission(np.where(lost, 0.0, emission.offset), emission.live)
        emissions[layer.index] = emission
    for index, emission in emissions.items():
        if np.isnan(emission.offset).any():
            emissions[index] = Emission(np.nan_to_num(emission.offset), emission.live)
    return Walk(emissions, stuck, muted_stuck)


def _unknown(layer: Layer, channels: Channels, ins: List[Emission]) -> List[int]:
    """The channel sets from which a weighted layer gets what is no constant, although they go."""
    absorber = layer.op.absorber(layer)
    if absorber is None or not np.isnan(ins[0].offset).any():
        return []
    if absorber.groups == ins[0].offset.size > 1:
        return []  # of a depthwise layer, the filters that read them go too
    return sorted(set(channels.sets[channels.outputs[layer.inputs[0].index]][np.isnan(ins[0].offset)].tolist()))


def _constants(layer: Layer, channels: Channels, ins: List[Emission]) -> Set[int]:
    """The channel sets of which a constant arrives at a layer with several inputs."""
    parts = [channels.sets[channels.outputs[x.index]][~np.isnan(e.offset)] for x, e in zip(layer.inputs, ins)]
    return set(np.concatenate(parts).tolist()) if len(ins) > 1 else set()


def _why(layer: Layer) -> str:
    if len(layer.inputs) == 1 and layer.params:
        return "layer {} [{}] has no batch norm that could silence it".format(layer.number, layer.type)
    return "layer {} [{}] does not pass its constant on".format(layer.number, layer.type)


def fate_of(layer: Layer, channels: Channels, removed: np.ndarray, muted: Set[int]) -> Fate:
    """Which output channels of a layer go, and which of those are silenced in the net we compare with."""
    sets = channels.sets[channels.outputs[layer.index]]
    if layer.index in muted:
        every = np.ones(sets.size, bool)
        return Fate(every, every)
    goes = removed[sets]
    if not channels.produces(layer):
        return Fate(goes, np.zeros(sets.size, bool))
    return Fate(goes, goes if layer.has("scales") else goes & ~channels.scored[sets])


def _blame(
    layer: Layer,
    channels: Channels,
    removed: np.ndarray,
    ins: List[Emission],
    stuck: Dict[int, str],
    muted: Set[int],
    muted_stuck: Dict[int, str],
) -> None:
    """Names the sets (or the silenced layers) behind constants that disturb a channel of `layer` that stays."""
    why = "layer {} [{}] does not pass its constant on".format(layer.number, layer.type)
    parts = [channels.sets[channels.outputs[x.index]] for x in layer.inputs]
    guilty = np.concatenate([p[(e.offset != 0) & removed[p]] for p, e in zip(parts, ins)])
    for number in set(guilty.tolist()):
        stuck.setdefault(number, why)
    if not guilty.size:
        for index in muted:
            muted_stuck.setdefault(index, why)


def joined(emissions: Dict[int, Emission], layer: Layer) -> np.ndarray:
    """float64 offsets along a weighted layer's 'in' axis."""
    source = layer.inputs[0]
    offset = emissions[source.index].offset
    absorber = layer.op.absorber(layer)
    return np.repeat(offset, absorber.positions) if absorber is not None else offset
