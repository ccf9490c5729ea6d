"""[connected]: a fully connected layer, over a flattened feature map or another such layer."""

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional

import numpy as np

from darkprune.errors import Unsupported
from darkprune.ops.base import (
    WEIGHTS,
    Absorber,
    Emission,
    Fate,
    Hazard,
    Op,
    ParamSpec,
    Shape,
    image,
    opt,
    param,
    weights_among,
)
from darkprune.ops.common import activated, activation_hazards, activation_of, pin_coupled

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Connected(Op):
    """A matrix product; its arrays stand in another order than a convolution's."""

    names = ("connected", "conn")
    peculiar = ("dontload", "dontloadscales")
    windowed = True
    options = (
        opt("output", "int", 1, low=1),
        opt("activation", "str", "logistic", "linear"),
        opt("batch_normalize", "int", 0),
        opt("dontload", "int", 0),
        opt("dontloadscales", "int", 0),
    )

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        return image(1, 1, layer["output"])

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        if layer["dontload"]:
            return []
        out = layer["output"]
        specs = [
            param("biases", ["out"], [out]),
            param("weights", ["out", "in"], [out, layer.input_shape().outputs], transposable=True),
        ]
        if self.batch_norm(layer) and not layer["dontloadscales"]:
            specs += [param(name, ["out"], [out]) for name in ("scales", "mean", "variance")]
        return specs

    def connections(self, layer: "Layer") -> List[ParamSpec]:
        return weights_among(self.parameters(layer))

    def batch_norm(self, layer: "Layer") -> bool:
        return bool(layer["batch_normalize"])

    def macs(self, layer: "Layer") -> int:
        return layer["output"] * layer.input_shape().outputs

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        shape = layer.input_shape()
        out = g.fresh(layer, layer["output"])
        g.axis(layer, "out", out)
        g.axis(layer, "in", np.repeat(ins[0], shape.area))
        pin_coupled(layer, out, g)
        if layer["dontload"] or layer["dontloadscales"]:
            g.pin(ins[0], "read by layer {}, whose arrays are not in the file".format(layer.number))
            g.pin(out, "made by layer {}, whose arrays are not in the file".format(layer.number))
        return out

    def narrowed(self, layer: "Layer", labels: Dict[str, int]) -> Dict[str, int]:
        return {"output": labels["out"]}

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        offset = np.zeros(layer["output"], np.float64)
        offset[fate.removed & ~fate.silenced] = np.nan
        if fate.silenced.any():
            offset[fate.silenced] = activated(layer, layer.array("biases")[fate.silenced])
        return Emission(offset, ~fate.removed)

    def absorber(self, layer: "Layer") -> Optional[Absorber]:
        bn = self.batch_norm(layer)
        return Absorber(False, "mean" if bn else "biases", -1.0 if bn else 1.0, 1, layer.input_shape().area)

    def seen(self, layer: "Layer", image: np.ndarray, row: int, column: int) -> np.ndarray:
        return image.reshape(-1, 1)

    def int8(self, layer: "Layer") -> str:
        return WEIGHTS

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        for key in self.peculiar:
            if layer[key]:
                raise Unsupported("{}={} leaves no values to run".format(key, layer[key]), layer.place(key))
        y = b.linear(xs[0], b.array(layer, "weights"))
        if self.batch_norm(layer):
            y = b.batch_norm(y, *[b.array(layer, name) for name in ("scales", "biases", "mean", "variance")])
        else:
            y = b.bias(y, b.array(layer, "biases"))
        return b.activation(y, layer["activation"])

    def opencv_size(self, layer: "Layer", size: Shape, counted: List[int]) -> Shape:
        if counted and size.w > 1:
            counted[-1] = size.outputs  # from here on for whoever reads that map, flattened or not
        return self.infer(layer)

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        return True

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if self.batch_norm(layer):
            yield Hazard("opencv", "batch_normalize", "reads the arrays of [connected] in the order of a convolution")
        yield from activation_hazards(layer)
