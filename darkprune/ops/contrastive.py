"""[contrastive]: a training loss over the embeddings of a [yolo] layer, in AlexeyAB's fork."""

from typing import TYPE_CHECKING, Any, Iterator, List

from darkprune.errors import GraphError
from darkprune.ops.base import Hazard, Op, Shape, flat, opt
from darkprune.ops.head_training import untrainable

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Contrastive(Op):
    """At inference nothing happens; what it reads is an embedding, whose channels stay."""

    names = ("contrastive",)
    readers = ("alexeyab",)
    terminal = True
    pointers = ("yolo_layer",)
    options = (opt("yolo_layer", "int", 0),)
    passive = "classes temperature cls_normalizer max_delta contrastive_neg_max"

    def points(self, layer: "Layer", key: str) -> bool:
        return layer["yolo_layer"] != 0

    def infer(self, layer: "Layer") -> Shape:
        for target in layer.pointers.values():
            if target.op.head_channels(target) is None:
                raise GraphError(
                    "[contrastive] points at layer {} [{}]".format(target.index, target.type),
                    layer.place("yolo_layer"),
                    "name a [yolo] layer",
                )
        return flat(layer.input_shape().outputs)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.output(xs[0], layer.index)

    def training(self, layer: "Layer") -> Any:
        return untrainable(layer)

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if not layer.pointers:
            yield Hazard("alexeyab", None, "crashes on [contrastive] without a yolo_layer")
