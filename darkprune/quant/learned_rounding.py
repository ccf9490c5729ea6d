"""Learned rounding: for each weight, whether up or down, so that a layer's output keeps its values.

With x what a layer reads in the net and z what it reads in its INT8 form, rounded weights Q are sought in place of W
with the least

    mean |W x - Q z|^2  =  tr(Q G Q' - 2 W C Q') + const,     G = mean(z z'),  C = mean(x z')

over sampled positions of the calibration images, x and z without their means, which the bias takes (it is corrected
behind each layer). Each weight may be rounded down or up. Starting at the nearest, single weights are turned over as
long as the sum falls, a column of all filters at a time. That is the problem of Nagel et al., "Up or Down? Adaptive
Rounding for Post-Training Quantization", ICML 2020, solved by descent along coordinates in place of their relaxation;
Q z in place of Q x lets each layer make up for what those before it lost.

Layers are done in order; memory is that of a layer's maps, and of G for at most MOST columns. Of a larger layer parts
of its columns are done by themselves.
"""

from collections import OrderedDict
from typing import Any, Dict, Iterable, List, Tuple

import numpy as np

from darkprune.backends.chunked import Chunks
from darkprune.backends.forward import Progress
from darkprune.graph.layer import Layer
from darkprune.quant.bias_correction import Correcting
from darkprune.quant.equalize import misreads
from darkprune.quant.quantization import WEIGHT_MAX, Quantization, pack, round_weights

MOST = 2304  # columns of G: 42 MB
SAMPLES = 8  # positions for each column
LEAST = 32  # positions of an image
SWEEPS = 20
DAMPING = 0.01  # of G's mean diagonal, added to it and to C: what is hardly seen is rounded to nearest


