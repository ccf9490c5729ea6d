"""[region]: the detection head of YOLOv2; runners give its raw input."""

from typing import TYPE_CHECKING, Any, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.errors import GraphError, Unsupported
from darkprune.ops.base import Hazard, Op, Shape, image, opt
from darkprune.ops.head_training import class_map, original, real, refuse, whole
from darkprune.ops.heads import Candidates, Decoding, Jitter, anchor_sizes, jitter, likely, logistic, per_image
from darkprune.ops.tree import softmax, surest

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer

RegionTraining = NamedTuple(
    "RegionTraining",
    [
        ("original", bool),  # the original Darknet's arithmetic
        ("classes", int),
        ("anchors", np.ndarray),  # float64 [num, 2], in cells
        ("activation", str),  # of the classes: softmax, logistic or linear
        ("limit", int),  # max: objects of an image that count
        ("thresh", float),  # of the IoU with any object: the lack of one is not asked for
        ("bias_match", bool),  # the anchor's size decides which one is to find an object, not the predicted size
        ("rescore", bool),  # the objectness is to be the IoU
        ("focal_loss", bool),
        ("coord_scale", float),
        ("object_scale", float),
        ("noobject_scale", float),
        ("class_scale", float),
        ("map", Tuple[int, ...]),  # class of the labels -> class of the head; empty: the same
    ],
)


class Region(Op):
    """Each anchor has `coords` coordinates, an objectness and one score per class."""

    names = ("region",)
    terminal = True
    detector = True
    opencv_once = True
    options = (
        opt("classes", "int", 20, low=0),
        opt("coords", "int", 4, low=0),
        opt("num", "int", 1, low=1),
        opt("anchors", "floats", ()),
        opt("softmax", "int", 0),
        opt("background", "int", 0),
        opt("tree", "str", ""),
    )
    passive = (
        "max jitter rescore thresh classfix absolute random coord_scale object_scale noobject_scale mask_scale "
        "class_scale bias_match map log sqrt focal_loss resize"
    )

    def head_channels(self, layer: "Layer") -> Optional[Tuple[int, int]]:
        return layer["num"], layer["classes"]

    def infer(self, layer: "Layer") -> Shape:
        shape = layer.input_shape()
        wanted = layer["num"] * (layer["classes"] + layer["coords"] + 1)
        if shape.c != wanted:
            raise GraphError(
                "[region] needs {} anchors x ({} classes + {} + 1) = {} channels, the layer before has {}".format(
                    layer["num"], layer["classes"], layer["coords"], wanted, shape.c
                ),
                layer.place("classes"),
                "set filters={} in the convolution before, or correct classes and num".format(wanted),
            )
        return image(shape.w, shape.h, shape.c)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.output(xs[0], layer.index)

    def decode(self, layer: "Layer", raw: np.ndarray, size: Shape, threshold: float) -> List[Candidates]:
        """AlexeyAB's get_region_boxes. Anchors are in cells."""
        anchors = self._anchor_sizes(layer)
        # scores that are no probabilities may be above the threshold where the objectness is not
        cells = likely(raw, len(anchors), 4, logistic, -1.0 if self.linear(layer) else threshold)
        objectness = logistic(cells.values[:, 4])
        at, extent = np.split(cells.values[:, :4].astype(np.float64), 2, axis=1)
        grid = (raw.shape[3], raw.shape[2])
        with np.errstate(over="ignore"):
            sizes = np.exp(extent) * anchors[cells.anchor] / grid
        boxes = np.concatenate([(logistic(at) + cells.corner) / grid, sizes], axis=1)
        scores = self.scores(layer, objectness, cells.values[:, 5:])
        return per_image(cells.image, len(raw), boxes, objectness, scores, threshold)

    def decoding(self, layer: "Layer", size: Shape) -> Decoding:
        shape = layer.input_shape()
        if layer["tree"]:
            hint = "export the raw heads; darkprune detect decodes them"
            raise Unsupported("a graph cannot decode a tree of classes", layer.place("tree"), hint)
        classes = "softmax" if layer["softmax"] else "linear" if self.linear(layer) else "logistic"
        anchors = self._anchor_sizes(layer) / (shape.w, shape.h)
        return Decoding((shape.w, shape.h), 5, (0, 1, 2, 3), (), "logistic", classes, "exp", anchors, 1.0, 0.0)

    def training(self, layer: "Layer") -> RegionTraining:
        """The options of parse_region, but for classfix (AlexeyAB) and trees, which are refused."""
        old = original(layer)
        if layer["tree"]:
            raise Unsupported("[region] cannot be trained with a tree of classes", layer.place("tree"), "use Darknet")
        if not old:
            refuse(layer, "classfix", "take it out, or use Darknet")
        linear = self.linear(layer)
        return RegionTraining(
            original=old,
            classes=layer["classes"],
            anchors=self._anchor_sizes(layer),
            activation="softmax" if layer["softmax"] else "linear" if linear else "logistic",
            limit=30 if old else whole(layer, "max", 200),
            thresh=real(layer, "thresh", 0.5),
            bias_match=bool(whole(layer, "bias_match", 0)),
            rescore=bool(whole(layer, "rescore", 0)),
            focal_loss=bool(whole(layer, "focal_loss", 0)) and not old,
            coord_scale=real(layer, "coord_scale", 1.0),
            object_scale=real(layer, "object_scale", 1.0),
            noobject_scale=real(layer, "noobject_scale", 1.0),
            class_scale=real(layer, "class_scale", 1.0),
            map=class_map(layer, layer["classes"]),
        )

    def _anchor_sizes(self, layer: "Layer") -> np.ndarray:
        """In cells. Raises Unsupported where the options mean boxes that we cannot decode."""
        for key, value in (("coords", 4), ("background", 0)):
            if layer[key] != value:
                cause = "boxes of [region] with {}={} cannot be decoded".format(key, layer[key])
                raise Unsupported(cause, layer.place(key), "use Darknet")
        return anchor_sizes(layer, tuple(range(layer["num"])))

    def linear(self, layer: "Layer") -> bool:
        """Whether the scores of classes are raw values, as AlexeyAB's Darknet takes them without softmax."""
        return not (layer["softmax"] or layer["tree"] or layer.dialect_name == "pjreddie")

    def scores(self, layer: "Layer", objectness: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Confidences [n, classes] from raw values; in a tree of classes the objectness is no factor."""
        if layer["tree"]:
            return surest(x, layer, layer["classes"])
        if layer["softmax"]:
            x = softmax(x)
        elif not self.linear(layer):
            x = logistic(x)
        return objectness[:, None] * x

    def jitter(self, layer: "Layer") -> Optional[Jitter]:
        return jitter(layer)

    def opencv_size(self, layer: "Layer", size: Shape, counted: List[int]) -> Shape:
        return size

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        for key in ("num", "classes"):
            if layer.text(key) is None:
                yield Hazard("opencv", None, "needs the option {}".format(key))
        if not layer["softmax"]:
            yield Hazard("opencv", "softmax", "refuses [region] without softmax=1")
        if layer["tree"]:
            yield Hazard("opencv", "tree", "refuses [region] with a tree")
        if layer["coords"] != 4 or not layer["classes"]:
            yield Hazard("opencv", "coords", "refuses [region] without 4 coordinates and classes")
        if len((layer.text("anchors") or "").split(",")) != 2 * layer["num"]:
            yield Hazard("opencv", "anchors", "needs exactly 2 x num anchors")
