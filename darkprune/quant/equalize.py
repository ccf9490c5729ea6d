"""Cross-layer equalisation: channels of a tensor made alike in range, so that one scale serves all of them.

A channel is multiplied by a factor f > 0 where it is made (a row of weights and its bias), and divided by it where it
is read (a column of weights). Activations with act(f x) = f act(x) - leaky, relu, linear - let it through, as pooling,
upsampling, concatenations, slices and sums do; channels that meet in a sum share one factor. Channels that meet
anything else keep the factor 1. In floats nothing changes but rounding.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, with the
ranges of activations in place of those of weights: a channel c of a tensor with largest values a_c has

    f_c = (max(a) / a_c) ^ strength

so that no tensor's range grows. A depthwise filter reads one channel, whose factor then is one on all of its weights,
which have a scale of their own: what only such filters read takes strength 1 whenever there is any. A pointwise filter
reads all channels with one scale, and loses with its weights what the tensor gains.
"""

from typing import Dict, Iterable, List, Tuple

import numpy as np

from darkprune.backends.base import Runner
from darkprune.errors import CalibrationError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer, Param
from darkprune.graph.net import Net
from darkprune.ops.base import FLOAT, SAME, WEIGHTS, ParamSpec
from darkprune.quant.tensors import activation_of

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LARGEST = 256.0  # factor: what is smaller by more is noise
HOMOGENEOUS = frozenset(["linear", "relu", "leaky", "relie", "revleaky"])


class Scalable(object):
    """The channels of a net that can be multiplied by factors.

    Attributes:
        channels: the Channels of the net.
        groups: label -> number of the labels that share its factor. free: bool by such a number: not fixed at 1.
        makers: the layers that have a factor for each channel, in order.
    """

    def __init__(self, net: Net) -> None:
        self.channels = Channels(net)
        self.groups = self.channels.added
        fixed = self.channels.pinned[self.channels.sets] >= 0
        self.makers: List[Layer] = []
        shared = {id(target) for layer in net.layers for target in layer.pointers.values()}
        for layer in net.layers:
            if _is_weighted(layer) and "weights" in layer.params and id(layer) not in shared:
                self.makers.append(layer)
                if activation_of(layer) not in HOMOGENEOUS:
                    fixed[self.channels.output(layer)] = True
                if misreads(net, layer):
                    fixed[self.channels.inputs(layer)] = True
            elif not _passes(layer):
                fixed[self.channels.inputs(layer)] = True
                fixed[self.channels.output(layer)] = True
        self.free = np.ones(self.channels.size, bool)
        self.free[self.groups[fixed]] = False


def _is_weighted(layer: Layer) -> bool:
    return layer.op.int8(layer) == WEIGHTS


def _passes(layer: Layer) -> bool:
    """Whether factors on the channels that the layer reads are the same on those that it puts out."""
    kind = layer.op.int8(layer)
    if kind == SAME:
        return True
    return kind not in (FLOAT, WEIGHTS) and layer.op.homogeneous and activation_of(layer) in HOMOGENEOUS


def misreads(net: Net, layer: Layer) -> bool:
    """Whether the original Darknet reads other channels than those of the weights: 1x1 with a stride or padding."""
    if net.dialect.name != "pjreddie" or not layer.op.convolution or layer["size"] != 1:
        return False
    return layer.shape.area != layer.input_shape().area


def is_depthwise(layer: Layer) -> bool:
    """Whether each filter reads a single channel."""
    weights = layer.params.get("weights")
    return layer.op.convolution and weights is not None and weights.shape[1] == 1 < layer.input_shape().c


def channel_maxima(net: Net, runner: Runner, batches: Iterable[np.ndarray]) -> Dict[int, np.ndarray]:
    """The largest |x| of each channel of each layer's output, float64 [c] by layer, over images.

    Args:
        runner: of the net, open. batches: float32 [n,C,H,W].
    """
    found: Dict[int, np.ndarray] = {}
    for batch in batches:
        for index, y in runner.infer(batch, range(len(net.layers))).items():
            largest = np.maximum(y.max(axis=(0, 2, 3)), -y.min(axis=(0, 2, 3))).astype(np.float64)
            found[index] = np.maximum(found[index], largest) if index in found else largest
    return found


