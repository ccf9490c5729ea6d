"""A net as an ONNX model: its layers lowered to a graph, its heads as outputs, and what else a reader must know.

Imports onnx: only what needs it imports this module.
"""

import json
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Type

import onnx

from darkprune.backends.base import Builder
from darkprune.backends.forward import forward
from darkprune.backends.onnx_graph import Length, OnnxGraph, OnnxTensor
from darkprune.backends.onnx_ops import OnnxBuilder
from darkprune.darknet import values
from darkprune.edit.fuse_bn import fuse_batch_norm
from darkprune.errors import Unsupported
from darkprune.graph.key import pair_key
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net, heads
from darkprune.quant.tensors import INPUT, before_name, output_name
from darkprune.version import __version__

PREFIX = "darkprune."  # of the keys of what a model says about itself
_NUMBERS = ("scale_x_y", "new_coords", "beta_nms", "sqrt", "softmax")  # options of heads, beside those with a type
_OPTIONS = ("classes", "num", "coords", "side", "mask", "anchors")


class Lowered(object):
    """A net lowered to a graph.

    Attributes:
        net, graph: both of them.
        outputs: the OnnxTensors that were asked for, by layer index, named as in darkprune.quant.tensors.
        tensors: every OnnxTensor of such a name; two may be the same, as a layer may pass on what it reads.
    """

    def __init__(self, net: Net, graph: OnnxGraph) -> None:
        self.net, self.graph = net, graph
        self.outputs: Dict[int, OnnxTensor] = {}
        self.tensors: Dict[str, OnnxTensor] = {}

    def model(self, properties: Optional[Dict[str, Any]] = None, check: bool = True) -> Any:
        """The ModelProto. Its outputs are `outputs`, unless the graph was given others.

        Args:
            properties: what it says about itself; anything but a text becomes JSON.
            check: whether onnx checks it in full, shapes included.
        """
        if not self.graph.outputs:
            self.graph.outputs = [self.outputs[index] for index in sorted(self.outputs)]
        for key, value in (properties or {}).items():
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            self.graph.properties[PREFIX + key] = text
        model = self.graph.model("darkprune", __version__)
        if check:
            onnx.checker.check_model(model, full_check=True)
        return model


def lower(
    net: Net,
    layers: Optional[Iterable[int]] = None,
    batch: Length = 1,
    wrap: Optional[Callable[[Any], Builder]] = None,
    nodes: Type[OnnxBuilder] = OnnxBuilder,
) -> Lowered:
    """The graph of a net that has values.

    Args:
        layers: whose outputs are wanted; None for the heads (darkprune.graph.net.heads).
        batch: images at once, or onnx_graph.BATCH for any number.
        wrap: makes the builder that the layers are lowered with, of the one that makes nodes: Padded, Quantizing.
        nodes: the class of the latter.

    Raises Unsupported for a layer, or an input, that ONNX cannot say.
    """
    shape = net.input.shape
    if not shape.c:
        cause = "the net takes {} flat values; only nets that take images become ONNX".format(shape.outputs)
        raise Unsupported(cause, net.config.place(), "images need a net with a width and height")
    builder = nodes(net.dialect.name, {layer.index: output_name(layer) for layer in net.layers})
    outer: Any = builder if wrap is None else wrap(builder)
    lowered = Lowered(net, builder.graph)
    data = lowered.tensors[INPUT] = builder.input(INPUT, (batch, shape.c, shape.h, shape.w))
    wanted = heads(net) if layers is None else list(layers)
    start, finish = [0], getattr(outer, "finish", lambda _, y: y)

    def named(layer: Layer, y: Any) -> Any:
        y = finish(layer, y)
        tensor = _inner(y)
        if tensor is not None:
            _name(lowered, builder, layer, tensor, start[0])
        start[0] = len(builder.graph.nodes)
        return y

    try:
        found = forward(net, outer, outer.wrap(data), wanted, named)
    except Unsupported as error:
        if error.where is None and builder.layer is not None:
            error.where = net.layers[builder.layer].place()
        raise
    for index in wanted:
        lowered.outputs[index] = builder.graph.called(outer.unwrap(found[index]), output_name(net.layers[index]))
    return lowered


def _inner(tensor: Any) -> Optional[OnnxTensor]:
    """The OnnxTensor within what a wrapping builder hands out; None where there is none."""
    while not isinstance(tensor, OnnxTensor) and hasattr(tensor, "inner"):
        tensor = tensor.inner
    return tensor if isinstance(tensor, OnnxTensor) else None


def _name(lowered: Lowered, builder: OnnxBuilder, layer: Layer, tensor: OnnxTensor, start: int) -> None:
    """Names what the layer puts out, and what its activation reads, if nodes from number `start` on make them."""
    for name, made in ((output_name(layer), tensor), (before_name(layer), builder.before.get(layer.index))):
        if made is None:
            continue
        if builder.graph.makes(made, start):
            builder.graph.rename(made, name)
        lowered.tensors[name] = made


def folded(net: Net) -> Net:
    """The net with its batch norm folded by its dialect's formula, since readers fold it in ways of their own; the net
    itself where that cannot be."""
    try:
        return fuse_batch_norm(net, net.dialect.name)
    except Unsupported:
        return net


def to_onnx(
    net: Net, layers: Optional[Iterable[int]] = None, batch: Length = 1, names: Optional[Sequence[str]] = None
) -> Any:
    """The ModelProto of a net that has values, with its heads, or other layers, as outputs. Errors as `lower`.

    Args: names: of the classes. batch: images at once, or onnx_graph.BATCH for any number.
    """
    return lower(folded(net), layers, batch).model(describe(net, names))


def describe(net: Net, names: Optional[Sequence[str]] = None) -> Dict[str, Any]:
    """What a model says about itself: the pair, its input, its heads, the names of its classes."""
    shape = net.input.shape
    found = [layer for layer in net.layers if layer.op.detector]
    stretch = "letterbox" if net.config["letter_box"] else "stretch"
    properties: Dict[str, Any] = {
        "pair": pair_key(net),
        "dialect": net.dialect.name,
        "input": {"name": INPUT, "width": shape.w, "height": shape.h, "channels": shape.c, "values": "RGB, 0..1"},
        "preprocessing": stretch if found else "centre",
        "heads": [_head(layer) for layer in found],
    }
    if names is not None:
        properties["names"] = list(names)
    return properties


def _head(layer: Layer) -> Dict[str, Any]:
    """What decoding the raw output of a head needs."""
    declared = {option.name for option in layer.op.options}
    head: Dict[str, Any] = {"output": output_name(layer.inputs[0]), "layer": layer.index, "type": layer.type}
    for key in _OPTIONS:
        if key in declared:
            value = layer[key]
            head[key] = list(value) if isinstance(value, tuple) else value
    for key in _NUMBERS:
        text = layer.text(key)
        if text is not None:
            head[key] = values.atof(text)
    if layer.text("nms_kind") is not None:
        head["nms_kind"] = layer.text("nms_kind")
    return head


def output_names(model: Any) -> List[str]:
    """The names of a ModelProto's outputs."""
    return [output.name for output in model.graph.output]
