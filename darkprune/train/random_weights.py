"""What training starts from: random weights as Darknet makes them, or what another pair has learnt and fits."""

import math
from typing import Optional

import numpy as np

from darkprune.darknet.weights import NEW_HEADER
from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net, size
from darkprune.ops.base import ParamSpec

MOST = 2**32 - 1  # the largest seed

OBJECTNESS = 0.01  # what a head is to give everywhere before it has learnt anything: most cells see no object


def start(net: Net, seed: int, objectness: Optional[float] = None) -> Net:
    """The net with random weights, as AlexeyAB's Darknet makes them: uniform ones of the variance that `Op.initial`
    says, the same on every machine. Each array depends on the seed, its layer's index and its place there alone.

    Args:
        net: with or without values; its header is not kept, since nothing was seen yet.
        seed: 0 to `MOST`.
        objectness: the probability of an object that detection heads give at first, for instance 0.01; None leaves
            their biases 0, which gives 0.5 as in Darknet (Lin et al., "Focal Loss", 2017, section 3.3).

    Raises UsageError for values out of range.
    """
    _check_seed(seed)
    new = net.copy()
    new.source, new.header, new.loaded = None, NEW_HEADER, len(new.layers)
    for layer in new.layers:
        layer.params.clear()
        for number, spec in enumerate(layer.op.parameters(layer)):
            layer.set_param(spec.name, draw(layer, spec, seed, number))
    if objectness is not None:
        _set_objectness(new, objectness)
    return new


reinit = start  # the same cfg, for instance a pruned one, from scratch (Liu et al., "Rethinking...", 2019)


def draw(layer: Layer, spec: ParamSpec, seed: int, number: int) -> np.ndarray:
    """float32: one array before any training. number: which of its layer's arrays it is."""
    middle, width = layer.op.initial(layer, spec)
    if not width:
        return np.full(spec.shape, middle, np.float32)
    random = np.random.RandomState([seed, layer.index, number])
    uniform = random.random_sample(size(spec.shape)).reshape(spec.shape)
    return (middle + width * (2.0 * uniform - 1.0)).astype(np.float32)


def _set_objectness(net: Net, probability: float) -> None:
    """Gives the biases behind the objectness of every detection head the value that means this probability."""
    if not 0 < probability < 1:
        raise UsageError("no objectness starts at {}".format(probability), hint="use a probability such as 0.01")
    bias = round(math.log(probability / (1.0 - probability)), 4)  # the last bits of a logarithm differ by machine
    channels = Channels(net)
    for head in net.layers:
        anchors, classes = head.op.head_channels(head) or (0, 0)
        if not anchors:
            continue
        labels = channels.output(head.inputs[0])
        block = labels.size // anchors
        for label in labels[block - classes - 1 :: block].tolist():
            layer = net.layers[int(channels.owner[label])]
            if layer.has("biases"):
                biases = layer.array("biases").copy()
                biases[channels.place[label]] = bias
                layer.set_param("biases", biases)


def _check_seed(seed: int) -> None:
    if not 0 <= seed <= MOST:
        raise UsageError("no seed is {}".format(seed), hint="use a whole number from 0 to {}".format(MOST))
