"""[route]: concatenation of earlier outputs, or of one block of channels of each."""

from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

import numpy as np

from darkprune.darknet import values
from darkprune.errors import GraphError
from darkprune.ops.base import FLOAT, OWN, SAME, Emission, Fate, Hazard, Op, Shape, flat, image, opt

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


class Route(Op):
    """Reads layers by number only; with `groups`, block `group_id` of each source's channels."""

    names = ("route",)
    homogeneous = True
    implicit = False
    joins = True
    references = ("layers",)
    options = (
        opt("layers", "ints", ()),
        opt("groups", "int", 1, only="alexeyab opencv"),
        opt("group_id", "int", 0, low=0, only="alexeyab opencv"),
    )
    passive = "stream wait_stream"

    def infer(self, layer: "Layer") -> Shape:
        shapes = [x.shape for x in layer.inputs]
        groups, chosen = max(1, layer["groups"]), layer["group_id"]
        if chosen >= groups:
            raise GraphError(
                "group_id={} of {} groups".format(chosen, groups),
                layer.place("group_id"),
                "use 0..{}".format(groups - 1),
            )
        if any(shape.c % groups if shape.c else shape.outputs % groups for shape in shapes):
            raise GraphError(
                "the channels {} do not split into {} groups".format([s.c for s in shapes], groups),
                layer.place("groups"),
                "use a number of groups that divides each source",
            )
        first = shapes[0]
        if first.c and all((s.w, s.h) == (first.w, first.h) for s in shapes):
            return image(first.w, first.h, sum(s.c for s in shapes) // groups)
        return flat(sum(s.outputs for s in shapes) // groups)

    def _parts(self, layer: "Layer", arrays: List[np.ndarray]) -> List[np.ndarray]:
        """The block that each source contributes, of arrays that run along channels."""
        groups, chosen = max(1, layer["groups"]), layer["group_id"]
        return [a[chosen * (a.size // groups) : (chosen + 1) * (a.size // groups)] for a in arrays]

    def channels(self, layer: "Layer", ins: List[np.ndarray], g: "Channels") -> np.ndarray:
        groups = max(1, layer["groups"])
        for source in ins if groups > 1 else []:
            g.balance(np.split(source, groups), "groups of route {}".format(layer.number))
        return self._joined(layer, ins) if layer.shape.c else self._flattened(layer, ins)

    def _joined(self, layer: "Layer", ins: List[np.ndarray]) -> np.ndarray:
        return np.concatenate(self._parts(layer, ins))

    def _flattened(self, layer: "Layer", ins: List[np.ndarray]) -> np.ndarray:
        """What runs along channels, repeated for the values of each channel."""
        areas = [max(1, x.shape.outputs // max(1, labels.size)) for x, labels in zip(layer.inputs, ins)]
        return np.concatenate(self._parts(layer, [np.repeat(v, a) for v, a in zip(ins, areas)]))

    def emit(self, layer: "Layer", ins: List[Emission], fate: Fate) -> Emission:
        join = self._flattened if not layer.shape.c else self._joined
        return Emission(join(layer, [e.offset for e in ins]), join(layer, [e.live for e in ins]))

    def int8(self, layer: "Layer") -> str:
        if not layer.shape.c:
            return FLOAT
        return OWN if len(layer.inputs) > 1 else SAME

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        groups, chosen = max(1, layer["groups"]), layer["group_id"]
        if not layer.shape.c:
            xs = [b.flatten(x) for x in xs]
        if groups > 1:
            widths = [(x.shape.c if layer.shape.c else x.shape.outputs) // groups for x in layer.inputs]
            xs = [b.slice_channels(x, chosen * w, (chosen + 1) * w) for x, w in zip(xs, widths)]
        return b.concat(xs) if len(xs) > 1 else xs[0]

    def opencv_size(self, layer: "Layer", size: Shape, counted: List[int]) -> Shape:
        channels = sum(counted[source.index] for source in layer.inputs) // max(1, layer["groups"])
        return image(size.w, size.h, channels)

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        return sources[0] if len(set(sources)) == 1 and not (sources[0] and layer["groups"] > 1) else None

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        # Read as text: in the original's dialect the option itself is not there.
        groups = values.atoi(layer.text("groups") or "1")
        if groups > 1:
            yield Hazard("pjreddie", "groups", "ignores groups of [route]: misread weights from here on")
            if len(layer.inputs) > 1:
                yield Hazard("opencv", "groups", "takes other channels where groups meet several sources")
            for reader in self._unfit(layer, groups):
                yield Hazard(reader, "groups", "cannot take that block of the channels")
        if (layer.text("layers") or "").endswith(","):
            yield Hazard("opencv", "layers", "ignores the comma at the end, which Darknet reads as layer 0")
        if not layer.shape.c:
            yield Hazard("opencv", "layers", "refuses sources of different sizes")

    def _unfit(self, layer: "Layer", groups: int) -> Tuple[str, ...]:
        """The readers of groups, where the channels do not split or group_id names no group."""
        beyond = values.atoi(layer.text("group_id") or "0") >= groups
        return ("alexeyab", "opencv") if beyond or any(x.shape.channels % groups for x in layer.inputs) else ()

    def describe(self, layer: "Layer") -> str:
        z = layer.shape
        part = "{}/{}".format(layer["group_id"], layer["groups"]) if layer["groups"] > 1 else ""
        row = "{:9}{:<20}{:>20} -> ".format("route", " ".join(str(x.index) for x in layer.inputs), part)
        return row + ("{:4d} x{:4d} x{:4d}".format(z.w, z.h, z.c) if z.c else "{:>17}".format(z.outputs))
