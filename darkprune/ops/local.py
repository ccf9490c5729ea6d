"""[local]: a convolution whose kernels differ from place to place."""

from typing import TYPE_CHECKING, Iterator, List

from darkprune.ops.base import Hazard, Op, ParamSpec, Shape, describe, image, opt, param, require_image, window
from darkprune.ops.common import activation_hazards, activation_of

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class Local(Op):
    """Its channels stay: no backend runs it, so an edit could not be verified."""

    names = ("local",)
    readers = ("alexeyab", "pjreddie")
    options = (
        opt("filters", "int", 1, low=1),
        opt("size", "int", 1, low=1),
        opt("stride", "int", 1, low=1),
        opt("pad", "int", 0),
        opt("activation", "str", "logistic"),
        opt("dontload", "int", 0),
    )

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        shape, size = require_image(layer), layer["size"]
        padding = size - 1 if layer["pad"] else 0
        w, h = [window(layer, length, padding, size, layer["stride"], "size") for length in (shape.w, shape.h)]
        return image(w, h, layer["filters"])

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        if layer["dontload"]:
            return []
        (w, h, filters), k = layer.shape[:3], layer["size"]
        taps = ["place", "filter", "channel", "kh", "kw"]
        return [
            param("biases", ["filter", "h", "w"], [filters, h, w]),
            param("weights", taps, [h * w, filters, layer.input_shape().c, k, k]),
        ]

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if layer["pad"]:
            yield Hazard("pjreddie", "pad", "writes behind the end of its memory on [local] with pad")
        yield from activation_hazards(layer)

    def describe(self, layer: "Layer") -> str:
        size = "{0:2d} x{0:2d}/{1:>2}".format(layer["size"], layer["stride"])
        return describe(layer, "local", str(layer["filters"]), size)
