"""The loss of [yolo]: Darknet's choice of anchors, CIoU boxes."""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from darkprune.darknet import values
from darkprune.data.labels import Truth
from darkprune.ops.heads import anchor_sizes

LossParts = NamedTuple("LossParts", [("total", Any), ("parts", Dict[str, float])])


class YoloLoss:
    """Binary cross-entropy of objectness and classes, 1 - CIoU of boxes."""

    def __init__(self, layer: Any) -> None:
        num = layer["num"]
        self.mask = layer["mask"] or tuple(range(num))
        self.anchors = anchor_sizes(layer, tuple(range(num)))
        self.classes = layer["classes"]

        def real(key: str, default: float) -> float:
            text = layer.text(key)
            return values.atof(text) if text else default

        self.ignore = real("ignore_thresh", 0.5)
        self.iou_thresh = real("iou_thresh", 1.0)
        self.box_gain = real("iou_normalizer", 0.75)
        self.obj_gain = real("obj_normalizer", 1.0)
        self.cls_gain = real("cls_normalizer", 1.0)
        self.scale = real("scale_x_y", 1.0)

    def __call__(self, raw: Tensor, targets: List[Truth], size: Tuple[int, int]) -> LossParts:
        n, _, h, w = raw.shape
        grid = raw.view(n, len(self.mask), 5 + self.classes, h, w)
        anchors = torch.tensor(self.anchors[list(self.mask)] / np.array(size), dtype=torch.float32)
        at = [torch.from_numpy(a) for a in self._matches(targets, w, h, size)]
        image, anchor, row, column, kind, boxes = at
        objectness = grid[:, :, 4]
        wanted = torch.zeros_like(objectness)
        wanted[image, anchor, row, column] = 1
        weight = torch.where(self._ignored(grid.detach(), targets, anchors), 0.0, 1.0)
        weight[image, anchor, row, column] = 1
        loss = self.obj_gain * functional.binary_cross_entropy_with_logits(objectness, wanted, weight, reduction="sum")
        parts = {"objectness": float(loss.detach())}
        if len(image):
            cells = grid[image, anchor, :, row, column]
            xy = cells[:, :2].sigmoid() * self.scale - (self.scale - 1) / 2
            xy = (xy + torch.stack([column, row], 1)) / torch.tensor([w, h])
            found = torch.cat([xy, cells[:, 2:4].clamp(max=8).exp() * anchors[anchor]], 1)
            iou = _ciou(found, boxes.float())
            box = self.box_gain * 2 * (1 - iou).sum()
            hot = functional.one_hot(kind, self.classes).float()
            classes = self.cls_gain * functional.binary_cross_entropy_with_logits(cells[:, 5:], hot, reduction="sum")
            loss = loss + box + classes
            parts.update(box=float(box.detach()), classes=float(classes.detach()))
        return LossParts(loss, parts)

    def _matches(self, targets: List[Truth], w: int, h: int, size: Tuple[int, int]) -> Any:
        """Arrays: image, anchor, row, column, class, box of each pair of a cell's anchor and an object."""
        image = np.concatenate([np.full(len(t.classes), i) for i, t in enumerate(targets)]).astype(np.int64)
        boxes = np.concatenate([t.boxes for t in targets])
        kinds = np.concatenate([t.classes for t in targets]).astype(np.int64)
        wh = boxes[:, None, 2:] * np.array(size)
        inter = np.minimum(wh, self.anchors[None]).prod(2)
        iou = inter / (wh.prod(2) + self.anchors.prod(1)[None] - inter + 1e-9)
        chosen = iou > self.iou_thresh
        chosen[np.arange(len(iou)), iou.argmax(1)] = True
        who, which = np.nonzero(chosen[:, list(self.mask)])
        column = np.minimum((boxes[who, 0] * w).astype(np.int64), w - 1)
        row = np.minimum((boxes[who, 1] * h).astype(np.int64), h - 1)
        return image[who], which, row, column, kinds[who], boxes[who]

    def _ignored(self, grid: Tensor, targets: List[Truth], anchors: Tensor) -> Tensor:
        """bool [N, A, h, w]: whose box is over an object by more than ignore_thresh."""
        n, a, _, h, w = grid.shape
        column, row = torch.arange(w), torch.arange(h)[:, None]
        x = (grid[:, :, 0].sigmoid() + column) / w
        y = (grid[:, :, 1].sigmoid() + row) / h
        bw = grid[:, :, 2].clamp(max=8).exp() * anchors[:, 0].view(1, a, 1, 1)
        bh = grid[:, :, 3].clamp(max=8).exp() * anchors[:, 1].view(1, a, 1, 1)
        found = torch.zeros((n, a, h, w), dtype=torch.bool)
        for i, truth in enumerate(targets):
            if len(truth.classes):
                t = torch.from_numpy(truth.boxes).float()[:, :, None, None, None]
                iw = torch.minimum(x[i] + bw[i] / 2, t[:, 0] + t[:, 2] / 2)
                iw = iw - torch.maximum(x[i] - bw[i] / 2, t[:, 0] - t[:, 2] / 2)
                ih = torch.minimum(y[i] + bh[i] / 2, t[:, 1] + t[:, 3] / 2)
                ih = ih - torch.maximum(y[i] - bh[i] / 2, t[:, 1] - t[:, 3] / 2)
                inter = iw.clamp(min=0) * ih.clamp(min=0)
                iou = inter / (bw[i] * bh[i] + t[:, 2] * t[:, 3] - inter)
                found[i] = (iou > self.ignore).any(0)
        return found


def _ciou(a: Tensor, b: Tensor) -> Tensor:
    low = torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    high = torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    inter = (high - low).clamp(min=0).prod(1)
    iou = inter / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - inter + 1e-9)
    outer = torch.maximum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    outer = outer - torch.minimum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    diagonal = (outer**2).sum(1) + 1e-9
    apart = ((a[:, :2] - b[:, :2]) ** 2).sum(1)
    v = 4 / np.pi**2 * (torch.atan(b[:, 2] / b[:, 3]) - torch.atan(a[:, 2] / (a[:, 3] + 1e-9))) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + 1e-9)
    return iou - apart / diagonal - alpha * v