def factors(net: Net, maxima: Dict[int, np.ndarray], strength: float) -> Dict[int, np.ndarray]:
    """The factors of each layer with weights that has any but 1, float64 [channels] by layer.

    Args:
        net: its batch norm folded or not. maxima: of `channel_maxima`.
        strength: 0..1, where others than depthwise filters read.
    """
    scalable = Scalable(net)
    channels, groups = scalable.channels, scalable.groups
    room = np.full(channels.size, np.inf)  # by which a group may grow
    for layer in net.layers:
        largest = maxima[layer.index]
        labels = channels.output(layer)
        if labels.size == largest.size:
            share = np.divide(largest.max(), largest, out=np.full(largest.size, np.inf), where=largest > 0)
            np.minimum.at(room, groups[labels], share)
    pointwise = np.zeros(channels.size, bool)
    for layer in net.layers:
        if _is_weighted(layer) and not is_depthwise(layer):
            pointwise[groups[channels.inputs(layer)]] = True
    room[np.isinf(room)] = 1.0  # channels without any value
    found = np.minimum(room, LARGEST) ** np.where(pointwise, strength, 1.0 if strength else 0.0)
    found[~scalable.free] = 1.0
    rows = [(layer.index, found[groups[channels.output(layer)]]) for layer in scalable.makers]
    return {index: row for index, row in rows if (row != 1).any()}


def equalized(net: Net, found: Dict[int, np.ndarray]) -> Net:
    """The net with those factors, its batch norm folded. Raises CalibrationError where they do not fit."""
    if not found:
        return net
    scalable = Scalable(net)
    channels, groups = scalable.channels, scalable.groups
    values = _by_group(scalable, found)
    new = net.copy()
    for layer in new.layers:
        axes = channels.axes.get(layer.index, {})
        if not _is_weighted(layer) or "weights" not in layer.params:
            continue
        made, read = values[groups[channels.output(layer)]], values[groups[axes["in"]]]
        if (made != 1).any() or (read != 1).any():
            old = net.layers[layer.index]
            for spec in layer.op.parameters(layer):
                layer.params[spec.name] = _scaled(old, spec, made, read)
    return new


def _by_group(scalable: Scalable, found: Dict[int, np.ndarray]) -> np.ndarray:
    values = np.ones(scalable.channels.size)
    makers = {layer.index: layer for layer in scalable.makers}
    for index, row in found.items():
        layer = makers.get(index)
        if layer is None or row.shape != (layer.shape.channels,) or not (row > 0).all():
            raise _unfit(index)
        values[scalable.groups[scalable.channels.output(layer)]] = row
    if (values[~scalable.free] != 1).any():
        raise _unfit(min(found))
    for index, layer in makers.items():
        row = values[scalable.groups[scalable.channels.output(layer)]]
        if not np.array_equal(found.get(index, np.ones(row.size)), row):
            raise _unfit(index)
    return values


def _unfit(index: int) -> CalibrationError:
    return CalibrationError("the ranges' factors of layer {} do not fit this net".format(index), hint="calibrate again")


def _scaled(layer: Layer, spec: ParamSpec, made: np.ndarray, read: np.ndarray) -> Param:
    def load() -> np.ndarray:
        array = layer.array(spec.name).astype(np.float64)
        array *= made.reshape([-1] + [1] * (array.ndim - 1))
        if spec.name == "weights":
            blocks = read.reshape(spec.groups, 1, -1)
            columns = np.repeat(blocks, len(array) // spec.groups, axis=1).reshape(len(array), -1)
            array /= columns.reshape(columns.shape + (1,) * (array.ndim - 2))
        return array.astype(np.float32)

    return Param(spec, load)


def names_of(found: Dict[int, np.ndarray]) -> Tuple[int, int]:
    """(layers, channels) that have another factor than 1."""
    return len(found), sum(int((row != 1).sum()) for row in found.values())
