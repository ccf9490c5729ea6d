"""The runner that computes, in numpy, what an INT8 graph should: the judge of INT8 backends."""

from typing import Dict, Iterable, Optional

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.fakequant_ops import FakequantBuilder, Seen
from darkprune.backends.forward import forward
from darkprune.graph.net import Net
from darkprune.quant.placement_tensorrt8 import placed
from darkprune.quant.quantization import ONNXRUNTIME, Quantization, Scheme
from darkprune.quant.ranges import Ranges


class FakequantRunner(Runner):
    """Runs a net, that has values, on 8-bit integers.

    Args:
        net, ranges: the net, and the ranges of its tensors.
        scheme: whose INT8 is meant.
        seen: called with every tensor that is rounded: its name, and the integers [N,C,H,W]. What it returns, if not
            None, replaces them.

    Raises CalibrationError where the ranges do not fit the net.
    """

    name = "fakequant"

    def __init__(
        self,
        net: Net,
        ranges: Ranges,
        scheme: Scheme = ONNXRUNTIME,
        seen: Optional[Seen] = None,
    ) -> None:
        self.dialect = net.dialect.name
        self.quantization = Quantization(net, ranges, scheme)
        self._builder = placed(FakequantBuilder(self.dialect, seen), self.quantization)

    def open(self) -> None:
        """Nothing to allocate: arrays are read and rounded in the first pass."""

    def close(self) -> None:
        """Nothing to release."""

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """Outputs by layer index, float32 [N,C,H,W]; all of them, or those of `layers`.

        Raises UsageError for a batch of another shape, and Unsupported for a layer that cannot be run.
        """
        builder = self._builder
        builder.images = len(batch)
        value = builder.wrap(np.ascontiguousarray(batch, np.float32))
        found = forward(self.quantization.net, builder, value, layers, builder.finish)
        return {index: np.asarray(builder.real(y), np.float32) for index, y in found.items()}
