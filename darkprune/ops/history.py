"""[history]: the last few maps, one behind the other along the channels."""

from typing import TYPE_CHECKING

from darkprune.ops.base import Op, Shape, image, opt, require_image

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class History(Op):
    """What it emits depends on earlier images, so its channels stay and no backend runs it."""

    names = ("history",)
    readers = ("alexeyab",)
    options = (opt("history_size", "int", 4, low=1),)

    def infer(self, layer: "Layer") -> Shape:
        shape = require_image(layer)
        return image(shape.w, shape.h, shape.c * layer["history_size"])
