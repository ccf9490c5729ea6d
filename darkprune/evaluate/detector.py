"""A detector run over a data set once, and judged by both rules: Darknet's map and COCO's AP."""

import os
from itertools import islice
from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.model import Model
from darkprune.data import image_list, labels
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import DetectionSet
from darkprune.data.labels import Truth
from darkprune.data.text import read_lines
from darkprune.detect.decode import class_count, decode, detection_heads
from darkprune.detect.detector import Detector
from darkprune.detect.image_file import read_image
from darkprune.detect.nms import suppress
from darkprune.detect.preprocess import Fit, prepare
from darkprune.errors import UsageError, place
from darkprune.evaluate import coco
from darkprune.evaluate.darknet_map import DetectionMap, MapResult, darknet_order, require_points
from darkprune.graph.net import Net

THRESHOLD = 0.005  # from which detections count at all; Darknet's

Evaluation = NamedTuple(
    "Evaluation",
    [
        ("map", MapResult),  # Darknet's
        ("coco", Optional[coco.CocoResult]),  # None where it was not asked for
        ("found", List[coco.Boxes]),  # of each image, the best-scored first
        ("judge", DetectionMap),  # its `result` gives the map with other recall points
    ],
)


def check_classes(net: Net, data: DataFile, names: Sequence[str]) -> None:
    """Raises UsageError unless cfg, .data file and names agree about the number of classes."""
    head = detection_heads(net)[-1]
    count = class_count(net)
    hint = "give the .data file that belongs to this cfg ({})".format(head.place("classes").path)
    if data.classes not in (None, count):
        raise UsageError("classes = {}, but the net has {}".format(data.classes, count), data.place("classes"), hint)
    if len(names) != count:
        cause = "{} class names, but the net has {} classes".format(len(names), count)
        raise UsageError(cause, data.place("names"), hint)


def find_difficult(data: DataFile, images: int) -> Optional[List[Optional[str]]]:
    """The label file of each image's objects that need not be found, where the .data file has `difficult`: a list of
    paths, of which only the label files that belong to them may exist. Relative paths start at the working directory,
    or else at the list. Raises UsageError where it is not as long as the images'.
    """
    if data.text("difficult") is None:
        return None
    path = data.require("difficult")
    lines = read_lines(path, "the list of difficult objects", image_list.MAX_BYTES)
    if len(lines) != images:
        cause = "{} lines, but {} images are evaluated".format(len(lines), images)
        raise UsageError(cause, place(path), "the list needs one line for each image, in the same order")
    folder, names = os.path.dirname(path), [os.fsdecode(line) for _, line in lines]
    return [labels.find(name) or labels.find(os.path.join(folder, name)) for name in names]


def read_difficult(paths: Sequence[Optional[str]], classes: int) -> List[Truth]:
    """The objects of these label files, None having none. Raises UsageError."""
    nothing = Truth(np.zeros(0, np.int64), np.zeros((0, 4)))
    return [labels.read(path, classes) if path else nothing for path in paths]


def evaluate_detector(
    model: Model,
    data: DetectionSet,
    difficult: Optional[Sequence[Truth]] = None,
    points: int = 0,
    iou_threshold: float = 0.5,
    confidence: float = 0.25,
    nms: float = 0.45,
    letterbox: bool = False,
    batch: int = 1,
    with_coco: bool = True,
    progress: Any = iter,
) -> Evaluation:
    """Runs an open model over all images.

    Args:
        difficult: objects of each image that need not be found.
        points, iou_threshold, confidence: as those of DetectionMap.
        nms, letterbox: as those of Detector.
        batch: how many images are run at once.
        progress: wraps the iterable of images.

    Raises what Detector and `read_image` raise, and MissingDependency without COCO's library where `with_coco`.
    """
    require_points(points)  # before the images are run
    if with_coco:
        coco.library()
    detector = Detector(model, THRESHOLD, nms, letterbox)
    judge = DetectionMap(detector.classes, iou_threshold, confidence)
    sizes: List[Tuple[int, int]] = []
    truths: List[coco.Boxes] = []
    found: List[coco.Boxes] = []
    for scores, boxes, fit in _detections(detector, progress(data.images), batch):
        truth = data.truths[len(found)]
        excused = difficult[len(found)] if difficult is not None else Truth(truth.classes[:0], truth.boxes[:0])
        judge.add(scores, fit.relative(boxes), truth.classes, truth.boxes, excused.classes, excused.boxes)
        whole = Fit(fit.width, fit.height, 0.0, 0.0, 1.0, 1.0)
        sizes.append((fit.width, fit.height))
        truths.append(coco.Boxes(truth.classes, np.ones(len(truth.classes)), whole.pixels(truth.boxes)))
        found.append(_ranked(scores, fit.pixels(boxes)))
    result = coco.evaluate(sizes, truths, found, detector.classes) if with_coco else None
    return Evaluation(judge.result(points), result, found, judge)


def _detections(detector: Detector, paths: Iterable[str], batch: int) -> Iterator[Tuple[np.ndarray, np.ndarray, Fit]]:
    """Per image: scores [n, classes] after suppression and boxes [n, 4] relative to the net's input, in the order in
    which Darknet holds them, and how the image lies in the input."""
    net = detector.model.net
    shape, last = net.input.shape, detection_heads(net)[-1]
    how = last.op.suppression(last)
    paths = iter(paths)
    while True:
        images = [
            prepare(read_image(path), shape.w, shape.h, shape.c, detector.letterbox) for path in islice(paths, batch)
        ]
        if not images:
            return
        outputs = detector.model.raw_heads(np.stack([values for values, _ in images]))
        for (_, fit), found in zip(images, decode(net, outputs, THRESHOLD)):
            scores = suppress(fit.relative(found.boxes), found.scores, detector.nms, how)
            order = darknet_order(found.scores)
            yield scores[order], found.boxes[order], fit


def _ranked(scores: np.ndarray, boxes: np.ndarray) -> coco.Boxes:
    """One entry for each class of each box, the best-scored first."""
    row, label = np.nonzero(scores)
    score = scores[row, label]
    order = np.argsort(-score, kind="mergesort")
    return coco.Boxes(label[order], score[order], boxes[row[order]])
