"""What the cfg says of how single layers are trained: which are frozen, for how long, and at which rate.

AlexeyAB's Darknet heeds dont_update, burnin_update, train_only_bn and clip on GPUs alone; here they always count.
Frozen layers run as all others do: with the batch's statistics, and the running ones move.
"""

import math
from typing import List, NamedTuple

from darkprune.darknet import values
from darkprune.errors import CfgError, Notice
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net

LayerOptions = NamedTuple(
    "LayerOptions",
    [
        ("frozen", float),  # the layer learns nothing in the first so many steps; inf: never
        ("factor", float),  # of the learning rate
        ("clip", float),  # its weights stay within -clip and clip; 0: wherever they go
    ],
)


def layer_options(net: Net, burn_in: int = 0) -> List[LayerOptions]:
    """The options of all layers, by layer index.

    stopbackward=1 freezes its layer and all before it for good, stopbackward=N for N steps; train_only_bn=1 likewise
    leaves nothing but the running statistics of batch norm. dont_update=N freezes one layer for N steps,
    burnin_update=N until N times the burn-in. learning_rate is a factor. (backward_network_gpu and update_network_gpu
    of AlexeyAB's network_kernels.cu, set_train_only_bn of his parser.c.)

    Args:
        burn_in: steps, as the training's settings have it.

    Raises CfgError for a number out of range, and where no layer that has weights would ever learn.
    """
    found: List[LayerOptions] = []
    before = 0.0  # how long a layer further on freezes those before it
    for layer in reversed(net.layers):
        stop = _number(layer, "stopbackward", 0.0)
        if stop == 1 or _number(layer, "train_only_bn", 0.0):
            stop = math.inf
        before = max(before, stop)
        own = max(_number(layer, "dont_update", 0.0), _number(layer, "burnin_update", 0.0) * burn_in - 1)
        found.append(
            LayerOptions(max(before, own), _number(layer, "learning_rate", 1.0), _number(layer, "clip", 0.0))
        )
    found.reverse()
    if found and all(math.isinf(o.frozen) for o, layer in zip(found, net.layers) if layer.op.parameters(layer)):
        raise CfgError("all layers are frozen", net.config.place(), "take stopbackward or train_only_bn out of the cfg")
    return found


def ignored(net: Net) -> List[Notice]:
    """A notice for each key of a layer that steers Darknet's training, but not this one."""
    notices = []
    for layer in net.layers:
        text = layer.text("onlyforward")
        if text is not None and values.atoi(text):
            cause = "onlyforward={} has no effect: the layer is trained as others are".format(text)
            notices.append(Notice(cause, layer.place("onlyforward"), "freeze layers by stopbackward or dont_update"))
    return notices


def _number(layer: Layer, key: str, default: float) -> float:
    text = layer.text(key)
    if text is None:
        return default
    number = values.atof(text) if key in ("learning_rate", "clip") else float(values.atoi(text))
    if not 0 <= number < math.inf:
        raise CfgError("{}={} is no number from 0 on".format(key, text), layer.place(key), "use 0 or more")
    return number
