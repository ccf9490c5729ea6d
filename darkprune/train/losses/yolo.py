"""The loss of [yolo] and [Gaussian_yolo]."""

import math
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from darkprune.ops.yolo import YoloTraining
from darkprune.train.losses.base import HeadLoss, Objects, cross_entropy, objects_of, recalls, squared
from darkprune.train.losses.iou import best_overlaps, box_iou, darknet_gradient, overlap
from darkprune.train.losses.matching import Cells, Pairs, cells, joined, match

SURE = 0.25  # AlexeyAB's Darknet forgives a stray box only where some class is likelier than this
_LOGIT = math.log(SURE / (1 - SURE))
_SIGMA, _TINY = 0.3, 1e-9  # sigma_const and epsi of delta_gaussian_yolo_box

_Head = NamedTuple(
    "_Head",
    [
        ("x", Tensor),  # float32 [N, A, values, h, w]: raw values
        ("anchors", Tensor),  # [A, 2]: this head's, as shares of the input
        ("found", Tensor),  # objectness [N, A, h, w], between 0 and 1
    ],
)

_At = NamedTuple(
    "_At",
    [
        ("pairs", Pairs),
        ("index", Tuple[Tensor, Tensor, Tensor, Tensor]),  # image, anchor, row and column of each pair
        ("box", Tensor),  # float32 [n, 4]: the objects
        ("early", int),  # the first so many pairs are there for truth_thresh
        ("weight", Tensor),  # [n]: of the pair's class
    ],
)


