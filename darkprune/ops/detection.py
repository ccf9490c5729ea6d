"""[detection]: the head of the first YOLO, over the output of a fully connected layer."""

from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional

import numpy as np

from darkprune.darknet import values
from darkprune.errors import GraphError, Unsupported
from darkprune.ops.base import Op, Shape, flat, opt
from darkprune.ops.head_training import real, refuse, whole
from darkprune.ops.heads import Candidates, Decoding, Jitter, jitter, per_image
from darkprune.ops.tree import softmax

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer

DetectionTraining = NamedTuple(
    "DetectionTraining",
    [
        ("side", int),  # cells of a row, and rows
        ("num", int),  # boxes of a cell
        ("classes", int),
        ("softmax", bool),  # over the classes of a cell
        ("sqrt", bool),  # w and h are square roots
        ("rescore", bool),  # the objectness is to be the IoU
        ("forced", bool),  # the second box is for small objects, the first for others
        ("coord_scale", float),
        ("object_scale", float),
        ("noobject_scale", float),
        ("class_scale", float),
    ],
)


class Detection(Op):
    """A grid of side x side cells with `num` boxes each."""

    names = ("detection",)
    terminal = True
    detector = True
    readers = ("alexeyab", "pjreddie")
    options = (
        opt("classes", "int", 1, low=0),
        opt("coords", "int", 1, low=0),
        opt("num", "int", 1, low=1),
        opt("side", "int", 7, low=1),
    )
    passive = (
        "rescore softmax sqrt max coord_scale forced object_scale noobject_scale class_scale jitter random reorg resize"
    )

    def jitter(self, layer: "Layer") -> Optional[Jitter]:
        return jitter(layer)

    def infer(self, layer: "Layer") -> Shape:
        outputs = layer.input_shape().outputs
        wanted = layer["side"] ** 2 * ((1 + layer["coords"]) * layer["num"] + layer["classes"])
        if outputs != wanted:
            raise GraphError(
                "[detection] needs {} inputs, the layer before has {}".format(wanted, outputs),
                layer.place("side"),
                "correct side, num, coords and classes, or the output of the layer before",
            )
        return flat(outputs)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.output(xs[0], layer.index)

    def decode(self, layer: "Layer", raw: np.ndarray, size: Shape, threshold: float) -> List[Candidates]:
        """AlexeyAB's get_detection_detections: classes per cell, then objectness per box, then boxes."""
        self._require_boxes(layer)
        side, num, images = layer["side"], layer["num"], len(raw)
        parts = np.split(raw.reshape(images, -1), np.cumsum([side**2 * layer["classes"], side**2 * num]), axis=1)
        classes = parts[0].reshape(images * side**2, layer["classes"])
        if self._flag(layer, "softmax"):
            classes = softmax(classes)
        classes = np.repeat(classes.reshape(images, side**2, -1), num, axis=1)
        objectness = parts[1].reshape(images, -1)
        found = np.nonzero((objectness[:, :, None] * classes > np.float32(threshold)).any(axis=2))
        boxes = parts[2].reshape(images, -1, 4)[found].astype(np.float64)
        cell = found[1] // num
        centres = (boxes[:, :2] + np.stack([cell % side, cell // side], axis=1)) / side
        sizes = boxes[:, 2:] ** 2 if self._flag(layer, "sqrt") else boxes[:, 2:]
        scores = objectness[found][:, None] * classes[found]
        return per_image(
            found[0], images, np.concatenate([centres, sizes], axis=1), objectness[found], scores, threshold
        )

    def decoding(self, layer: "Layer", size: Shape) -> Decoding:
        self._require_boxes(layer)
        grid, ones = (layer["side"], layer["side"]), np.ones((layer["num"], 2))
        classes = "softmax" if self._flag(layer, "softmax") else "linear"
        sizes = "square" if self._flag(layer, "sqrt") else "linear"
        return Decoding(grid, 0, (0, 1, 2, 3), (), "linear", classes, sizes, ones, 1.0, 0.0)

    def training(self, layer: "Layer") -> DetectionTraining:
        """The options of parse_detection, but for `random`, which leaves the first boxes to chance and is refused."""
        self._require_boxes(layer)
        refuse(layer, "random", "set random=0, or use Darknet")
        forced = self._flag(layer, "forced")
        if forced and layer["num"] < 2:
            raise Unsupported("[detection] with forced=1 needs two boxes a cell", layer.place("forced"), "set num=2")
        return DetectionTraining(
            layer["side"],
            layer["num"],
            layer["classes"],
            self._flag(layer, "softmax"),
            self._flag(layer, "sqrt"),
            bool(whole(layer, "rescore", 0)),
            forced,
            real(layer, "coord_scale", 1.0),
            real(layer, "object_scale", 1.0),
            real(layer, "noobject_scale", 1.0),
            real(layer, "class_scale", 1.0),
        )

    def _require_boxes(self, layer: "Layer") -> None:
        if layer["coords"] != 4:
            cause = "boxes of [detection] with coords={} cannot be decoded".format(layer["coords"])
            raise Unsupported(cause, layer.place("coords"), "use Darknet")

    def _flag(self, layer: "Layer", key: str) -> bool:
        return bool(values.atoi(layer.text(key) or "0"))
