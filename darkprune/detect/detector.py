"""Images in, objects out, with any runner."""

import time
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from darkprune.backends.model import Model
from darkprune.darknet import values
from darkprune.detect.decode import class_count, decode, detection_heads
from darkprune.detect.nms import suppress
from darkprune.detect.preprocess import Fit, prepare, require_image_input
from darkprune.errors import UsageError
from darkprune.ops.heads import Candidates

THRESHOLD, NMS = 0.25, 0.45  # Darknet's

Detection = NamedTuple(
    "Detection",
    [
        ("class_id", int),
        ("confidence", float),
        ("box", Tuple[float, float, float, float]),  # left, top, width, height in pixels of the image
    ],
)

Times = NamedTuple(
    "Times",
    [
        ("pre", float),  # seconds from images to what the net takes
        ("infer", float),  # in the runner
        ("post", float),  # from raw heads to objects
    ],
)


class Detector(object):
    """Finds objects with an open Model.

    Args:
        model: its net must have detection heads.
        threshold: Darknet's -thresh. nms: its -nms, 0 for none.
        letterbox: keep the image's proportions; also where the cfg says letter_box=1.

    Attributes:
        classes: how many. times: what the last batch took. seconds: of it, what the runner took.

    Raises UsageError for a threshold that is not in 0..1, and what `detection_heads` and `require_image_input` raise.
    """

    def __init__(self, model: Model, threshold: float = THRESHOLD, nms: float = NMS, letterbox: bool = False) -> None:
        check_thresholds(threshold, nms)
        self.model = model
        self.threshold, self.nms = threshold, nms
        self.letterbox = letterbox or bool(values.atoi(model.net.config.text("letter_box") or "0"))
        self.classes = class_count(model.net)
        require_image_input(model.net)
        last = detection_heads(model.net)[-1]
        self._suppression = last.op.suppression(last)
        self.times = Times(0.0, 0.0, 0.0)

    @property
    def seconds(self) -> float:
        return self.times.infer

    def detect(self, images: Sequence[np.ndarray]) -> List[List[Detection]]:
        """The objects in each image, uint8 [H, W, 3], RGB: one Detection for every class of a box whose confidence
        is above the threshold, the surest first."""
        if not images:
            return []
        start = time.perf_counter()
        shape = self.model.net.input.shape
        prepared = [prepare(image, shape.w, shape.h, shape.c, self.letterbox) for image in images]
        batch = np.stack([image for image, _ in prepared])
        ready = time.perf_counter()
        outputs = self.model.raw_heads(batch)
        done = time.perf_counter()
        candidates = decode(self.model.net, outputs, self.threshold)
        found = [self._detections(each, fit) for each, (_, fit) in zip(candidates, prepared)]
        self.times = Times(ready - start, done - ready, time.perf_counter() - done)
        return found

    def _detections(self, found: Candidates, fit: Fit) -> List[Detection]:
        scores = suppress(fit.relative(found.boxes), found.scores, self.nms, self._suppression)
        boxes = fit.pixels(found.boxes)
        rows, columns = np.nonzero(scores)
        order = np.argsort(-scores[rows, columns], kind="mergesort")
        return [
            Detection(int(column), float(scores[row, column]), tuple(boxes[row].tolist()))
            for row, column in zip(rows[order], columns[order])
        ]


def check_thresholds(threshold: float, nms: float) -> None:
    """Raises UsageError for one that is not in 0..1."""
    for name, value, default in (("thresh", threshold, THRESHOLD), ("nms", nms, NMS)):
        if not 0 <= value <= 1:
            raise UsageError("{} must be from 0 to 1".format(name), hint="Darknet's is {}".format(default))
