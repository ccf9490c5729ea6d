"""[normalization]: local response normalisation across channels."""

from typing import TYPE_CHECKING, Any, List

from darkprune.errors import GraphError
from darkprune.ops.base import Op, Shape, opt, require_image

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Normalization(Op):
    """Each channel meets its neighbours in a window of `size`, so they stay."""

    names = ("normalization", "lrn")
    readers = ("alexeyab", "pjreddie")
    options = (
        opt("alpha", "float", 1e-4),
        opt("beta", "float", 0.75),
        opt("kappa", "float", 1.0),
        opt("size", "int", 5, low=1),
    )

    def infer(self, layer: "Layer") -> Shape:
        shape = require_image(layer)
        if layer["size"] // 2 > shape.c:
            raise GraphError(
                "a window of {} over {} channels: Darknet would read behind the last one".format(
                    layer["size"], shape.c
                ),
                layer.place("size"),
                "use a size of at most twice the channels",
            )
        return shape

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.lrn(xs[0], layer["size"], layer["alpha"], layer["beta"], layer["kappa"])
