"""Top-1 and top-k accuracy of a classifier, as AlexeyAB's Darknet counts them (classifier.c,
validate_classifier_single): an image is right when its class is among the k highest scores; of equal ones the earlier
class is the higher.
"""

from itertools import islice
from typing import Any, Iterable, Iterator, NamedTuple

import numpy as np

from darkprune.backends.model import Model
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import ClassificationSet, read_classification
from darkprune.data.problems import Problems
from darkprune.detect.classifier import Classifier, class_scores
from darkprune.detect.image_file import read_image
from darkprune.errors import UsageError
from darkprune.graph.net import Net

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
    scores = list(_scores(Classifier(model), progress(data.images), batch))
    found = ranks(np.concatenate(scores), classes)
    shares = [float((found < k).mean()) for k in (1, 5, top)]
    return ClassifierResult(shares[0], shares[1], top, shares[2], len(found))


def _scores(classifier: Classifier, paths: Iterable[str], batch: int) -> Iterator[np.ndarray]:
    """[n, classes] of up to `batch` images at once."""
    paths = iter(paths)
    while True:
        images = [read_image(path) for path in islice(paths, batch)]
        if not images:
            return
        yield classifier.classify(images)
