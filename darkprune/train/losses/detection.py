"""The loss of [detection], the head of the first YOLO."""

from typing import Any, Dict, Tuple

import numpy as np
import torch
from torch import Tensor

from darkprune.ops.detection import DetectionTraining
from darkprune.train.losses.base import HeadLoss, Objects, objects_of, recalls, squared
from darkprune.train.losses.iou import box_iou
from darkprune.train.losses.matching import cells_of

SMALL = 0.1  # area, in cells, below which `forced` takes the second box
FAR = 20.0  # distance beyond which no box is taken


class DetectionLoss(HeadLoss):
    """Darknet's deltas of [detection]: squared distances.

    A cell has its first object alone. Of its boxes, the one that overlaps it most (or, where none does, is nearest) is
    to find it. The deltas of classes behind a softmax are those of the values before it, as in Darknet.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.options: DetectionTraining = self.options

    def deltas(self, raw: Tensor, targets: Any, size: Tuple[int, int]) -> Tuple[Tensor, Tensor, Dict[str, float]]:
        o, n, places = self.options, len(raw), self.options.side**2
        split = [places * o.classes, places * o.num, places * o.num * 4]
        classes, found, boxes = torch.split(raw.reshape(n, -1), split, dim=1)
        classes = classes.reshape(n, places, o.classes)
        score = torch.softmax(classes, dim=2) if o.softmax else classes
        found, boxes = found.reshape(n, places, o.num), boxes.reshape(n, places, o.num, 4)
        image, place, kind, box = self._cells(objects_of(targets, 1 << 30, o.classes))
        at = torch.from_numpy(image).to(raw.device), torch.from_numpy(place).to(raw.device)
        wanted = torch.from_numpy(box).to(raw)
        which, iou = self._chosen(boxes[at], wanted)
        own = at + (which,)
        goal, weight = torch.zeros_like(found), torch.full_like(found, o.noobject_scale)
        goal[own], weight[own] = iou if o.rescore else torch.ones_like(iou), o.object_scale
        asked = torch.zeros_like(score[at])
        asked[torch.arange(len(kind)), torch.from_numpy(kind)] = 1
        values = wanted.clone()
        if o.sqrt:
            values[:, 2:] = torch.sqrt(values[:, 2:])
        class_delta, box_delta = torch.zeros_like(score), torch.zeros_like(boxes)
        class_delta[at] = o.class_scale * (asked - score[at])
        box_delta[own] = o.coord_scale * (values - boxes[own])
        found_delta = weight * (goal - found)
        delta = torch.cat([part.reshape(n, -1) for part in (class_delta, found_delta, box_delta)], dim=1)
        lost = [
            0.5 * o.coord_scale * ((values - boxes[own]) ** 2).sum(),
            0.5 * (weight * (goal - found) ** 2).sum(),
            -o.class_scale * (asked * torch.log_softmax(classes[at], dim=1)).sum()
            if o.softmax
            else 0.5 * o.class_scale * ((asked - score[at]) ** 2).sum(),
        ]
        parts = dict(zip(("box", "objectness", "classes"), (float(part) for part in lost)))
        parts.update(recalls(iou), delta=squared(delta))
        return delta, torch.stack(lost).sum(), parts

    def _cells(self, objects: Objects) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(image, cell, class, box) of the first object of each cell; a box's x and y are shares of the cell."""
        side = self.options.side
        column, row = cells_of(objects, (side, side))
        place = row * side + column
        _, first = np.unique(objects.image * side**2 + place, return_index=True)
        box = objects.box[first].copy()
        box[:, :2] = box[:, :2] * np.float32(side) - np.stack([column[first], row[first]], axis=1)
        return objects.image[first], place[first], objects.kind[first], box

    def _chosen(self, boxes: Tensor, wanted: Tensor) -> Tuple[Tensor, Tensor]:
        """Which of the boxes [m, num, 4] is to find the object [m, 4], and its IoU with it."""
        o, m = self.options, len(wanted)
        scale = boxes.new_tensor([1.0 / o.side, 1.0 / o.side, 1.0, 1.0])
        found = boxes * scale
        if o.sqrt:
            found[..., 2:] = found[..., 2:] ** 2
        truth = (wanted * scale)[:, None].expand(m, o.num, 4)
        iou = box_iou(found.reshape(-1, 4), truth.reshape(-1, 4)).reshape(m, o.num)
        far = ((found - truth) ** 2).sum(dim=2).sqrt()
        nearest = torch.where(far < FAR, far, torch.full_like(far, float("inf"))).argmin(dim=1)
        which = torch.where((iou > 0).any(dim=1), iou.argmax(dim=1), nearest)
        if o.forced:
            which = (wanted[:, 2:].prod(dim=1) < SMALL).long()
        return which, iou[torch.arange(m, device=iou.device), which]
