"""[conv_lstm]: long short-term memory whose gates are convolutions."""

from typing import TYPE_CHECKING, List

from darkprune.ops.base import Shape, opt
from darkprune.ops.common import activation_of
from darkprune.ops.recurrent import Convolutions, Sub

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


class ConvLstm(Convolutions):
    """Gates over the input (u), the state (w) and, with `peephole`, the cell (v)."""

    names = ("conv_lstm",)
    readers = ("alexeyab",)
    options = Convolutions.geometry + (
        opt("output", "int", 1, low=1),
        opt("activation", "str", "linear"),
        opt("lstm_activation", "str", "tanh"),
        opt("peephole", "int", 0),
        opt("bottleneck", "int", 0),
        opt("state_constrain", "int", 0),
        opt("time_normalizer", "float", 1.0),
    )

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        activation_of(layer, "lstm_activation")
        return self.convolved(layer, layer["output"])

    def sublayers(self, layer: "Layer") -> List[Sub]:
        units = layer["output"]
        cell = ["vf", "vi", "vo"] if layer["peephole"] else []
        state = [] if layer["bottleneck"] else ["wi", "wg", "wo"]
        return (
            [Sub(name, units, units) for name in cell]
            + [Sub("wf", 2 * units if layer["bottleneck"] else units, units)]
            + [Sub(name, units, units) for name in state]
            + [Sub(name, layer.input_shape().c, units) for name in ("uf", "ui", "ug", "uo")]
        )

    def flops(self, layer: "Layer") -> float:
        return Convolutions.flops(self, layer) + (12 if layer["peephole"] else 9) * layer.shape.outputs
