"""Top-1 and top-k accuracy of a classifier, as AlexeyAB's Darknet counts them (classifier.c,
validate_classifier_single): an image is right when its class is among the k highest scores; of equal ones the earlier
class is the higher.
"""

from itertools import islice
from typing import Any, Iterable, Iterator, List, NamedTuple

import numpy as np

from darkprune.backends.model import Model
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import ClassificationSet, read_classification
from darkprune.data.problems import Problems
from darkprune.detect.image_file import MOST_PIXELS, read_image
from darkprune.detect.preprocess import grey, resize
from darkprune.errors import Unsupported, UsageError
from darkprune.graph.net import Net, heads

ClassifierResult = NamedTuple(
    "ClassifierResult",
    [
        ("top1", float),  # 0..1
        ("top5", float),
        ("top", int),  # k of the .data file's `top`
        ("topk", float),
        ("images", int),
    ],
)


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


def read_data(data: DataFile, split: str, net: Net, problems: Problems) -> ClassificationSet:
    """The images with their classes; `problems` collects what is wrong with them. Raises UsageError, also where the
    data set and the net differ in the number of classes."""
    examples = read_classification(data, split, problems)
    layer = net.layers[class_scores(net)]
    scores = layer.shape.outputs
    if len(examples.names) != scores:
        cause = "{} class names, but layer {} has {} outputs".format(len(examples.names), layer.index, scores)
        raise UsageError(cause, data.place("labels"), "give the .data file that belongs to this cfg")
    return examples


def ranks(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How many classes come before the right one, [n], of scores [n, classes] and the right classes [n]."""
    right = scores[np.arange(len(scores)), classes][:, None]
    earlier = np.arange(scores.shape[1]) < classes[:, None]
    return ((scores > right) | ((scores == right) & earlier)).sum(1)


def evaluate_classifier(
    model: Model, data: ClassificationSet, top: int = 1, batch: int = 1, progress: Any = iter
) -> ClassifierResult:
    """Runs an open model over all images.

    Args:
        top: k of a further top-k.
        batch: how many images are run at once.
        progress: wraps the iterable of images.

    Raises UsageError for an image that cannot be read, and for a data set without images.
    """
    if not data.images:
        raise UsageError("none of the images has a class", hint="a class is a label that occurs in the path")
    classes = np.array(data.classes, np.int64)
    scores = list(_scores(model, progress(data.images), batch))
    found = ranks(np.concatenate(scores), classes)
    shares = [float((found < k).mean()) for k in (1, 5, top)]
    return ClassifierResult(shares[0], shares[1], top, shares[2], len(found))


def centre(pixels: np.ndarray, width: int, height: int, channels: int = 3) -> np.ndarray:
    """The middle of an image as Darknet's classifiers take it: the shorter side is scaled to `width`, and width x
    height cut out; where the image ends before, its last row or column is repeated.

    Args:
        pixels: uint8 [H, W, 3], RGB.

    Returns:
        float32 [channels, height, width] of 0..1. Raises UsageError for other than 1 or 3 channels, and for an image
        so narrow that scaling it makes it huge.
    """
    if channels not in (1, 3):
        raise UsageError("the net takes {} channels, an image has 1 or 3".format(channels))
    rows, columns = pixels.shape[:2]
    across, down = columns * width // min(rows, columns), rows * width // min(rows, columns)
    if across * down > MOST_PIXELS:
        cause = "an image of {} x {} pixels is too narrow to cut its middle out".format(columns, rows)
        raise UsageError(cause, hint="cut it to a squarer one")
    scaled = resize(grey(pixels) if channels == 1 else pixels, across, down)
    y = np.arange(height) + _half(scaled.shape[0] - height)
    x = np.arange(width) + _half(scaled.shape[1] - width)
    cut = scaled[np.clip(y, 0, scaled.shape[0] - 1)][:, np.clip(x, 0, scaled.shape[1] - 1)]
    return np.ascontiguousarray(cut.transpose(2, 0, 1))


def _half(number: int) -> int:
    """As C divides by 2."""
    return int(number / 2)


def _scores(model: Model, paths: Iterable[str], batch: int) -> Iterator[np.ndarray]:
    """[n, classes] of up to `batch` images at once."""
    shape, layer = model.net.input.shape, class_scores(model.net)
    paths = iter(paths)
    while True:
        images: List[np.ndarray] = [
            centre(read_image(path), shape.w, shape.h, shape.c) for path in islice(paths, batch)
        ]
        if not images:
            return
        yield model.raw_heads(np.stack(images))[layer].reshape(len(images), -1)
