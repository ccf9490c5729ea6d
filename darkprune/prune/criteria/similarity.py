"""Filter similarity: the L1 norm picks the filter that goes, the Euclidean distance what can replace it.

Of all filters of the layer that are still there, take the two that are nearest to each other. The one with the smaller
L1 norm is the target: it goes, since the other one can replace it, and its score is their distance. Go on with the
filters that are left. So of two duplicates one goes first and the other stays. The distances can only grow as filters
go, so that the order of going is the order of the scores. Nothing can replace the last filter: its score is its own
L2 norm, if that is more than the last distance.

Distances grow with a layer's weights, so that between layers they are divided by the mean of their layer.
"""

from typing import Optional

import numpy as np

from darkprune.graph.layer import Layer
from darkprune.prune.criteria.base import MEAN, WEIGHTS, Criterion, filters, of_layers, weights_each
from darkprune.prune.criteria.distances import distances
from darkprune.prune.criteria.l1 import absolute
from darkprune.prune.criteria.l2 import squares


def score(layer: Layer) -> Optional[np.ndarray]:
    """float64 per filter; None for a layer without a row of weights per filter."""
    rows = filters(layer)
    return None if rows is None else replaced(distances(rows), absolute(rows), np.sqrt(squares(rows)))


def replaced(apart: np.ndarray, norms: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The distance to what replaces each filter when it goes.

    Args: apart: float64 [n,n], distances. norms, lengths: L1 and L2 norm of each filter.
    """
    apart = apart.copy()
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argmin(axis=1)
    least = apart[np.arange(len(apart)), nearest]
    found, farthest, gone = np.zeros(len(apart)), 0.0, np.zeros(len(apart), bool)
    for _ in range(len(apart) - 1):
        one = int(least.argmin())
        other = int(nearest[one])
        target = min((norms[one], one), (norms[other], other))[1]
        farthest = max(farthest, float(least[one]))  # rounding may not turn the order
        found[target] = farthest
        apart[target, :] = apart[:, target] = np.inf
        least[target] = np.inf
        for row in np.flatnonzero(nearest == target).tolist():
            nearest[row] = int(apart[row].argmin())
            least[row] = apart[row, nearest[row]]
        gone[target] = True
    stays = int(np.flatnonzero(~gone)[0])
    found[stays] = max(farthest, lengths[stays])
    return found


CRITERION = Criterion(
    "similarity",
    "distance to the filter that replaces it: of the nearest two left, that of smaller L1 norm goes",
    "filter similarity by L1 norm and Euclidean distance; the exact rule is ours",
    WEIGHTS,
    MEAN,
    lambda layer: weights_each(layer) ** 0.5,
    of_layers(score),
)
