"""[implicit]: learnt constants, which read no layer."""

from typing import TYPE_CHECKING, Any, Dict, List, Tuple

import numpy as np

from darkprune.darknet import values
from darkprune.errors import Unsupported
from darkprune.ops.base import Emission, Fate, Op, ParamSpec, Shape, image, opt, param

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
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
        return [param("weights", ["out", "atom"], [layer["filters"], layer["atoms"]])]

    def initial(self, layer: "Layer", spec: ParamSpec) -> Tuple[float, float]:
        """Around `mean` by `std` (parse_implicit, make_implicit_layer)."""
        return values.atof(layer.text("mean") or "0"), values.atof(layer.text("std") or "0.2")

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        labels = g.fresh(layer, layer["filters"])
        g.axis(layer, "out", labels)
        if layer["dontload"]:
            g.pin(labels, "made by layer {}, whose arrays are not in the file".format(layer.number))
        return labels

    def narrowed(self, layer: "Layer", labels: Dict[str, int]) -> Dict[str, int]:
        return {"filters": labels["out"]}

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        offset = np.zeros(layer["filters"], np.float64)
        loud = fate.removed & ~fate.silenced
        if loud.any():
            weights = layer.array("weights").astype(np.float64)
            same = (weights == weights[:, :1]).all(axis=1)  # a constant of the whole map
            offset[loud] = np.where(same, weights[:, 0], np.nan)[loud]
        return Emission(offset, ~fate.removed)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        if layer["dontload"]:
            raise Unsupported("dontload=1 leaves no values to run", layer.place("dontload"))
        return b.constant(b.array(layer, "weights").reshape(layer.shape.c, layer.shape.h, 1))

    def describe(self, layer: "Layer") -> str:
        w, h, c = layer.shape[:3]
        return "{:9}{:>44} {:4d} x{:4d} x{:4d}".format("implicit", "->", w, h, c)
