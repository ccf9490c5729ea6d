"""The primitives in torch: differentiable, on any device.

Imports torch: only what needs it imports this module (darkprune.backends.torch_ is the lazy way in).
"""

from typing import Any, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from darkprune.backends import geometry
from darkprune.backends.base import Builder
from darkprune.backends.torch_activations import FUNCTIONS
from darkprune.ops.activation_functions import effective

MOMENTUM = 0.1  # of the running statistics, as in both Darknets' CPU builds


class TorchBuilder(Builder):
    """Tensors are torch tensors [N,C,H,W] of any memory format; parameters may be torch tensors or numpy arrays.

    Attributes:
        training: whether batch norm takes the batch's own statistics and moves the running ones, and dropout drops.
    """

    backend = "torch"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.training = False

    # Convolution.

    def conv2d(
        self,
        x: Tensor,
        weight: Any,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> Tensor:
        weight = _tensor(weight, x)
        out = geometry.convolved(self, x, weight, stride, padding, dilation, groups)
        if geometry.reinterprets(self, x, weight, stride, padding, out):
            runs = x.reshape(len(x), groups, -1)[:, :, : x.shape[1] // groups * out[0] * out[1]]
            x, stride, padding = runs.reshape(len(x), -1, *out), (1, 1), 0
        return functional.conv2d(x, weight, None, tuple(stride), padding, dilation, groups)

    def local_conv2d(self, x: Tensor, weight: Any, stride: int = 1, padding: int = 0) -> Tensor:
        weight = _tensor(weight, x)
        oh, ow, n, c, kh, kw = weight.shape
        x = _canvas(x, padding, (oh - 1) * stride + kh, (ow - 1) * stride + kw, 0.0)
        columns = functional.unfold(x, (kh, kw), stride=stride)  # [N, c * kh * kw, oh * ow]
        kernels = weight.reshape(oh * ow, n, c * kh * kw)
        return torch.einsum("pnk,bkp->bnp", kernels, columns).reshape(len(x), n, oh, ow)

    def constant(self, values: Any) -> Tensor:
        values = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, np.float32))
        return values.repeat(self.images, 1, 1, 1)

    def linear(self, x: Tensor, weight: Any) -> Tensor:
        return functional.linear(x.flatten(1), _tensor(weight, x))[:, :, None, None]

    def bias(self, x: Tensor, b: Any) -> Tensor:
        return x + _per_channel(b, x)

    def batch_norm(self, x: Tensor, gamma: Any, beta: Any, mean: Any, variance: Any) -> Tensor:
        """In training as AlexeyAB's CPU build: the batch's variance is over n - 1 values, also to divide by.

        torch divides by that over n; a smaller gamma and epsilon make up for it, so that its own kernels serve.
        """
        gamma, beta, mean, variance = (_tensor(values, x) for values in (gamma, beta, mean, variance))
        if self.dialect.outside:
            return self._batch_norm_outside(x, gamma, beta, mean, variance)
        epsilon = self.dialect.inside
        if self.training:
            part = 1 - 1 / max(2, x.numel() // x.shape[1])  # (n - 1) / n
            gamma, epsilon = gamma * part**0.5, epsilon * part
        return functional.batch_norm(x, mean, variance, gamma, beta, self.training, MOMENTUM, epsilon)

    def _batch_norm_outside(self, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """With an epsilon beside the root, which torch has no kernel for."""
        if self.training:
            seen = x.mean((0, 2, 3))
            spread = x.var((0, 2, 3), unbiased=x.numel() > x.shape[1])
            with torch.no_grad():
                mean.lerp_(seen, MOMENTUM)
                variance.lerp_(spread, MOMENTUM)
            mean, variance = seen, spread
        deviation = torch.sqrt(variance + self.dialect.inside) + self.dialect.outside
        centred = (x - _per_channel(mean, x)) / _per_channel(deviation, x)
        return centred * _per_channel(gamma, x) + _per_channel(beta, x)

    def scale_channels_by(self, x: Tensor, factors: Any) -> Tensor:
        return x * _per_channel(factors, x)

    def binarised(self, weight: Any) -> Tensor:
        """The gradient passes as if the weights were as they are (Rastegari et al., "XNOR-Net", 2016)."""
        means = weight.abs().mean((1, 2, 3), keepdim=True)
        return torch.where(weight > 0, means, -means).detach() + (weight - weight.detach())

    def source_factors(self, weights: Any, normalization: str) -> Tensor:
        weights = weights.reshape(len(weights), -1)
        if normalization == "relu":
            weights = weights.relu()
            return weights / (weights.sum(0) + 1e-4)
        weights = torch.exp(weights - weights.amax(0))
        return weights / (weights.sum(0) + 1e-4)

    # Element-wise.

    def activation(self, x: Tensor, name: str) -> Tensor:
        return FUNCTIONS[effective(name, self.dialect.name).name](x)

    def sign(self, x: Tensor) -> Tensor:
        """The gradient is that of a clip to -1..1, as in the original Darknet."""
        one = torch.ones((), dtype=x.dtype, device=x.device)
        clipped = x.clamp(-1, 1)
        return torch.where(x > 0, one, -one) + (clipped - clipped.detach())

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    # Pooling and resampling.

    def max_pool(self, x: Tensor, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> Tensor:
        oh, ow = geometry.pooled(self, x, size, stride, padding)
        height, width, left = (oh - 1) * stride[0] + size, (ow - 1) * stride[1] + size, padding // 2
        if height <= x.shape[2] + 2 * left and width <= x.shape[3] + 2 * left and left <= size // 2:
            pooled = functional.max_pool2d(x, size, tuple(stride), left)  # it pads by itself, evenly
            return pooled[:, :, :oh, :ow]
        return functional.max_pool2d(_canvas(x, left, height, width, -np.inf), size, tuple(stride))

    def avg_pool(self, x: Tensor, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> Tensor:
        oh, ow = geometry.pooled(self, x, size, stride, padding)
        height, width = (oh - 1) * stride[0] + size, (ow - 1) * stride[1] + size
        inside = torch.ones((1, 1) + tuple(x.shape[2:]), dtype=x.dtype, device=x.device)
        total, count = (
            functional.avg_pool2d(
                _canvas(maps, padding // 2, height, width, 0.0), size, tuple(stride), divisor_override=1
            )
            for maps in (x, inside)
        )
        return total / count.clamp(min=1)

    def global_avg_pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def upsample(self, x: Tensor, stride: int, scale: float = 1.0) -> Tensor:
        y = functional.interpolate(x, scale_factor=float(stride), mode="nearest")
        return y if scale == 1 else y * scale

    def downsample_sum(self, x: Tensor, stride: int, scale: float = 1.0) -> Tensor:
        geometry.require_cells(self, x, stride, "downsample_sum")
        return functional.avg_pool2d(x, stride, divisor_override=1) * scale

    def spread(self, x: Tensor, stride: int) -> Tensor:
        corner = torch.zeros((stride, stride), dtype=x.dtype, device=x.device)
        corner[0, 0] = 1
        n, c, h, w = x.shape
        return (x[:, :, :, None, :, None] * corner[:, None, :]).reshape(n, c, h * stride, w * stride)

    def crop(self, x: Tensor, height: int, width: int) -> Tensor:
        top, left = geometry.cropped(self, x, height, width)
        return x[:, :, top : top + height, left : left + width]

    # Wiring.

    def concat(self, xs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(xs), dim=1)

    def slice_channels(self, x: Tensor, start: int, stop: int) -> Tensor:
        return x[:, start:stop]

    def pad_channels(self, x: Tensor, count: int) -> Tensor:
        return functional.pad(x, (0, 0, 0, 0, 0, geometry.missing_channels(self, x, count)))

    def flatten(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1, 1, 1)

    def interleave(self, x: Tensor, shape: Tuple[int, int, int], reverse: bool = False) -> Tensor:
        n, c, h, w = x.shape
        view = x.reshape((n, h * w, c) if reverse else (n, c, h * w))
        return view.transpose(1, 2).reshape((n,) + tuple(shape))

    def reorg(self, x: Tensor, stride: int, reverse: bool = False) -> Tensor:
        n, c, h, w = x.shape
        geometry.require_depth(self, x, stride, "reorg")
        if reverse:
            return _depth_to_space(x, stride)
        geometry.require_cells(self, x, stride, "reorg")
        view = x.reshape(n, c // (stride * stride), h * stride, w * stride)
        return _space_to_depth(view, stride).reshape(n, c * stride * stride, h // stride, w // stride)

    def space_to_depth(self, x: Tensor, stride: int, reverse: bool = False) -> Tensor:
        if reverse:
            geometry.require_depth(self, x, stride, "space_to_depth")
            return _depth_to_space(x, stride)
        geometry.require_cells(self, x, stride, "space_to_depth")
        return _space_to_depth(x, stride)

    def dropout(self, x: Tensor, probability: float, blocks: bool = False) -> Tensor:
        if not self.training:
            return x
        if blocks or not 0 <= probability <= 1:
            what = "DropBlock" if blocks else "dropout with probability {}".format(probability)
            raise self.unsupported(what + " in training", "use [dropout] probability=.5, without dropblock")
        return functional.dropout(x, probability)

    # Across channels.

    def max_channels(self, x: Tensor, out_channels: int) -> Tensor:
        geometry.require_fewer_channels(self, x, out_channels)
        return torch.stack([x[:, g::out_channels].amax(1) for g in range(out_channels)], dim=1)

    def softmax(self, x: Tensor, groups: int = 1, temperature: float = 1.0, spatial: bool = False) -> Tensor:
        runs = x.reshape(geometry.softmax_runs(self, x, groups, spatial)) / temperature
        return torch.softmax(runs, dim=2).reshape(x.shape)

    def lrn(self, x: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, kappa: float = 1.0) -> Tensor:
        squares = x * x
        around = functional.pad(squares, (0, 0, 0, 0, (size - 1) // 2, size // 2))
        total = around.unfold(1, size, 1).sum(-1)
        missed = size // 2  # the channel that the readers' running sum never adds, yet takes away behind its window
        if missed < x.shape[1]:
            total = total - squares[:, missed : missed + 1]
        return x * (kappa + alpha * total) ** -beta


def _tensor(values: Any, x: Tensor) -> Tensor:
    """`values`, a tensor or a numpy array, as a tensor on the device of `x`, of float32 or more."""
    if isinstance(values, Tensor):
        return values
    return torch.from_numpy(np.array(values, np.float32)).to(x.device, torch.promote_types(x.dtype, torch.float32))


def _per_channel(values: Any, x: Tensor) -> Tensor:
    return _tensor(values, x).reshape(1, -1, 1, 1)


def _canvas(x: Tensor, corner: int, height: int, width: int, fill: float) -> Tensor:
    """`x` placed at (corner, corner) of a height x width map of `fill`, cut where it sticks out."""
    below, right = height - corner - x.shape[2], width - corner - x.shape[3]
    return functional.pad(x, (corner, right, corner, below), value=fill)


def _space_to_depth(x: Tensor, s: int) -> Tensor:
    """Darknet's [reorg3d] of s x s cells: channel o * C + c is position o of each cell of channel c."""
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // s, s, w // s, s)
    return cells.permute(0, 3, 5, 1, 2, 4).reshape(n, c * s * s, h // s, w // s)


def _depth_to_space(x: Tensor, s: int) -> Tensor:
    """The inverse of _space_to_depth."""
    n, c, h, w = x.shape
    cells = x.reshape(n, s, s, c // (s * s), h, w)
    return cells.permute(0, 3, 4, 1, 5, 2).reshape(n, c // (s * s), h * s, w * s)
