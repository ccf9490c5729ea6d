"""How far sparsity training has come, and what pruning could take at which predicted damage."""

from typing import Any, Dict, List, Sequence

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.damage import gamma_histogram, predict
from darkprune.prune.select import DEFAULTS, select

SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
BINS = 20


def gammas(net: Net, channels: Channels, sets: np.ndarray, scores: np.ndarray) -> Dict[str, Any]:
    """The distribution of the gammas.

    Args:
        sets: numbers of the channel sets that are penalised. scores: the largest |gamma| of each.

    Returns zero_gammas: share of all gammas that are exactly 0; zero_sets, zero_filters: shares of the penalised sets
    all of whose gammas are, and of their filters; sets: how many are penalised; left_alone: reason -> number of sets
    that are not; quiet_layers: numbers of layers without any gamma above 0; histogram: edges and counts of `scores`;
    near_zero: share of gammas that are small beside the others.
    """
    zero, filters = scores == 0, channels.filters[sets]
    made = [net.layers[layer.index] for layer, _ in channels.producers() if layer.has("scales")]
    arrays = [(layer, layer.array("scales")) for layer in made]
    every = np.concatenate([values for _, values in arrays])
    edges = np.linspace(0.0, float(scores.max()) or 1.0, BINS + 1)
    return {
        "zero_gammas": float(np.mean(every == 0)),
        "sets": int(sets.size),
        "zero_sets": float(zero.mean()),
        "zero_filters": float(filters[zero].sum()) / float(filters.sum()),
        "near_zero": gamma_histogram(net)["near_zero"],
        "left_alone": _left_alone(channels, sets),
        "quiet_layers": [layer.number for layer, values in arrays if not values.any()],
        "histogram": {
            "edges": [round(float(edge), 6) for edge in edges],
            "counts": [int(count) for count in np.histogram(scores, edges)[0]],
        },
    }


def forecast(net: Net, shares: Sequence[float] = SHARES) -> List[Dict[str, float]]:
    """What pruning would do now, share by share of the filters that may go: channels (asked for), reached (what floors,
    balances and constants leave of it), damage (predicted, 0..1). A fifth of a second each on a YOLOv3."""
    rows, channels = [], Channels(net)
    for share in shares:
        found = select(net, channels, DEFAULTS._replace(channels=share))
        damage = predict(net, channels, found.removed).total
        rows.append({"channels": share, "reached": found.reached, "damage": damage})
    return rows


def _left_alone(channels: Channels, sets: np.ndarray) -> Dict[str, int]:
    free = channels.filters > 0
    free[sets] = False
    pinned = free & (channels.pinned >= 0)
    rest = free & ~pinned
    counts = {
        "may not go": int(np.count_nonzero(pinned)),
        "no gamma": int(np.count_nonzero(rest & ~channels.scored)),
        "tied to filters without gamma": int(np.count_nonzero(rest & channels.scored)),
    }
    return {why: count for why, count in counts.items() if count}
