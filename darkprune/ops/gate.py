"""[scale_channels] and [sam]: products of two layers (squeeze-and-excitation, spatial attention)."""

from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

import numpy as np

from darkprune.errors import CfgError, GraphError
from darkprune.ops.base import OWN, Emission, Fate, Hazard, Op, Shape, elementwise, image, opt
from darkprune.ops.common import activated, activation_hazards, activation_of, pin_coupled

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Gate(Op):
    """The layer before times the layer `from`, then an activation."""

    references = ("from",)
    readers = ("alexeyab", "opencv")

    def referenced(self, layer: "Layer", key: str) -> Tuple[int, ...]:
        numbers = Op.referenced(self, layer, key)
        if len(numbers) != 1:
            cause = "[{}] takes one layer, {} lists {}".format(layer.type, key, len(numbers))
            raise CfgError(cause, layer.place(key), "leave one; readers take the first")
        return numbers

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        if ins[0].size == ins[1].size:
            g.tie(ins[0], ins[1], "{} {}".format(layer.type, layer.number))
        pin_coupled(layer, ins[1], g)
        return ins[1]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        gate, carried = ins
        if gate.offset.size == 1:  # a map that gates every channel
            gate = Emission(*[np.broadcast_to(value, carried.offset.shape) for value in gate])
        offset = gate.offset * carried.offset
        unknown = (gate.live & (carried.offset != 0)) | (carried.live & (gate.offset != 0))
        zero = (~gate.live & (gate.offset == 0)) | (~carried.live & (carried.offset == 0))
        offset[unknown & ~zero] = np.nan
        offset[zero] = 0.0
        live = ~zero & (gate.live | carried.live)
        if layer["activation"] == "linear":
            return Emission(offset, live)
        return elementwise(Emission(offset, live), lambda v: activated(layer, v))

    def int8(self, layer: "Layer") -> str:
        return OWN

    def opencv_size(self, layer: "Layer", size: Shape, counted: List[int]) -> Shape:
        return size

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        return sources[0] if len(set(sources)) == 1 else None

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        yield from activation_hazards(layer)


class ScaleChannels(Gate):
    """A 1 x 1 map gates each channel, or with scale_wh a one-channel map gates each position."""

    names = ("scale_channels",)
    options = (opt("from", "ints", ()), opt("scale_wh", "int", 0), opt("activation", "str", "linear"))

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        gate, shape = layer.input_shape(), layer.input_shape(1)
        wanted = (shape.w, shape.h, 1) if layer["scale_wh"] else (1, 1, shape.c)
        if gate[:3] != wanted or not shape.c:
            raise GraphError(
                "a gate of {} x {} x {} does not fit {} x {} x {}".format(*(gate[:3] + shape[:3])),
                layer.place("from"),
                "the layer before must be {} x {} x {}".format(*wanted),
            )
        return image(shape.w, shape.h, shape.c)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.activation(b.mul(xs[1], xs[0]), layer["activation"])

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        if layer["scale_wh"]:
            g.pin(ins[0], "gates every channel of layer {}".format(layer.number))
            pin_coupled(layer, ins[1], g)
            return ins[1]
        return Gate.channels(self, layer, ins, g)

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        return sources[1]

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if layer.text("scale_wh") not in (None, "0"):
            yield Hazard("opencv", "scale_wh", "refuses scale_wh")
        yield from Gate.hazards(self, layer)


class Sam(Gate):
    """Two maps of the same shape, value by value."""

    names = ("sam",)
    options = (opt("from", "ints", ()), opt("activation", "str", "linear"))

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        gate, shape = layer.input_shape(), layer.input_shape(1)
        if gate != shape or not shape.c:
            raise GraphError(
                "[sam] multiplies {} x {} x {} by {} x {} x {}".format(*(gate[:3] + shape[:3])),
                layer.place("from"),
                "both must have the same shape",
            )
        return shape

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.activation(b.mul(xs[1], xs[0]), layer["activation"])
