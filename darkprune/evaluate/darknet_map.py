"""Mean average precision as AlexeyAB's Darknet computes it (`detector map`; detector.c, validate_detector_map).

It is not COCO's AP50. What differs:

- A detection belongs to the truth of its class that it overlaps most, whether that truth is taken or not. Of the
  detections of one truth the best-scored one is right, and the others are wrong.
- The mean is over all classes of the net; a class without truths counts as 0.
- Precision, recall and average IoU at a confidence are counted in the order in which Darknet holds its boxes, not by
  score: the first detection of a truth is the one that may be right, even where it lies below the confidence. The
  average IoU counts wrong detections as 0.
- A detection without a truth that overlaps a *difficult* object of its class is left out of the average precision;
  at the confidence it counts as wrong all the same.
"""

from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.errors import UsageError

ClassResult = NamedTuple(
    "ClassResult",
    [
        ("ap", float),  # average precision, 0..1
        ("truths", int),
        ("detections", int),  # above the detection threshold
        ("tp", int),  # right, above the confidence
        ("fp", int),
    ],
)

MapResult = NamedTuple(
    "MapResult",
    [
        ("map", float),  # mean of the classes' ap
        ("classes", List[ClassResult]),
        ("points", int),  # recall points; 0 is the area under the curve
        ("iou_threshold", float),
        ("confidence", float),
        ("average_iou", float),
    ],
)


def total(result: MapResult, count: str) -> int:
    """The sum over the classes of `count`: "truths", "detections", "tp" or "fp"."""
    return sum(getattr(one, count) for one in result.classes)


def precision_recall_f1(result: MapResult) -> List[float]:
    """The three at the confidence; nan where nothing was found or nothing was to be found, as Darknet prints it."""
    right = total(result, "tp")
    precision = _ratio(right, right + total(result, "fp"))
    recall = _ratio(right, total(result, "truths"))
    return [precision, recall, _ratio(2 * precision * recall, precision + recall)]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def darknet_order(scores: np.ndarray) -> np.ndarray:
    """The order in which Darknet holds boxes after suppression: indices of the rows of `scores`.

    Its suppression sorts the boxes by the score of class 0, then of class 1 and so on, each sort stable.

    Args:
        scores: float [n, classes] before suppression, in Darknet's own order: by head, row, column, anchor.
    """
    return np.lexsort([-column for column in scores.T]) if scores.size else np.arange(len(scores))


def ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, float32 [n, m], of boxes [n, 4] and [m, 4] (centre x, y, width, height)."""
    a, b = boxes.astype(np.float32)[:, None], others.astype(np.float32)[None]
    with np.errstate(invalid="ignore", over="ignore"):  # boxes without bounds overlap nothing
        ends = np.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
        sides = ends - np.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
        common = np.where((sides > 0).all(-1), sides[..., 0] * sides[..., 1], np.float32(0))
        union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - common
        found = common / np.where(common > 0, union, np.float32(1))
    return np.where(np.isfinite(found), found, np.float32(0))


class DetectionMap(object):
    """Takes detections and truths image by image, and computes Darknet's map of them.

    Args:
        classes: how many the net has.
        iou_threshold: a detection and a truth belong together above it.
        confidence: the score above which precision, recall and average IoU are counted.
    """

    def __init__(self, classes: int, iou_threshold: float = 0.5, confidence: float = 0.25) -> None:
        self.classes = classes
        self.iou_threshold = iou_threshold
        self.confidence = confidence
        self._truths = np.zeros(classes, np.int64)
        self._right = np.zeros(classes, np.int64)
        self._wrong = np.zeros(classes, np.int64)
        self._overlap = 0.0
        self._labels: List[np.ndarray] = []  # per image: the class of each detection
        self._scores: List[np.ndarray] = []
        self._matches: List[np.ndarray] = []  # the number of its truth, counted through all images; -1 is none

    def add(
        self,
        scores: np.ndarray,
        boxes: np.ndarray,
        truth_classes: np.ndarray,
        truth_boxes: np.ndarray,
        difficult_classes: Optional[np.ndarray] = None,
        difficult_boxes: Optional[np.ndarray] = None,
    ) -> None:
        """One image.

        Args:
            scores: [n, classes], 0 where a box is no detection of a class; in Darknet's order (`darknet_order`).
            boxes: [n, 4], centre x, y, width, height, in the unit of `truth_boxes`.
            truth_classes, truth_boxes: int [t] below `classes`, and [t, 4].
            difficult_classes, difficult_boxes: objects that need not be found.
        """
        row, label = np.nonzero(scores > 0)
        score = scores[row, label].astype(np.float32)
        overlap = self._overlaps(boxes, truth_boxes)[row] * (label[:, None] == truth_classes[None])
        best, match = _best(overlap)
        above = score > np.float32(self.confidence)
        first = np.zeros(len(score), bool)
        first[np.unique(match, return_index=True)[1]] = True
        right = above & first & (match >= 0)
        self._right += np.bincount(label[right], minlength=self.classes)
        self._wrong += np.bincount(label[above & ~right], minlength=self.classes)
        self._overlap += float(best[right].sum(dtype=np.float64))
        if difficult_classes is not None and difficult_boxes is not None and len(difficult_classes):
            excused = self._overlaps(boxes, difficult_boxes)[row] * (label[:, None] == difficult_classes[None])
            counts = (match >= 0) | (excused.max(1) == 0)
            label, score, match = label[counts], score[counts], match[counts]
        self._labels.append(label)
        self._scores.append(score)
        self._matches.append(np.where(match >= 0, match + self._truths.sum(), -1))
        self._truths += np.bincount(truth_classes, minlength=self.classes)

    def _overlaps(self, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
        """IoU above the threshold, else 0."""
        found = ious(boxes, others)
        return np.where(found > np.float32(self.iou_threshold), found, np.float32(0))

    def result(self, points: int = 0) -> MapResult:
        """What was counted so far.

        Args:
            points: 0 takes the area under the curve of precision over recall (VOC 2010-2012); 11 and 101 the mean of
                the best precision at that many equally spaced recalls (VOC 2007, COCO).
        """
        require_points(points)
        empty = [np.zeros(0)]
        label = np.concatenate(self._labels or empty)
        order = np.argsort(-np.concatenate(self._scores or empty), kind="mergesort")
        label, match = label[order], np.concatenate(self._matches or empty)[order]
        results = []
        for number in range(self.classes):
            truths = int(self._truths[number])
            mine = match[label == number]
            tp, fp = int(self._right[number]), int(self._wrong[number])
            results.append(ClassResult(average_precision(mine, truths, points), truths, len(mine), tp, fp))
        counted = int(self._right.sum() + self._wrong.sum())
        mean = sum(one.ap for one in results) / self.classes
        overlap = self._overlap / counted if counted else 0.0
        return MapResult(mean, results, points, self.iou_threshold, self.confidence, overlap)


def require_points(points: int) -> None:
    """Raises UsageError for a number of recall points that is none."""
    if points < 0 or points == 1:
        raise UsageError("{} recall points".format(points), hint="use 0 for the area under the curve, 11 or 101")


def _best(overlap: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Per row the largest overlap and its column, which is -1 where all are 0."""
    if overlap.shape[1] == 0:
        return np.zeros(len(overlap), np.float32), np.full(len(overlap), -1)
    best = overlap.max(1)
    return best, np.where(best > 0, overlap.argmax(1), -1)


