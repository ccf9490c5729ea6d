"""[yolo] and [Gaussian_yolo]: anchor-based detection heads; runners give their raw input."""

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.darknet import values
from darkprune.errors import GraphError
from darkprune.ops.base import Hazard, Op, Shape, image, opt
from darkprune.ops.head_training import class_map, multipliers, original, real, refuse, whole
from darkprune.ops.heads import (
    DISTANCE_KINDS,
    Candidates,
    Decoding,
    Jitter,
    Suppression,
    anchor_sizes,
    jitter,
    likely,
    logistic,
    per_image,
)

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer

NO_EMBEDDING = 999999  # Darknet's default of embedding_layer

YoloTraining = NamedTuple(
    "YoloTraining",
    [
        ("original", bool),  # the original Darknet's rules, which know fewer options
        ("classes", int),
        ("anchors", np.ndarray),  # float64 [num, 2]: of all heads, in pixels of the net's input
        ("mask", Tuple[int, ...]),  # which of them are this head's
        ("coordinates", Tuple[int, ...]),  # which values of an anchor are x, y, w and h
        ("deviations", Tuple[int, ...]),  # and which say how unsure those are: of [Gaussian_yolo]
        ("limit", int),  # max: objects of an image that count
        ("ignore_thresh", float),  # of the IoU with any object: no object is asked for, and none denied
        ("truth_thresh", float),  # of the IoU with any object: this object is asked for
        ("iou_thresh", float),  # of an anchor and an object: this anchor is to find it too; from 1 on only the best
        ("iou_thresh_kind", str),  # one of IOU_KINDS
        ("iou_loss", str),  # mse, or one of IOU_KINDS
        ("iou_normalizer", float),
        ("obj_normalizer", float),
        ("cls_normalizer", float),  # Darknet heeds it with counters_per_class only
        ("delta_normalizer", float),  # of all
        ("uc_normalizer", float),  # of the deviations
        ("max_delta", float),  # bound of the deltas of boxes, not with mse
        ("label_smooth_eps", float),
        ("stretch", float),  # scale_x_y
        ("activated", bool),  # new_coords: the layer before has activated the values
        ("objectness_smooth", bool),
        ("focal_loss", bool),
        ("multipliers", Tuple[float, ...]),  # of classes, from counters_per_class; empty: all 1
        ("map", Tuple[int, ...]),  # class of the labels -> class of the head; empty: the same
        ("shift", float),  # how far the centre lies from x and y, in box sizes
    ],
)
IOU_KINDS = ("iou", "giou", "diou", "ciou")


