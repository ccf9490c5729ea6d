"""Signal to quantisation noise: how much of what a net computes its INT8 form keeps.

    SQNR = 10 log10(sum(x^2) / sum((x - y)^2))  dB

over all values x of a tensor in the net and y in its INT8 form, on the same images. At the heads it is the mean of
the heads' dB.
"""

import math
from typing import Any, Dict, Iterable, List, NamedTuple

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.chunked import Chunks
from darkprune.backends.forward import Progress
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net, heads
from darkprune.quant.quantization import Quantization
from darkprune.quant.side_by_side import Beside

MOST = 200.0  # dB; what equal tensors are said to have

Signal = NamedTuple(
    "Signal",
    [
        ("heads", float),  # dB, mean over the raw heads
        ("layers", Dict[int, float]),  # dB of each layer's output
    ],
)


def decibels(signal: float, noise: float) -> float:
    """The ratio of two sums of squares in dB, at most MOST; 0 where there is noise and no signal."""
    if noise <= 0:
        return MOST
    return min(MOST, 10 * math.log10(signal / noise)) if signal > 0 else 0.0


def measure(
    quantization: Quantization, batches: Iterable[np.ndarray], runner: str = "numpy", progress: Progress = iter
) -> Signal:
    """The SQNR of the INT8 form of a net on images that come as float32 [n,C,H,W]."""
    found: Dict[int, float] = {}

    def watch(layer: Layer, y: Chunks, half: int) -> None:
        found[layer.index] = of_tensor(builder, y)

    builder = Beside(quantization, runner, watch)
    builder.run(batches, progress=progress)
    return Signal(mean_of_heads(quantization, found), found)


def of_tensor(builder: Beside, y: Chunks) -> float:
    """The SQNR of a tensor of both nets, in dB."""
    signal = noise = 0.0
    values: List[Any] = list(builder.values(y))
    for real, rounded in zip(values[: builder.half], values[builder.half :]):
        signal += float(np.einsum("i,i", real.ravel(), real.ravel(), dtype=np.float64))
        error = (real - rounded).ravel()
        noise += float(np.einsum("i,i", error, error, dtype=np.float64))
    return decibels(signal, noise)


def mean_of_heads(quantization: Quantization, found: Dict[int, float]) -> float:
    """The mean over the raw heads of what was found for each layer."""
    return float(np.mean([found[index] for index in heads(quantization.net)]))


def of_heads(net: Net, real: Runner, rounded: Runner, batches: Iterable[np.ndarray]) -> float:
    """The SQNR at the heads in dB: of what the runner `rounded` gives of a net, against `real`; both are open."""
    layers = heads(net)
    signal, noise = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0)
    for batch in batches:
        wanted, found = real.infer(batch, layers), rounded.infer(batch, layers)
        for index in layers:
            x = wanted[index].astype(np.float64)
            signal[index] += float((x * x).sum())
            noise[index] += float(((x - found[index]) ** 2).sum())
    return float(np.mean([decibels(signal[index], noise[index]) for index in layers]))
