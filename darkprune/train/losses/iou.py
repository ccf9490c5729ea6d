"""Overlap of boxes - IoU, GIoU, DIoU, CIoU - and the deltas that Darknet takes for its gradients.

Boxes are [n, 4]: cx, cy, w, h. Sources: GIoU, Rezatofighi et al. 2019; DIoU and CIoU, Zheng et al. 2020.
"""

import math
from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

TINY = 1e-6  # as in Darknet's box_ciou
_AT_ONCE = 1 << 18  # pairs of a prediction and an object: what stays in a processor's cache


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Area of the intersection over that of the union [n]; 0 where either is 0."""
    inter = _extent(a, b)[0].clamp(min=0).prod(dim=1)
    union = a[:, 2:].prod(dim=1) + b[:, 2:].prod(dim=1) - inter
    return torch.where((inter > 0) & (union > 0), inter / union.clamp(min=1e-30), torch.zeros_like(inter))


def overlap(kind: str, a: Tensor, b: Tensor) -> Tensor:
    """IoU, GIoU, DIoU or CIoU [n], of which 1 minus it is the loss; differentiable for `a`.

    As published: DIoU has the squared distance over the squared diagonal (Darknet's box_diou raises it to 0.6, but
    its deltas do not), and the weight of CIoU's aspect is a constant for the gradient.
    """
    iou = box_iou(a, b)
    if kind == "iou":
        return iou
    hull = _extent(a, b)[1]
    if kind == "giou":
        area = hull.prod(dim=1)
        inter = _extent(a, b)[0].clamp(min=0).prod(dim=1)
        union = a[:, 2:].prod(dim=1) + b[:, 2:].prod(dim=1) - inter
        return iou - (area - union) / area
    apart = ((a[:, :2] - b[:, :2]) ** 2).sum(dim=1) / (hull**2).sum(dim=1)
    if kind == "diou":
        return iou - apart
    aspect = 4 / math.pi**2 * (torch.atan(b[:, 2] / b[:, 3]) - torch.atan(a[:, 2] / a[:, 3])) ** 2
    weight = (aspect / (1 - iou + aspect + TINY)).detach()
    return iou - apart - weight * aspect


def darknet_gradient(kind: str, a: Tensor, b: Tensor) -> Tensor:
    """What AlexeyAB's dx_box_iou gives for the gradient of the overlap for a's cx, cy, w, h [n, 4].

    It is the true one but for this: the parts of IoU and GIoU for w and h are doubled; what DIoU and CIoU owe to the
    hull has the wrong sign for cx and cy; where boxes do not meet, the area of their intersection is taken for the
    product of two gaps; CIoU's aspect leaves out 1 / (w^2 + h^2), as its authors do.
    """
    low, high = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2
    low_b, high_b = b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    inner, hull = _extent(a, b)
    other = a[:, 2:].flip(1)  # the extent along the other axis
    inter, area = inner.prod(dim=1, keepdim=True), hull.prod(dim=1, keepdim=True)
    union = a[:, 2:].prod(dim=1, keepdim=True) + b[:, 2:].prod(dim=1, keepdim=True) - inter
    d_inter = [-inner.flip(1) * (low > low_b), inner.flip(1) * (high < high_b)]  # for both ends of a
    d_union = [-other - d_inter[0], other - d_inter[1]]
    ends = [(union * di - inter * du) / union**2 * (union > 0) for di, du in zip(d_inter, d_union)]
    meet = (inner > 0).all(dim=1, keepdim=True)
    below, above = low < low_b, high > high_b  # where a decides the ends of the hull
    if kind == "giou":
        d_area = [-hull.flip(1) * below, hull.flip(1) * above]
        terms = [(area * du - union * da) / area**2 for du, da in zip(d_union, d_area)]
        ends = [torch.where(meet, end, torch.zeros_like(end)) + term for end, term in zip(ends, terms)]
    place, extent = ends[0] + ends[1], ends[1] - ends[0]
    if kind in ("diou", "ciou"):
        away = a[:, :2] - b[:, :2]
        square, apart = (hull**2).sum(dim=1, keepdim=True), (away**2).sum(dim=1, keepdim=True)
        d_place = hull * (above.to(hull.dtype) - below.to(hull.dtype))
        d_extent = hull * 0.5 * (above.to(hull.dtype) + below.to(hull.dtype))
        place = place * meet - 2 * (away * square + d_place * apart) / square**2
        extent = extent * meet + 2 * d_extent * apart / square**2
    if kind == "ciou":
        turn = torch.atan(b[:, 2] / b[:, 3]) - torch.atan(a[:, 2] / a[:, 3])
        aspect = 4 / math.pi**2 * turn**2
        weight = aspect / (1 - (inter / union)[:, 0] + aspect + TINY) * 8 / math.pi**2 * turn
        extent = extent + torch.stack([weight * a[:, 3], -weight * a[:, 2]], dim=1)
    return torch.cat([place, extent], dim=1)


def _extent(a: Tensor, b: Tensor) -> Tuple[Tensor, Tensor]:
    """Widths and heights [n, 2] of the intersection (negative: the gap between them), and of the hull."""
    low, high = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2
    low_b, high_b = b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    inner = torch.minimum(high, high_b) - torch.maximum(low, low_b)
    return inner, torch.maximum(high, high_b) - torch.minimum(low, low_b)


def shape_overlap(kind: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The overlap float32 [n, m] of boxes with sizes a [n, 2] and b [m, 2] around one centre.

    Darknet's box_iou_kind: a is its first box. There the distance is 0, so that DIoU is the IoU.
    """
    a, b = a[:, None].astype(np.float32), b[None].astype(np.float32)
    inter = np.minimum(a, b).prod(axis=2)
    union = a.prod(axis=2) + b.prod(axis=2) - inter
    iou = inter / union
    if kind == "giou":
        hull = np.maximum(a, b).prod(axis=2)
        return iou - (hull - union) / hull
    if kind == "ciou":
        turn = np.arctan(b[..., 0] / b[..., 1]) - np.arctan(a[..., 0] / a[..., 1])
        aspect = np.float32(4 / np.pi**2) * turn**2
        return iou - aspect / (1 - iou + aspect + np.float32(TINY)) * aspect
    return iou


