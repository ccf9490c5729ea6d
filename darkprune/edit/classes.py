"""Another number of classes: the heads' options, and the rows of what feeds them.

A row is one filter of a convolution, or one output of a connected layer. Those of box and objectness are the same
for all classes and stay; those of classes are new.
"""

import math
from typing import Dict, List, NamedTuple

import numpy as np

from darkprune.errors import GraphError, Notice, UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.base import ParamSpec
from darkprune.prune.gather_channels import Gather, Patch, Patches, regather

_SEED = 1
_MOST = 1 << 20
_FRESH = {"scales": 1.0, "variance": 1.0}  # what Darknet gives a filter that was never trained; others are 0
_PER_CLASS = {  # options that name or count single classes
    "counters_per_class": "counts each class's objects",
    "map": "gives each class another number",
    "tree": "puts the classes in a tree",
}

Feed = NamedTuple("Feed", [("layer", Layer), ("head", Layer), ("rows", np.ndarray)])  # position of each row, -1: new


def set_classes(net: Net, count: int) -> Net:
    """A net whose detection heads have `count` classes each, or, without such heads, whose classifier has.

    A head that has this many already stays as it is. New rows hold seeded normal noise of the variance that Darknet
    gives them, the same on every machine; they must be trained.

    Raises UsageError for a count that no head has; GraphError where the rows of classes cannot be told or belong to
    more than one head, and for options that name single classes.
    """
    if not 1 <= count <= _MOST:
        raise UsageError("no head has {} classes".format(count), hint="use 1..{}".format(_MOST))
    heads = [layer for layer in net.layers if layer.op.head_channels(layer)]
    enders = heads or [layer for layer in net.layers if layer.op.classifier]
    _refuse_others(net, enders)
    channels = Channels(net)
    feeds = [_detector(net, channels, head, count) for head in heads if _classes(head) != count]
    if not heads and _feeder(net, channels, enders[0]).shape.channels != count:
        feeds = [Feed(_feeder(net, channels, enders[0]), enders[0], np.full(count, -1))]
    gather: Gather = {feed.layer.index: {"out": feed.rows} for feed in feeds}
    edited = net.copy()
    for feed in feeds:
        if feed.head.op.head_channels(feed.head):
            edited.layers[feed.head.index].set("classes", count)
    new = regather(edited, gather, _patches(feeds))
    new.notices.extend(_notice(feed) for feed in feeds)
    if not feeds:
        new.notices.append(Notice("the net has {} classes already".format(count), enders[-1].place("classes")))
    return new


def _classes(head: Layer) -> int:
    found = head.op.head_channels(head)
    return found[1] if found else 0


def _refuse_others(net: Net, enders: List[Layer]) -> None:
    """Raises where it is not known, or not clear, what the classes are."""
    if not enders:
        raise GraphError(
            "the net has no head whose classes could change",
            net.layers[-1].place(),
            "use a net that ends in [yolo], [Gaussian_yolo], [region] or [softmax]",
        )
    detector = bool(enders[0].op.head_channels(enders[0]))
    if not detector and len(enders) > 1:
        raise GraphError("the net classifies {} times".format(len(enders)), enders[1].place(), "keep one [softmax]")
    for layer in net.layers:
        if layer not in enders and any(key == "classes" for key in _keys(layer)):
            raise GraphError(
                "layer {} [{}] has classes too, and they cannot change".format(layer.index, layer.type),
                layer.place("classes"),
                "train a net with other classes anew, or remove this layer",
            )
    for layer in enders:
        for key, why in _PER_CLASS.items():
            if layer.text(key) is not None:
                raise GraphError(
                    "{} of layer {} {}".format(key, layer.index, why), layer.place(key), "remove it from the cfg first"
                )


def _keys(layer: Layer) -> List[str]:
    return [option.name for option in layer.op.options] + layer.op.passive.split()


def _detector(net: Net, channels: Channels, head: Layer, count: int) -> Feed:
    """The feed of a detection head: per anchor, the rows before its classes stay."""
    layer = _feeder(net, channels, head)
    anchors, classes = head.op.head_channels(head) or (0, 0)
    if head.text("classes") is None:
        raise GraphError(
            "layer {} [{}] has no classes".format(head.index, head.type),
            head.place(),
            "write classes={} into it first".format(classes),
        )
    block = layer.shape.channels // anchors
    kept = np.arange(block - classes)
    rows = [np.concatenate([anchor * block + kept, np.full(count, -1)]) for anchor in range(anchors)]
    return Feed(layer, head, np.concatenate(rows))


