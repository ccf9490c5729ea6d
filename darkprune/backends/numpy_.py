"""The reference runner: a net's layers lowered, one by one, to numpy."""

from typing import Dict, Iterable, List, Optional, Sequence

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.clock import Clock
from darkprune.backends.forward import Hook, Progress, forward
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.backends.watching import named
from darkprune.graph.layer import Param
from darkprune.graph.net import Net


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

    def seconds(self, batch: np.ndarray, layers: Iterable[int], clock: Clock) -> List[float]:
        """Seconds of forward passes of `batch` to `layers`, with the arrays in memory."""
        running = NumpyRunner(held(self.net))
        wanted = list(layers)
        return clock.time(lambda: running.infer(batch, wanted))

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """Outputs by layer index, float32 [N,C,H,W]; all of them, or those of `layers`.

        Only tensors that are still needed are held. Raises UsageError for a batch of another shape, and
        Unsupported for a layer that cannot be run.
        """
        builder = NumpyBuilder(self.net.dialect.name)
        batch = np.ascontiguousarray(batch, np.float32)
        return forward(self.net, builder, batch, layers, self.hook, self.progress)

    def named(self, batch: np.ndarray, names: Sequence[str]) -> Dict[str, np.ndarray]:
        """Tensors by their names in darkprune.quant.tensors, float32 [N,C,H,W]: also what activations read.

        Raises KeyError for a name that the net has not, else as `infer`.
        """
        return named(self.net, NumpyBuilder(self.net.dialect.name), np.ascontiguousarray(batch, np.float32), names)


def held(net: Net) -> Net:
    """The net with all arrays read once."""
    twin = net.copy()
    for layer in twin.layers:
        for name, param in layer.params.items():
            array = param.value
            layer.params[name] = Param(param.spec, lambda array=array: array, param.origin)  # type: ignore[misc]
    return twin
