"""References between layers: numbers in the cfg to edges, and edges back to numbers.

A reference is absolute, or negative and relative to the layer that has it; each keeps its style.
"""

from typing import Any, List

from darkprune.darknet import values
from darkprune.errors import CfgError, place
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net


def connect(net: Net, layer: Layer) -> None:
    """Turns the layer's references into edges."""
    before: Any = net.layers[-1] if net.layers else net.input
    if layer.op.implicit:
        layer.inputs.append(before)
    for key in layer.op.references:
        for reference in layer.op.referenced(layer, key):
            layer.inputs.append(_resolve(net, layer, key, reference))


def point(net: Net, layer: Layer) -> None:
    for key in layer.op.pointers:
        text = layer.text(key)
        if text is not None and layer.op.points(layer, key):
            layer.pointers[key] = _resolve(net, layer, key, values.atoi(text))


def _resolve(net: Net, layer: Layer, key: str, reference: int) -> Layer:
    index = reference if reference >= 0 else layer.index + reference
    if 0 <= index < layer.index:
        return net.layers[index]
    shown = "[{}] {}={}".format(layer.type, key, reference)
    if index < 0:
        cause = "{} reaches before layer 0".format(shown)
    elif index == layer.index:
        cause = "{} is the layer itself".format(shown)
    else:
        cause = "{} comes later or does not exist".format(shown)
    if layer.index == 0:
        cure = "this is layer 0; it has no earlier layer"
    else:
        both = "-1 or 0" if layer.index == 1 else "-1..-{} or 0..{}".format(layer.index, layer.index - 1)
        cure = "this is layer {}; use {}".format(layer.index, both)
    raise CfgError(cause, _reference_place(layer, key, reference), cure)


def _reference_place(layer: Layer, key: str, reference: int) -> Any:
    where = layer.place(key)
    if where.text and where.column is not None:
        column = where.text.find(str(reference), where.column)
        if column >= 0:
            return place(where.path, where.line, where.text, column, len(str(reference)))
    return where


def numbers_of(layer: Layer, targets: List[Layer], before: tuple) -> tuple:
    """References to `targets` in the style each had: absolute, or relative to this layer."""
    return tuple(t.index if old >= 0 else t.index - layer.index for t, old in zip(targets, before))
