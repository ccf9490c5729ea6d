"""Trees of classes: files of a name and its parent's number a line, -1 for none; parents stand before children."""

from typing import TYPE_CHECKING, List

import numpy as np

from darkprune.errors import Unsupported

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer

SURE = 0.5  # of a class's probability, its ancestors' included


def parents(layer: "Layer", classes: int) -> List[bytes]:
    """The parent of each class of the option `tree`, as written. Like Darknet, a relative path starts at the current
    folder. Raises Unsupported where the file does not fit."""
    try:
        with open(layer["tree"], "rb") as stream:
            found = [b"".join(line.split()[1:2]) for line in stream.read().splitlines()]
    except (IOError, OSError) as error:
        cause = "the softmax tree cannot be read: {}".format(error.strerror)
        raise Unsupported(cause, layer.place("tree"), "give its path as Darknet finds it") from error
    if len(found) != classes:
        cause = "the softmax tree has {} classes, the layer {}".format(len(found), classes)
        raise Unsupported(cause, layer.place("tree"), "use the tree of this classifier")
    return found


def surest(values: np.ndarray, layer: "Layer", classes: int) -> np.ndarray:
    """float32 [n, classes]: of each row of raw values, the probability of the last class above 0.5, the others 0.

    As AlexeyAB's get_region_boxes: softmax among siblings, each class times its parent. Raises Unsupported.
    """
    written = parents(layer, classes)
    try:
        above = [int(number or -1) for number in written]
    except ValueError:
        above = [classes]
    if any(number >= child for child, number in enumerate(above)):
        cause = "the softmax tree names a parent that does not stand before its child"
        raise Unsupported(cause, layer.place("tree"), "write a name and the number of an earlier line, or -1, a line")
    result = np.zeros(values.shape, np.float32)
    start = 0
    for child in range(1, classes + 1):
        if child == classes or above[child] != above[start]:
            group = softmax(values[:, start:child])
            result[:, start:child] = group if above[start] < 0 else group * result[:, above[start], None]
            start = child
    last = classes - 1 - np.argmax(result[:, ::-1] > SURE, axis=1)
    kept = np.zeros_like(result)
    rows = np.arange(len(result))
    kept[rows, last] = np.where(result[rows, last] > SURE, result[rows, last], np.float32(0))
    return kept


def softmax(x: np.ndarray) -> np.ndarray:
    """Of each row."""
    x = np.exp(x - x.max(axis=1, keepdims=True)) if x.size else x
    return x / x.sum(axis=1, keepdims=True)
