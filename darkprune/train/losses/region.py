"""The loss of [region], the head of YOLOv2."""

from typing import Any, Dict, Tuple

import numpy as np
import torch
from torch import Tensor

from darkprune.ops.region import RegionTraining
from darkprune.train.losses.base import HeadLoss, Objects, cross_entropy, objects_of, recalls, squared
from darkprune.train.losses.iou import best_overlaps, box_iou
from darkprune.train.losses.matching import Pairs, cells, cells_of

WARM_UP = 12800  # images in which all boxes are drawn towards their anchors
PULL = 0.01  # how much


class RegionLoss(HeadLoss):
    """Darknet's deltas of [region].

    Every object asks for the anchor of its cell whose predicted size is most like its own (with bias_match: whose own
    size is); all other objectnesses are to be 0, but those whose box overlaps an object by more than thresh. Of several
    objects that ask for one anchor the last one counts (in the original, without softmax, with all their classes).

    The two Darknets differ: the original has gradients of cross-entropies, and small boxes weigh up to twice;
    AlexeyAB's has those of squared distances, and without softmax its classes are raw values.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.options: RegionTraining = self.options

    def deltas(self, raw: Tensor, targets: Any, size: Tuple[int, int]) -> Tuple[Tensor, Tensor, Dict[str, float]]:
        o = self.options
        n, _, h, w = raw.shape
        x = raw.reshape(n, len(o.anchors), -1, h, w)
        anchors = torch.from_numpy(o.anchors.astype(np.float32)).to(x) / x.new_tensor([w, h])
        boxes = self._decoded(x, anchors)
        objects = objects_of(targets, o.limit, o.classes, o.map)
        pairs = self._match(objects, boxes, anchors)
        groups = cells(pairs, (len(o.anchors), h, w))
        last = groups.last
        where = tuple(torch.from_numpy(column[last]).to(x.device) for column in pairs[:4])
        box = torch.from_numpy(pairs.box[last]).to(x)
        wanted, weight = torch.zeros_like(boxes[:, :, 0]), torch.full_like(boxes[:, :, 0], o.noobject_scale)
        if len(box):
            at_x, at_y, width, height = boxes.transpose(1, 2).reshape(n, 4, -1).unbind(1)
            best = best_overlaps(at_x, at_y, width, height, objects.image, objects.box, False)
            weight.masked_fill_(best.iou.reshape(weight.shape) > o.thresh, 0.0)
        iou = box_iou(boxes[where[0], where[1], :, where[2], where[3]], box)
        wanted[where], weight[where] = iou if o.rescore else torch.ones_like(iou), o.object_scale
        delta = torch.zeros_like(x)
        box_value = self._boxes(delta, x, anchors, where, box)
        class_delta, class_value = self._classes(x[where[0], where[1], 5:, where[2], where[3]], pairs, groups)
        delta[where[0], where[1], 5:, where[2], where[3]] = class_delta
        delta[:, :, 4], distance = self._logistic(x[:, :, 4], wanted)
        delta[:, :, 4] *= weight
        objectness = (weight * distance).sum()
        parts = {"box": float(box_value), "objectness": float(objectness), "classes": float(class_value)}
        parts.update(recalls(iou), delta=squared(delta))
        return delta, box_value + objectness + class_value, parts

    def _decoded(self, x: Tensor, anchors: Tensor) -> Tensor:
        """cx, cy, w, h [N, A, 4, h, w] of all boxes as shares of the input."""
        n, a, _, h, w = x.shape
        column = torch.arange(w, dtype=x.dtype, device=x.device)
        row = torch.arange(h, dtype=x.dtype, device=x.device)[:, None]
        at = torch.sigmoid(x[:, :, :2])
        extent = torch.exp(x[:, :, 2:4]) * anchors.view(1, a, 2, 1, 1)
        return torch.stack(
            [(at[:, :, 0] + column) / w, (at[:, :, 1] + row) / h, extent[:, :, 0], extent[:, :, 1]], dim=2
        )

    def _match(self, objects: Objects, boxes: Tensor, anchors: Tensor) -> Pairs:
        column, row = cells_of(objects, (boxes.shape[4], boxes.shape[3]))
        image = objects.image
        if self.options.bias_match:
            sizes = anchors.cpu().numpy()[None].repeat(len(image), axis=0)
        else:
            sizes = boxes.permute(0, 3, 4, 1, 2).cpu().numpy()[image, row, column][..., 2:]
        extent = objects.box[:, None, 2:]
        with np.errstate(invalid="ignore", over="ignore"):  # sizes may be infinite
            inter = np.minimum(sizes, extent).prod(axis=2)
            iou = inter / (sizes.prod(axis=2) + extent.prod(axis=2) - inter)
        anchor = np.nan_to_num(iou).argmax(axis=1)
        return Pairs(image, anchor, row, column, objects.kind, objects.box)

    def _logistic(self, x: Tensor, wanted: Tensor) -> Tuple[Tensor, Tensor]:
        """(deltas, loss) of values that go through the logistic function."""
        found = torch.sigmoid(x)
        away = wanted - found
        if self.options.original:
            return away, cross_entropy(x, wanted)
        return away * found * (1 - found), 0.5 * away**2

    def _boxes(self, delta: Tensor, x: Tensor, anchors: Tensor, where: Tuple[Tensor, ...], box: Tensor) -> Tensor:
        """Fills in the deltas of boxes; returns their loss."""
        o = self.options
        value = x.new_zeros(())
        if self.seen is not None and self.seen < WARM_UP:
            moved, lost = self._logistic(x[:, :, :2], torch.full_like(x[:, :, :2], 0.5))
            delta[:, :, :2], delta[:, :, 2:4] = PULL * moved, -PULL * x[:, :, 2:4]
            lost = lost.sum(dim=2) + 0.5 * (x[:, :, 2:4] ** 2).sum(dim=2)
            lost[where] = 0.0
            value = PULL * lost.sum()
        image, anchor, row, column = where
        raw = x[image, anchor, :4, row, column]
        h, w = x.shape[3:]
        scale = o.coord_scale * (2 - box[:, 2:].prod(dim=1) if o.original else torch.ones_like(box[:, 0]))
        at = box[:, :2] * box.new_tensor([w, h]) - torch.stack([column, row], dim=1)
        away = torch.log(box[:, 2:] / anchors[anchor]) - raw[:, 2:]
        moved, lost = self._logistic(raw[:, :2], at)
        delta[image, anchor, :4, row, column] = torch.cat([moved, away], dim=1) * scale[:, None]
        return value + (scale * (lost.sum(dim=1) + 0.5 * (away**2).sum(dim=1))).sum()

    def _classes(self, raw: Tensor, pairs: Pairs, groups: Any) -> Tuple[Tensor, Tensor]:
        """Deltas [m, classes] of the anchors that objects ask for, and the loss."""
        o = self.options
        chosen, several = groups.last, o.original and o.activation == "logistic"
        wanted = np.zeros((len(chosen), o.classes), np.float32)
        wanted[np.arange(len(chosen)), pairs.kind[chosen]] = 1
        if several:
            wanted[groups.of, pairs.kind] = 1
        target = torch.from_numpy(wanted).to(raw)
        if o.activation == "softmax":
            found, lost = torch.softmax(raw, dim=1), -target * torch.log_softmax(raw, dim=1)
        elif o.activation == "logistic":
            found, lost = torch.sigmoid(raw), cross_entropy(raw, target)
        else:
            found, lost = raw, 0.5 * (target - raw) ** 2
        scale = torch.full_like(raw[:, :1], o.class_scale)
        if o.focal_loss:
            sure = (found * target).sum(dim=1, keepdim=True) + 1e-15
            scale = scale * 0.5 * (sure - 1) * (2 * sure * torch.log(sure) + sure - 1)
        return scale * (target - found), (scale * lost).sum()
