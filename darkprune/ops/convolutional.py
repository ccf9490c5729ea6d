"""[convolutional]: dense, grouped and depthwise convolution with optional batch norm."""

import math
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from darkprune.errors import Unsupported
from darkprune.ops.base import (
    FLOAT,
    WEIGHTS,
    Absorber,
    Emission,
    Fate,
    Hazard,
    Op,
    ParamSpec,
    Shape,
    describe,
    image,
    opt,
    param,
    require_image,
    weights_among,
    window,
)
from darkprune.ops.common import activated, activation_of, pad_of, pin_coupled, require_dilation, require_split
from darkprune.ops.convolutional_hazards import NO_LAYER, convolution_hazards

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer

# Options with an arithmetic of their own; backends have only that of xnor.
_PECULIAR = (
    "xnor",
    "binary",
    "dontload",
    "dontloadscales",
    "sway",
    "rotate",
    "stretch",
    "stretch_sway",
    "coordconv",
)


class Convolutional(Op):
    """A convolution; groups = input channels = filters is a depthwise one."""

    names = ("convolutional", "conv")
    convolution = True
    windowed = True
    peculiar = _PECULIAR
    transposing = ("flipped",)
    pointers = ("share_index",)
    options = (
        opt("filters", "int", 1, low=1),
        opt("size", "int", 1, low=1),
        opt("stride", "int", 1, low=1),
        opt("stride_x", "int", -1, low=-1, only="alexeyab"),
        opt("stride_y", "int", -1, low=-1, only="alexeyab"),
        opt("pad", "int", 0),
        opt("padding", "int", 0, low=0),
        opt("groups", "int", 1),
        opt("dilation", "int", 1, low=1, only="alexeyab"),
        opt("antialiasing", "int", 0, only="alexeyab"),
        opt("batch_normalize", "int", 0),
        opt("cbn", "int", 0, only="alexeyab"),
        opt("activation", "str", "logistic", "linear"),
        opt("share_index", "int", NO_LAYER, only="alexeyab"),
        opt("flipped", "int", 0),
        opt("binary", "int", 0),
        opt("xnor", "int", 0),
        opt("bin_output", "int", 0, only="alexeyab"),  # what a GPU hands on where only binary layers read
        opt("dontload", "int", 0),
        opt("dontloadscales", "int", 0),
        opt("numload", "int", 0, only="pjreddie"),
        opt("sway", "int", 0, only="alexeyab"),
        opt("rotate", "int", 0, only="alexeyab"),
        opt("stretch", "int", 0, only="alexeyab"),
        opt("stretch_sway", "int", 0, only="alexeyab"),
        opt("reverse", "int", 0, only="alexeyab"),
        opt("coordconv", "int", 0, only="alexeyab"),
    )
    passive = "dot angle grad_centr assisted_excitation stream wait_stream"

    def points(self, layer: "Layer", key: str) -> bool:
        return layer["share_index"] != NO_LAYER

    def infer(self, layer: "Layer") -> Shape:
        shape = require_image(layer)
        size, padding = layer["size"], self.padding(layer)
        sx, sy = self.strides(layer, host=True)
        groups, filters = self.groups(layer), layer["filters"]
        require_split(layer, groups, [("input channels", shape.c), ("filters", filters)])
        require_dilation(layer, self.dilation(layer), padding)
        activation_of(layer)
        w = window(layer, shape.w, 2 * padding, size, sx, "size")
        h = window(layer, shape.h, 2 * padding, size, sy, "size")
        return image(w, h, filters)

    def chain_shape(self, layer: "Layer") -> Shape:
        if not layer["antialiasing"]:
            return layer.shape
        (size, padding), (sx, sy) = self.blur(layer), self.strides(layer)
        w = window(layer, layer.shape.w, 2 * padding, size, sx, "antialiasing")
        h = window(layer, layer.shape.h, 2 * padding, size, sy, "antialiasing")
        return image(w, h, layer.shape.c)

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        if layer.pointers.get("share_index") is not None or layer["dontload"]:
            return []
        n, c, k, g = layer["filters"], layer.input_shape().c, layer["size"], self.groups(layer)
        specs = [param("biases", ["out"], [n])]
        if self.batch_norm(layer) and not layer["dontloadscales"]:
            specs += [param(name, ["out"], [n]) for name in ("scales", "mean", "variance")]
        if layer["flipped"]:
            return specs + [param("weights", ["taps", "out"], [c // g * k * k, n])]
        return specs + [param("weights", ["out", "in", "kh", "kw"], [n, c // g, k, k], groups=g)]

    def connections(self, layer: "Layer") -> List[ParamSpec]:
        if layer["xnor"] or layer["binary"]:
            return []  # only signs count, and 0 has that of a negative number
        return weights_among(self.parameters(layer))

    def unreadable(self, layer: "Layer") -> Optional[Tuple[str, str]]:
        if layer["numload"]:
            return "numload", "numload cuts the arrays of this layer short in a way only one reader knows"
        return None

    def initial(self, layer: "Layer", spec: ParamSpec) -> Tuple[float, float]:
        if spec.name == "weights" and layer["activation"].startswith("normalize_channels"):
            return 1.0, 0.0  # make_convolutional_layer, for what weighs maps
        return Op.initial(self, layer, spec)

    def flops(self, layer: "Layer") -> float:
        flops = self._flops(layer)
        return flops / 32.0 if layer["xnor"] else flops

    def pjreddie_flops(self, layer: "Layer") -> float:
        return self._flops(layer)

    def macs(self, layer: "Layer") -> int:
        return int(self._flops(layer)) // 2

    def original_memory(self, layer: "Layer") -> Tuple[int, int]:
        columns = layer.shape.w * layer.shape.h * layer["size"] ** 2 * (layer.input_shape().c // self.groups(layer))
        return columns, columns

    def _flops(self, layer: "Layer") -> float:
        shape = layer.input_shape()
        area = layer.shape.w * layer.shape.h
        return 2.0 * layer["filters"] * layer["size"] ** 2 * (shape.c // self.groups(layer)) * area

    # ---- what the options mean

    def padding(self, layer: "Layer") -> int:
        """Zeros on each side."""
        return pad_of(layer)

    def strides(self, layer: "Layer", host: bool = False) -> Tuple[int, int]:
        """(x, y) strides; with antialiasing the convolution itself (`host`) has stride 1 and the blur strides."""
        x = layer["stride_x"] if layer["stride_x"] > 0 else layer["stride"]
        y = layer["stride_y"] if layer["stride_y"] > 0 else layer["stride"]
        return (1, 1) if host and layer["antialiasing"] else (x, y)

    def groups(self, layer: "Layer") -> int:
        """Groups; AlexeyAB's Darknet takes 1 for a binary convolution."""
        return 1 if layer["xnor"] and layer.dialect_name == "alexeyab" else max(1, layer["groups"])

    def dilation(self, layer: "Layer") -> int:
        """Distance between taps."""
        return 1 if layer["size"] == 1 else layer["dilation"]

    def batch_norm(self, layer: "Layer") -> bool:
        """Whether the layer has batch norm in its dialect: OpenCV looks for exactly 1."""
        value = layer["batch_normalize"]
        if layer["cbn"]:
            return True
        return value == 1 if layer.dialect_name == "opencv" else value != 0

    def blur(self, layer: "Layer") -> Tuple[int, int]:
        """(size, padding) of the fixed kernel that antialiasing puts behind the convolution."""
        return (2, 0) if layer["antialiasing"] == 2 else (3, 1)

    def obstacle(self, layer: "Layer") -> Optional[str]:
        """Why the filters of this layer cannot be edited, if so."""
        for key in self.peculiar + self.transposing + ("antialiasing",):
            if layer[key]:
                return "{}={}".format(key, layer[key])
        if layer.pointers:
            return "its weights are those of layer {}".format(layer.pointers["share_index"].number)
        return None

    # ---- channels

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        x, groups, filters = ins[0], self.groups(layer), layer["filters"]
        out = g.fresh(layer, filters)
        g.axis(layer, "out", out)
        g.axis(layer, "in", x)
        obstacle = self.obstacle(layer)
        if obstacle:
            g.pin(x, "read by layer {}: {}".format(layer.number, obstacle))
            g.pin(out, "made by layer {}: {}".format(layer.number, obstacle))
            for target in layer.pointers.values():
                g.pin(g.output(target), "layer {} shares its weights".format(layer.number))
                g.pin(g.inputs(target), "layer {} shares its weights".format(layer.number))
        pin_coupled(layer, out, g)
        if groups == x.size and groups > 1:
            g.tie(np.repeat(x, filters // groups), out, "depthwise layer {}".format(layer.number))
        elif groups > 1:
            reason = "groups of layer {}".format(layer.number)
            g.balance(np.split(x, groups), reason)
            g.balance(np.split(out, groups), reason)
        return out

    def narrowed(self, layer: "Layer", labels: Dict[str, int]) -> Dict[str, int]:
        edits = {"filters": labels["out"]}
        if self.groups(layer) == layer.input_shape().c and self.groups(layer) > 1:
            edits["groups"] = labels["in"]
        return edits

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        offset = np.zeros(layer["filters"], np.float64)
        bias = layer.array("biases") if "biases" in layer.params else offset
        offset[fate.silenced] = activated(layer, bias[fate.silenced])
        loud = fate.removed & ~fate.silenced
        if loud.any():
            offset[loud] = self._unsilenced(layer, ins[0], bias)[loud]
        shifted = ins[0].offset != 0
        if self.obstacle(layer) and shifted.any():
            offset[:] = np.nan  # its arrays are not edited, so they take nothing over
        groups = self.groups(layer)
        if groups == shifted.size > 1 and self.padding(layer):
            # A kept filter over an input that still emits something: its group has no channel to take it over.
            offset[np.repeat(shifted, layer["filters"] // groups) & ~fate.removed] = np.nan
        return Emission(offset, ~fate.removed)

    def _unsilenced(self, layer: "Layer", emission: Emission, bias: np.ndarray) -> np.ndarray:
        """What filters that go without batch norm to silence them emit: a constant only over nothing but constants,
        which must be zeros where there is padding."""
        out = np.full(layer["filters"], np.nan)
        groups = self.groups(layer)
        if groups == 1 or self.batch_norm(layer) or "weights" not in layer.params:
            return out
        quiet = ~emission.live & ((emission.offset == 0) | (self.padding(layer) == 0))
        rows = np.flatnonzero(np.repeat(quiet.reshape(groups, -1).all(axis=1), layer["filters"] // groups))
        if rows.size:
            offset = emission.offset.reshape(groups, -1).repeat(layer["filters"] // groups, axis=0)[rows]
            taps = layer.array("weights")[rows].reshape(rows.size, offset.shape[1], -1) * offset[:, :, None]
            sums = [math.fsum(row) for row in taps.reshape(rows.size, -1).tolist()]
            out[rows] = activated(layer, bias[rows] + np.array(sums))
        return out

    def absorber(self, layer: "Layer") -> Optional[Absorber]:
        bn = self.batch_norm(layer)
        return Absorber(self.padding(layer) > 0, "mean" if bn else "biases", -1.0 if bn else 1.0, self.groups(layer), 1)

    # ---- running

    def seen(self, layer: "Layer", image: np.ndarray, row: int, column: int) -> np.ndarray:
        (sx, sy), dilation = self.strides(layer, host=True), self.dilation(layer)
        margin, taps = self.padding(layer) * dilation, dilation * np.arange(layer["size"])
        y, x = row * sy - margin + taps, column * sx - margin + taps
        rows, columns = image.shape[1:]
        inside = ((y >= 0) & (y < rows))[:, None] & ((x >= 0) & (x < columns))
        window = image[:, np.clip(y, 0, rows - 1)][:, :, np.clip(x, 0, columns - 1)]
        return (window * inside).reshape(len(image), -1)

    def int8(self, layer: "Layer") -> str:
        return FLOAT if any(layer[key] for key in _PECULIAR + ("antialiasing",)) else WEIGHTS

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        for key in _PECULIAR:
            if layer[key] and key != "xnor":
                raise Unsupported(
                    "{}={} is not implemented".format(key, layer[key]), layer.place(key), "run it in Darknet itself"
                )
        owner = layer.pointers.get("share_index", layer)
        weights = b.array(owner, "weights")
        if layer["flipped"]:
            k = layer["size"]
            weights = weights.T.reshape(layer["filters"], -1, k, k)
        x = xs[0]
        if layer["xnor"]:
            x, weights = b.sign(x), b.binarised(weights)
        sx, sy = self.strides(layer, host=True)
        y = b.conv2d(
            x,
            weights,
            stride=(sy, sx),
            padding=self.padding(layer) * self.dilation(layer),
            dilation=self.dilation(layer),
            groups=self.groups(layer),
        )
        if self.batch_norm(layer):
            names = ("scales", "biases", "mean", "variance")
            y = b.batch_norm(y, *[b.array(owner, name) for name in names])
        else:
            y = b.bias(y, b.array(owner, "biases"))
        return b.activation(y, layer["activation"])

    def chain_lower(self, layer: "Layer", b: "Builder", x: Any) -> Any:
        if not layer["antialiasing"]:
            return x
        (size, padding), (sx, sy) = self.blur(layer), self.strides(layer)
        row = np.array([1, 1] if size == 2 else [1, 2, 1], np.float32)
        kernel = np.outer(row, row) / np.float32(row.sum() ** 2)
        weights = np.tile(kernel, (layer.shape.c, 1, 1, 1))
        return b.conv2d(x, weights, stride=(sy, sx), padding=padding, dilation=1, groups=layer.shape.c)

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        return convolution_hazards(self, layer)

    def describe(self, layer: "Layer") -> str:
        k, (sx, sy) = layer["size"], self.strides(layer)
        stride = "{}".format(sx) if sx == sy else "{}x{}".format(sx, sy)
        filters = "{}{}".format(layer["filters"], "/{:4d}".format(self.groups(layer)) if self.groups(layer) > 1 else "")
        return describe(layer, "conv", filters, "{:2d} x{:2d}/{:>2}".format(k, k, stride))
