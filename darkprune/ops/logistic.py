"""[logistic]: the logistic function with a training loss, in the original Darknet only."""

from typing import TYPE_CHECKING, Any, List

from darkprune.ops.base import Op, Shape
from darkprune.ops.head_training import ClassTraining

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Logistic(Op):
    """It ends a classifier, so its channels stay."""

    names = ("logistic",)
    readers = ("pjreddie",)

    def infer(self, layer: "Layer") -> Shape:
        return layer.input_shape()

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.activation(xs[0], "logistic")

    def training(self, layer: "Layer") -> ClassTraining:
        return ClassTraining("logistic", 1, 1.0, 1.0, 1.0)