class Learning(Correcting):
    """Learns the rounding, and corrects the biases, of the INT8 net while it runs.

    Attributes: rounding: layer -> the text of whether its weights are rounded up.
    """

    def __init__(self, quantization: Quantization, runner: str = "numpy") -> None:
        super(Learning, self).__init__(quantization, runner)
        self.rounding: Dict[int, str] = OrderedDict()

    def rounded_weights(self, layer: Layer, weights: np.ndarray, x: Chunks, geometry: Dict[str, Any]) -> np.ndarray:
        if not geometry or "weights" not in layer.params or misreads(self.quantization.net, layer):
            return self.quantization.real_weights(layer, weights)
        weights = np.asarray(weights, np.float32)
        scales = self.quantization.scales(layer, weights).astype(np.float64)
        up = _nearest(weights, scales)
        count, groups = len(weights), geometry["groups"]
        rows = count // groups
        width = max(1, MOST // (weights.shape[2] * weights.shape[3]))  # channels at once
        for start in range(0, weights.shape[1], width):
            columns = slice(start, min(start + width, weights.shape[1]))
            second, mixed = self._moments(x, weights.shape, columns, geometry)
            for group in range(groups):
                mine = slice(group * rows, (group + 1) * rows)
                part = weights[mine, columns].reshape(rows, -1).astype(np.float64)
                chosen = turned(part, scales[mine], up[mine, columns].reshape(rows, -1), second[group], mixed[group])
                up[mine, columns] = chosen.reshape(up[mine, columns].shape)
        self.rounding[layer.index] = pack(up)
        integers = round_weights(weights, scales, up)
        return np.asarray(integers * scales.reshape(-1, 1, 1, 1), np.float32)

    def _moments(
        self, x: Chunks, shape: Tuple[int, ...], columns: slice, geometry: Dict[str, Any]
    ) -> Tuple[np.ndarray, np.ndarray]:
        """(G, C), each float64 [groups, k, k], of the layer's windows over some channels of each group."""
        groups, length = geometry["groups"], (columns.stop - columns.start) * shape[2] * shape[3]
        images = x.images // 2
        sampled = max(LEAST, -(-SAMPLES * length // images))
        sums = [np.zeros((groups, 1, length)) for _ in range(2)]
        second, mixed = np.zeros((groups, length, length)), np.zeros((groups, length, length))
        random, count, parts = np.random.RandomState(0), 0, list(self.values(x))
        for real, rounded in zip(parts[: self.half], parts[self.half :]):
            places = _places(real.shape, shape, geometry, sampled, random)
            a, b = [windows(part, places, shape, columns, geometry) for part in (real, rounded)]
            second += np.matmul(b.transpose(0, 2, 1), b)
            mixed += np.matmul(a.transpose(0, 2, 1), b)
            sums = [total + part.sum(axis=1, keepdims=True) for total, part in zip(sums, (a, b))]
            count += a.shape[1]
        mean_a, mean_b = [(total / count).transpose(0, 2, 1) for total in sums]
        second = second / count - mean_b * mean_b.transpose(0, 2, 1)
        mixed = mixed / count - mean_a * mean_b.transpose(0, 2, 1)
        damping = DAMPING * np.einsum("gii->g", second)[:, None, None] / length * np.eye(length)
        return second + damping, mixed + damping


def _nearest(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """bool: whether rounding to nearest is rounding up."""
    steps = weights.astype(np.float64) / scales.reshape([-1] + [1] * (weights.ndim - 1))
    return np.asarray(np.rint(steps) > np.floor(steps))


def turned(
    weights: np.ndarray, scales: np.ndarray, up: np.ndarray, second: np.ndarray, mixed: np.ndarray
) -> np.ndarray:
    """bool [n, k]: which weights to round up, from a first choice `up`.

    Args:
        weights: float64 [n, k]. scales: float64 [n], their steps. second, mixed: G and C, float64 [k, k].
    """
    low = np.floor(weights / scales[:, None])
    high = np.clip(low + 1, -WEIGHT_MAX, WEIGHT_MAX) * scales[:, None]
    low = np.clip(low, -WEIGHT_MAX, WEIGHT_MAX) * scales[:, None]
    up = up.copy()
    slope = np.dot(np.where(up, high, low), second) - np.dot(weights, mixed)  # half the gradient
    for _ in range(SWEEPS):
        turns = 0
        for column in range(weights.shape[1]):
            step = np.where(up[:, column], low[:, column] - high[:, column], high[:, column] - low[:, column])
            gain = 2 * step * slope[:, column] + step * step * second[column, column]
            rows = np.flatnonzero(gain < -1e-12 * np.abs(step * slope[:, column]))
            if rows.size:
                up[rows, column] = ~up[rows, column]
                slope[rows] += step[rows, None] * second[column]
                turns += rows.size
        if not turns:
            break
    return up


def _places(
    maps: Tuple[int, ...], shape: Tuple[int, ...], geometry: Dict[str, Any], count: int, random: Any
) -> List[Tuple[np.ndarray, np.ndarray]]:
    """The windows that are looked at: row and column of each one's first cell in the padded map, for each image."""
    sizes = []
    for length, taps, stride in zip(maps[2:], shape[2:], geometry["stride"]):
        reach = geometry["dilation"] * (taps - 1) + 1
        sizes.append((length + 2 * geometry["padding"] - reach) // stride + 1)
    total, found = sizes[0] * sizes[1], []
    for _ in range(maps[0]):
        chosen = np.arange(total) if total <= count else np.sort(random.permutation(total)[:count])
        found.append((chosen // sizes[1] * geometry["stride"][0], chosen % sizes[1] * geometry["stride"][1]))
    return found


def windows(
    maps: np.ndarray,
    places: List[Tuple[np.ndarray, np.ndarray]],
    shape: Tuple[int, ...],
    columns: slice,
    geometry: Dict[str, Any],
) -> np.ndarray:
    """float64 [groups, windows, k]: what the taps of the weights meet, in their order."""
    groups, pad = geometry["groups"], geometry["padding"]
    taps = [geometry["dilation"] * np.arange(length) for length in shape[2:]]
    found = []
    for image, (y, x) in zip(maps, places):
        image = image.reshape((groups, -1) + image.shape[1:])[:, columns]
        image = np.pad(image, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
        rows = (y[:, None] + taps[0])[:, :, None]
        cells = image[:, :, rows, (x[:, None] + taps[1])[:, None, :]]  # [groups, channels, windows, kh, kw]
        found.append(cells.transpose(0, 2, 1, 3, 4).reshape(groups, len(y), -1))
    return np.concatenate(found, axis=1).astype(np.float64)


def learn(
    quantization: Quantization, batches: Iterable[np.ndarray], runner: str = "numpy", progress: Progress = iter
) -> Tuple[Dict[int, str], Dict[int, np.ndarray]]:
    """(rounding, biases) of the prepared net, as Adjustments hold them: `biases` are to be added to those there.

    Convolutions are learned; others are rounded to nearest. Args and errors as those of
    `darkprune.quant.bias_correction.correct`.
    """
    builder = Learning(quantization, runner)
    builder.run(batches, progress=progress)
    return builder.rounding, builder.changes
