"""[reorg3d]: space to depth, channel by channel."""

from typing import TYPE_CHECKING, Any, List

import numpy as np

from darkprune.errors import GraphError
from darkprune.ops.base import SAME, Emission, Fate, Op, Shape, image, opt, require_image

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Reorg3d(Op):
    """Output channel off * c + k holds one position of every cell of input channel k."""

    names = ("reorg3d",)
    readers = ("alexeyab",)
    options = (opt("stride", "int", 1, low=1), opt("reverse", "int", 0))

    def infer(self, layer: "Layer") -> Shape:
        shape, stride = require_image(layer), layer["stride"]
        square = stride * stride
        if layer["reverse"]:
            if shape.c % square:
                raise GraphError("{} channels do not split into cells of {}".format(shape.c, square), layer.place())
            return image(shape.w * stride, shape.h * stride, shape.c // square)
        if shape.w % stride or shape.h % stride:
            raise GraphError(
                "{} x {} does not split into cells of {}".format(shape.w, shape.h, stride), layer.place("stride")
            )
        return image(shape.w // stride, shape.h // stride, shape.c * square)

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        if layer["reverse"]:
            return Op.channels(self, layer, ins, g)
        return np.tile(ins[0], layer["stride"] ** 2)

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        if layer["reverse"]:
            return Op.emit(self, layer, ins, fate)
        square = layer["stride"] ** 2
        return Emission(np.tile(ins[0].offset, square), np.tile(ins[0].live, square))

    def int8(self, layer: "Layer") -> str:
        return SAME

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.space_to_depth(xs[0], layer["stride"], bool(layer["reverse"]))
