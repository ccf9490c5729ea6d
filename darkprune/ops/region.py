"""[region]: the detection head of YOLOv2; runners give its raw input."""

from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

import numpy as np

from darkprune.errors import GraphError, Unsupported
from darkprune.ops.base import Hazard, Op, Shape, image, opt
from darkprune.ops.heads import Candidates, anchor_sizes, logistic, per_image

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


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
        for key, value in (("coords", 4), ("background", 0), ("tree", "")):
            if layer[key] != value:
                raise Unsupported("boxes of [region] with {} cannot be decoded".format(key), layer.place(key))
        anchors = anchor_sizes(layer, tuple(range(layer["num"])))
        images, _, rows, columns = raw.shape
        grid = raw.reshape(images, len(anchors), -1, rows, columns)
        likely = logistic(grid[:, :, 4]) > np.float32(threshold)
        image, row, column, anchor = np.nonzero(likely.transpose(0, 2, 3, 1))
        found = grid[image, anchor, :, row, column]
        objectness = logistic(found[:, 4])
        at, extent = np.split(found[:, :4].astype(np.float64), 2, axis=1)
        centres = (logistic(at) + np.stack([column, row], axis=1)) / (columns, rows)
        with np.errstate(over="ignore"):
            sizes = np.exp(extent) * anchors[anchor] / (columns, rows)
        scores = objectness[:, None] * self.classes(layer, found[:, 5:])
        return per_image(image, images, np.concatenate([centres, sizes], axis=1), objectness, scores, threshold)

    def classes(self, layer: "Layer", x: np.ndarray) -> np.ndarray:
        """Class probabilities [n, classes] from raw values; without softmax the Darknets differ."""
        if layer["softmax"]:
            x = np.exp(x - x.max(axis=1, keepdims=True)) if x.size else x
            return x / x.sum(axis=1, keepdims=True)
        return logistic(x) if layer.dialect_name == "pjreddie" else x

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
