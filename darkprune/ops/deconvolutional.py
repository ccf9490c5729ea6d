"""[deconvolutional]: a transposed convolution, in the original Darknet only."""

from typing import TYPE_CHECKING, Iterator, List

from darkprune.errors import GraphError
from darkprune.ops.base import Hazard, Op, ParamSpec, Shape, image, opt, param, require_image, weights_among
from darkprune.ops.common import activation_of, pad_of

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class Deconvolutional(Op):
    """The original divides by zero when it loads weights for it, so no net with one is in use."""

    names = ("deconvolutional", "deconv")
    readers = ("pjreddie",)
    options = (
        opt("filters", "int", 1, low=1),
        opt("size", "int", 1, low=1),
        opt("stride", "int", 1, low=1),
        opt("pad", "int", 0),
        opt("padding", "int", 0, low=0),
        opt("activation", "str", "logistic"),
        opt("batch_normalize", "int", 0),
        opt("dontload", "int", 0),
    )

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        shape, stride = require_image(layer), layer["stride"]
        grown = layer["size"] - 2 * pad_of(layer)
        w, h = (shape.w - 1) * stride + grown, (shape.h - 1) * stride + grown
        if w < 1 or h < 1:
            raise GraphError("nothing is left of the map", layer.place("padding"), "use less padding")
        return image(w, h, layer["filters"])

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        if layer["dontload"]:
            return []
        filters, k = layer["filters"], layer["size"]
        names = ["biases"] + (["scales", "mean", "variance"] if layer["batch_normalize"] else [])
        specs = [param(name, ["filter"], [filters]) for name in names]
        taps = ["channel", "filter", "kh", "kw"]
        return specs + [param("weights", taps, [layer.input_shape().c, filters, k, k])]

    def connections(self, layer: "Layer") -> List[ParamSpec]:
        return weights_among(self.parameters(layer))

    def macs(self, layer: "Layer") -> int:
        return layer.input_shape().outputs * layer["filters"] * layer["size"] ** 2

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        yield Hazard("pjreddie", None, "divides by zero when it loads the weights of [deconvolutional]")
