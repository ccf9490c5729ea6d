"""What a backend implements: the primitives that layers lower to (Builder), and the running of a net (Runner)."""

from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.clock import Clock
from darkprune.darknet.dialect_epsilon import DEFAULT, dialect
from darkprune.errors import Unsupported

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer

Tensor = Any  # a backend's own handle


class Builder(object):
    """The primitives of one backend. A layer says itself in these; a backend implements these.

    A tensor is an opaque handle of the backend's own; it is never changed once it has been returned, and it
    always has four axes [N,C,H,W] (float32, W fastest). An array of parameters is whatever `array` gives, or numpy
    float32 for constants; layers only reshape, transpose and index it, all else is a primitive. Every method returns
    a new tensor. A method that a backend lacks, or a case it cannot run, raises Unsupported.

    Attributes:
        backend: the name of the backend, for messages.
        dialect: the Dialect whose arithmetic is spoken (batch norm, unknown activations, reader's quirks).
        layer: the index of the layer being lowered, for messages; set by the caller, None outside of any.
        images: the length N of every tensor's first axis; set by the caller.
    """

    backend = "abstract"

    def __init__(self, dialect_name: str = DEFAULT) -> None:
        self.dialect = dialect(dialect_name)
        self.layer: Optional[int] = None
        self.images = 1

    def unsupported(self, what: str, hint: Optional[str] = None) -> Unsupported:
        """The error to raise for `what`, naming the layer and the backend."""
        where = "" if self.layer is None else "layer {}: ".format(self.layer)
        return Unsupported("{}the {} backend cannot run {}".format(where, self.backend, what), hint=hint)

    def wrap(self, tensor: Any) -> Tensor:
        """A backend's own tensor as one of this builder, which may wrap another builder."""
        return tensor

    def unwrap(self, x: Tensor) -> Any:
        """The backend's own tensor, float32 and of all channels that `x` has."""
        return x

    def array(self, layer: "Layer", name: str) -> Any:
        """The values of a layer's parameter, as this backend holds them. Raises GraphError where it has none.

        What trains a net, or keeps its arrays on a device, answers with its own; the lowering stays the same.
        """
        return layer.array(name)

    # Layers with parameters.

    def conv2d(
        self,
        x: Tensor,
        weight: np.ndarray,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> Tensor:
        """Cross-correlation, without bias: [N,c,h,w] -> [N,n,oh,ow].

        Args:
            weight: [n, c/groups, kh, kw]; filters of group j are the j-th n/groups of them.
            stride: (sy, sx), in cells.
            padding: cells of zeros really added on each side, so Darknet's padding times the dilation.
            dilation: distance of the taps, in cells.

        oh = (h + 2 * padding - dilation * (kh - 1) - 1) // sy + 1.
        In the pjreddie dialect a 1x1 kernel with a stride or padding reads its input as that reader does:
        B[k, j] = buffer[k * oh * ow + j] per group (darknet-format.md 2.2, "P bug").
        """
        raise self.unsupported("conv2d")

    def local_conv2d(self, x: Tensor, weight: np.ndarray, stride: int = 1, padding: int = 0) -> Tensor:
        """A convolution with a kernel of its own at each output position, without bias: [N,c,h,w] -> [N,n,oh,ow].

        Args:
            weight: [oh, ow, n, c, k, k].
            padding: cells of zeros on each side.
        """
        raise self.unsupported("local_conv2d")

    def constant(self, values: np.ndarray) -> Tensor:
        """The same `values` [C,H,W] for each image: [N,C,H,W]."""
        raise self.unsupported("constant")

    def linear(self, x: Tensor, weight: np.ndarray) -> Tensor:
        """Fully connected, without bias: x flattened in C,H,W order times weight[out,in] -> [N,out,1,1]."""
        raise self.unsupported("linear")

    def bias(self, x: Tensor, b: np.ndarray) -> Tensor:
        """x + b[c], per channel."""
        raise self.unsupported("bias")

    def batch_norm(
        self, x: Tensor, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
    ) -> Tensor:
        """gamma * (x - mean) / deviation(self.dialect, variance) + beta, per channel; the four are [c].

        The divisor is darkprune.darknet.dialect_epsilon.deviation: every reader has its own (darknet-format.md 2.7).
        """
        raise self.unsupported("batch_norm")

    def scale_channels_by(self, x: Tensor, factors: np.ndarray) -> Tensor:
        """x * factors[c], constants per channel, or one for all."""
        raise self.unsupported("scale_channels_by")

    # Arrays computed from parameters.

    def binarised(self, weight: np.ndarray) -> Any:
        """The weights [n, ...] of a binary (xnor) convolution: each filter's mean |w| with the sign of each w.

        So do both Darknets, with -mean for 0. In its form of packed bits AlexeyAB's also takes -1 for the zeros of the
        padding; this is the other form.
        """
        raise self.unsupported("binarised")

    def source_factors(self, weights: np.ndarray, normalization: str) -> Any:
        """[sources, 1 or c]: what each source of a weighted sum is multiplied by, from its weights [sources(, c)].

        normalization: relu or softmax (darkprune.ops.shortcut.source_factors).
        """
        raise self.unsupported("source_factors")

    # Element-wise.

    def activation(self, x: Tensor, name: str) -> Tensor:
        """The activation `name` as the dialect's reader computes it (darkprune.ops.activation_functions.activate)."""
        raise self.unsupported("activation")

    def sign(self, x: Tensor) -> Tensor:
        """+1 where x > 0, else -1: the input of a binary (xnor) convolution."""
        raise self.unsupported("sign")

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """a + b; b has a's shape, or is broadcast: [N,C,1,1] or [N,1,H,W]."""
        raise self.unsupported("add")

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """a * b; b has a's shape, or is broadcast: [N,C,1,1] or [N,1,H,W]."""
        raise self.unsupported("mul")

    # Pooling and resampling.

    def max_pool(self, x: Tensor, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> Tensor:
        """Maximum of size x size windows, stride (sy, sx); out-of-range cells count as -inf.

        Darknet's geometry: `padding` is the total of both sides, the window of output i starts at
        i * stride - padding // 2, and oh = (h + padding - size) // sy + 1.
        """
        raise self.unsupported("max_pool")

    def avg_pool(self, x: Tensor, size: int, stride: Tuple[int, int] = (1, 1), padding: int = 0) -> Tensor:
        """Mean over the cells of each window that are in range; geometry of max_pool."""
        raise self.unsupported("avg_pool")

    def global_avg_pool(self, x: Tensor) -> Tensor:
        """Mean of each channel: [N,C,1,1]."""
        raise self.unsupported("global_avg_pool")

    def upsample(self, x: Tensor, stride: int, scale: float = 1.0) -> Tensor:
        """Nearest neighbour times `scale`: out[y, x] = scale * in[y / stride, x / stride]."""
        raise self.unsupported("upsample")

    def downsample_sum(self, x: Tensor, stride: int, scale: float = 1.0) -> Tensor:
        """Sum over each stride x stride cell, times `scale` (Darknet's upsample with a negative stride)."""
        raise self.unsupported("downsample_sum")

    def spread(self, x: Tensor, stride: int) -> Tensor:
        """Zeros between the cells: out[y * stride, x * stride] = in[y, x], [N,C,H,W] -> [N,C,H*stride,W*stride]."""
        raise self.unsupported("spread")

    def crop(self, x: Tensor, height: int, width: int) -> Tensor:
        """Centre crop, its origin at ((h - height) // 2, (w - width) // 2)."""
        raise self.unsupported("crop")

    # Wiring.

    def concat(self, xs: Sequence[Tensor]) -> Tensor:
        """The tensors of the list `xs`, one behind the other along the channels."""
        raise self.unsupported("concat")

    def slice_channels(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Channels start <= i < stop."""
        raise self.unsupported("slice_channels")

    def pad_channels(self, x: Tensor, count: int) -> Tensor:
        """Channels of zeros appended until there are `count`."""
        raise self.unsupported("pad_channels")

    def flatten(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,C*H*W,1,1], in C,H,W order."""
        raise self.unsupported("flatten")

    def interleave(self, x: Tensor, shape: Tuple[int, int, int], reverse: bool = False) -> Tensor:
        """The buffer [C][H*W] written as [H*W][C], and taken for a map of `shape` (c, h, w) of as many values.

        With `reverse` the buffer is read as [H*W][C] and written as [C][H*W].
        """
        raise self.unsupported("interleave")

    def reorg(self, x: Tensor, stride: int, reverse: bool = False) -> Tensor:
        """Darknet's historical [reorg], which reinterprets its buffer (darknet-format.md 2.4).

        Forward, [N,C,H,W] -> [N,C*s*s,H/s,W/s]: the input buffer is read as v[C/(s*s)][H*s][W*s]; then
        out.flat[i + W * (j + H * k)] = v[k mod q][j * s + o div s][i * s + o mod s], q = C/(s*s), o = k div q,
        for k < C, j < H, i < W. Reverse, [N,C,H,W] -> [N,q,H*s,W*s]: v = the output, in.flat on the left.
        """
        raise self.unsupported("reorg")

    def space_to_depth(self, x: Tensor, stride: int, reverse: bool = False) -> Tensor:
        """[reorg3d]: out[o * C + c][j][i] = in[c][j * s + o div s][i * s + o mod s] for o < s * s.

        [N,C,H,W] -> [N,C*s*s,H/s,W/s]; reverse is the inverse mapping.
        """
        raise self.unsupported("space_to_depth")

    def dropout(self, x: Tensor, probability: float, blocks: bool = False) -> Tensor:
        """x; a backend that trains sets values to 0 there, with that probability, and scales the others up.

        blocks: not values but squares of them go (DropBlock).
        """
        return x

    def output(self, x: Tensor, layer_index: int) -> Tensor:
        """Marks `x` as a raw head, the output of layer `layer_index`; a backend that names outputs does so here."""
        return x

    # Across channels.

    def max_channels(self, x: Tensor, out_channels: int) -> Tensor:
        """[maxpool] maxpool_depth=1: channel g = maximum of the channels k with k mod out_channels = g."""
        raise self.unsupported("max_channels")

    def softmax(self, x: Tensor, groups: int = 1, temperature: float = 1.0, spatial: bool = False) -> Tensor:
        """exp(x / temperature) normalised to sum 1; same shape.

        Over each of `groups` equal runs of an image's flattened values, or, if `spatial`, per pixel over the
        channels (then `groups` splits the channels).
        """
        raise self.unsupported("softmax")

    def lrn(self, x: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, kappa: float = 1.0) -> Tensor:
        """x * (kappa + alpha * S)^-beta, S = sum of x^2 over channels k - (size - 1) // 2 .. k + size // 2.

        Every reader's running sum starts one channel short, so S is less by x^2 of channel size // 2, for every
        k, where there is such a channel (measured on the original Darknet).
        """
        raise self.unsupported("lrn")


class Runner(object):
    """Runs one net on batches of images. Usable as a context manager: entered open, left closed.

    Attributes:
        name: what the runner is called in reports.
        fast: whether to run as fast as its users have it, where that rounds in another way; set before it is opened.
    """

    name = "abstract"
    fast = False

    def open(self) -> None:
        """Allocates what running needs. Raises Unsupported or MissingDependency."""
        raise NotImplementedError("{}.open".format(type(self).__name__))

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """Runs the net on `batch`, float32 [N,C,H,W].

        Args:
            layers: indices of the layers whose outputs are wanted; None for all that the runner gives.

        Returns:
            The outputs by layer index, float32 [N,C,H,W].
        """
        raise NotImplementedError("{}.infer".format(type(self).__name__))

    def seconds(self, batch: np.ndarray, layers: Iterable[int], clock: Clock) -> List[float]:
        """Seconds of forward passes of `batch`, as many as `clock` asks for.

        Args:
            layers: whose outputs a pass gives, where the runner is asked for them.
        """
        layers = list(layers)
        return clock.time(lambda: self.infer(batch, layers))

    def close(self) -> None:
        """Releases everything; may be called twice."""
        raise NotImplementedError("{}.close".format(type(self).__name__))

    def __enter__(self) -> "Runner":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
