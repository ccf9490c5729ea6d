"""The tensors of a net that have a range in INT8, and their names in all files: ranges, caches, ONNX graphs."""

from typing import List, NamedTuple

from darkprune.graph.layer import Configured, Layer
from darkprune.graph.net import Net
from darkprune.ops.activation_functions import DIRECT
from darkprune.ops.base import FLOAT

INPUT = "data"

Tensor = NamedTuple(
    "Tensor",
    [
        ("name", str),
        ("layer", int),  # whose it is, -1 for the net's input
        ("before", bool),  # whether it is what the layer's activation reads, and not what the layer puts out
    ],
)


def output_name(source: object) -> str:
    """The name of what a layer, or the net's input, puts out: behind its activation."""
    if not isinstance(source, Layer):
        return INPUT
    return "L{:03d}_{}".format(source.index, source.type)


def before_name(layer: Layer) -> str:
    """The name of what the activation of a layer reads."""
    return output_name(layer) + "_before"


def activation_of(layer: Configured) -> str:
    """The layer's activation; linear where its type has none."""
    return str(layer["activation"]) if any(o.name == "activation" for o in layer.op.options) else "linear"


def looks_up(layer: Layer) -> bool:
    """Whether an int8 layer ends in a table: an activation that integers need one for, so that what it reads has a
    range too."""
    return layer.op.int8(layer) != FLOAT and activation_of(layer) not in DIRECT


def ranged_tensors(net: Net) -> List[Tensor]:
    """The tensors that need a range, in the order in which they are computed.

    The net's input, and what every layer puts out that is no head or loss; before a table activation also what that
    reads.
    """
    found = [Tensor(INPUT, -1, False)]
    for layer in net.layers:
        if layer.op.terminal:
            continue
        if looks_up(layer):
            found.append(Tensor(before_name(layer), layer.index, True))
        found.append(Tensor(output_name(layer), layer.index, False))
    return found
