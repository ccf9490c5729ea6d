"""[crnn]: a convolutional layer with a state."""

from typing import TYPE_CHECKING, Iterator, List, Tuple

from darkprune.darknet import values
from darkprune.errors import GraphError
from darkprune.ops.base import Hazard, Shape, image, opt
from darkprune.ops.common import SPECIAL, activation_hazards, activation_of
from darkprune.ops.recurrent import FORK, Convolutions, Sub

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class Crnn(Convolutions):
    """Input, self and output convolutions; the two forks read their widths from different options."""

    names = ("crnn",)
    options = Convolutions.geometry + (
        opt("output", "int", 1, low=1, only=FORK),
        opt("hidden", "int", 1, low=1, only=FORK),
        opt("output_filters", "int", 1, low=1, only="pjreddie"),
        opt("hidden_filters", "int", 1, low=1, only="pjreddie"),
        opt("activation", "str", "logistic"),
    )

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        shape = self.convolved(layer, self._widths(layer)[1])
        source = layer.input_shape()
        if (shape.w, shape.h) != (source.w, source.h):
            raise GraphError(
                "the convolutions of [crnn] turn {} x {} into {} x {}; its state needs maps of one size".format(
                    source.w, source.h, shape.w, shape.h
                ),
                layer.place("size"),
                "use an odd size with pad=1 and stride=1",
            )
        # The original hands width and height over in the wrong order.
        return image(shape.h, shape.w, shape.c) if layer.dialect_name == "pjreddie" else shape

    def _widths(self, layer: "Layer") -> Tuple[int, int]:
        """Channels of the state, and of the output."""
        if layer.dialect_name == "pjreddie":
            return layer["hidden_filters"], layer["output_filters"]
        return layer["hidden"], layer["output"]

    def padding(self, layer: "Layer") -> int:
        return 1 if layer.dialect_name == "pjreddie" else Convolutions.padding(self, layer)

    def sublayers(self, layer: "Layer") -> List[Sub]:
        hidden, output = self._widths(layer)
        return [Sub("input", layer.input_shape().c, hidden), Sub("self", hidden, hidden), Sub("output", hidden, output)]

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        yield from Convolutions.hazards(self, layer)
        for mine, other in (("output", "output_filters"), ("hidden", "hidden_filters")):
            fork, original = (values.atoi(layer.text(key) or "1") for key in (mine, other))
            if fork != original:
                reader, key = ("alexeyab", mine) if layer.dialect_name == "pjreddie" else ("pjreddie", other)
                yield Hazard(reader, None, "reads {}, here {}: misread weights".format(key, min(fork, original)))
        if layer.input_shape().w != layer.input_shape().h:
            yield Hazard("pjreddie", None, "swaps the width and height of [crnn]")
        yield from activation_hazards(layer, SPECIAL)