class Yolo(Op):
    """Each anchor of `mask` has 4 coordinates, an objectness and one score per class."""

    names = ("yolo",)
    terminal = True
    detector = True
    pointers = ("embedding_layer",)
    entries = 5  # values per anchor beside the classes; the last of them is the objectness
    coordinates = (0, 1, 2, 3)  # which of them are x, y, w and h
    deviations: Tuple[int, ...] = ()  # which of them say how unsure those are
    options = (
        opt("classes", "int", 20, low=0),
        opt("num", "int", 1, low=1),
        opt("mask", "ints", None),
        opt("anchors", "floats", ()),
        opt("scale_x_y", "float", 1.0, only="alexeyab opencv"),
        opt("new_coords", "int", 0, only="alexeyab opencv"),
        opt("embedding_layer", "int", NO_EMBEDDING, only="alexeyab"),
    )
    passive = (
        "max jitter ignore_thresh truth_thresh random map show_details max_delta counters_per_class "
        "label_smooth_eps objectness_smooth iou_normalizer obj_normalizer cls_normalizer delta_normalizer iou_loss "
        "iou_thresh_kind beta_nms nms_kind resize focal_loss iou_thresh track_history_size sim_thresh "
        "dets_for_track dets_for_show track_ciou_norm thresh nms_threshold yolo_point uc_normalizer"
    )

    def points(self, layer: "Layer", key: str) -> bool:
        return layer["embedding_layer"] != NO_EMBEDDING

    def anchors(self, layer: "Layer") -> int:
        """Anchors of this head: the length of `mask`, or all of them."""
        mask = layer["mask"]
        return layer["num"] if mask is None else len(mask)

    def head_channels(self, layer: "Layer") -> Optional[Tuple[int, int]]:
        return self.anchors(layer), layer["classes"]

    def infer(self, layer: "Layer") -> Shape:
        shape, per = layer.input_shape(), layer["classes"] + self.entries
        wanted = self.anchors(layer) * per
        if not shape.c or shape.c != wanted:
            raise GraphError(
                "[{}] needs {} anchors x ({} classes + {}) = {} channels, the layer before has {}".format(
                    layer.type, self.anchors(layer), layer["classes"], self.entries, wanted, shape.c
                ),
                layer.place("classes"),
                "set filters={} in the convolution before, or correct classes and mask".format(wanted),
            )
        return image(shape.w, shape.h, shape.c)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.output(xs[0], layer.index)

    def decode(self, layer: "Layer", raw: np.ndarray, size: Shape, threshold: float) -> List[Candidates]:
        """AlexeyAB's get_yolo_box and its Gaussian twin. Anchors are in pixels of the net's input."""
        anchors, plain = self._anchor_sizes(layer), self._activated(layer)
        active = np.asarray if plain else logistic
        cells = likely(raw, len(anchors), self.entries - 1, active, threshold)
        objectness = active(cells.values[:, self.entries - 1])
        classes = active(cells.values[:, self.entries :])
        scores = (objectness * self.certainty(cells.values))[:, None] * classes
        scale = self._stretch(layer)
        at, extent = np.split(cells.values[:, self.coordinates].astype(np.float64), 2, axis=1)
        centres = active(at) * scale - (scale - 1) / 2 + cells.corner
        centres = centres / (raw.shape[3], raw.shape[2])
        with np.errstate(over="ignore", invalid="ignore"):  # infinite boxes go
            sizes = (4 * extent**2 if plain else np.exp(extent)) * anchors[cells.anchor] / (size.w, size.h)
            boxes = np.concatenate([centres + self.shift(layer) * sizes, sizes], axis=1)
        return per_image(cells.image, len(raw), boxes, objectness, scores, threshold)

    def decoding(self, layer: "Layer", size: Shape) -> Decoding:
        plain, shape = self._activated(layer), layer.input_shape()
        active = "linear" if plain else "logistic"
        anchors = self._anchor_sizes(layer) * (4 if plain else 1) / (size.w, size.h)
        return Decoding(
            (shape.w, shape.h),
            self.entries,
            self.coordinates,
            self.deviations,
            active,
            active,
            "square" if plain else "exp",
            anchors,
            self._stretch(layer),
            self.shift(layer),
        )

    def _anchor_sizes(self, layer: "Layer") -> np.ndarray:
        return anchor_sizes(layer, layer["mask"] or tuple(range(layer["num"])))

    def _activated(self, layer: "Layer") -> bool:
        """Whether the layer before has activated the values."""
        return bool(values.atoi(layer.text("new_coords") or "0"))

    def _stretch(self, layer: "Layer") -> float:
        return values.atof(layer.text("scale_x_y") or "1")

    def certainty(self, found: np.ndarray) -> Any:
        """What the confidence is multiplied by, per row of an anchor's raw values."""
        return np.float32(1)

    def shift(self, layer: "Layer") -> float:
        """How far the box's centre lies from the point that the head predicts, in box sizes."""
        return 0.0

    def suppression(self, layer: "Layer") -> Suppression:
        kind = layer.text("nms_kind")
        power = values.atof(layer.text("beta_nms") or "0.6")
        return Suppression(kind if kind in DISTANCE_KINDS else "default", power)

    def jitter(self, layer: "Layer") -> Optional[Jitter]:
        return jitter(layer)

    def training(self, layer: "Layer") -> YoloTraining:
        """Of the original Darknet, or else AlexeyAB's parse_yolo and parse_gaussian_yolo."""
        old, classes = original(layer), layer["classes"]
        given: Dict[str, Any] = dict(_ORIGINAL if old else self._given(layer))
        return YoloTraining(
            original=old,
            classes=classes,
            anchors=anchor_sizes(layer, tuple(range(layer["num"]))),
            mask=layer["mask"] or tuple(range(layer["num"])),
            coordinates=self.coordinates,
            deviations=self.deviations,
            limit=whole(layer, "max", 90 if old else 200),
            ignore_thresh=real(layer, "ignore_thresh", 0.5),
            truth_thresh=real(layer, "truth_thresh", 1.0),
            map=class_map(layer, classes),
            shift=self.shift(layer),
            **given
        )

    def _given(self, layer: "Layer") -> Dict[str, Any]:
        """The options that only AlexeyAB's Darknet trains by."""
        if self.deviations:
            refuse(layer, "objectness_smooth", "take it out, or use [yolo]")
        anchor_sizes(layer, layer["mask"] or ())
        limit = real(layer, "max_delta", float("inf"))
        loss, kind = layer.text("iou_loss") or "mse", layer.text("iou_thresh_kind")
        return {
            "iou_thresh": real(layer, "iou_thresh", 1.0),
            "iou_thresh_kind": kind if kind in IOU_KINDS else "iou",
            "iou_loss": loss if loss in ("mse",) + IOU_KINDS else "iou",
            "iou_normalizer": real(layer, "iou_normalizer", 0.75),
            "obj_normalizer": real(layer, "obj_normalizer", 1.0),
            "cls_normalizer": real(layer, "cls_normalizer", 1.0),
            "delta_normalizer": real(layer, "delta_normalizer", 1.0),
            "uc_normalizer": real(layer, "uc_normalizer", 1.0),
            "max_delta": limit,
            "label_smooth_eps": real(layer, "label_smooth_eps", 0.0),
            "stretch": self._stretch(layer),
            "activated": self._activated(layer),
            "objectness_smooth": bool(whole(layer, "objectness_smooth", 0)),
            "focal_loss": bool(whole(layer, "focal_loss", 0)) and not self.deviations,
            "multipliers": multipliers(layer, layer["classes"], limit),
        }

    def opencv_size(self, layer: "Layer", size: Shape, counted: List[int]) -> Shape:
        return size

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        for key in ("mask", "num", "classes"):
            if layer.text(key) is None:
                yield Hazard("opencv", None, "needs the option {}".format(key))
        text, numbers = layer.text("anchors"), 2 * layer["num"]
        if text is not None and text.count(",") + 1 > numbers:  # it counts those of a comment too
            yield Hazard("pjreddie", "anchors", "writes behind the end of its anchors: more than 2 x num numbers")
        if text is not None and text.count(",") + 1 != numbers:
            yield Hazard("opencv", "anchors", "needs exactly 2 x num anchors")
        mask = layer.text("mask") or ""
        if mask.count(",") + 1 > len(values.elements(mask)):
            yield Hazard("pjreddie", "mask", "counts the commas of a comment behind mask")
        if any(not 0 <= number < layer["num"] for number in layer["mask"] or ()):
            for reader, does in (("pjreddie", "reads"), ("alexeyab", "reads"), ("opencv", "refuses")):
                yield Hazard(reader, "mask", "{} anchors that num does not count".format(does))
        if self._stretch(layer) != 1:
            yield Hazard("pjreddie", "scale_x_y", "ignores scale_x_y")
        if self._activated(layer):
            yield Hazard("pjreddie", "new_coords", "ignores new_coords")

    def describe(self, layer: "Layer") -> str:
        return layer.type


_ORIGINAL = {
    "iou_thresh": 1.0,
    "iou_thresh_kind": "iou",
    "iou_loss": "mse",
    "iou_normalizer": 1.0,
    "obj_normalizer": 1.0,
    "cls_normalizer": 1.0,
    "delta_normalizer": 1.0,
    "uc_normalizer": 1.0,
    "max_delta": float("inf"),
    "label_smooth_eps": 0.0,
    "stretch": 1.0,
    "activated": False,
    "objectness_smooth": False,
    "focal_loss": False,
    "multipliers": (),
}  # what the original Darknet does in place of options that it does not know


class GaussianYolo(Yolo):
    """A variance beside each coordinate."""

    names = ("Gaussian_yolo",)
    entries = 9
    coordinates = (0, 2, 4, 6)
    deviations = (1, 3, 5, 7)
    readers = ("alexeyab",)

    def certainty(self, found: np.ndarray) -> Any:
        spread = logistic(found[:, 1:8:2])
        return np.float32(1) - spread.mean(axis=1)

    def shift(self, layer: "Layer") -> float:
        return {"left_top": 0.5, "right_bottom": -0.5}.get(layer.text("yolo_point") or "", 0.0)
