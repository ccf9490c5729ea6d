"""A net as it is and as INT8 rounds it, side by side on the same images: what bias correction, learned rounding and
the measured loss of signal look at.

Rounding is done on floats: a value becomes scale * (integer - zero point), and products are taken of those. It
differs from integer arithmetic by what float32 sums round.
"""

from typing import Any, Callable, Dict, Iterable, Optional, Tuple

import numpy as np

from darkprune.backends.base import Builder
from darkprune.backends.chunked import ChunkedBuilder, Chunks, Convert
from darkprune.backends.forward import Progress, forward
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.errors import UsageError
from darkprune.graph.layer import Layer
from darkprune.graph.net import heads
from darkprune.ops.base import SAME, WEIGHTS
from darkprune.quant.quantization import QParams, Quantization
from darkprune.quant.tensors import INPUT, before_name, output_name

RUNNERS = ("numpy", "torch")
Change = Callable[[Any], Any]
Watch = Callable[[Layer, Chunks, int], None]  # a layer, its output in both nets, and the number of chunks of one


def backend(runner: str, dialect_name: str) -> Tuple[Builder, Optional[Convert], Optional[Convert]]:
    """(builder, from numpy, to numpy) of a runner. Raises UsageError for others than RUNNERS."""
    if runner == "numpy":
        return NumpyBuilder(dialect_name), None, None
    if runner != "torch":
        raise UsageError("INT8 is not prepared in the runner {}".format(runner), hint="use " + ", ".join(RUNNERS))
    from darkprune.backends.torch_ import import_torch

    import_torch()
    from darkprune.backends.torch_chunks import torch_backend

    return torch_backend(dialect_name)


def rounded(x: Any, how: QParams) -> Any:
    """`x`, an array or tensor, of which each value is the nearest that its integer stands for."""
    low, high = how.limits
    if isinstance(x, np.ndarray):
        steps = np.rint(x / np.float32(how.scale))
        steps = np.clip(steps, low - how.zero_point, high - how.zero_point)
        steps *= np.float32(how.scale)
        return steps
    steps = (x / how.scale).round_()
    return steps.clamp_(low - how.zero_point, high - how.zero_point).mul_(how.scale)


class Beside(ChunkedBuilder):
    """Lowers the prepared net of a Quantization on every chunk of images twice: the first half of a tensor's chunks
    are the net's as it is, the second half those of its INT8 form.

    Attributes:
        quantization: whose net it is.
        watch: called with each layer and its output, behind its rounding.
    """

    def __init__(self, quantization: Quantization, runner: str = "numpy", watch: Optional[Watch] = None) -> None:
        super(Beside, self).__init__(*backend(runner, quantization.net.dialect.name))
        self.quantization = quantization
        self.watch = watch
        self.half = 0
        self._scales: Dict[int, np.ndarray] = {}  # of the filters of each layer that multiplies

    def run(
        self, batches: Iterable[np.ndarray], layers: Optional[Iterable[int]] = None, progress: Progress = iter
    ) -> Dict[int, Chunks]:
        """The outputs of `layers`, by default the raw heads, by layer, of images that come as float32 [n,C,H,W]."""
        net, held = self.quantization.net, list(batches)
        self.half, self.counts = len(held), []
        how = self.quantization.tensor(INPUT)
        image = self.chunks(held + [x if how is None else rounded(x, how) for x in held], 2 * sum(map(len, held)))
        wanted = set(heads(net) if layers is None else layers)
        with np.errstate(all="ignore"):
            return forward(net, self, image, wanted, self._leave_layer, progress)

    def array(self, layer: Layer, name: str) -> Any:
        return layer.array(name)

    # ---- what differs between the nets

    def rounded_weights(self, layer: Layer, weights: np.ndarray, x: Chunks, geometry: Dict[str, Any]) -> np.ndarray:
        """The weights that the INT8 net multiplies with, float32.

        Args:
            weights: as they are. x: what the layer reads. geometry: of `Builder.conv2d`; empty for `linear`.
        """
        return self.quantization.real_weights(layer, weights)

    def conv2d(
        self,
        x: Chunks,
        weight: Any,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> Chunks:
        geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return self._product("conv2d", x, weight, geometry)

    def linear(self, x: Chunks, weight: Any) -> Chunks:
        return self._product("linear", x, weight, {})

    def bias(self, x: Chunks, b: Any) -> Chunks:
        layer = self.current()
        source = self.quantization.tensor(output_name(layer.inputs[0]))
        if source is None or not self.multiplies(layer):
            return self.each("bias", x, b)
        steps = self._scales[layer.index] * np.float32(source.scale)
        changed = np.asarray(self.quantization.biases(b, self._scales[layer.index], source) * steps, np.float32)
        parts = []
        for number, count in enumerate(self.counts):
            y = self.inner.bias(self._part(x, number), b if number < self.half else changed)
            parts.append(self._kept(y, count, self.images))
        return Chunks(parts, x.images)

    def activation(self, x: Chunks, name: str) -> Chunks:
        return self.each("activation", self._second_rounded(x, before_name(self.current())), name)

    def current(self) -> Layer:
        """The layer that is being lowered."""
        assert self.layer is not None
        return self.quantization.net.layers[self.layer]

    def second(self, x: Chunks, change: Change) -> Chunks:
        """`x` with `change` made of each chunk of the INT8 net."""
        parts = list(x.parts)
        for number in range(self.half, len(parts)):
            parts[number] = self._kept(change(self._part(x, number)), self.counts[number], self.images)
        return Chunks(parts, x.images)

    def _second_rounded(self, x: Chunks, name: str) -> Chunks:
        how = self.quantization.tensor(name)
        return x if how is None else self.second(x, lambda part: rounded(part, how))

    def _product(self, name: str, x: Chunks, weight: Any, geometry: Dict[str, Any]) -> Chunks:
        layer = self.current()
        if not self.multiplies(layer):
            return self.each(name, x, weight, **geometry)
        self._scales[layer.index] = self.quantization.scales(layer, np.asarray(weight, np.float32))
        changed = self.rounded_weights(layer, weight, x, geometry)
        self.inner.layer, parts = self.layer, []
        for number, count in enumerate(self.counts):
            weights = weight if number < self.half else changed
            y = getattr(self.inner, name)(self._part(x, number), weights, **geometry)
            parts.append(self._kept(y, count, self.images))
        return Chunks(parts, x.images)

    def multiplies(self, layer: Layer) -> bool:
        """Whether the layer multiplies with 8-bit weights."""
        return layer.index in self.quantization.policy.int8 and layer.op.int8(layer) == WEIGHTS

    def _leave_layer(self, layer: Layer, y: Chunks) -> Chunks:
        if not (layer.index in self.quantization.policy.int8 and layer.op.int8(layer) == SAME):
            y = self._second_rounded(y, output_name(layer))
        if self.watch is not None:
            self.watch(layer, y, self.half)
        return y
