"""A net as a TensorRT network: its layers lowered to TensorRT's, its heads as outputs, nothing else in between."""

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import numpy as np

from darkprune.backends.forward import forward
from darkprune.backends.tensorrt_api import FP32, Api
from darkprune.backends.tensorrt_int8 import RangedInt8Builder, TypedInt8Builder
from darkprune.backends.tensorrt_layers import Layers
from darkprune.backends.tensorrt_nodes import Batch
from darkprune.backends.tensorrt_ops import TensorrtBuilder
from darkprune.backends.tensorrt_tensor import TensorrtTensor
from darkprune.edit.fuse_bn import fuse_batch_norm
from darkprune.engine.precision import Precision
from darkprune.errors import EngineError, Unsupported
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net, heads
from darkprune.ops.activation_functions import effective
from darkprune.quant.placement_tensorrt8 import placed
from darkprune.quant.tensors import INPUT, activation_of, before_name, output_name

if TYPE_CHECKING:
    import tensorrt


class Defined(object):
    """What a network holds.

    Attributes:
        inputs: the names of its inputs: "data", float32 [N,C,H,W].
        outputs: by layer index, the name of a raw head, float32 [N,C,H,W].
        tensors: (shape, amax) by name; amax None where the tensor has no range of its own.
        layers: by layer index, (its type: "fp32", "fp16" or "int8", the names of its layers in the network).
        keep: arrays that must outlive the build.
    """

    def __init__(self) -> None:
        self.inputs: List[str] = [INPUT]
        self.outputs: Dict[int, str] = {}
        self.tensors: Dict[str, Tuple[Tuple[int, ...], Optional[float]]] = {}
        self.layers: Dict[int, Tuple[str, List[str]]] = {}
        self.keep: List[np.ndarray] = []


def define(
    api: Api, network: "tensorrt.INetworkDefinition", net: Net, precision: Precision, batch: Batch = 1
) -> Defined:
    """Adds a net that has values to an empty network.

    Args:
        network: of `api.network`.
        net: its batch norm is folded here; for int8 it is that of the precision's Quantization.
        batch: images at once, or the smallest and the largest number of them.

    Raises Unsupported for a layer, or an input, that TensorRT cannot compute; EngineError where TensorRT refuses one,
    or a value does not fit its type.
    """
    quantization = precision.quantization
    net = folded(net) if quantization is None else quantization.net
    shape = net.input.shape
    if not shape.c:
        cause = "the net takes {} flat values; engines take images".format(shape.outputs)
        raise Unsupported(cause, net.config.place(), "images need a net with a width and height")
    nodes = Layers(api, network, precision, batch, {layer.index: output_name(layer) for layer in net.layers})
    definition = _Definition(net, nodes)
    try:
        definition.run()
    except (Unsupported, EngineError) as error:
        if error.where is None and nodes.layer is not None:
            error.where = net.layers[nodes.layer].place()
        raise
    nodes.layer = None
    return definition.defined()


def folded(net: Net) -> Net:
    """The net with its batch norm folded by its dialect's formula; itself where that cannot be."""
    try:
        return fuse_batch_norm(net, net.dialect.name)
    except Unsupported:
        return net


class _Definition(object):
    """A net on its way into a network."""

    def __init__(self, net: Net, nodes: Layers) -> None:
        self.net, self.nodes = net, nodes
        self.outer, self.builder = _builders(nodes, net)
        self.outputs: Dict[int, str] = {}

    def run(self) -> None:
        """Adds all layers, and marks the outputs."""
        shape, quantization = self.net.input.shape, self.nodes.precision.quantization
        data = self.nodes.input(INPUT, (shape.c, shape.h, shape.w))
        wanted = heads(self.net)
        if quantization is not None:
            self.nodes.set_range(data, quantization.amax(INPUT) or 1.0)
        batch = self.outer.wrap(data)
        found = forward(self.net, self.outer, batch, wanted, self._named)
        for index in wanted:
            self._mark(self.net.layers[index], self.outer.unwrap(found[index]))

    def _named(self, layer: Layer, y: Any) -> Any:
        """Names what the layer puts out, and what its activation reads; the shape must be the layer's."""
        y = self.outer.finish(layer, y)
        tensor = _inner(y)
        if tensor is None:  # integers; in a typed network they have a name already
            tensor = y.integers.tensor
            self._check(layer, tensor)
            tensor = tensor if self.nodes.ranged else None
        else:
            self._check(layer, tensor)
        before = self.builder.before.pop(layer.index, None)
        for name, made in ((output_name(layer), tensor), (before_name(layer), before)):
            if made is not None and made.handle is not None and self.nodes.makes(made):
                self.nodes.claim(made, name)
                self._set_range(layer, name, made)
        return y

    def _set_range(self, layer: Layer, name: str, x: TensorrtTensor) -> None:
        """The measured range, where there is one. In front of a relu that of what the relu makes is enough."""
        quantization = self.nodes.precision.quantization
        if quantization is None or not self.nodes.ranged:
            return
        amax, activation = quantization.amax(name), effective(activation_of(layer), self.net.dialect.name)
        if amax is None and activation.name == "relu":
            amax = quantization.amax(output_name(layer))
        if amax is not None:
            self.nodes.set_range(x, amax)

    def _check(self, layer: Layer, tensor: TensorrtTensor) -> None:
        wanted = layer.shape
        found = tensor.shape[1:]
        if (wanted.c and found != (wanted.c, wanted.h, wanted.w)) or int(np.prod(found)) != wanted.outputs:
            cause = "{} makes {} of layer {}, whose shape is {}".format(
                self.nodes.api.title, "x".join(map(str, found)), layer.index, wanted
            )
            raise EngineError(cause, layer.place(), "report this with the cfg")

    def _mark(self, layer: Layer, x: TensorrtTensor) -> None:
        """Makes it the output of a head, in fp32 and under the layer's name; flat where the layer's shape is."""
        self.nodes.layer = layer.index
        if not layer.shape.c and x.shape[2:] != (1, 1):
            x = self.builder.flatten(x)
        self.outputs[layer.index] = self.nodes.mark(self.nodes.cast(x, FP32), output_name(layer))

    def defined(self) -> Defined:
        """What was made. Raises EngineError where a tensor lacks a range that it needs."""
        found, nodes = Defined(), self.nodes
        found.outputs, found.keep = self.outputs, nodes.keep
        found.tensors = nodes.tensors()
        for layer in self.net.layers:
            names = [one.name for one in nodes.made.get(layer.index, [])]
            found.layers[layer.index] = (nodes.precision.of(layer.index), names)
        return found


def _builders(nodes: Layers, net: Net) -> Tuple[Any, TensorrtBuilder]:
    """(what the layers are lowered with, the builder within that adds layers)."""
    if nodes.precision.quantization is None:
        builder = _Plain(nodes, net.dialect.name)
        return builder, builder
    kind = TypedInt8Builder if nodes.api.strong else RangedInt8Builder
    inner = kind(nodes, net.dialect.name)
    return placed(inner, nodes.precision.quantization), inner


class _Plain(TensorrtBuilder):
    """Of a net without integers."""

    def finish(self, layer: Layer, y: Any) -> Any:
        """The output of a layer, as it is."""
        return y


def _inner(tensor: Any) -> Optional[TensorrtTensor]:
    """The TensorrtTensor within what a wrapping builder hands out; None where there is none."""
    while not isinstance(tensor, TensorrtTensor) and hasattr(tensor, "inner"):
        tensor = tensor.inner
    return tensor if isinstance(tensor, TensorrtTensor) else None
