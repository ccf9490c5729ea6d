"""[gru]: a gated recurrent unit."""

from typing import TYPE_CHECKING, Iterator, List

from darkprune.darknet import values
from darkprune.ops.base import Hazard, Shape, flat, opt
from darkprune.ops.recurrent import Recurrent, Sub, gates, reordered

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class Gru(Recurrent):
    """Gates z and r and the candidate h, each over the input (u) and over the state (w)."""

    names = ("gru",)
    options = (
        opt("output", "int", 1, low=1),
        opt("batch_normalize", "int", 0),
        opt("tanh", "int", 0, only="pjreddie"),
        opt("dontload", "int", 0),
    )

    def infer(self, layer: "Layer") -> Shape:
        return flat(layer["output"])

    def sublayers(self, layer: "Layer") -> List[Sub]:
        return gates(layer, alexeyab="uz ur uh wz wr wh", pjreddie="wz wr wh uz ur uh")

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        yield reordered(layer)
        if values.atoi(layer.text("tanh") or "0"):
            yield Hazard("alexeyab", "tanh", "ignores tanh of [gru]")
