"""[dropout] and [empty]: nothing happens at inference."""

from typing import TYPE_CHECKING, Any, List

import numpy as np

from darkprune.ops.base import Emission, Fate, Op, Shape

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Identity(Op):
    """Passes its input."""

    def infer(self, layer: "Layer") -> Shape:
        return layer.input_shape()

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        return ins[0]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        return ins[0]

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return xs[0]


class Dropout(Identity):
    """Drops values in training only."""

    names = ("dropout",)
    passive = "probability dropblock dropblock_size_rel dropblock_size_abs"


class Empty(Identity):
    """A placeholder of AlexeyAB's fork."""

    names = ("empty", "silence")
    readers = ("alexeyab",)
