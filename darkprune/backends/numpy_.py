"""The reference runner: a net's layers lowered, one by one, to numpy."""

from typing import Any, Callable, Dict, Iterable, Optional

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.errors import UsageError
from darkprune.graph.layer import Layer, reads_head
from darkprune.graph.net import Net

Hook = Callable[[Layer, np.ndarray], np.ndarray]
Progress = Callable[[Iterable[Layer]], Iterable[Layer]]


class NumpyRunner(Runner):
    """Runs a Net that has values.

    Args:
        net: the net; its dialect's arithmetic is used.
        hook: called with each layer and its output; what it returns replaces the output.
        progress: wraps the layers as they are run, to show how far it is.
    """

    name = "numpy"

    def __init__(self, net: Net, hook: Optional[Hook] = None, progress: Optional[Progress] = None) -> None:
        self.net = net
        self.hook = hook
        self.progress = progress or iter
        self.dialect = net.dialect.name

    def open(self) -> None:
        """Nothing to allocate: arrays are read layer by layer."""

    def close(self) -> None:
        """Nothing to release."""

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """Outputs by layer index, float32 [N,C,H,W]; all of them, or those of `layers`.

        Only tensors that are still needed are held. Raises UsageError for a batch of another shape, and
        Unsupported for a layer that cannot be run.
        """
        net, shape = self.net, self.net.input.shape
        batch = np.ascontiguousarray(batch, np.float32)
        if batch.ndim != 4 or batch.shape[1:] != (shape.c, shape.h, shape.w):
            raise UsageError(
                "the batch has shape {}, the net takes [N, {}, {}, {}]".format(
                    list(batch.shape), shape.c, shape.h, shape.w
                )
            )
        wanted = set(range(len(net.layers))) if layers is None else set(layers)
        last = _last_use(net)
        builder = NumpyBuilder(net.dialect.name)
        builder.images = len(batch)
        tensors: Dict[int, Any] = {-1: batch}
        chain: Dict[int, Any] = {-1: batch}
        found: Dict[int, np.ndarray] = {}
        for layer in self.progress(net.layers[: max(wanted) + 1 if wanted else 0]):
            builder.layer = layer.index
            for source in layer.inputs:
                if reads_head(layer, source):
                    what = "what reads the head of layer {}: each reader has other numbers there".format(source.index)
                    raise builder.unsupported(what, "read the layer before the head")
            sources = [x.index for x in layer.inputs]
            xs = [(chain if layer.op.implicit and i == 0 else tensors)[s] for i, s in enumerate(sources)]
            y = layer.op.lower(layer, builder, xs)
            if self.hook is not None:
                y = self.hook(layer, y)
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
