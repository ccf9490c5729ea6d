"""What a criterion is: how filters are scored, what that needs, and how its values compare between layers."""

from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net

WEIGHTS, MAPS, GRADIENTS = "weights", "maps", "gradients"  # what scoring needs: maps come from images
NONE, MEAN = "none", "mean"  # between layers values compare as they are, or divided by the mean of their layer

Values = Dict[int, np.ndarray]  # layer index -> float64 per filter, at least 0, the lowest goes first; nan: no score
Unit = Callable[[Layer], float]

Criterion = NamedTuple(
    "Criterion",
    [
        ("name", str),
        ("about", str),  # the formula in words
        ("source", str),  # whose it is
        ("needs", str),  # WEIGHTS, MAPS or GRADIENTS
        ("scale", str),  # NONE or MEAN
        # by what a layer's values are divided where whole layers are compared, as for blocks; None: they cannot be
        ("unit", Optional[Unit]),
        # (net, channels, seed) -> Values for WEIGHTS, else -> Observer; layers that it cannot score have no values
        ("score", Callable[[Net, Channels, int], Any]),
    ],
)


class Observer(object):
    """Is shown the maps of a net image by image, and scores its filters in the end.

    Attributes: layers: indices of the layers whose outputs it is to be shown.
    """

    def __init__(self, layers: Iterable[int]) -> None:
        self.layers = sorted(set(layers))

    def see(self, maps: Mapping[int, np.ndarray], gradients: Optional[Mapping[int, np.ndarray]] = None) -> None:
        """Takes in some images: float32 [n,C,h,w] by layer index, and for GRADIENTS the loss's slope there."""
        raise NotImplementedError("{}.see".format(type(self).__name__))

    def values(self) -> Values:
        """What was found so far. The size of the batches makes no difference."""
        raise NotImplementedError("{}.values".format(type(self).__name__))


class MeanOverImages(Observer):
    """A number of each channel and image, averaged over the images.

    Args: statistic: (maps, gradients or None) of one layer -> float64 [n,C].
    """

    def __init__(self, layers: Iterable[int], statistic: Callable[[np.ndarray, Any], np.ndarray]) -> None:
        super(MeanOverImages, self).__init__(layers)
        self._statistic = statistic
        self._sums: Values = {}
        self._images = 0

    def see(self, maps: Mapping[int, np.ndarray], gradients: Optional[Mapping[int, np.ndarray]] = None) -> None:
        for index in self.layers:
            slope = None if gradients is None else gradients[index]
            for row in self._statistic(maps[index], slope):
                self._sums[index] = self._sums.get(index, 0.0) + row
        self._images += len(maps[self.layers[0]]) if self.layers else 0

    def values(self) -> Values:
        return {index: total / self._images for index, total in self._sums.items()}


def of_layers(function: Callable[[Layer], Optional[np.ndarray]]) -> Callable[[Net, Channels, int], Values]:
    """The scoring function of a criterion that looks at one layer at a time; None leaves a layer out."""

    def score(net: Net, channels: Channels, seed: int) -> Values:
        found = [(layer.index, function(layer)) for layer in scorable(net, channels)]
        return {index: values for index, values in found if values is not None}

    return score


def scorable(net: Net, channels: Channels) -> List[Layer]:
    """The layers that make channels and have values."""
    return [layer for layer, _ in channels.producers() if layer.index < net.loaded]


def removable(net: Net, channels: Channels) -> List[int]:
    """Indices of the layers that make a channel which may go: those whose maps are worth a look."""
    makers = [(la, sets) for la, sets in channels.producers() if la.index < net.loaded]
    return [layer.index for layer, sets in makers if (channels.pinned[sets] < 0).any()]


def filters(layer: Layer) -> Optional[np.ndarray]:
    """float32 [filters, weights of each]; None for a layer without a row of weights per filter."""
    param = layer.params.get("weights")
    if param is None or param.spec.axes[0] != "out":
        return None
    return layer.array("weights").reshape(param.shape[0], -1)


def weights_each(layer: Layer) -> float:
    """How many weights each filter has."""
    param = layer.params.get("weights")
    return float(np.prod(param.shape[1:])) if param is not None else 1.0


def one(layer: Layer) -> float:
    """The unit of what compares between layers as it is."""
    return 1.0
