"""[l2norm]: each position's channels scaled to unit length, in the original Darknet only."""

from typing import TYPE_CHECKING

from darkprune.ops.base import Op, Shape

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class L2norm(Op):
    """It mixes channels, so they stay; no backend has a primitive for it."""

    names = ("l2norm",)
    readers = ("pjreddie",)

    def infer(self, layer: "Layer") -> Shape:
        return layer.input_shape()
