"""[activation]: an activation as a layer of its own."""

from typing import TYPE_CHECKING, Any, Iterator, List

import numpy as np

from darkprune.ops.activation_functions import ACTIVATIONS
from darkprune.ops.base import FLOAT, OWN, Emission, Fate, Hazard, Op, Shape, elementwise, opt
from darkprune.ops.common import activated, activation_hazards, activation_of, pin_coupled

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Activation(Op):
    """Value by value, unless the activation couples channels."""

    names = ("activation",)
    homogeneous = True
    readers = ("alexeyab", "pjreddie")
    options = (opt("activation", "str", "linear"),)

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        return layer.input_shape()

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        pin_coupled(layer, ins[0], g)
        return ins[0]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        if layer["activation"] == "linear":
            return ins[0]
        return elementwise(ins[0], lambda v: activated(layer, v))

    def int8(self, layer: "Layer") -> str:
        return FLOAT if ACTIVATIONS[layer["activation"]].couples_channels else OWN

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.activation(xs[0], layer["activation"])

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        yield from activation_hazards(layer)
