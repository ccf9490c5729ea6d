"""Images in, a score for each class out, with any runner."""

import time
from typing import List, Sequence, Tuple

import numpy as np

from darkprune.backends.model import Model
from darkprune.detect.preprocess import centre, prepare, require_image_input
from darkprune.errors import Unsupported, UsageError, place
from darkprune.graph.net import Net, heads


class Classifier(object):
    """Names whole images with an open Model.

    Args:
        model: its net must end in one score per class: [softmax], [avgpool], [connected]...
        letterbox: fit the whole image in, with grey at two sides, as the original Darknet's `classifier predict` does.
            Otherwise the shorter side is scaled to the net's width and the middle cut out, as AlexeyAB's does.

    Attributes:
        classes: how many. seconds: what the runner took for the last batch.

    Raises UsageError for a net with detection heads or several outputs, or that takes no image; Unsupported for a tree
    of classes.
    """

    def __init__(self, model: Model, letterbox: bool = False) -> None:
        net = model.net
        if any(layer.op.detector for layer in net.layers):
            hint = "darkprune detect takes nets that find objects"
            raise UsageError("the net has a detection head, which names no whole image", place(net.document.path), hint)
        require_image_input(net)
        self.model = model
        self.letterbox = letterbox
        self.layer = class_scores(net)
        self.classes = net.layers[self.layer].shape.outputs
        self.seconds = 0.0

    def classify(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [N, classes] for images, uint8 [H, W, 3], RGB. Raises UsageError for one that is too narrow."""
        if not images:
            return np.zeros((0, self.classes), np.float32)
        batch = np.stack([self._prepared(image) for image in images])
        start = time.perf_counter()
        outputs = self.model.raw_heads(batch)
        self.seconds = time.perf_counter() - start
        return outputs[self.layer].reshape(len(images), -1)

    def _prepared(self, image: np.ndarray) -> np.ndarray:
        shape = self.model.net.input.shape
        if self.letterbox:
            return prepare(image, shape.w, shape.h, shape.c, letterbox=True)[0]
        return centre(image, shape.w, shape.h, shape.c)


def best(scores: np.ndarray, count: int) -> List[Tuple[int, float]]:
    """(class, score) of the `count` highest scores of one image, [classes]; of equal ones the earlier comes first."""
    order = np.argsort(-scores, kind="mergesort")[:count]
    return [(int(number), float(scores[number])) for number in order]


def class_scores(net: Net) -> int:
    """The layer whose output is a score for each class. Raises UsageError where there is none, and Unsupported for a
    tree of classes."""
    found = heads(net)
    layer = net.layers[found[0]]
    if len(found) > 1:
        cause = "the net has no detection head, and {} outputs where a classifier has one".format(len(found))
        raise UsageError(cause, layer.place(), "darkprune eval takes detectors and classifiers")
    if layer.text("tree"):
        raise Unsupported("a tree of classes has no top-1 here", layer.place("tree"), "use Darknet")
    return found[0]
