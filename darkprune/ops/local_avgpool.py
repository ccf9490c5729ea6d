"""[local_avgpool]: mean over a window, of the cells inside the map."""

from typing import TYPE_CHECKING, Any, List

from darkprune.ops.base import opt
from darkprune.ops.maxpool import UNSET, Pool

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class LocalAvgpool(Pool):
    """The geometry of [maxpool]."""

    names = ("local_avgpool", "local_avg")
    readers = ("alexeyab",)
    word = "avg"
    options = (
        opt("stride", "int", 1, low=1),
        opt("size", "int", UNSET, low=UNSET),
        opt("padding", "int", UNSET, low=UNSET),
        opt("stride_x", "int", UNSET, low=UNSET),
        opt("stride_y", "int", UNSET, low=UNSET),
    )

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        sx, sy = self.strides(layer)
        return b.avg_pool(xs[0], self.size(layer), (sy, sx), self.padding(layer))
