"""[upsample]: nearest-neighbour enlargement; a negative stride sums cells instead."""

from typing import TYPE_CHECKING, Any, Iterator, List

import numpy as np

from darkprune.errors import GraphError
from darkprune.ops.base import FLOAT, SAME, Emission, Fate, Hazard, Op, Shape, describe, image, opt, require_image

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Upsample(Op):
    """Multiplies values by `scale`."""

    names = ("upsample",)
    options = (opt("stride", "int", 2, 1), opt("scale", "float", 1.0))

    def infer(self, layer: "Layer") -> Shape:
        shape, stride = require_image(layer), layer["stride"]
        if stride == 0:
            raise GraphError("[upsample] stride=0", layer.place("stride"), "use stride=2")
        if stride > 0:
            return image(shape.w * stride, shape.h * stride, shape.c)
        if shape.w < -stride or shape.h < -stride:
            raise GraphError("the map is smaller than the cells to sum", layer.place("stride"), "use a smaller stride")
        return image(shape.w // -stride, shape.h // -stride, shape.c)

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        return ins[0]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        stride = layer["stride"]
        factor = layer["scale"] * (stride * stride if stride < 0 else 1)
        return Emission(ins[0].offset * factor, ins[0].live)

    def int8(self, layer: "Layer") -> str:
        return SAME if layer["stride"] > 0 and layer["scale"] == 1 else FLOAT

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        if layer["stride"] < 0:
            return b.downsample_sum(xs[0], -layer["stride"], layer["scale"])
        return b.upsample(xs[0], layer["stride"], layer["scale"])

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if layer.text("stride") is None:
            yield Hazard("opencv", None, "takes a missing stride for 1, Darknet for 2")
        if layer["stride"] < 0:
            yield Hazard("opencv", "stride", "refuses a negative stride of [upsample]")
        if layer["scale"] != 1:
            yield Hazard("opencv", "scale", "ignores scale")

    def describe(self, layer: "Layer") -> str:
        return describe(layer, "upsample", "", "{:2d}x".format(layer["stride"]))
