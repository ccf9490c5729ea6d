"""[implicit]: learnt constants, which read no layer."""

from typing import TYPE_CHECKING, List

from darkprune.ops.base import Op, ParamSpec, Shape, image, opt, param

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class Implicit(Op):
    """A map of 1 x atoms with `filters` channels, the same for every image."""

    names = ("implicit",)
    readers = ("alexeyab",)
    implicit = False
    options = (
        opt("filters", "int", 128, low=1),
        opt("atoms", "int", 1, low=1),
        opt("dontload", "int", 0),
    )
    passive = "mean std"

    def infer(self, layer: "Layer") -> Shape:
        return image(1, layer["atoms"], layer["filters"])

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        if layer["dontload"]:
            return []
        return [param("weights", ["filter", "atom"], [layer["filters"], layer["atoms"]])]

    def describe(self, layer: "Layer") -> str:
        w, h, c = layer.shape[:3]
        return "{:9}{:>44} {:4d} x{:4d} x{:4d}".format("implicit", "->", w, h, c)
