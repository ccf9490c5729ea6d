"""[yolo] and [Gaussian_yolo]: anchor-based detection heads; runners give their raw input."""

from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

import numpy as np

from darkprune.darknet import values
from darkprune.errors import GraphError
from darkprune.ops.base import Hazard, Op, Shape, image, opt
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
