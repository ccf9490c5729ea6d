"""[rnn]: a fully connected layer with a state."""

from typing import TYPE_CHECKING, Iterator, List

from darkprune.darknet import values
from darkprune.ops.base import Hazard, Shape, flat, image, opt
from darkprune.ops.common import activation_hazards, activation_of
from darkprune.ops.recurrent import FORK, Recurrent, Sub

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class Rnn(Recurrent):
    """Input, self and output sub-layers; in the original the state is as wide as the output."""

    names = ("rnn",)
    options = (
        opt("output", "int", 1, low=1),
        opt("hidden", "int", 1, low=1, only=FORK),
        opt("activation", "str", "logistic"),
        opt("batch_normalize", "int", 0),
        opt("logistic", "int", 0, only=FORK),
        opt("shortcut", "int", 0),
        opt("dontload", "int", 0),
    )

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        return flat(layer["output"]) if layer.dialect_name == "pjreddie" else image(1, 1, layer["output"])

    def sublayers(self, layer: "Layer") -> List[Sub]:
        inputs, output = layer.input_shape().outputs, layer["output"]
        hidden = output if layer.dialect_name == "pjreddie" else layer["hidden"]
        return [Sub("input", inputs, hidden), Sub("self", hidden, hidden), Sub("output", hidden, output)]

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        other = "alexeyab" if layer.dialect_name == "pjreddie" else "pjreddie"
        if values.atoi(layer.text("hidden") or "1") != layer["output"]:
            yield Hazard(other, "hidden", "takes another width for the state of [rnn]: misread weights")
        if values.atoi(layer.text("logistic") or "0"):
            yield Hazard("pjreddie", "logistic", "ignores logistic of [rnn]")
        yield from activation_hazards(layer)
