"""Suppression of boxes that cover the same object, class by class, as Darknet does it."""

from typing import Dict

import numpy as np

from darkprune.ops.heads import PLAIN, Suppression

GREEDY_POWER = 0.6  # of the distance, with nms_kind=greedynms; beta_nms is not read there


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float, how: Suppression = PLAIN) -> np.ndarray:
    """The scores with 0 for every box that overlaps a better one of its class by more than `threshold`.

    Args:
        boxes: [n, 4] of cx, cy, w, h, as shares of the image (which the distance of diounms depends on).
        scores: [n, classes]; 0 is no candidate.
        threshold: Darknet's -nms; 0 suppresses nothing.
        how: the overlap is the IoU, or the IoU less a power of the squared distance of the centres over the squared
            diagonal of the box around both (Distance-IoU, arXiv 1911.08287).
    """
    result = scores.copy()
    if threshold == 0:
        return result
    covers: Dict[int, np.ndarray] = {}  # box -> which boxes it covers: the same for every class
    for column in result.T:
        order = np.flatnonzero(column)
        order = order[np.argsort(-column[order], kind="mergesort")]  # mergesort: equal ones stay in order
        while len(order) > 1:
            first, order = int(order[0]), order[1:]
            if first not in covers:
                covers[first] = overlap(boxes[first], boxes, how) > threshold
            covered = covers[first][order]
            column[order[covered]] = 0
            order = order[~covered]
    return result


def overlap(box: np.ndarray, boxes: np.ndarray, how: Suppression = PLAIN) -> np.ndarray:
    """How much `box` [4] covers each of `boxes` [n, 4]; see `suppress`."""
    low, high = box[:2] - box[2:] / 2, box[:2] + box[2:] / 2
    lows, highs = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    common = np.clip(np.minimum(high, highs) - np.maximum(low, lows), 0, None).prod(axis=1)
    union = box[2:].prod() + boxes[:, 2:].prod(axis=1) - common
    iou = common / np.where(union > 0, union, 1)
    if how.kind == "default":
        return iou
    around = ((np.maximum(high, highs) - np.minimum(low, lows)) ** 2).sum(axis=1)
    apart = ((box[:2] - boxes[:, :2]) ** 2).sum(axis=1)
    power = how.beta if how.kind == "diounms" else GREEDY_POWER
    return iou - (apart / np.where(around > 0, around, 1)) ** power
