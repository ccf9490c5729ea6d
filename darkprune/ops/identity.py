"""[dropout] and [empty]: nothing happens at inference."""

from typing import TYPE_CHECKING, Any, Iterator, List, Optional

import numpy as np

from darkprune.darknet import values
from darkprune.ops.base import SAME, Emission, Fate, Hazard, Op, Shape

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

    def int8(self, layer: "Layer") -> str:
        return SAME

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return xs[0]

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        return sources[0]

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        for reader in self.readers if layer.index == 0 else ():
            if reader != "opencv":
                yield Hazard(reader, None, "crashes where the first layer is [{}]".format(layer.type))


class Dropout(Identity):
    """Drops values in training only."""

    names = ("dropout",)
    passive = "probability dropblock dropblock_size_rel dropblock_size_abs"

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        default = ".5" if layer.dialect_name == "pjreddie" else ".2"
        probability = values.atof(layer.text("probability") or default)
        return b.dropout(xs[0], probability, bool(values.atof(layer.text("dropblock") or "0")))


class Empty(Identity):
    """A placeholder of AlexeyAB's fork."""

    names = ("empty", "silence")
    readers = ("alexeyab",)