def average_precision(matches: np.ndarray, truths: int, points: int = 0) -> float:
    """Average precision of one class, 0..1; 0 where there are no truths.

    Args:
        matches: the number of each detection's truth, or -1, best score first.
        truths: how many there are.
        points: as of `DetectionMap.result`.
    """
    if not truths or not len(matches):
        return 0.0
    first = np.zeros(len(matches), bool)
    first[np.unique(matches, return_index=True)[1]] = True
    found = np.cumsum(first & (matches >= 0))
    precision = found / np.arange(1.0, len(matches) + 1)
    recall = found / float(truths)
    best = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    if points == 0:
        return float(np.dot(np.diff(np.concatenate([[0.0], recall])), best))
    # Darknet is compiled with -Ofast, which divides by multiplying: a recall of exactly 3/10 is less than point 3 of 11
    at = np.searchsorted(recall, np.arange(points) * (1.0 / (points - 1)), side="left")
    return float(np.concatenate([best, [0.0]])[at].sum() / points)


def darknet_lines(result: MapResult, names: List[str]) -> str:
    """The text that `detector map` prints of a result, which scripts search for numbers."""
    text = "\n detections_count = {}, unique_truth_count = {}  \n".format(
        total(result, "detections"), total(result, "truths")
    )
    for number, (one, name) in enumerate(zip(result.classes, names)):
        text += "class_id = {}, name = {}, ap = {:.2f}%   \t (TP = {}, FP = {}) \n".format(
            number, name, 100 * one.ap, one.tp, one.fp
        )
    conf = " for conf_thresh = {:.2f}, ".format(result.confidence)
    right = total(result, "tp")
    text += "\n" + conf + "precision = {:.2f}, recall = {:.2f}, F1-score = {:.2f} \n".format(
        *precision_recall_f1(result)
    )
    text += conf + "TP = {}, FP = {}, FN = {}, average IoU = {:.2f} % \n".format(
        right, total(result, "fp"), total(result, "truths") - right, 100 * result.average_iou
    )
    text += "\n IoU threshold = {:2.0f} %, used ".format(100 * result.iou_threshold)
    text += "{} Recall-points \n".format(result.points) if result.points else (
        "Area-Under-Curve for each unique Recall \n"
    )
    return text + " mean average precision (mAP@{:.2f}) = {:.6f}, or {:.2f} % \n".format(
        result.iou_threshold, result.map, 100 * result.map
    )
