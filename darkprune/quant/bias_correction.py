"""Biases corrected for what rounding adds to the mean of each channel.

    bias += mean(y) - mean(z)

over all images and positions, y being what a layer's activation reads in the net and z in its INT8 form. Layers are
corrected in order, so that each sees what the INT8 net gives it, the layers before it corrected.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2,
with measured means.
"""

from collections import OrderedDict
from typing import Any, Dict, Iterable

import numpy as np

from darkprune.backends.chunked import Chunks
from darkprune.backends.forward import Progress
from darkprune.quant.quantization import Quantization
from darkprune.quant.side_by_side import Beside


class Correcting(Beside):
    """Corrects the biases of the INT8 net while it runs.

    Attributes: changes: layer -> float64 [filters], what is to be added to its biases.
    """

    def __init__(self, quantization: Quantization, runner: str = "numpy") -> None:
        super(Correcting, self).__init__(quantization, runner)
        self.changes: Dict[int, np.ndarray] = OrderedDict()

    def bias(self, x: Chunks, b: Any) -> Chunks:
        y = super(Correcting, self).bias(x, b)
        layer = self.current()
        if not self.multiplies(layer) or "biases" not in layer.params:  # else they are those of an earlier layer
            return y
        sums = [part.sum(axis=(0, 2, 3), dtype=np.float64) for part in self.values(y)]
        positions = y.images // 2 * y.shape[2] * y.shape[3]
        change = (sum(sums[: self.half]) - sum(sums[self.half :])) / positions
        change = change.astype(np.float32)
        self.changes[layer.index] = change.astype(np.float64)
        return self.second(y, lambda part: self.inner.bias(part, change))


def correct(
    quantization: Quantization, batches: Iterable[np.ndarray], runner: str = "numpy", progress: Progress = iter
) -> Dict[int, np.ndarray]:
    """Layer -> float64 [filters], what is to be added to the biases of the prepared net.

    Args:
        batches: images as float32 [n,C,H,W]. runner: numpy or torch.

    Raises what `forward` raises; MissingDependency without torch; OutputError where temporary files find no room.
    """
    builder = Correcting(quantization, runner)
    builder.run(batches, progress=progress)
    return builder.changes


def added(before: Dict[int, np.ndarray], changes: Dict[int, np.ndarray]) -> Dict[int, np.ndarray]:
    """The corrections of a net that had `before`, and of which `changes` were found."""
    found = OrderedDict(sorted(before.items()))
    for index, change in sorted(changes.items()):
        found[index] = found[index] + change if index in found else change
    return OrderedDict(sorted(found.items()))
