"""Which anchor of which cell is to find which object."""

from typing import NamedTuple, Tuple

import numpy as np

from darkprune.train.losses.base import Objects
from darkprune.train.losses.iou import shape_overlap

Pairs = NamedTuple(
    "Pairs",
    [
        # arrays of one value per pair of an anchor in a cell and an object; image by image, object by object
        ("image", np.ndarray),
        ("anchor", np.ndarray),  # its place in the mask
        ("row", np.ndarray),
        ("column", np.ndarray),
        ("kind", np.ndarray),  # the object's class
        ("box", np.ndarray),  # float32 [n, 4]
    ],
)
Pairs.__doc__ = """Anchors with the objects they are to find; all int64 but the boxes."""

Cells = NamedTuple(
    "Cells",
    [
        ("first", np.ndarray),  # [m]: the first pair of each anchor of a cell that has any
        ("last", np.ndarray),  # [m]: the last one
        ("of", np.ndarray),  # [n]: number of each pair's cell
    ],
)


def cells_of(objects: Objects, grid: Tuple[int, int], shift: float = 0.0) -> Tuple[np.ndarray, np.ndarray]:
    """(columns, rows) of the cells that the objects' points lie in, of a grid of so many columns and rows.

    shift: from the point to the centre, in box sizes. Points outside count for the nearest cell, where Darknet would
    write into another row or image.
    """
    points = objects.box[:, :2] - np.float32(shift) * objects.box[:, 2:]
    cells = (points * np.array(grid, np.float32)).astype(np.int64)
    column, row = np.clip(cells, 0, np.array(grid) - 1).T
    return column, row


def match(
    objects: Objects,
    anchors: np.ndarray,
    mask: Tuple[int, ...],
    grid: Tuple[int, int],
    threshold: float = 1.0,
    kind: str = "iou",
    shift: float = 0.0,
) -> Pairs:
    """The anchors of a head that are to find the objects: of all heads' anchors the one most like the object in shape,
    and with a threshold below 1 every other one that is alike by more.

    Args:
        anchors: float32 [num, 2], of all heads, as shares of the input.
        mask: which of them are this head's. grid: its columns and rows.
        threshold, kind: iou_thresh and iou_thresh_kind.
    """
    column, row = cells_of(objects, grid, shift)
    best = shape_overlap("iou", anchors, objects.box[:, 2:]).argmax(axis=0)
    # one row per object: the best anchor first, then the others in their order, as Darknet goes through them
    chosen = np.zeros((len(best), 1 + len(anchors)), bool)
    chosen[:, 0] = np.isin(best, mask)
    if threshold < 1:
        alike = shape_overlap(kind, anchors, objects.box[:, 2:]).T > np.float32(threshold)
        alike[np.arange(len(best)), best] = False
        chosen[:, 1:] = alike & np.isin(np.arange(len(anchors)), mask)
    who, which = np.nonzero(chosen)
    number = np.where(which == 0, best[who], which - 1)
    places = np.full(len(anchors), -1)
    for place in reversed(range(len(mask))):
        places[mask[place]] = place
    return Pairs(objects.image[who], places[number], row[who], column[who], objects.kind[who], objects.box[who])


def joined(first: Pairs, then: Pairs) -> Pairs:
    """The pairs of both, in that order."""
    return Pairs(*(np.concatenate(columns) for columns in zip(first, then)))


def cells(pairs: Pairs, shape: Tuple[int, int, int]) -> Cells:
    """The anchors of cells that have pairs. shape: anchors, rows, columns of the head."""
    keys = np.ravel_multi_index((pairs.anchor, pairs.row, pairs.column), shape) + pairs.image * int(np.prod(shape))
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    last = np.zeros(len(first), np.int64)
    last[of] = np.arange(len(keys))  # of several values for one place NumPy keeps the last
    return Cells(first, last, of)