Best = NamedTuple(
    "Best",
    [
        ("iou", Tensor),  # [N, m]: the largest IoU of each box with an object of its image; 0 where there is none
        ("which", Optional[Tensor]),  # int64 [N, m]: that object's number among all, or None where nobody asked
    ],
)


def best_overlaps(x: Tensor, y: Tensor, w: Tensor, h: Tensor, image: np.ndarray, box: np.ndarray, which: bool) -> Best:
    """Of boxes [N, m] each, the largest IoU with one of the objects: numbers of their images (ascending), boxes."""
    n, m = x.shape
    best, number = torch.zeros_like(x), torch.zeros_like(x, dtype=torch.int64) if which else None
    starts = np.searchsorted(image, np.arange(n + 1))
    objects = torch.from_numpy(box).to(x)
    low, high = objects[:, :2] - objects[:, 2:] / 2, objects[:, :2] + objects[:, 2:] / 2
    areas = objects[:, 2:].prod(dim=1)
    x_ends, y_ends, area = (x - w / 2, x + w / 2), (y - h / 2, y + h / 2), w * h
    for i, start, stop in _blocks(starts, max(1, _AT_ONCE // m)):
        some = slice(start, stop)
        across = torch.minimum(x_ends[1][i], high[some, :1]).sub_(torch.maximum(x_ends[0][i], low[some, :1]))
        down = torch.minimum(y_ends[1][i], high[some, 1:]).sub_(torch.maximum(y_ends[0][i], low[some, 1:]))
        inter = across.clamp_(min=0).mul_(down.clamp_(min=0))
        iou = inter.div_((area[i] + areas[some, None]).sub_(inter))
        if number is None:
            torch.maximum(best[i], iou.amax(dim=0), out=best[i])
        else:
            value, at = iou.max(dim=0)
            better = value > best[i]
            best[i] = torch.where(better, value, best[i])
            number[i] = torch.where(better, at + start, number[i])
    return Best(best, number)


def _blocks(starts: np.ndarray, length: int) -> List[Tuple[int, int, int]]:
    """(image, first object, object behind the last), with at most `length` objects each."""
    found = []
    for image, (start, stop) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist())):
        found += [(image, k, min(k + length, stop)) for k in range(start, stop, length)]
    return found
