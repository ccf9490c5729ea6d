"""The primitives in numpy: the reference against which every other backend is judged.

Readable and correct first. Convolutions gather their taps into columns and multiply by BLAS (im2col).
"""

from typing import Any, Sequence, Tuple

import numpy as np

from darkprune.backends import geometry
from darkprune.backends.base import Builder
from darkprune.backends.numpy_windows import canvas, depth_to_space, fold, space_to_depth, taps
from darkprune.darknet.dialect_epsilon import deviation
from darkprune.ops.activation_functions import activate
from darkprune.ops.shortcut import source_factors

COLUMN_FLOATS = 64 * 2**20 // 4  # bound of the column buffer, 64 MB; larger maps go in bands of rows


def _per_channel(values):
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product. BLAS works on small matrices in lanes wider than they are; what chance leaves in the rest may
    raise the processor's flag for an invalid value, of which numpy then warns although none is in the result."""
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.dot(a, b)
    return found


class NumpyBuilder(Builder):
    """Tensors are float32 numpy arrays [N,C,H,W], possibly views: treat them as read-only.

    One column buffer is kept and used by every convolution, so a builder serves one thread.

    Attributes: dtype (in which products are added up).
    """

    backend = "numpy"
    dtype: Any = np.float32

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super(NumpyBuilder, self).__init__(*args, **kwargs)
        self._buffer = np.empty(0, self.dtype)

    # Convolution.

    def conv2d(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> np.ndarray:
        weight = np.asarray(weight, self.dtype)
        kh, kw = weight.shape[2:]
        oh, ow = geometry.convolved(self, x, weight, stride, padding, dilation, groups)
        if geometry.reinterprets(self, x, weight, stride, padding, (oh, ow)):
            x, stride, padding = self._reinterpret(x, groups, oh, ow), (1, 1), 0
        if not (kh == kw == 1 and padding == 0 and tuple(stride) == (1, 1)):
            height = (oh - 1) * stride[0] + dilation * (kh - 1) + 1
            width = (ow - 1) * stride[1] + dilation * (kw - 1) + 1
            x = canvas(x, padding, padding, height, width, 0)
        if groups == x.shape[1]:
            return self._depthwise(x, weight, stride, dilation, (oh, ow))
        return self._gemm(x, weight, stride, dilation, groups, (oh, ow))

    def _reinterpret(self, x, groups, oh, ow):
        """The input as pjreddie's GEMM reads it: each group's buffer taken as rows of oh * ow values."""
        n, c = x.shape[:2]
        runs = np.ascontiguousarray(x).reshape(n, groups, -1)
        return runs[:, :, : c // groups * oh * ow].reshape(n, c, oh, ow)

    def _depthwise(self, x, weight, stride, dilation, out):
        """One channel per group: a product per channel is no matrix product, so taps are accumulated."""
        (n, c), (filters, _, kh, kw), (oh, ow) = x.shape[:2], weight.shape, out
        kernels = weight.reshape(1, c, filters // c, kh, kw, 1, 1)
        total = np.zeros((n, c, filters // c, oh, ow), self.dtype)
        product = np.empty_like(total)
        for ky in range(kh):
            for kx in range(kw):
                cells = x[:, :, None, taps(ky * dilation, oh, stride[0]), taps(kx * dilation, ow, stride[1])]
                np.multiply(cells, kernels[:, :, :, ky, kx], out=product)
                total += product
        return total.reshape(n, filters, oh, ow)

    def _gemm(self, x, weight, stride, dilation, groups, out):
        """Weights times columns, image by image, band of rows by band, group by group.

        np.dot per group rather than a stacked matmul, which does without BLAS before numpy 1.16.
        """
        (filters, depth, kh, kw), (oh, ow) = weight.shape, out
        matrices = weight.reshape(groups, filters // groups, depth * kh * kw)
        result = np.empty((x.shape[0], groups, filters // groups, oh, ow), self.dtype)
        direct = kh == kw == 1 and tuple(stride) == (1, 1)  # the map is its own columns
        band = oh if direct else max(1, min(oh, COLUMN_FLOATS // (x.shape[1] * kh * kw * ow)))
        for image, target in zip(x, result):
            for top in range(0, oh, band):
                rows = min(band, oh - top)
                if direct:
                    columns = image[:, :oh, :ow]
                else:
                    part = image[:, top * stride[0] :]
                    columns = self._columns(part, (kh, kw), stride, dilation, (rows, ow))
                columns = columns.reshape(groups, depth * kh * kw, rows * ow)
                for j in range(groups):
                    target[j, :, top : top + rows] = product(matrices[j], columns[j]).reshape(-1, rows, ow)
        return result.reshape(x.shape[0], filters, oh, ow)

    def _columns(self, image, kernel, stride, dilation, out):
        """[c, kh, kw, rows, ow]: for every tap of the kernel, the cells it meets; lives until the next call."""
        (kh, kw), (rows, ow) = kernel, out
        shape = (image.shape[0], kh, kw, rows, ow)
        count = int(np.prod(shape))
        if self._buffer.size < count:
            self._buffer = np.empty(count, self.dtype)
        columns = self._buffer[:count].reshape(shape)
        for ky in range(kh):
            for kx in range(kw):
                cells = image[:, taps(ky * dilation, rows, stride[0]), taps(kx * dilation, ow, stride[1])]
                columns[:, ky, kx] = cells
        return columns

    # Other layers with parameters.

    def local_conv2d(self, x: np.ndarray, weight: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
        oh, ow, n, c, kh, kw = weight.shape
        x = canvas(x, padding, padding, (oh - 1) * stride + kh, (ow - 1) * stride + kw, 0)
        kernels = np.asarray(weight, np.float32).reshape(oh * ow, n, c * kh * kw)
        result = np.empty((x.shape[0], n, oh, ow), np.float32)
        for image, target in zip(x, result):
            columns = self._columns(image, (kh, kw), (stride, stride), 1, (oh, ow)).reshape(c * kh * kw, oh * ow)
            target[:] = np.einsum("pnk,kp->np", kernels, columns).reshape(n, oh, ow)
        return result

    def constant(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, np.float32)
        return np.broadcast_to(values, (self.images,) + values.shape)

    def linear(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        flat = x.reshape(x.shape[0], -1)
        return product(flat, np.asarray(weight, self.dtype).T).reshape(x.shape[0], -1, 1, 1)

    def bias(self, x: np.ndarray, b: np.ndarray) -> np.ndarray:
        return x + _per_channel(b)

    def batch_norm(
        self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
    ) -> np.ndarray:
        # In the readers' order, not folded: a constant channel must meet its mean exactly.
        y = x - _per_channel(mean)
        y /= _per_channel(deviation(self.dialect, variance))
        y *= _per_channel(gamma)
        y += _per_channel(beta)
        return y

    def scale_channels_by(self, x: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return x * _per_channel(factors)

    def binarised(self, weight: np.ndarray) -> np.ndarray:
        means = np.abs(weight).mean(axis=(1, 2, 3), dtype=np.float32, keepdims=True)
        return np.where(weight > 0, means, -means)

    def source_factors(self, weights: np.ndarray, normalization: str) -> np.ndarray:
        return source_factors(weights, normalization)

    # Element-wise.

    def activation(self, x: np.ndarray, name: str) -> np.ndarray:
        return x if name == "linear" else activate(x, name, self.dialect.name)

    def sign(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, np.float32(1), np.float32(-1))

    def add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def mul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    # Pooling and resampling.

    def _windows(self, x, size, stride, padding, fill):
        """The map with its border of `fill`, and (oh, ow)."""
        oh, ow = geometry.pooled(self, x, size, stride, padding)
        height, width = (oh - 1) * stride[0] + size, (ow - 1) * stride[1] + size
        return canvas(x, padding // 2, padding // 2, height, width, fill), (oh, ow)

    def max_pool(self, x: np.ndarray, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> np.ndarray:
        bordered, out = self._windows(x, size, stride, padding, -np.inf)
        return fold(np.maximum, bordered, size, stride, out)

    def avg_pool(self, x: np.ndarray, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> np.ndarray:
        bordered, out = self._windows(x, size, stride, padding, 0)
        valid, _ = self._windows(np.ones((1, 1) + x.shape[2:], np.float32), size, stride, padding, 0)
        total = fold(np.add, bordered, size, stride, out)
        return total / np.maximum(fold(np.add, valid, size, stride, out), 1)

    def global_avg_pool(self, x: np.ndarray) -> np.ndarray:
        # Over one contiguous axis: numpy then sums pairwise, which keeps float32 accurate on large maps.
        return x.reshape(x.shape[:2] + (-1,)).mean(axis=2, dtype=np.float32).reshape(x.shape[:2] + (1, 1))

    def upsample(self, x: np.ndarray, stride: int, scale: float = 1.0) -> np.ndarray:
        n, c, h, w = x.shape
        cells = np.broadcast_to(x[:, :, :, None, :, None], (n, c, h, stride, w, stride))
        return cells.reshape(n, c, h * stride, w * stride) * np.float32(scale)

    def downsample_sum(self, x: np.ndarray, stride: int, scale: float = 1.0) -> np.ndarray:
        geometry.require_cells(self, x, stride, "downsample_sum")
        out = (x.shape[2] // stride, x.shape[3] // stride)
        return fold(np.add, x, stride, (stride, stride), out) * np.float32(scale)

    def spread(self, x: np.ndarray, stride: int) -> np.ndarray:
        n, c, h, w = x.shape
        out = np.zeros((n, c, h * stride, w * stride), np.float32)
        out[:, :, ::stride, ::stride] = x
        return out

    def crop(self, x: np.ndarray, height: int, width: int) -> np.ndarray:
        top, left = geometry.cropped(self, x, height, width)
        return x[:, :, top : top + height, left : left + width]

    # Wiring.

    def concat(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(xs, axis=1)

    def slice_channels(self, x: np.ndarray, start: int, stop: int) -> np.ndarray:
        return x[:, start:stop]

    def pad_channels(self, x: np.ndarray, count: int) -> np.ndarray:
        missing = geometry.missing_channels(self, x, count)
        zeros = np.zeros((x.shape[0], missing) + x.shape[2:], np.float32)
        return np.concatenate([x, zeros], axis=1)

    def flatten(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(x.shape[0], -1, 1, 1)

    def interleave(self, x: np.ndarray, shape: Tuple[int, int, int], reverse: bool = False) -> np.ndarray:
        n, c, h, w = x.shape
        view = x.reshape((n, h * w, c) if reverse else (n, c, h * w))
        return view.transpose(0, 2, 1).reshape((n,) + tuple(shape))

    def reorg(self, x: np.ndarray, stride: int, reverse: bool = False) -> np.ndarray:
        n, c, h, w = x.shape
        geometry.require_depth(self, x, stride, "reorg")
        if reverse:
            return depth_to_space(x, stride)
        geometry.require_cells(self, x, stride, "reorg")
        view = x.reshape(n, c // (stride * stride), h * stride, w * stride)
        return space_to_depth(view, stride).reshape(n, c * stride * stride, h // stride, w // stride)

    def space_to_depth(self, x: np.ndarray, stride: int, reverse: bool = False) -> np.ndarray:
        if reverse:
            geometry.require_depth(self, x, stride, "space_to_depth")
            return depth_to_space(x, stride)
        geometry.require_cells(self, x, stride, "space_to_depth")
        return space_to_depth(x, stride)

    # Across channels.

    def max_channels(self, x: np.ndarray, out_channels: int) -> np.ndarray:
        geometry.require_fewer_channels(self, x, out_channels)
        return np.stack([x[:, g::out_channels].max(axis=1) for g in range(out_channels)], axis=1)

    def softmax(self, x: np.ndarray, groups: int = 1, temperature: float = 1.0, spatial: bool = False) -> np.ndarray:
        runs = x.reshape(geometry.softmax_runs(self, x, groups, spatial)) / np.float32(temperature)
        e = np.exp(runs - runs.max(axis=2, keepdims=True))
        return (e / e.sum(axis=2, keepdims=True)).reshape(x.shape)

    def lrn(
        self, x: np.ndarray, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, kappa: float = 1.0
    ) -> np.ndarray:
        squares = x * x
        total = np.zeros_like(x)
        for k in range(x.shape[1]):
            total[:, k] = squares[:, max(0, k - (size - 1) // 2) : k + size // 2 + 1].sum(axis=1)
        missed = size // 2  # the channel that the readers' running sum never adds, yet takes away behind its window
        if missed < x.shape[1]:
            total -= squares[:, missed : missed + 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return x * (np.float32(kappa) + np.float32(alpha) * total) ** np.float32(-beta)
