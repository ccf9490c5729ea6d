"""[reorg]: Darknet's historical rearrangement of space into channels, which permutes the whole buffer.

In the original, `flatten` turns the buffer [c][h*w] into [h*w][c] instead (`reverse`: back), with the same shape as
without, and `extra` only appends zeros to the values.
"""

from typing import TYPE_CHECKING, Any, Iterator, List

from darkprune.darknet import values
from darkprune.errors import GraphError, Unsupported
from darkprune.ops.base import FLOAT, SAME, Hazard, Op, Shape, flat, image, opt, require_image

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Reorg(Op):
    """Channels and positions are mixed, so channels around it stay."""

    names = ("reorg",)
    options = (
        opt("stride", "int", 1, 2, low=1),
        opt("reverse", "int", 0),
        opt("flatten", "int", 0, only="pjreddie"),
        opt("extra", "int", 0, low=0, only="pjreddie"),
    )

    def infer(self, layer: "Layer") -> Shape:
        shape, stride = require_image(layer), layer["stride"]
        if layer["extra"]:
            return flat(shape.outputs + layer["extra"])
        square = stride * stride
        if layer["reverse"]:
            if shape.c % square:
                raise GraphError("{} channels do not split into cells of {}".format(shape.c, square), layer.place())
            return image(shape.w * stride, shape.h * stride, shape.c // square)
        if shape.w % stride or shape.h % stride or shape.c < square:
            raise GraphError(
                "{} x {} x {} does not rearrange with stride {}".format(shape.w, shape.h, shape.c, stride),
                layer.place("stride"),
                "use a [net] size that the strides divide, and at least {} channels".format(square),
            )
        return image(shape.w // stride, shape.h // stride, shape.c * square)

    def int8(self, layer: "Layer") -> str:
        return FLOAT if layer["flatten"] or layer["extra"] else SAME

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        shape, reverse = layer.shape, bool(layer["reverse"])
        if layer["flatten"] and layer["extra"]:
            raise Unsupported("flatten with extra reads behind the end of the map", layer.place("extra"), "drop one")
        if layer["extra"]:
            return b.pad_channels(b.flatten(xs[0]), shape.outputs)
        if layer["flatten"]:
            return b.interleave(xs[0], (shape.c, shape.h, shape.w), reverse)
        return b.reorg(xs[0], layer["stride"], reverse)

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if layer["reverse"]:
            yield Hazard("opencv", "reverse", "ignores reverse")
        for key in ("flatten", "extra"):
            for reader in ("alexeyab", "opencv") if values.atoi(layer.text(key) or "0") else ():
                yield Hazard(reader, key, "ignores {} of [reorg]".format(key))
        if layer.text("stride") is None:
            yield Hazard("opencv", None, "takes a missing stride for 2, Darknet for 1")
