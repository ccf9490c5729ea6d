"""Anchors for a data set: k-means over the sizes of its boxes, the distance being 1 - IoU (Darknet's calc_anchors).

Beside Darknet's way: k-means++ starts (Arthur and Vassilvitskii, 2007), the best of several, and a cluster's centre is
the median of its sizes, which comes to a higher IoU than their mean does.
"""

import numpy as np

from darkprune.errors import UsageError

STARTS = 20
STEPS = 300
STEPS_ON_ALL = 10
SAMPLE = 20000  # boxes that the starts are tried on
_CHUNK = 1 << 15


def find_anchors(sizes: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """float64 [count, 2]: widths and heights, the smallest area first.

    Args:
        sizes: float [n, 2], widths and heights of boxes, all above 0, in the unit wanted.
        seed: of the random starts; the same seed gives the same anchors.

    Raises UsageError where there are not as many different boxes as anchors.
    """
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    different = len(np.unique(sizes, axis=0))
    if not 1 <= count <= different:
        cause = "{} clusters of {} different boxes".format(count, different)
        raise UsageError(cause, hint="ask for at least 1 and no more than there are boxes")
    random = np.random.RandomState(seed)
    sample = sizes if len(sizes) <= SAMPLE else sizes[random.choice(len(sizes), SAMPLE, replace=False)]
    tried = [_settle(sample, _start(sample, count, random)) for _ in range(STARTS)]
    best = max(tried, key=lambda centres: average_iou(sample, centres))
    if sample is not sizes:
        best = _settle(sizes, best, STEPS_ON_ALL)
    return best[np.argsort(best.prod(axis=1), kind="mergesort")]


def average_iou(sizes: np.ndarray, anchors: np.ndarray) -> float:
    """The mean over all boxes of the IoU with the best anchor, both centred on one point; 0..1."""
    return float(_best(sizes, anchors)[0].mean())


def _start(sizes: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """k-means++: each further centre is a box, drawn by its squared distance from those before."""
    centres = sizes[[random.randint(len(sizes))]]
    while len(centres) < count:
        weights = (1 - _best(sizes, centres)[0]) ** 2
        total = weights.sum()  # next to 0 where the sample holds fewer different boxes than asked for
        index = random.choice(len(sizes), p=weights / total if total > 1e-12 else None)
        centres = np.concatenate([centres, sizes[[index]]])
    return centres


def _settle(sizes: np.ndarray, centres: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """The best centres on the way to where no box changes its cluster."""
    best, best_iou, last = centres, -1.0, None
    for _ in range(steps):
        iou, nearest = _best(sizes, centres)
        if iou.mean() > best_iou:
            best, best_iou = centres, iou.mean()
        if last is not None and np.array_equal(nearest, last):
            break
        last, centres = nearest, centres.copy()
        for index in range(len(centres)):
            members = sizes[nearest == index]
            if len(members):
                centres[index] = np.median(members, axis=0)
    return best


def _best(sizes: np.ndarray, anchors: np.ndarray) -> tuple:
    """(IoU [n] with the best anchor, which one [n])."""
    found = [_best_of_chunk(sizes[start : start + _CHUNK], anchors) for start in range(0, len(sizes), _CHUNK)]
    return np.concatenate([iou for iou, _ in found]), np.concatenate([index for _, index in found])


def _best_of_chunk(sizes: np.ndarray, anchors: np.ndarray) -> tuple:
    shared = np.minimum(sizes[:, None, 0], anchors[:, 0]) * np.minimum(sizes[:, None, 1], anchors[:, 1])
    iou = shared / (sizes.prod(axis=1)[:, None] + anchors.prod(axis=1) - shared)
    return iou.max(axis=1), iou.argmax(axis=1)
