"""[maxpool]: maximum over a window, or over channels with `maxpool_depth`."""

from typing import TYPE_CHECKING, Any, Iterator, List, Tuple

import numpy as np

from darkprune.errors import GraphError, Unsupported
from darkprune.ops.base import (
    FLOAT,
    SAME,
    Emission,
    Fate,
    Hazard,
    Op,
    Shape,
    describe,
    image,
    opt,
    require_image,
    window,
)

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer

UNSET = -1


class Pool(Op):
    """Geometry shared by the pooling layers: `padding` counts both sides together."""

    word = "max"  # in the layer table

    def infer(self, layer: "Layer") -> Shape:
        shape = require_image(layer)
        size, padding = self.size(layer), self.padding(layer)
        sx, sy = self.strides(layer)
        w = window(layer, shape.w, padding, size, sx, "size")
        h = window(layer, shape.h, padding, size, sy, "size")
        for length, out, stride in ((shape.w, w, sx), (shape.h, h, sy)):
            if padding // 2 >= size or (out - 1) * stride - padding // 2 >= length:
                raise GraphError(
                    "a padding of {} leaves windows of {} with nothing of the map: their values mean nothing".format(
                        padding, size
                    ),
                    layer.place("padding"),
                    "use padding={} or less".format(size - 1),
                )
        return image(w, h, shape.c)

    def strides(self, layer: "Layer") -> Tuple[int, int]:
        """(x, y) strides."""
        x, y = layer["stride_x"], layer["stride_y"]
        return (x if x > 0 else layer["stride"], y if y > 0 else layer["stride"])

    def size(self, layer: "Layer") -> int:
        """The window's side; by default the stride."""
        return layer["stride"] if layer["size"] == UNSET else layer["size"]

    def padding(self, layer: "Layer") -> int:
        """Cells added to each axis, both sides together; by default size - 1."""
        return self.size(layer) - 1 if layer["padding"] == UNSET else layer["padding"]

    def flops(self, layer: "Layer") -> float:
        return float(self.size(layer) ** 2) * layer.shape.outputs

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        return ins[0]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        # Cells outside the map never win and never count, so what is constant inside stays that constant.
        return ins[0]

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        for key in ("stride_x", "stride_y", "maxpool_depth", "antialiasing"):
            if layer.text(key) not in (None, "0", "-1"):
                for reader in ("pjreddie", "opencv"):
                    yield Hazard(reader, key, "does not read {} of [{}]".format(key, layer.type))
        size, stride = layer.text("size"), layer.text("stride")
        if (stride is None or size is None) and (size or "2", stride or "2") != (size or stride or "1", stride or "1"):
            yield Hazard("opencv", None, "takes a missing size or stride for 2, Darknet takes stride 1, size = stride")

    def describe(self, layer: "Layer") -> str:
        k, (sx, sy) = self.size(layer), self.strides(layer)
        stride = str(sx) if sx == sy else "{}x{}".format(sx, sy)
        return describe(layer, self.word, "", "{:2d}x{:2d}/{:>2}".format(k, k, stride))


class Maxpool(Pool):
    """Out-of-range cells count as minus infinity."""

    names = ("maxpool", "max")
    options = (
        opt("stride", "int", 1, 2, low=1),
        opt("size", "int", UNSET, 2, low=UNSET),
        opt("padding", "int", UNSET, low=UNSET),
        opt("stride_x", "int", UNSET, low=UNSET, only="alexeyab"),
        opt("stride_y", "int", UNSET, low=UNSET, only="alexeyab"),
        opt("maxpool_depth", "int", 0, only="alexeyab"),
        opt("out_channels", "int", 1, low=1, only="alexeyab"),
        opt("antialiasing", "int", 0, only="alexeyab"),
    )
    passive = "maxpool_zero_nonmax pad"  # `pad` is in real files; every reader ignores it

    def infer(self, layer: "Layer") -> Shape:
        if layer["maxpool_depth"]:
            shape = require_image(layer)
            return image(shape.w, shape.h, layer["out_channels"])
        return Pool.infer(self, layer)

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        if layer["maxpool_depth"] or layer["antialiasing"]:
            return Op.channels(self, layer, ins, g)
        return ins[0]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        if layer["maxpool_depth"] or layer["antialiasing"]:
            return Op.emit(self, layer, ins, fate)
        return ins[0]

    def int8(self, layer: "Layer") -> str:
        return FLOAT if layer["maxpool_depth"] or layer["antialiasing"] else SAME

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        if layer["maxpool_depth"]:
            return b.max_channels(xs[0], layer["out_channels"])
        if layer["antialiasing"]:
            raise Unsupported("antialiasing of [maxpool] is not implemented", layer.place("antialiasing"))
        sx, sy = self.strides(layer)
        return b.max_pool(xs[0], self.size(layer), (sy, sx), self.padding(layer))
