"""Greedy reconstruction: the channels go first without which the next layers' outputs change least (Luo et al. 2017).

ThiNet's statistic: at sampled positions and filters of a layer that reads the channels, x_c is what channel c adds to
the output, and the error of removing the channels T is the mean of (sum of x_c over T)^2. Here all layers that read a
tied width are sampled, each error is divided by the mean of that layer's squared outputs, without bias, and averaged
over the layers. Greedily, the channel set is added to T that leaves the smallest error; its score is the error by then,
so that scores are shares of the outputs' power, and compare between layers. (An error that falls counts as unchanged.)

What is kept are sums of products x_c x_d, so that memory does not grow with the images.
"""

from typing import List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.prune.criteria.base import MAPS, NONE, Criterion, Observer, Values

SAMPLES = 10  # of each image and layer that reads, as in the paper

_Reader = NamedTuple(
    "_Reader",
    [
        ("layer", Layer),
        ("source", int),  # index of the layer it reads
        ("sets", np.ndarray),  # the channel sets it reads that may go, ascending
        ("column", np.ndarray),  # for each label along its 'in' axis: where its set stands in `sets`, else -1
        ("products", np.ndarray),  # float64 [sets, sets]: sums of x_c x_d
        ("power", np.ndarray),  # float64 [1]: sum of the squared outputs
    ],
)


class _Reconstruction(Observer):
    def __init__(self, net: Net, channels: Channels, seed: int) -> None:
        self._channels, self._seed, self._images = channels, seed, 0
        self._readers = [reader for reader in (_reader(la, channels) for la in net.layers[: net.loaded]) if reader]
        self._makers = [(la.index, sets) for la, sets in channels.producers() if la.index < net.loaded]
        super(_Reconstruction, self).__init__(reader.source for reader in self._readers)

    def see(self, maps: Mapping[int, np.ndarray], gradients: Optional[Mapping[int, np.ndarray]] = None) -> None:
        count = 0
        for reader in self._readers:
            weights = reader.layer.array("weights")
            count = len(maps[reader.source])
            for number, image in enumerate(maps[reader.source]):
                random = np.random.RandomState([self._seed, reader.layer.index, self._images + number])
                _sample(reader, weights, image, random)
        self._images += count

    def values(self) -> Values:
        scores = np.full(self._channels.size, np.nan)
        widths = self._channels.widths()
        for width in np.unique(np.concatenate([np.zeros(0, int)] + [widths[r.sets] for r in self._readers])):
            products, sets = _joined(self._readers, widths, width)
            if sets.size:
                scores[sets] = greedy(products)
        return {index: scores[sets] for index, sets in self._makers if not np.isnan(scores[sets]).all()}


def _reader(layer: Layer, channels: Channels) -> Optional[_Reader]:
    """The layer as one that reads channels which may go; None where it is none."""
    absorber, param = layer.op.absorber(layer), layer.params.get("weights")
    if absorber is None or param is None or not layer.op.windowed or layer.inputs[0].index < 0:
        return None
    sets = channels.sets[channels.axes[layer.index]["in"]]
    if absorber.groups == sets.size > 1:
        return None  # the filters of a depthwise layer go with what they read
    free = np.unique(sets[channels.pinned[sets] < 0])
    if not free.size:
        return None
    place = np.minimum(np.searchsorted(free, sets), free.size - 1)
    column = np.where(free[place] == sets, place, -1)
    return _Reader(layer, layer.inputs[0].index, free, column, np.zeros((free.size, free.size)), np.zeros(1))


def _sample(reader: _Reader, weights: np.ndarray, image: np.ndarray, random: np.random.RandomState) -> None:
    """Adds the products at SAMPLES outputs of one image, float32 [C,h,w]."""
    layer, parts = reader.layer, []
    absorber = layer.op.absorber(layer)
    assert absorber is not None
    filters, groups = len(weights), absorber.groups
    inside = reader.column >= 0
    for _ in range(SAMPLES):
        at = [random.randint(max(1, length)) for length in (filters, layer.shape.h, layer.shape.w)]
        seen = layer.op.seen(layer, image, at[1], at[2]).astype(np.float64)  # [labels, taps]
        row = weights[at[0]].reshape(len(seen) // groups, -1)
        start = at[0] // (filters // groups) * len(row)  # of the labels that this filter's group reads
        adds = np.zeros(len(seen))
        adds[start : start + len(row)] = (seen[start : start + len(row)] * row).sum(axis=1)
        reader.power[0] += adds.sum() ** 2
        parts.append(np.bincount(reader.column[inside], adds[inside], minlength=reader.sets.size))
    block = np.array(parts)
    reader.products[...] += block.T.dot(block)


def _joined(readers: List[_Reader], widths: np.ndarray, width: int) -> Tuple[np.ndarray, np.ndarray]:
    """(float64 [n,n], the mean over readers of the products over their power; the n sets of a tied width)."""
    mine = [r for r in readers if r.power[0] > 0 and (widths[r.sets] == width).any()]
    sets = np.unique(np.concatenate([np.zeros(0, int)] + [r.sets[widths[r.sets] == width] for r in mine]))
    total = np.zeros((sets.size, sets.size))
    for reader in mine:
        here = np.flatnonzero(widths[reader.sets] == width)
        place = np.searchsorted(sets, reader.sets[here])
        total[np.ix_(place, place)] += reader.products[np.ix_(here, here)] / (reader.power[0] * len(mine))
    return total, sets


def greedy(products: np.ndarray) -> np.ndarray:
    """The error when each channel goes, in the greedy order: float64 [n] of the products x_c x_d [n,n]."""
    found, crossed = np.zeros(len(products)), np.zeros(len(products))
    own, left = products.diagonal().copy(), np.ones(len(products), bool)
    error = score = 0.0
    for _ in range(len(products)):
        more = np.where(left, own + 2.0 * crossed, np.inf)
        chosen = int(more.argmin())
        error += float(more[chosen])
        score = max(error, float(np.nextafter(score, np.inf)))  # the order stays that of going
        found[chosen], left[chosen] = score, False
        crossed += products[chosen]
    return found


def observer(net: Net, channels: Channels, seed: int) -> Observer:
    """What samples the layers that read."""
    return _Reconstruction(net, channels, seed)


CRITERION = Criterion(
    "reconstruction",
    "share of the readers' output power that is lost once the channel has gone, in greedy order",
    "Luo et al. 2017, ThiNet: A Filter Level Pruning Method",
    MAPS,
    NONE,
    None,
    observer,
)
