"""Which layers of a net compute on integers, and which tensors are rounded for them."""

from typing import Any, Iterable, List, Set

from darkprune.graph.layer import Layer
from darkprune.graph.net import Net, heads
from darkprune.ops.base import FLOAT, WEIGHTS


def default_float(net: Net) -> List[int]:
    """The layers with weights that stay float unless asked otherwise: the first ones, which see the image, and the
    last before each head or output, whose values are what is read. They cost little and lose the most."""
    found = set()
    for layer in net.layers:
        if layer.op.int8(layer) == WEIGHTS and layer.inputs[0] is net.input:
            found.add(layer.index)
    for index in heads(net):
        layer = net.layers[index]
        while layer.op.int8(layer) != WEIGHTS and len(layer.inputs) == 1 and isinstance(layer.inputs[0], Layer):
            layer = layer.inputs[0]
        if layer.op.int8(layer) == WEIGHTS:
            found.add(layer.index)
    return sorted(found)


class Policy(object):
    """What is int8 in a net, when the layers `keep_float` are not.

    Layers with weights are int8 unless they are kept. Others that can be (pooling, sums, concatenations...) are where
    an int8 layer made something that they read. Of floats alone they make floats: those are rounded once, behind them,
    which loses less, and runtimes are quicker at pooling floats than at changing the order of integers. What an int8
    layer reads or makes is rounded to 8 bits; no other tensor is.

    Attributes:
        int8: the numbers of the layers that compute on integers.
        rounded: the numbers of the layers whose output is rounded to 8 bits, with -1 for the net's input.
    """

    __slots__ = ("int8", "rounded")

    def __init__(self, net: Net, keep_float: Iterable[int]) -> None:
        kept = set(keep_float)
        self.int8: Set[int] = set()
        for layer in net.layers:
            kind = FLOAT if layer.index in kept else layer.op.int8(layer)
            if kind == WEIGHTS or kind != FLOAT and any(_index(x) in self.int8 for x in layer.inputs):
                self.int8.add(layer.index)
        self.rounded: Set[int] = set(self.int8)
        for index in self.int8:
            self.rounded.update(_index(source) for source in net.layers[index].inputs)


def _index(source: Any) -> int:
    return int(source.index)
