"""The original whose removed filters are zeros in its own arrays: a reference that real readers run as files.

Channel sets are not asked. A filter is silenced because the plan names it by layer and channel; whether zeros then
stay zeros is followed through the layers, and what they meet on their way decides whether the reference holds.
"""

from typing import Optional, Tuple

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.base import Absorber, Emission, Fate
from darkprune.prune.blocks import ends, is_plain
from darkprune.prune.plan import Plan

BORDERS = "constants folded into biases are wrong at the borders"  # why --absorb bias is not judged


def masked(net: Net, plan: Plan) -> Net:
    """A net of the original's shape, equal to what the plan makes of it at the heads.

    With absorb=none the filters that the plan removes, and the last ones of each removed branch, get gamma = beta = 0
    (weights and bias 0 without batch norm), and so do [batchnorm] layers behind them. With absorb=exact they keep
    their beta, and a filter without batch norm that reads only what is constant keeps its weights. See `maskable`
    for where the equality holds.
    """
    channels, silent, ended = _silent(net, plan)
    follows = ~ended & channels.scored[channels.sets]  # another filter of the set has the gamma
    twin, none = net.copy(), plan.options.get("absorb", "exact") == "none"
    for layer in twin.layers[: net.loaded]:
        labels = channels.outputs[layer.index]
        quiet, made = silent[labels], channels.produces(layer)
        if not none and not layer.has("scales"):
            quiet = quiet & ~follows[labels]
        if not quiet.any() or not (made or none and layer.has("scales")):
            continue
        names = ["scales" if layer.has("scales") else "weights"] + (["biases"] if none else [])
        for name in names:
            if layer.has(name):
                _zero(layer, name, quiet)
    return twin


def maskable(net: Net, plan: Plan) -> Optional[str]:
    """Why `masked` is no reference for this plan; None if it is one."""
    mode = plan.options.get("absorb", "exact")
    if mode == "bias":
        return BORDERS
    if net.partial:
        return "the weights cover only the first {} layers".format(net.loaded)
    for block in plan.removed_blocks:
        if not is_plain(net.layers[block["shortcut"]]):
            return "layer {} was taken out although it is more than a sum".format(block["shortcut"])
    leak = None if mode == "exact" else _leak(masked(net, plan), *_silent(net, plan)[:2])
    if leak is None:
        return None
    return "removed channels would not be 0 where layer {} [{}] meets them".format(leak.index, leak.type)


def _silent(net: Net, plan: Plan) -> Tuple[Channels, np.ndarray, np.ndarray]:
    """The labels of the net without the plan's blocks, and bool by label: made by a filter that is silenced, and made
    by the end of a removed branch."""
    blocks = {block["shortcut"]: set(block["layers"][:-1]) for block in plan.removed_blocks}
    channels = Channels(net, blocks)
    silent, ended = np.zeros(channels.size, bool), np.zeros(channels.size, bool)
    for lists in (plan.removed_channels, plan.constants):
        for index, places in lists.items():
            labels = channels.outputs[index]
            silent[labels[[k for k in places if k < labels.size]]] = True
    for branch in blocks.values():
        for index in ends(channels, tuple(net.layers[i] for i in sorted(branch))):
            ended[channels.outputs[index]] = True
    return channels, silent | ended, ended


def _zero(layer: Layer, name: str, quiet: np.ndarray) -> None:
    array = layer.array(name).copy()
    axis = layer.spec(name).axes.index("out")
    array[(slice(None),) * axis + (quiet,)] = 0
    layer.set_param(name, array)


def _leak(twin: Net, channels: Channels, silent: np.ndarray) -> Optional[Layer]:
    """The first layer that hears a silenced channel emit something else than 0."""
    length = twin.input.shape.channels
    emissions = {-1: Emission(np.zeros(length), np.ones(length, bool))}
    last = {id(layer) for layer in twin.outputs()}
    for layer in twin.layers:
        ins = [emissions[x.index] for x in layer.inputs]
        gone = silent[channels.outputs[layer.index]] & channels.produces(layer)
        emission = layer.op.emit(layer, ins, Fate(gone, gone))
        absorber = layer.op.absorber(layer)
        heard = absorber is not None and _heard(absorber, ins[0], gone)
        loud = emission.offset != 0  # nan as well
        if heard or (loud & emission.live).any() or np.isnan(emission.offset).any() or id(layer) in last and loud.any():
            return layer
        emissions[layer.index] = emission
    return None


def _heard(absorber: Absorber, emission: Emission, gone: np.ndarray) -> bool:
    """Whether a filter that stays reads what is not 0."""
    groups = absorber.groups
    loud = (emission.offset != 0).reshape(groups, -1).any(axis=1)
    return bool((np.repeat(loud, gone.size // groups) & ~gone).any())
