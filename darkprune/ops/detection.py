"""[detection]: the head of the first YOLO, over the output of a fully connected layer."""

from typing import TYPE_CHECKING, Any, List

from darkprune.errors import GraphError
from darkprune.ops.base import Op, Shape, flat, opt

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Detection(Op):
    """A grid of side x side cells with `num` boxes each."""

    names = ("detection",)
    terminal = True
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