class YoloLoss(HeadLoss):
    """Darknet's deltas of [yolo] and [Gaussian_yolo].

    Every object asks for the anchor most like it in shape (or several, iou_thresh) in the cell it lies in: for an
    objectness of 1, its class, and its box. All other objectnesses are to be 0, but those whose box overlaps an object
    by more than ignore_thresh. Where several objects ask for one anchor, its box follows all of them (in the original
    Darknet: the last), and it has all their classes. AlexeyAB's Darknet heeds cls_normalizer with counters_per_class
    alone, and delta_normalizer on GPUs only; here it always counts.

    Args:
        layer: the head.
        box_gradient: of iou_loss=iou, giou, diou and ciou. "darknet": AlexeyAB's deltas, which are no gradient (see
            `darknet_gradient`): they are gradients for the box in shares of the image, without the factors between
            the raw values and the box but for exp(w) and exp(h). The iou_normalizer of published cfgs (0.07, 0.05)
            belongs to them. "loss": the gradient of 2 iou_normalizer (1 - overlap) for the raw values. On grids of 10
            to 40 cells that is 4 to 19 times smaller for w and h and 20 to 80 times for x and y, with nearly the same
            direction; iou_normalizer is then 0.75 or so.
    """

    def __init__(self, layer: Any, box_gradient: str = "darknet") -> None:
        super().__init__(layer)
        self.options: YoloTraining = self.options
        self.box_gradient = box_gradient

    def deltas(self, raw: Tensor, targets: Any, size: Tuple[int, int]) -> Tuple[Tensor, Tensor, Dict[str, float]]:
        o = self.options
        n, _, h, w = raw.shape
        x = raw.reshape(n, len(o.mask), -1, h, w)
        entries = len(o.coordinates) + len(o.deviations)
        sizes = o.anchors.astype(np.float32) / np.array(size, np.float32)
        found = x[:, :, entries] if o.activated else torch.sigmoid(x[:, :, entries])
        head = _Head(x, torch.from_numpy(sizes[list(o.mask)]).to(x), found)
        objects = objects_of(targets, o.limit, o.classes, o.map)
        pairs = match(objects, sizes, o.mask, (w, h), o.iou_thresh, o.iou_thresh_kind, o.shift)
        wanted, weight, early = self._background(head, objects)
        at = self._at(head, pairs, early)
        delta = torch.zeros_like(x)
        parts = {"box": 0.0, "classes": 0.0}
        value = torch.zeros((), device=x.device)
        iou = torch.zeros(0)
        if len(at.box):
            groups = cells(at.pairs, (len(o.mask), h, w))
            where = tuple(index[torch.from_numpy(groups.first).to(x.device)] for index in at.index)
            logits = x[where[0], where[1], entries + 1 :, where[2], where[3]]
            class_delta, class_value, factor = self._classes(logits, wanted[where], at, groups)
            self._objectness(wanted, weight, found, at, groups, where)
            delta[where[0], where[1], entries + 1 :, where[2], where[3]] = class_delta
            box_delta, lost, iou = self._boxes(head, at)
            summed = self._summed(torch.cat([box_delta, lost[:, None]], dim=1), groups, factor)
            delta[where[0], where[1], :entries, where[2], where[3]] = summed[:, :-1]
            box_value = summed[:, -1].sum()
            parts = {"box": float(box_value), "classes": float(class_value)}
            value, iou = box_value + class_value, iou[at.early :]
        delta[:, :, entries] = weight * (wanted - found)
        distance = 0.5 * (wanted - found) ** 2 if o.activated else cross_entropy(x[:, :, entries], wanted)
        objectness = (weight * distance).sum()
        parts["objectness"] = float(objectness)
        if o.delta_normalizer != 1:
            delta, value, objectness = (part * o.delta_normalizer for part in (delta, value, objectness))
        parts.update(recalls(iou), delta=squared(delta))
        return delta, value + objectness, parts

    def _background(self, head: _Head, objects: Objects) -> Tuple[Tensor, Tensor, Optional[Pairs]]:
        """What objectness [N, A, h, w] is asked for where no object asks, with which weight; the pairs that
        truth_thresh makes."""
        o = self.options
        wanted, weight = torch.zeros_like(head.found), torch.full_like(head.found, o.obj_normalizer)
        if not len(objects.box):
            return wanted, weight, None
        n, a, h, w = head.found.shape
        x, y, width, height = (values.reshape(n, -1) for values in self._decoded(head))
        best = best_overlaps(x, y, width, height, objects.image, objects.box, o.truth_thresh < 1)
        iou = best.iou.reshape(n, a, h, w)
        near = iou > o.ignore_thresh
        if not o.original:
            entries = len(o.coordinates) + len(o.deviations)
            at = torch.nonzero(near, as_tuple=True)
            scores = head.x[at[0], at[1], entries + 1 :, at[2], at[3]]
            near[at] = (scores > (SURE if o.activated else _LOGIT)).any(dim=1)
        if o.objectness_smooth:
            wanted = torch.where(near, iou, wanted)
        else:
            weight.masked_fill_(near, 0.0)
        if best.which is None:
            return wanted, weight, None
        over = iou > o.truth_thresh
        wanted = torch.where(over, iou**2 if o.objectness_smooth else torch.ones_like(iou), wanted)
        weight.masked_fill_(over, o.obj_normalizer)
        image, anchor, row, column = (index.cpu().numpy() for index in torch.nonzero(over, as_tuple=True))
        who = best.which.reshape(n, a, h, w)[over].cpu().numpy()
        return wanted, weight, Pairs(image, anchor, row, column, objects.kind[who], objects.box[who])

    def _decoded(self, head: _Head) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """cx, cy, w, h [N, A, h, w] of all boxes, as shares of the input."""
        o, (_, a, _, h, w) = self.options, head.x.shape
        at_x, at_y, at_w, at_h = (head.x[:, :, place] for place in o.coordinates)
        column = torch.arange(w, dtype=head.x.dtype, device=head.x.device)
        row = torch.arange(h, dtype=head.x.dtype, device=head.x.device)[:, None]
        width, height = (
            self._extent(value) * head.anchors[:, axis].view(1, a, 1, 1) for axis, value in enumerate((at_w, at_h))
        )
        x = (self._point(at_x) + column) / w + o.shift * width
        return x, (self._point(at_y) + row) / h + o.shift * height, width, height

    def _point(self, x: Tensor) -> Tensor:
        o = self.options
        return (x if o.activated else torch.sigmoid(x)) * o.stretch - 0.5 * (o.stretch - 1)

    def _extent(self, x: Tensor) -> Tensor:
        return 4 * x**2 if self.options.activated else torch.exp(x)

    def _at(self, head: _Head, pairs: Pairs, early: Optional[Pairs]) -> _At:
        o, count = self.options, 0 if early is None else len(early.image)
        pairs = pairs if early is None else joined(early, pairs)
        device = head.x.device
        index = tuple(torch.from_numpy(column).to(device) for column in pairs[:4])
        weights = np.array(o.multipliers or [1.0] * max(1, o.classes), np.float32)[pairs.kind]
        weight = torch.from_numpy(weights).to(head.x)
        return _At(pairs, index, torch.from_numpy(pairs.box).to(head.x), count, weight)  # type: ignore[arg-type]

    def _objectness(
        self, wanted: Tensor, weight: Tensor, found: Tensor, at: _At, groups: Cells, where: Tuple[Tensor, ...]
    ) -> None:
        """Puts 1 where an object asks for it."""
        o, last = self.options, torch.from_numpy(groups.last).to(found.device)
        late = last >= at.early
        if o.objectness_smooth:  # Darknet leaves alone whatever has a delta: all but exact matches
            late &= weight[where] * (wanted[where] - found[where]) == 0
        own = tuple(index[late] for index in where)
        wanted[own] = 1.0
        weight[own] = o.obj_normalizer * at.weight[last][late]

    def _classes(self, logits: Tensor, asked: Tensor, at: _At, groups: Cells) -> Tuple[Tensor, Tensor, Tensor]:
        """Deltas [m, classes] of the anchors that objects ask for; the loss; by what the deltas of boxes are divided.

        asked: the objectness [m] that truth_thresh asks for.
        """
        o, kind = self.options, at.pairs.kind
        score = logits if o.activated else torch.sigmoid(logits)
        m, later = len(groups.first), np.setdiff1d(np.arange(len(kind)), groups.first)
        smooth = 0.5 * o.label_smooth_eps
        wanted = np.full((m, o.classes), smooth, np.float32)
        weight = np.ones((m, o.classes), np.float32)
        own = (np.arange(m), kind[groups.first])
        multiplier = at.weight.cpu().numpy()
        weight[own] = multiplier[groups.first] * (o.cls_normalizer if o.multipliers else 1.0)
        wanted[own] = 1 - smooth
        if o.focal_loss:
            sure = score.cpu().numpy()[own] + np.float32(1e-15)
            weight[:] = (0.5 * (sure - 1) * (2 * sure * np.log(sure) + sure - 1))[:, None]
            wanted[:], wanted[own] = 0.0, 1.0
        if o.objectness_smooth:  # what truth_thresh asks for is as sure as its box is right
            early = groups.first < at.early
            soft = (own[0][early], own[1][early])
            wanted[soft], weight[soft] = asked.cpu().numpy()[early], multiplier[groups.first][early]
        other = (groups.of[later], kind[later])
        wanted[other], weight[other] = 1 - smooth, multiplier[later]
        target, factor = torch.from_numpy(wanted).to(logits), torch.from_numpy(weight).to(logits)
        delta = factor * (target - score)
        distance = 0.5 * (target - score) ** 2 if o.activated else cross_entropy(logits, target)
        return delta, (factor * distance).sum(), (delta > 0).sum(dim=1).clamp(min=1)

    def _boxes(self, head: _Head, at: _At) -> Tuple[Tensor, Tensor, Tensor]:
        """Deltas [n, values] of the pairs' boxes, their loss [n], and their IoUs [n]."""
        o = self.options
        image, anchor, row, column = at.index
        entries = len(o.coordinates) + len(o.deviations)
        raw = head.x[image, anchor, :entries, row, column]
        h, w = head.found.shape[2:]
        cell = torch.stack([column, row], dim=1).to(raw)
        grid, sizes = raw.new_tensor([w, h]), head.anchors[anchor]
        box = self._box(raw, cell, grid, sizes)
        delta, value = torch.zeros_like(raw), torch.zeros_like(raw[:, 0])
        gain = o.iou_normalizer * at.weight
        places = list(o.coordinates)
        if o.iou_loss == "mse" or o.deviations:
            moved, lost = self._squares(raw, at, cell, grid, sizes)
            delta[:], value = moved, lost
        if o.iou_loss != "mse":
            delta[:, places] = self._overlap_deltas(raw, at, cell, grid, sizes)
            lost = (2 if self.box_gradient == "loss" else 1) * (1 - overlap(o.iou_loss, box, at.box))
            value = torch.where(torch.isfinite(lost), lost, torch.zeros_like(lost))
        delta[:, places] *= gain[:, None]
        if o.iou_loss != "mse" or o.deviations:
            delta = torch.where(torch.isfinite(delta), delta, torch.zeros_like(delta))
            delta.clamp_(-o.max_delta, o.max_delta)
        return delta, gain * value, box_iou(box, at.box)

    def _box(self, raw: Tensor, cell: Tensor, grid: Tensor, sizes: Tensor) -> Tensor:
        """cx, cy, w, h [n, 4] as shares of the input, from raw values [n, values] of anchors with these sizes."""
        o = self.options
        places = list(o.coordinates)
        extent = self._extent(raw[:, places[2:]]) * sizes
        return torch.cat([(self._point(raw[:, places[:2]]) + cell) / grid + o.shift * extent, extent], dim=1)

    def _overlap_deltas(self, raw: Tensor, at: _At, cell: Tensor, grid: Tensor, sizes: Tensor) -> Tensor:
        """Deltas [n, 4] of cx, cy, w, h for an iou_loss, before iou_normalizer."""
        o = self.options
        if self.box_gradient == "loss":
            with torch.enable_grad():
                leaf = raw.clone().requires_grad_(True)
                value = overlap(o.iou_loss, self._box(leaf, cell, grid, sizes), at.box).sum()
            return 2 * torch.autograd.grad(value, leaf)[0][:, list(o.coordinates)]
        box = self._box(raw, cell, grid, sizes)
        box[:, 2:] = torch.where(box[:, 2:] == 0, torch.ones_like(box[:, 2:]), box[:, 2:])
        found = darknet_gradient(o.iou_loss, box.double(), at.box.double()).to(raw)
        found[:, :2] -= o.shift * found[:, 2:]
        if not o.activated:
            found[:, 2:] *= torch.exp(raw[:, list(o.coordinates[2:])])
        return found

    def _squares(self, raw: Tensor, at: _At, cell: Tensor, grid: Tensor, sizes: Tensor) -> Tuple[Tensor, Tensor]:
        """Deltas [n, values] of boxes by the distance to what the values should be, and the loss [n]; small boxes
        weigh up to twice."""
        o = self.options
        places = list(o.coordinates)
        scale = 2 - at.box[:, 2:].prod(dim=1)
        corner = (at.box[:, :2] - o.shift * at.box[:, 2:]) * grid - cell
        ratio = at.box[:, 2:] / sizes
        wanted = torch.cat([corner, torch.sqrt(ratio / 4) if o.activated else torch.log(ratio)], dim=1)
        values = raw[:, places].clone()
        values[:, :2] = self._point(values[:, :2])
        away = wanted - values
        if o.deviations:
            return self._likelihood(raw, away, scale)
        delta = torch.zeros_like(raw)
        delta[:, places] = away * scale[:, None]
        lost = 0.5 * away**2
        if o.activated:  # the delta of x and y lacks the factor scale_x_y
            lost[:, :2] /= o.stretch
        else:  # it is the gradient of a cross-entropy
            share = (corner + 0.5 * (o.stretch - 1)) / o.stretch
            lost[:, :2] = o.stretch * cross_entropy(raw[:, places[:2]], share)
        return delta, scale * lost.sum(dim=1)

    def _likelihood(self, raw: Tensor, away: Tensor, scale: Tensor) -> Tuple[Tensor, Tensor]:
        """Of [Gaussian_yolo]: deltas [n, 8] that make what should be likely, and the loss [n].

        AlexeyAB's delta_gaussian_yolo_box. The loss is -scale / 2 log(density + 1e-9), with a deviation widened by 0.3
        in the density's factor.
        """
        o = self.options
        deviation = torch.sigmoid(raw[:, list(o.deviations)])
        far = away / deviation
        density = torch.exp(-0.5 * far**2) / (math.sqrt(2 * math.pi) * (deviation + _SIGMA))
        pull = 0.5 * scale[:, None] * density / (density + _TINY)
        delta = torch.zeros_like(raw)
        delta[:, list(o.coordinates)] = pull * far / deviation
        delta[:, list(o.deviations)] = o.uc_normalizer * pull * (far**2 / deviation - 1 / (deviation + _SIGMA))
        return delta, -0.5 * scale * torch.log(density + _TINY).sum(dim=1)

    def _summed(self, pairs: Tensor, groups: Cells, factor: Tensor) -> Tensor:
        """Deltas and losses [m, values] of anchors, from those of their pairs [n, values]."""
        o = self.options
        if o.original:
            return pairs[torch.from_numpy(groups.last).to(pairs.device)]
        of = torch.from_numpy(groups.of).to(pairs.device)
        found = pairs.new_zeros((len(groups.first), pairs.shape[1])).index_add_(0, of, pairs)
        return found / factor[:, None] if o.iou_thresh < 1 or o.deviations else found
