"""A batch on its way through a net, layer by layer, in any backend: which tensor each layer reads, and for how long."""

from typing import Any, Callable, Dict, Iterable, Optional

from darkprune.backends.base import Builder
from darkprune.errors import UsageError
from darkprune.graph.layer import Layer, reads_head
from darkprune.graph.net import Net

Hook = Callable[[Layer, Any], Any]
Progress = Callable[[Iterable[Layer]], Iterable[Layer]]


def forward(
    net: Net,
    builder: Builder,
    batch: Any,
    layers: Optional[Iterable[int]] = None,
    hook: Optional[Hook] = None,
    progress: Progress = iter,
) -> Dict[int, Any]:
    """The outputs of `layers`, by default of all, by layer index: tensors of the builder's backend.

    Args:
        batch: a tensor [N,C,H,W] of the builder's backend.
        hook: called with each layer and its output; what it returns replaces the output.
        progress: wraps the layers as they are run, to show how far it is.

    Only tensors that are still needed are held. Raises UsageError for a batch of another shape, and Unsupported for a
    layer that cannot be run.
    """
    shape = net.input.shape
    if batch.ndim != 4 or tuple(batch.shape[1:]) != (shape.c, shape.h, shape.w):
        raise UsageError(
            "the batch has shape {}, the net takes [N, {}, {}, {}]".format(list(batch.shape), shape.c, shape.h, shape.w)
        )
    wanted = set(range(len(net.layers))) if layers is None else set(layers)
    last = _last_use(net)
    builder.images = len(batch)
    tensors: Dict[int, Any] = {-1: batch}
    chain: Dict[int, Any] = {-1: batch}
    found: Dict[int, Any] = {}
    for layer in progress(net.layers[: max(wanted) + 1 if wanted else 0]):
        builder.layer = layer.index
        for source in layer.inputs:
            if reads_head(layer, source):
                what = "what reads the head of layer {}: each reader has other numbers there".format(source.index)
                raise builder.unsupported(what, "read the layer before the head")
        sources = [x.index for x in layer.inputs]
        xs = [(chain if layer.op.implicit and i == 0 else tensors)[s] for i, s in enumerate(sources)]
        y = layer.op.lower(layer, builder, xs)
        if hook is not None:
            y = hook(layer, y)
        tensors[layer.index] = y
        chain[layer.index] = layer.op.chain_lower(layer, builder, y)
        if layer.index in wanted:
            found[layer.index] = y
        for index in {layer.index, *sources}:
            if last.get(index, -1) <= layer.index:
                tensors.pop(index, None)
                chain.pop(index, None)
    return found


def _last_use(net: Net) -> Dict[int, int]:
    """Layer index -> the last layer that reads it."""
    last: Dict[int, int] = {}
    for layer in net.layers:
        for source in layer.inputs:
            last[source.index] = layer.index
    return last
