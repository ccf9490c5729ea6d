"""[lstm]: long short-term memory."""

from typing import TYPE_CHECKING, Iterator, List

from darkprune.ops.base import Hazard, Shape, flat, image, opt
from darkprune.ops.recurrent import Recurrent, Sub, gates, reordered

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class Lstm(Recurrent):
    """Gates f, i, o and the candidate g, each over the input (u) and over the state (w)."""

    names = ("lstm",)
    options = (
        opt("output", "int", 1, low=1),
        opt("batch_normalize", "int", 0),
        opt("dontload", "int", 0),
    )

    def infer(self, layer: "Layer") -> Shape:
        return flat(layer["output"]) if layer.dialect_name == "pjreddie" else image(1, 1, layer["output"])

    def sublayers(self, layer: "Layer") -> List[Sub]:
        return gates(layer, alexeyab="wf wi wg wo uf ui ug uo", pjreddie="wi wf wo wg ui uf uo ug")

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        yield reordered(layer)