def _feeder(net: Net, channels: Channels, head: Layer) -> Layer:
    """The layer whose rows are the head's channels, one by one, and that nothing else reads. Raises GraphError."""
    labels = channels.output(head.inputs[0])
    owner = int(channels.owner[labels[0]])
    reader, reason = head, None
    while reason is None:
        source = reader.inputs[0]
        others = [layer.index for layer, _ in net.readers(source) if layer is not reader]
        if len(reader.inputs) > 1:
            reason = "its input passes layer {} [{}], which joins several".format(reader.index, reader.type)
        elif source.index < 0:
            reason = "it reads the image"
        elif others:
            reason = "layer {} is also read by layer {}".format(source.index, others[0])
        elif source.index == owner:
            return _require_rows(net, channels, head, source, labels)
        elif source.op.parameters(source):
            reason = "its input passes layer {} [{}], which has arrays".format(source.index, source.type)
        reader = source
    raise _refusal(head, reason)


def _require_rows(net: Net, channels: Channels, head: Layer, layer: Layer, labels: np.ndarray) -> Layer:
    """Raises GraphError where the layer that feeds a head has no rows that could be replaced."""
    specs = layer.op.parameters(layer)
    key = next(iter(layer.op.narrowed(layer, {"out": 1, "in": 1})), None) if channels.produces(layer) else None
    shared = [x.index for x in net.layers if any(target is layer for target in x.pointers.values())]
    reason = None
    if key is None or layer.text(key) is None or not any("out" in spec.axes for spec in specs):
        reason = "layer {} [{}], which it reads, has no rows for single channels".format(layer.index, layer.type)
    elif not np.array_equal(labels, channels.output(layer)):
        reason = "it reads some channels of layer {}, in another order".format(layer.index)
    elif shared or layer.pointers:
        reason = "layer {} shares its arrays".format(layer.index)
    elif any(spec.groups > 1 for spec in specs):
        reason = "layer {}, which it reads, has groups".format(layer.index)
    elif head.op.classifier and head.input_shape().area > 1 and not head["spatial"]:
        reason = "it runs over a whole map of {1} x {0}".format(*head.input_shape())
    elif head.op.classifier and head["groups"] > 1:
        reason = "its classes are in {} groups".format(head["groups"])
    if reason is not None:
        raise _refusal(head, reason)
    return layer


def _refusal(head: Layer, reason: str) -> GraphError:
    return GraphError(
        "the classes of layer {} [{}] cannot change: {}".format(head.index, head.type, reason),
        head.place(),
        "edit the cfg, and train it anew",
    )


def _patches(feeds: List[Feed]) -> Patches:
    found: Dict = {}
    for feed in feeds:
        for spec in feed.layer.op.parameters(feed.layer):
            if "out" in spec.axes:
                found[feed.layer.index, spec.name] = _patch(feed, spec)
    return found


def _patch(feed: Feed, spec: ParamSpec) -> Patch:
    """Fills the new rows of one array, where regathering put zeros."""
    axis = spec.axes.index("out")
    fresh = np.flatnonzero(feed.rows < 0)
    taps = [length for number, length in enumerate(spec.shape) if number != axis]

    def patch(array: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(array, axis, 0)
        if spec.name == "weights":
            inputs = int(np.prod(taps))
            noise = _normal(feed.layer.index, fresh.size * inputs).reshape([fresh.size] + taps)
            rows[fresh] = noise * math.sqrt(2.0 / inputs)
        else:
            rows[fresh] = _FRESH.get(spec.name, 0.0)
        return array

    return patch


def _normal(layer: int, count: int) -> np.ndarray:
    """Seeded noise, normal to the eye: sums of 12 uniform numbers, since a logarithm differs between machines."""
    random = np.random.RandomState([_SEED, layer])
    total = np.full(count, -6.0)
    for _ in range(12):
        total += random.random_sample(count)
    return total


def _notice(feed: Feed) -> Notice:
    fresh = int((feed.rows < 0).sum())
    kept = feed.rows.size - fresh
    return Notice(
        "{} of the {} rows of layer {} are new and untrained, those of the classes of layer {}; {}".format(
            fresh,
            feed.rows.size,
            feed.layer.index,
            feed.head.index,
            "{} rows of boxes and objectness are kept".format(kept) if kept else "none is kept",
        ),
        feed.layer.place(),
        "train the net before it is used; its .names and .data must list the new classes",
    )
