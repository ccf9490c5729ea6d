"""[softmax] and [cost]: the end of a classifier."""

from itertools import groupby
from typing import TYPE_CHECKING, Any, Iterator, List, Optional

from darkprune.errors import GraphError, Unsupported
from darkprune.ops.base import Hazard, Op, Shape, flat, opt
from darkprune.ops.head_training import ClassTraining, original, real, refuse
from darkprune.ops.tree import parents

if TYPE_CHECKING:
    from darkprune.backends.base import Builder
    from darkprune.graph.layer import Layer


class Softmax(Op):
    """Over all values of the image, in `groups` equal parts, or per position with `spatial`."""

    names = ("softmax", "soft")
    classifier = True
    options = (
        opt("groups", "int", 1, low=1),
        opt("temperature", "float", 1.0),
        opt("tree", "str", ""),
        opt("spatial", "int", 0),
    )
    passive = "noloss"

    def infer(self, layer: "Layer") -> Shape:
        outputs = layer.input_shape().outputs
        if outputs % layer["groups"]:
            raise GraphError(
                "{} values do not split into {} groups".format(outputs, layer["groups"]), layer.place("groups")
            )
        return flat(outputs)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        if not layer["tree"]:
            return b.softmax(xs[0], layer["groups"], layer["temperature"], bool(layer["spatial"]))
        x, start, parts = b.flatten(xs[0]), 0, []
        for count in self.siblings(layer):
            parts.append(b.softmax(b.slice_channels(x, start, start + count), 1, layer["temperature"]))
            start += count
        return b.concat(parts)

    def siblings(self, layer: "Layer") -> List[int]:
        """How many classes share each parent, in the order of the tree's file. Raises Unsupported where that does not
        fit."""
        return [len(list(group)) for _, group in groupby(parents(layer, layer.input_shape().outputs))]

    def training(self, layer: "Layer") -> ClassTraining:
        """With noloss=1 it has no weight."""
        if layer["tree"]:
            raise Unsupported("[softmax] cannot be trained with a tree of classes", layer.place("tree"), "use Darknet")
        refuse(layer, "spatial", "train it in Darknet")
        weight = 0.0 if real(layer, "noloss", 0.0) else 1.0
        return ClassTraining("softmax", layer["groups"], layer["temperature"], weight, 1.0)

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        return sources[0]

    def opencv_size(self, layer: "Layer", size: Shape, counted: List[int]) -> Shape:
        return size

    def hazards(self, layer: "Layer") -> Iterator[Hazard]:
        if layer["groups"] != 1:
            yield Hazard("opencv", "groups", "refuses softmax in groups")
        if layer["tree"]:
            yield Hazard("opencv", "tree", "ignores tree")
        if layer["temperature"] != 1:
            yield Hazard("opencv", "temperature", "ignores temperature")
        if layer.input_shape().area != 1:
            yield Hazard("opencv", None, "normalises over channels per position, Darknet over the whole image")


class Cost(Op):
    """A training loss; at inference Darknet returns the layer before it."""

    names = ("cost",)
    terminal = True
    passive = "type scale ratio noobj thresh"

    def infer(self, layer: "Layer") -> Shape:
        return flat(layer.input_shape().outputs)

    def lower(self, layer: "Layer", b: "Builder", xs: List[Any]) -> Any:
        return b.output(xs[0], layer.index)

    def training(self, layer: "Layer") -> ClassTraining:
        """masked is sse here, since no class is unknown. Words that Darknet does not know are sse, as there."""
        old, kind = original(layer), layer.text("type") or "sse"
        if old and kind == "wgan":
            raise Unsupported("[cost] cannot be trained with type=wgan", layer.place("type"), "use Darknet")
        refuse(layer, "ratio", "take it out: Darknet heeds it on a GPU only")
        refuse(layer, "thresh", "take it out: Darknet heeds it on a GPU only")
        if kind not in (("smooth", "L1", "seg") if old else ("smooth",)):
            kind = "sse"
        others = real(layer, "noobj", 1.0) if kind == "seg" else 1.0
        return ClassTraining(kind, 1, 1.0, real(layer, "scale", 1.0), others)

    def opencv_list(self, layer: "Layer", sources: List[bool]) -> Optional[bool]:
        return sources[0]

    def opencv_size(self, layer: "Layer", size: Shape, counted: List[int]) -> Shape:
        return size
