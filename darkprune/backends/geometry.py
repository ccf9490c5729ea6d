"""Sizes of maps behind windows, and the cases that no backend can run; the same words for all of them."""

from typing import TYPE_CHECKING, Any, Sequence, Tuple

import numpy as np

if TYPE_CHECKING:
    from darkprune.backends.base import Builder


def outputs(length: int, padding: int, size: int, stride: int) -> int:
    """Number of windows along an axis, `padding` in total; below 1 if none fits."""
    return (length + padding - size) // stride + 1


def convolved(
    b: "Builder", x: Any, weight: Any, stride: Tuple[int, int], padding: int, dilation: int, groups: int
) -> Tuple[int, int]:
    """(oh, ow) of a conv2d. Raises Unsupported where the groups or the kernel do not fit."""
    n, depth, kh, kw = weight.shape
    c, h, w = x.shape[1:]
    if groups < 1 or depth * groups != c or n % groups:
        shapes = "conv2d of {} channels, weights {}, groups {}".format(c, tuple(weight.shape), groups)
        raise b.unsupported(shapes, "groups must divide both the channels and the filters")
    oh = outputs(h, 2 * padding, dilation * (kh - 1) + 1, stride[0])
    ow = outputs(w, 2 * padding, dilation * (kw - 1) + 1, stride[1])
    if oh < 1 or ow < 1:
        raise b.unsupported("a {}x{} kernel on a {}x{} map".format(kh, kw, h, w))
    return oh, ow


def reinterprets(b: "Builder", x: Any, weight: Any, stride: Tuple[int, int], padding: int, out: Sequence[int]) -> bool:
    """Whether pjreddie's 1x1 convolution takes the buffer for a map of the output's size (darknet-format.md 2.2).

    Raises Unsupported where it would read past the image.
    """
    h, w = x.shape[2:]
    if b.dialect.name != "pjreddie" or tuple(weight.shape[2:]) != (1, 1) or (tuple(stride) == (1, 1) and not padding):
        return False
    if out[0] * out[1] > h * w:
        hint = "pjreddie's reader reads past the end of the image here; its numbers are undefined"
        raise b.unsupported("a 1x1 convolution that enlarges {}x{} to {}x{}".format(h, w, *out), hint)
    return True


def pooled(b: "Builder", x: Any, size: int, stride: Tuple[int, int], padding: int) -> Tuple[int, int]:
    """(oh, ow) of a pooling. Raises Unsupported where no window fits."""
    oh, ow = [outputs(x.shape[2 + i], padding, size, stride[i]) for i in (0, 1)]
    if oh < 1 or ow < 1:
        raise b.unsupported("a {0}x{0} window on a {1[2]}x{1[3]} map".format(size, x.shape))
    return oh, ow


def require_cells(b: "Builder", x: Any, stride: int, what: str) -> None:
    """Raises Unsupported where the map does not split into cells of stride x stride."""
    if x.shape[2] % stride or x.shape[3] % stride:
        raise b.unsupported("{0} by {1} of a {2[2]}x{2[3]} map".format(what, stride, x.shape))


def require_depth(b: "Builder", x: Any, stride: int, what: str) -> None:
    """Raises Unsupported where the channels do not make cells of stride x stride."""
    if x.shape[1] % (stride * stride):
        raise b.unsupported("{} by {} of {} channels".format(what, stride, x.shape[1]))


def cropped(b: "Builder", x: Any, height: int, width: int) -> Tuple[int, int]:
    """(top, left) of a centre crop. Raises Unsupported where it is larger than the map."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    if top < 0 or left < 0:
        raise b.unsupported("a crop of {0[2]}x{0[3]} to {1}x{2}".format(x.shape, height, width))
    return top, left


def missing_channels(b: "Builder", x: Any, count: int) -> int:
    """How many channels are to be appended. Raises Unsupported where there are more than `count`."""
    if count < x.shape[1]:
        raise b.unsupported("pad_channels of {} channels to {}".format(x.shape[1], count))
    return count - int(x.shape[1])


def require_fewer_channels(b: "Builder", x: Any, count: int) -> None:
    """Raises Unsupported where there are not `count` channels to take the maximum over."""
    if not 1 <= count <= x.shape[1]:
        raise b.unsupported("max_channels of {} channels to {}".format(x.shape[1], count))


def softmax_runs(b: "Builder", x: Any, groups: int, spatial: bool) -> Tuple[Any, int, int, int]:
    """The shape [N, groups, what is normalised, pixels] of a softmax. Raises Unsupported."""
    area = int(x.shape[2]) * int(x.shape[3])
    count = int(x.shape[1]) * (1 if spatial else area)
    if groups < 1 or count % groups:
        raise b.unsupported("softmax of {} values in {} groups".format(count, groups))
    return x.shape[0], groups, count // groups, area if spatial else 1


def lrn_window(channels: int, size: int) -> np.ndarray:
    """float32 [channels, channels]: how often the sum of each channel takes in each square (Builder.lrn): once within
    the window, and once less of channel size // 2, which every reader misses."""
    distance = np.arange(channels) - np.arange(channels)[:, None]
    weight = ((distance >= -((size - 1) // 2)) & (distance <= size // 2)).astype(np.float32)
    weight[:, size // 2 : size // 2 + 1] -= 1
    return weight
