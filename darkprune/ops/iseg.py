"""[iseg]: an instance segmentation head, in the original Darknet only."""

from typing import TYPE_CHECKING, Any, List

from darkprune.errors import GraphError
from darkprune.ops.base import Op, Shape, image, opt, require_image
from darkprune.ops.head_training import untrainable

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Iseg(Op):
    """One score per class and one embedding of `ids` values for each position."""

    names = ("iseg",)
    readers = ("pjreddie",)
    options = (opt("classes", "int", 20, low=0), opt("ids", "int", 32, low=0))

    def infer(self, layer: "Layer") -> Shape:
        shape, wanted = require_image(layer), layer["classes"] + layer["ids"]
        if shape.c != wanted:
            raise GraphError(
                "[iseg] needs {} classes + {} ids = {} channels, the layer before has {}".format(
                    layer["classes"], layer["ids"], wanted, shape.c
                ),
                layer.place("classes"),
                "set filters={} in the convolution before, or correct classes and ids".format(wanted),
            )
        return image(shape.w, shape.h, shape.c)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.output(xs[0], layer.index)

    def training(self, layer: "Layer") -> Any:
        return untrainable(layer)
