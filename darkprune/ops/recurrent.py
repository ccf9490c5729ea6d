"""What the recurrent layer types share: sub-layers whose arrays stand one behind the other in the file.

They are read, inspected and written; their channels are pinned and no backend runs them.
"""

from typing import TYPE_CHECKING, Iterator, List, NamedTuple, Tuple

from darkprune.ops.base import Hazard, Op, ParamSpec, Shape, image, opt, param, require_image, weights_among, window
from darkprune.ops.common import pad_of, require_dilation, require_split

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer

FORK = "alexeyab opencv"  # OpenCV knows none of these sections: in its dialect they mean what the fork means

Sub = NamedTuple(
    "Sub",
    [
        ("name", str),  # prefix of its parameters
        ("inputs", int),  # values of a matrix product, channels of a convolution
        ("outputs", int),  # values, or filters
    ],
)


class Recurrent(Op):
    """A layer made of sub-layers, which a net runs once per time step."""

    readers: Tuple[str, ...] = ("alexeyab", "pjreddie")

    def sublayers(self, layer: "Layer") -> List[Sub]:
        """The sub-layers in file order."""
        raise NotImplementedError("{}.sublayers".format(type(self).__name__))

    def arrays(self, layer: "Layer", sub: Sub) -> List[ParamSpec]:
        """The arrays of one sub-layer: as of [connected], batch norm behind the weights."""
        specs = [
            param(sub.name + "_biases", ["unit"], [sub.outputs]),
            param(sub.name + "_weights", ["unit", "source"], [sub.outputs, sub.inputs], transposable=True),
        ]
        return specs + norms(layer, sub)

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        if layer["dontload"]:
            return []
        return [spec for sub in self.sublayers(layer) for spec in self.arrays(layer, sub)]

    def connections(self, layer: "Layer") -> List[ParamSpec]:
        return weights_among(self.parameters(layer))

    def macs(self, layer: "Layer") -> int:
        return sum(sub.inputs * sub.outputs for sub in self.sublayers(layer))


def norms(layer: "Layer", sub: Sub) -> List[ParamSpec]:
    """The batch-norm arrays of a sub-layer, if it has any."""
    if not layer["batch_normalize"]:
        return []
    return [param("{}_{}".format(sub.name, name), ["unit"], [sub.outputs]) for name in ("scales", "mean", "variance")]


def gates(layer: "Layer", alexeyab: str, pjreddie: str) -> List[Sub]:
    """The gates of a cell in the file order of the layer's dialect.

    Gates that start with `u` read the input, the others the state.
    """
    inputs, units = layer.input_shape().outputs, layer["output"]
    order = pjreddie if layer.dialect_name == "pjreddie" else alexeyab
    return [Sub(name, inputs if name.startswith("u") else units, units) for name in order.split()]


def reordered(layer: "Layer") -> Hazard:
    """The other fork, which takes the gates' arrays for those of other gates."""
    other = "alexeyab" if layer.dialect_name == "pjreddie" else "pjreddie"
    return Hazard(other, None, "reads the arrays of [{}] in another order: other numbers".format(layer.type))


class Convolutions(Recurrent):
    """Sub-layers that are convolutions of one geometry, in the notation of AlexeyAB's fork."""

    geometry = (
        opt("size", "int", 3, low=1, only=FORK),
        opt("stride", "int", 1, low=1, only=FORK),
        opt("dilation", "int", 1, low=1, only=FORK),
        opt("pad", "int", 0, only=FORK),
        opt("padding", "int", 0, low=0, only=FORK),
        opt("groups", "int", 1, only=FORK),
        opt("xnor", "int", 0, only=FORK),
        opt("batch_normalize", "int", 0),
        opt("shortcut", "int", 0),
        opt("dontload", "int", 0),
    )

    def padding(self, layer: "Layer") -> int:
        """Zeros on each side."""
        return pad_of(layer)

    def groups(self, layer: "Layer") -> int:
        """Groups of every sub-layer; binary nets ignore them."""
        return 1 if layer["xnor"] else max(1, layer["groups"])

    def convolved(self, layer: "Layer", filters: int) -> Shape:
        """The shape behind a sub-layer. Raises GraphError where its options do not fit the input."""
        shape, groups, padding = require_image(layer), self.groups(layer), self.padding(layer)
        for sub in self.sublayers(layer):
            require_split(layer, groups, [("channels of " + sub.name, sub.inputs), ("filters", sub.outputs)])
        require_dilation(layer, 1 if layer["size"] == 1 else layer["dilation"], padding)
        w, h = [
            window(layer, length, 2 * padding, layer["size"], layer["stride"], "size") for length in (shape.w, shape.h)
        ]
        return image(w, h, filters)

    def arrays(self, layer: "Layer", sub: Sub) -> List[ParamSpec]:
        """The arrays of one sub-layer: as of [convolutional], batch norm before the weights."""
        k, groups = layer["size"], self.groups(layer)
        shape = [sub.outputs, sub.inputs // groups, k, k]
        return (
            [param(sub.name + "_biases", ["unit"], [sub.outputs])]
            + norms(layer, sub)
            + [param(sub.name + "_weights", ["unit", "source", "kh", "kw"], shape)]
        )

    def connections(self, layer: "Layer") -> List[ParamSpec]:
        return [] if layer["xnor"] else Recurrent.connections(self, layer)

    def flops(self, layer: "Layer") -> float:
        flops = 2.0 * self.macs(layer)
        return flops / 32.0 if layer["xnor"] else flops

    def macs(self, layer: "Layer") -> int:
        taps = sum(sub.outputs * (sub.inputs // self.groups(layer)) for sub in self.sublayers(layer))
        return int(taps * layer["size"] ** 2 * layer.shape.w * layer.shape.h)

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        for option in self.geometry:
            # The sub-layers of the original are 3x3 convolutions with stride 1 and padding 1.
            text = layer.text(option.name)
            if option.only and option.name not in ("pad", "padding") and text not in (None, str(option.default)):
                yield Hazard("pjreddie", option.name, "does not read {} of [{}]".format(option.name, layer.type))
