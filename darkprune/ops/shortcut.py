"""[shortcut]: a sum of the layer before and earlier ones, with optional weights and activation."""

from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

import numpy as np

from darkprune.errors import CfgError, GraphError, Unsupported
from darkprune.ops.base import FLOAT, OWN, Emission, Fate, Hazard, Op, ParamSpec, Shape, elementwise, opt, param
from darkprune.ops.common import activated, activation_hazards, activation_of, pin_coupled

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer

_KINDS = {"none": "none", "per_feature": "per_feature", "per_layer": "per_feature", "per_channel": "per_channel"}
_NORMS = {"none": "none", "relu": "relu", "avg_relu": "relu", "softmax": "softmax"}


class Shortcut(Op):
    """Output channels are those of the layer before; narrower sources are added to its first channels."""

    names = ("shortcut",)
    homogeneous = True
    residual = True
    references = ("from",)
    options = (
        opt("from", "ints", ()),
        opt("activation", "str", "linear"),
        opt("weights_type", "str", "none", only="alexeyab"),
        opt("weights_normalization", "str", "none", only="alexeyab"),
        opt("alpha", "float", 1.0, only="pjreddie opencv"),
        opt("beta", "float", 1.0, only="pjreddie opencv"),
        opt("dontload", "int", 0),
    )

    def referenced(self, layer: "Layer", key: str) -> Tuple[int, ...]:
        numbers = Op.referenced(self, layer, key)
        return numbers if layer.dialect_name == "alexeyab" else numbers[:1]

    def infer(self, layer: "Layer") -> Shape:
        activation_of(layer)
        kind, norm = self.weighting(layer)
        if kind != "none" and norm == "none":
            raise GraphError(
                "weights_type needs weights_normalization", layer.place("weights_type"), "use relu or softmax"
            )
        shape = layer.input_shape()
        for source in layer.inputs[1:]:
            if not source.shape.c or not shape.c or self._step(shape, source.shape) is None:
                raise GraphError(
                    "[shortcut] adds {} x {} x {} of layer {} to {} x {} x {}".format(
                        *(source.shape[:3] + (source.index,) + shape[:3])
                    ),
                    layer.place("from"),
                    "add maps of the same size",
                )
        return shape

    def _step(self, shape: Shape, other: Shape) -> Optional[int]:
        """How the original Darknet bridges two map sizes: 1 for equal ones, n where every n-th cell of the larger
        `other` is added, -n where the smaller `other` is added to every n-th cell, None where it cannot."""
        if (other.w % shape.w, other.h % shape.h) == (0, 0) and other.w // shape.w == other.h // shape.h:
            return other.w // shape.w
        if (shape.w % other.w, shape.h % other.h) == (0, 0) and shape.w // other.w == shape.h // other.h:
            return -(shape.w // other.w)
        return None

    def _steps(self, layer: "Layer") -> List[Optional[int]]:
        return [self._step(layer.input_shape(), source.shape) for source in layer.inputs[1:]]

    def weighting(self, layer: "Layer") -> Tuple[str, str]:
        """(weights_type, weights_normalization) in their canonical spelling. Raises CfgError."""
        for key, known in (("weights_type", _KINDS), ("weights_normalization", _NORMS)):
            if layer[key] not in known:
                raise CfgError(
                    "unknown {} {!r}".format(key, layer[key]),
                    layer.place(key),
                    "use one of " + ", ".join(sorted(known)),
                )
        return _KINDS[layer["weights_type"]], _NORMS[layer["weights_normalization"]]

    def parameters(self, layer: "Layer") -> List[ParamSpec]:
        kind, count = self.weighting(layer)[0], len(layer.inputs)
        if kind == "none" or layer["dontload"]:
            return []
        if kind == "per_feature":
            return [param("weights", ["source"], [count])]
        return [param("weights", ["source", "out"], [count, layer.input_shape().c])]

    def initial(self, layer: "Layer", spec: ParamSpec) -> Tuple[float, float]:
        return 1.0, 0.0  # make_shortcut_layer

    def factors(self, layer: "Layer") -> np.ndarray:
        """float32 [sources, 1 or channels]: what each source is multiplied by, the layer before first.

        Channels beyond the narrower side of a sum stay as they are; OpenCV multiplies them by alpha too.
        """
        kind, norm = self.weighting(layer)
        if kind == "none":
            rows = np.ones((len(layer.inputs), layer.input_shape().c), np.float32)
            scaled = None if layer.dialect_name == "opencv" else min(source.shape.c for source in layer.inputs)
            rows[0, :scaled] = layer["alpha"]
            rows[1:] = layer["beta"]
            return rows
        return source_factors(layer.array("weights"), norm)

    def flops(self, layer: "Layer") -> float:
        count = len(layer.inputs) - 1
        return float(layer.shape.outputs) * count * (2 if self.weighting(layer)[0] != "none" else 1)

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        out = ins[0]
        g.axis(layer, "out", out)
        for source, labels in zip(layer.inputs[1:], ins[1:]):
            common = min(out.size, labels.size)  # channels beyond stay as they are, and may go alone
            g.tie(out[:common], labels[:common], "shortcut {}".format(layer.number), added=True)
            if labels.size < out.size and self._reach(layer, source):
                reason = "widths of shortcut {} that AlexeyAB's Darknet misreads".format(layer.number)
                g.overreach(out, labels, g.output(source.inputs[0]), reason)
        pin_coupled(layer, out, g)
        return out

    def _reach(self, layer: "Layer", source: Any) -> bool:
        """Whether AlexeyAB's fork may take `source`, by the map that its layer reads, for one as large as the sum."""
        return bool(source.inputs) and source.input_shape()[:2] == layer.shape[:2]

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        factors = np.broadcast_to(self.factors(layer).astype(np.float64), (len(ins), ins[0].offset.size))
        offset, live = ins[0].offset * factors[0], ins[0].live.copy()
        for emission, factor, step in zip(ins[1:], factors[1:], self._steps(layer)):
            common = min(offset.size, emission.offset.size)
            partly = (emission.offset[:common] != 0) | (ins[0].offset[:common] != offset[:common])
            if step is None or step < 0 and partly.any():
                offset[:common] = np.nan  # some cells get the constant, others do not
                continue
            offset[:common] += emission.offset[:common] * factor[:common]
            live[:common] |= emission.live[:common]
        if layer["activation"] == "linear":
            return Emission(offset, live)
        return elementwise(Emission(offset, live), lambda v: activated(layer, v))

    def int8(self, layer: "Layer") -> str:
        plain = self.weighting(layer)[0] == "none" and all(np.all(row == 1) for row in self.factors(layer))
        return OWN if plain and min(step or 1 for step in self._steps(layer)) > 0 else FLOAT

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        factors = self._multipliers(layer, b)
        steps = [step or 1 for step in self._steps(layer)]
        smaller = min(steps) < 0
        if smaller and len(steps) > 1:
            raise Unsupported("a smaller map among several sources cannot be run", layer.place("from"), "name one only")
        if smaller:
            return b.activation(self._onto_some_cells(layer, b, xs, factors, -steps[0]), layer["activation"])
        total = _scaled(b, xs[0], factors[0])
        for x, source, factor, step in zip(xs[1:], layer.inputs[1:], factors[1:], steps):
            x = b.max_pool(x, 1, (step, step), 0) if step > 1 else x  # every step-th cell
            total = b.add(total, _scaled(b, self._fitted(b, x, source.shape.c, layer.shape.c), factor))
        return b.activation(total, layer["activation"])

    def _multipliers(self, layer: "Layer", b: "Builder") -> List[Any]:
        """What each source is multiplied by, per channel or one for all; None for 1."""
        kind, norm = self.weighting(layer)
        if kind == "none":
            return [row if np.any(row != 1) else None for row in self.factors(layer)]
        factors = b.source_factors(b.array(layer, "weights"), norm)
        return [factors[i] for i in range(len(layer.inputs))]

    def _fitted(self, b: "Builder", x: Any, count: int, width: int) -> Any:
        """A source of `count` channels with as many channels as the sum has."""
        if count > width:
            return b.slice_channels(x, 0, width)
        return b.pad_channels(x, width) if count < width else x

    def _onto_some_cells(self, layer: "Layer", b: "Builder", xs: List[Any], factors: List[Any], step: int) -> Any:
        """The sum with a smaller map, which meets every step-th cell; alpha too counts only there."""
        smaller = self._fitted(b, xs[1], layer.inputs[1].shape.c, layer.shape.c)
        change = _scaled(b, smaller, factors[1])
        if factors[0] is not None:
            change = b.add(change, _scaled(b, b.max_pool(xs[0], 1, (step, step), 0), factors[0] - 1))
        return b.add(xs[0], b.spread(change, step))

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        return sources[0] if len(set(sources)) == 1 else None

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if self.weighting(layer)[0] != "none" or layer.text("weights_type") not in (None, "none"):
            for reader in ("pjreddie", "opencv"):
                yield Hazard(reader, "weights_type", "does not read the weights of [shortcut]: misread from here on")
        if "," in (layer.text("from") or ""):
            for reader in ("pjreddie", "opencv"):
                yield Hazard(reader, "from", "adds only the first of several sources")
        if layer.text("alpha") is not None:
            yield Hazard("alexeyab", "alpha", "ignores alpha and beta")
            if any(source.shape.c < layer.shape.c for source in layer.inputs[1:]):
                yield Hazard("opencv", "alpha", "multiplies channels by alpha to which nothing is added")
        if layer.text("beta") is not None:
            yield Hazard("alexeyab", "beta", "ignores alpha and beta")
            yield Hazard("opencv", "beta", "refuses beta")
        if any(step != 1 for step in self._steps(layer)):
            yield Hazard("alexeyab", "from", "aborts on a shortcut between maps of different sizes")
            yield Hazard("opencv", "from", "refuses a shortcut between maps of different sizes")
        for source in layer.inputs[1:]:
            if source.shape.c < layer.shape.c and source.inputs and source.input_shape() == layer.shape:
                yield Hazard("alexeyab", "from", "reads behind the end of the narrower layer {}".format(source.index))
        yield from activation_hazards(layer, ("swish", "mish"))

    def describe(self, layer: "Layer") -> str:
        z = layer.shape
        row = "{:9}{:<20}".format("Shortcut", "Layer: " + ", ".join(str(x.index) for x in layer.inputs[1:]))
        return row + "{:>20} -> {:4d} x{:4d} x{:4d} {:5.3f} BF".format("", z.w, z.h, z.c, self.flops(layer) / 1e9)


def source_factors(weights: np.ndarray, normalization: str) -> np.ndarray:
    """float32 [sources, 1 or channels]: the factors that the weights [sources(, channels)] of a sum come to."""
    weights = weights.reshape(len(weights), -1)
    if normalization == "relu":
        weights = np.maximum(weights, 0)
        return weights / (weights.sum(axis=0) + np.float32(1e-4))
    weights = np.exp((weights - weights.max(axis=0)).astype(np.float64))  # float32's exp is not the same everywhere
    return (weights / (weights.sum(axis=0) + 1e-4)).astype(np.float32)


def _scaled(b: "Builder", x: Any, factors: Any) -> Any:
    """`x` times its factor of each channel."""
    return x if factors is None else b.scale_channels_by(x, factors)
