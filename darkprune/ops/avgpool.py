"""[avgpool]: the mean of each channel over the whole map."""

from typing import TYPE_CHECKING, Any, List

import numpy as np

from darkprune.ops.base import OWN, Emission, Fate, Op, Shape, image, require_image

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Avgpool(Op):
    """Global average; its output is a 1 x 1 map."""

    names = ("avgpool", "avg")
    homogeneous = True

    def infer(self, layer: "Layer") -> Shape:
        return image(1, 1, require_image(layer).c)

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        return ins[0]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        return ins[0]

    def int8(self, layer: "Layer") -> str:
        return OWN

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.global_avg_pool(xs[0])
