"""[region]: the detection head of YOLOv2; runners give its raw input."""

from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

from darkprune.errors import GraphError
from darkprune.ops.base import Hazard, Op, Shape, image, opt

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Region(Op):
    """Each anchor has `coords` coordinates, an objectness and one score per class."""

    names = ("region",)
    terminal = True
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
