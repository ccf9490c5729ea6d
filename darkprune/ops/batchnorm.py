"""[batchnorm]: batch norm as a layer of its own; the forks store different arrays."""

from typing import TYPE_CHECKING, Any, Iterator, List

import numpy as np

from darkprune.darknet.dialect_epsilon import deviation, dialect
from darkprune.errors import Unsupported
from darkprune.ops.base import Emission, Fate, Hazard, Op, ParamSpec, Shape, opt, param, require_image

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Batchnorm(Op):
    """Normalises each channel; the original has no biases, and crashes when it runs one on a CPU."""

    names = ("batchnorm",)
    readers = ("alexeyab", "pjreddie")
    options = (opt("dontload", "int", 0),)

    def infer(self, layer: "Layer") -> Shape:
        return require_image(layer)

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        if layer["dontload"]:
            return []
        names = ["scales", "mean", "variance"]
        if layer.dialect_name != "pjreddie":
            names.insert(0, "biases")
        return [param(name, ["out"], [layer.input_shape().c]) for name in names]

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        if layer["dontload"]:
            return Op.channels(self, layer, ins, g)
        g.axis(layer, "out", ins[0])
        return ins[0]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        # Linear per channel: what is added to a live channel is scaled, a constant becomes another one.
        offset, live = ins[0]
        factor = layer.array("scales") / deviation(dialect(layer.dialect_name), layer.array("variance"))
        moved = offset * factor
        quiet = ~live
        moved[quiet] -= (layer.array("mean") * factor)[quiet]
        if layer.has("biases"):
            moved[quiet] += layer.array("biases")[quiet]
        return Emission(moved, live)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        if not layer.has("biases"):
            raise Unsupported(
                "[batchnorm] without biases cannot be run: the original Darknet crashes on it",
                layer.place(),
                "use the dialect alexeyab, if that fork trained it",
            )
        return b.batch_norm(xs[0], *[b.array(layer, name) for name in ("scales", "biases", "mean", "variance")])

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        yield Hazard("pjreddie", None, "crashes when it runs [batchnorm] on a CPU")
        other = "alexeyab" if layer.dialect_name == "pjreddie" else "pjreddie"
        yield Hazard(other, None, "stores other arrays for [batchnorm]: misread weights from here on")
