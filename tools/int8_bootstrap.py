"""Intervals of AP50 differences: images drawn again, with both nets judged on the same ones.

Detections are matched with truths once, as COCO's evaluation does at IoU 0.5; a resample of the images then weighs
each image's detections and truths by how often it was drawn, and only precision and recall are computed anew.
"""

import numpy as np

from darkprune.detect.image_file import read_image
from darkprune.evaluate.coco import MOST

RESAMPLES = 1000
RECALLS = np.linspace(0, 1, 101)


def matches(examples, found):
    """Arrays of what was found: scores, classes, images and whether it hit; and `truths`, int [images, classes].

    Args: examples: a DetectionSet. found: Boxes of each image, in pixels, the best-scored first.
    """
    classes = 1 + max(int(truth.classes.max()) for truth in examples.truths if len(truth.classes))
    truths, rows = np.zeros((len(examples.images), classes), int), []
    for number, (path, truth, boxes) in enumerate(zip(examples.images, examples.truths, found)):
        height, width = read_image(path).shape[:2]
        corners = truth.boxes[:, :2] - truth.boxes[:, 2:] / 2
        real = np.concatenate([corners, truth.boxes[:, 2:]], axis=1) * (width, height, width, height)
        np.add.at(truths[number], truth.classes, 1)
        for label in range(classes):
            mine = np.flatnonzero(boxes.classes == label)[:MOST]
            hits = _hits(boxes.boxes[mine], real[truth.classes == label])
            rows += [(boxes.scores[k], label, number, hit) for k, hit in zip(mine, hits)]
    columns = [np.array(column) for column in zip(*rows)]
    return dict(zip(("scores", "classes", "images", "hits"), columns), truths=truths)


def _hits(boxes, real):
    """bool: which boxes, in their order, hit a truth that none before did, at IoU 0.5."""
    free, found = np.ones(len(real), bool), []
    for box in boxes:
        overlap = np.where(free, _iou(box, real), -1) if len(real) else np.zeros(0)
        best = int(overlap.argmax()) if len(real) else -1
        hit = best >= 0 and overlap[best] >= 0.5
        if hit:
            free[best] = False
        found.append(bool(hit))
    return found


def _iou(box, others):
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    return both / (box[2] * box[3] + others[:, 2] * others[:, 3] - both)


def precision(found, weights):
    """AP50 of each row of `weights`, float64 [k, images]: how often each image counts."""
    sums, known = np.zeros(len(weights)), np.zeros(len(weights))
    for label in range(found["truths"].shape[1]):
        positives = weights @ found["truths"][:, label]
        mine = np.flatnonzero(found["classes"] == label)
        mine = mine[np.argsort(-found["scores"][mine], kind="mergesort")]
        known += positives > 0
        if len(mine):
            sums += _class_precision(found["hits"][mine], weights[:, found["images"][mine]], positives)
    return sums / known


def _class_precision(hits, weights, positives):
    right = np.cumsum(weights * hits, axis=1)
    every = np.cumsum(weights, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(every > 0, right / every, 0)
        recalls = right / positives[:, None]
    envelope = np.maximum.accumulate(shares[:, ::-1], axis=1)[:, ::-1]
    found = np.zeros(len(weights))
    for row in np.flatnonzero(positives > 0):
        at = np.searchsorted(recalls[row], RECALLS, side="left")
        found[row] = envelope[row][at[at < len(hits)]].sum() / len(RECALLS)
    return found


def interval(first, second):
    """(low, high): between which 95 % of the differences of AP50, second - first, of resampled images lie."""
    random, images = np.random.RandomState(0), len(first["truths"])
    weights = random.multinomial(images, np.full(images, 1.0 / images), RESAMPLES).astype(float)
    differences = precision(second, weights) - precision(first, weights)
    return tuple(float(v) for v in np.percentile(differences, [2.5, 97.5]))


def save(path, found):
    """Keeps matches in a file."""
    np.savez(path, **found)


def read(path):
    """The matches in a file."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
