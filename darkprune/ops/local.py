"""[local]: a convolution whose kernels differ from place to place."""

from typing import TYPE_CHECKING, Any, Iterator, List, Tuple

from darkprune.errors import Unsupported
from darkprune.ops.base import (
    Hazard,
    Op,
    ParamSpec,
    Shape,
    describe,
    image,
    opt,
    param,
    require_image,
    weights_among,
    window,
)
from darkprune.ops.common import activation_hazards, activation_of

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Local(Op):
    """Its channels stay."""

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

    def connections(self, layer: "Layer") -> List[ParamSpec]:
        return weights_among(self.parameters(layer))

    def macs(self, layer: "Layer") -> int:
        return layer.shape.outputs * layer.input_shape().c * layer["size"] ** 2

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        if layer["dontload"]:
            raise Unsupported("dontload=1 leaves no values to run", layer.place("dontload"))
        (w, h, n), k, c, padding = layer.shape[:3], layer["size"], layer.input_shape().c, abs(layer["pad"])
        if padding and 2 * padding != k - 1:
            text = "pad={} with size {} of [local]: the shape is another one than Darknet's arithmetic"
            raise Unsupported(text.format(layer["pad"], k), layer.place("pad"), "use pad=0, or pad=1 with size=3")
        y = b.local_conv2d(xs[0], b.array(layer, "weights").reshape(h, w, n, c, k, k), layer["stride"], padding)
        biases = b.constant(b.array(layer, "biases").reshape(n, h, w))
        return b.activation(b.add(y, biases), layer["activation"])

    def original_memory(self, layer: "Layer") -> Tuple[int, int]:
        columns = layer.shape.w * layer.shape.h * layer["size"] ** 2 * layer.input_shape().c
        return columns // 4, columns  # it takes bytes for floats

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if layer["pad"]:
            yield Hazard("pjreddie", "pad", "writes behind the end of its memory on [local] with pad")
        yield from activation_hazards(layer)

    def describe(self, layer: "Layer") -> str:
        size = "{0:2d} x{0:2d}/{1:>2}".format(layer["size"], layer["stride"])
        return describe(layer, "local", str(layer["filters"]), size)
