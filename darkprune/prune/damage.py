"""What pruning is predicted to cost, from the arrays alone: how much signal goes, layer by layer.

A filter's output varies, per channel, with a standard deviation of |gamma| behind batch norm (its input is
normalised), so the share of the variance that goes with the removed filters of a layer is
sum(gamma_removed^2) / sum(gamma^2). The share left is followed to the heads: a layer multiplies what its input
has left, a sum or concatenation averages it, weighted by the variances that meet.
"""

from typing import AbstractSet, Any, Dict, List, NamedTuple

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.prune.criteria.l2 import squares

Damage = NamedTuple(
    "Damage",
    [
        ("total", float),  # share of the signal lost at the worst head, 0..1
        ("layers", Dict[int, float]),  # number of the layer in its file -> share of its own variance that goes
    ],
)
FATAL = 0.75  # from here on a pruned net keeps no useful accuracy without training


def predict(net: Net, channels: Channels, removed: np.ndarray, muted: AbstractSet[int] = frozenset()) -> Damage:
    """The predicted damage of silencing the channel sets that `removed` (bool by set) marks, and the layers `muted`."""
    lost: Dict[int, float] = {}
    power = {-1: 1.0}  # layer -> variance of its output, summed over channels
    left = {-1: 1.0}  # layer -> share of its signal that is left
    made = {layer.index: sets for layer, sets in channels.producers() if layer.index < net.loaded}
    for layer in net.layers:
        sources = [x.index for x in layer.inputs]
        power[layer.index] = sum(power[i] for i in sources)
        least = min([left[i] for i in sources] or [1.0])
        weighed = sum(left[i] * power[i] for i in sources)
        left[layer.index] = weighed / power[layer.index] if power[layer.index] > 0 else least
        if layer.index in made:
            strength = _strength(layer)
            total = float(strength.sum())
            gone = removed[made[layer.index]] | (layer.index in muted)
            share = float(strength[gone].sum()) / total if total > 0 else 0.0
            if gone.any():
                lost[layer.number] = share
            power[layer.index], left[layer.index] = total, left[layer.index] * (1.0 - share)
    worst = min([left[layer.index] for layer in net.outputs()] or [1.0])
    return Damage(max(0.0, 1.0 - worst), lost)


def _strength(layer: Layer) -> np.ndarray:
    """float64 per filter: the variance of its output, with a normalised input; 1 where there is no batch norm."""
    if layer.has("scales"):
        return layer.array("scales").astype(np.float64) ** 2
    if not layer.has("weights"):
        return np.ones(layer.shape.channels)  # its arrays are those of another layer, or not in the file
    norms = squares(layer.array("weights").reshape(layer.shape.channels, -1))
    return norms / float(norms.mean()) if norms.any() else norms


def gamma_histogram(net: Net, bins: int = 20) -> Dict[str, Any]:
    """All |gamma| of the net: counts per bin, quantiles, and whether the net was ever trained for sparsity."""
    values = [np.abs(layer.array("scales")) for layer in net.layers[: net.loaded] if layer.has("scales")]
    if not values:
        return {"filters": 0, "sparsified": False, "edges": [], "counts": [], "near_zero": 0.0}
    gammas = np.concatenate(values).astype(np.float64)
    edges = np.linspace(0, float(gammas.max()) or 1.0, bins + 1)
    near = float(np.mean(gammas < 0.01 * float(np.mean(gammas)) + 1e-12)) if gammas.any() else 1.0
    counts = np.histogram(gammas, edges)[0]
    return {
        "filters": int(gammas.size),
        "near_zero": near,
        "sparsified": near >= 0.05,
        "edges": [round(float(e), 6) for e in edges],
        "counts": [int(c) for c in counts],
    }


def worst_layers(damage: Damage, count: int = 3) -> List[str]:
    """The layers that lose most, as words."""
    ranked = [item for item in sorted(damage.layers.items(), key=lambda item: -item[1])[:count] if item[1] >= 0.005]
    return ["layer {}: {:.0%}".format(index, share) for index, share in ranked]
