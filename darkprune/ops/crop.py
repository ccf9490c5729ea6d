"""[crop]: the centre of the image, scaled to -1..1."""

from typing import TYPE_CHECKING, Any, List

import numpy as np

from darkprune.errors import GraphError
from darkprune.ops.base import Op, Shape, image, opt, require_image

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Crop(Op):
    """Random in training, central at inference."""

    names = ("crop",)
    opencv_sized = True
    options = (
        opt("crop_width", "int", 1, low=1),
        opt("crop_height", "int", 1, low=1),
        opt("noadjust", "int", 0),
    )
    passive = "flip angle saturation exposure shift"

    def infer(self, layer: "Layer") -> Shape:
        shape = require_image(layer)
        if layer["crop_width"] > shape.w or layer["crop_height"] > shape.h:
            raise GraphError("the crop is larger than the map", layer.place("crop_width"), "make [net] larger")
        return image(layer["crop_width"], layer["crop_height"], shape.c)

    def opencv_displaces(self, layer: "Layer") -> bool:
        return not layer["noadjust"]

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        y = b.crop(xs[0], layer["crop_height"], layer["crop_width"])
        if layer["noadjust"]:
            return y
        channels = layer.shape.c
        y = b.scale_channels_by(y, np.full(channels, 2, np.float32))
        return b.bias(y, np.full(channels, -1, np.float32))
