"""From an image to the values a net takes, as Darknet computes them, and boxes back to the image."""

from typing import Iterator, List, NamedTuple, Tuple

import numpy as np

from darkprune.detect.image_file import MOST_PIXELS, read_image
from darkprune.errors import UsageError
from darkprune.graph.net import Net

_CHANNELS = "the net takes {} channels, an image has 1 or 3"
_CHANNELS_HINT = "channels in [net] says what the net was made for"

_Fit = NamedTuple(
    "_Fit",
    [
        ("width", int),  # of the image, in pixels
        ("height", int),
        ("left", float),  # where the image begins in the net's input, as a share of it: 0 unless letterboxed
        ("top", float),
        ("across", float),  # the share of the input that it fills: 1 unless letterboxed
        ("down", float),
    ],
)


class Fit(_Fit):
    """How an image lies in the net's input."""

    __slots__ = ()

    def relative(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes [n, 4] of cx, cy, w, h as shares of the net's input -> as shares of the image."""
        return (boxes - (self.left, self.top, 0, 0)) / (self.across, self.down, self.across, self.down)

    def pixels(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes [n, 4] of cx, cy, w, h as shares of the net's input -> left, top, width, height in image pixels."""
        boxes = self.relative(boxes)
        boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
        return boxes * (self.width, self.height, self.width, self.height)


def require_image_input(net: Net) -> None:
    """Raises UsageError for a net that takes no image: flat values, or other than 1 or 3 channels."""
    shape = net.input.shape
    if not shape.c:
        cause = "the net takes {} flat values, not an image".format(shape.outputs)
        raise UsageError(cause, net.config.place(), "images need a net with a width and height")
    if shape.c not in (1, 3):
        raise UsageError(_CHANNELS.format(shape.c), net.config.place("channels"), _CHANNELS_HINT)


def prepare(
    pixels: np.ndarray, width: int, height: int, channels: int = 3, letterbox: bool = False
) -> Tuple[np.ndarray, Fit]:
    """An image as a net of that input size takes it.

    Args:
        pixels: uint8 [H, W, 3], RGB.
        channels: 3, or 1 for grey.
        letterbox: keep the image's proportions, with grey at two sides (`-letter_box`), instead of stretching it.

    Returns:
        float32 [channels, height, width] of 0..1, and the Fit that leads boxes back. Raises UsageError for other
        channels.
    """
    if channels not in (1, 3):
        raise UsageError(_CHANNELS.format(channels), hint=_CHANNELS_HINT)
    if channels == 1:
        pixels = grey(pixels)
    rows, columns = pixels.shape[:2]
    if not letterbox:
        return _planes(resize(pixels, width, height)), Fit(columns, rows, 0.0, 0.0, 1.0, 1.0)
    if np.float32(width) / np.float32(columns) < np.float32(height) / np.float32(rows):
        across, down = width, max(1, rows * width // columns)
    else:
        across, down = max(1, columns * height // rows), height
    canvas = np.full((height, width, channels), 0.5, np.float32)
    left, top = (width - across) // 2, (height - down) // 2
    canvas[top : top + down, left : left + across] = resize(pixels, across, down)
    # Darknet leads boxes back from an unrounded half margin
    fit = Fit(columns, rows, (width - across) / 2 / width, (height - down) / 2 / height, across / width, down / height)
    return _planes(canvas), fit


def centre(pixels: np.ndarray, width: int, height: int, channels: int = 3) -> np.ndarray:
    """The middle of an image as Darknet's classifiers take it: the shorter side is scaled to `width`, and width x
    height cut out; where the image ends before, its last row or column is repeated.

    Args:
        pixels: uint8 [H, W, 3], RGB.

    Returns:
        float32 [channels, height, width] of 0..1. Raises UsageError for other than 1 or 3 channels, and for an image
        so narrow that scaling it makes it huge.
    """
    if channels not in (1, 3):
        raise UsageError(_CHANNELS.format(channels), hint=_CHANNELS_HINT)
    rows, columns = pixels.shape[:2]
    across, down = columns * width // min(rows, columns), rows * width // min(rows, columns)
    if across * down > MOST_PIXELS:
        cause = "an image of {} x {} pixels is too narrow to cut its middle out".format(columns, rows)
        raise UsageError(cause, hint="cut it to a squarer one")
    scaled = resize(grey(pixels) if channels == 1 else pixels, across, down)
    y = np.arange(height) + _half(scaled.shape[0] - height)
    x = np.arange(width) + _half(scaled.shape[1] - width)
    cut = scaled[np.clip(y, 0, scaled.shape[0] - 1)][:, np.clip(x, 0, scaled.shape[1] - 1)]
    return np.ascontiguousarray(cut.transpose(2, 0, 1))


def _half(number: int) -> int:
    """As C divides by 2."""
    return int(number / 2)


def grey(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 1] from RGB, with the weights of stb_image, which Darknet reads files with."""
    weighted = pixels.astype(np.uint32) * np.array([77, 150, 29], np.uint32)
    return (weighted.sum(axis=2, keepdims=True) >> 8).astype(np.uint8)


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """float32 [height, width, C] of 0..1 from uint8 [H, W, C]: Darknet's bilinear `resize_image`.

    Corners map to corners: output column c looks at column c (W - 1) / (width - 1), in float32, as in Darknet; so
    rounding may leave the last row almost no weight, and then it is dark there too.
    """
    rows, columns, channels = pixels.shape
    if (rows, columns) == (height, width):
        return _unit(pixels)
    first, second, share = _taps(columns, width)
    last = np.arange(width) == width - 1
    first[last], second[last], share[last] = columns - 1, columns - 1, 0  # only of columns: rows end otherwise
    above, below, part = _taps(rows, height)
    needed, place = np.unique(np.concatenate([above, below]), return_inverse=True)
    strip = pixels[needed].reshape(len(needed), -1)
    share, part = np.repeat(share, channels), part[:, None]
    across = _unit(strip.take(_values(first, channels), axis=1)) * (1 - share)
    across += _unit(strip.take(_values(second, channels), axis=1)) * share
    result = across[place[:height]] * (1 - part)
    result[:-1] += across[place[height:]][:-1] * part[:-1]
    return result.reshape(height, width, channels)


def _unit(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(255)


def _values(columns: np.ndarray, channels: int) -> np.ndarray:
    """Where the values of those columns stand in a row."""
    return (columns[:, None] * channels + np.arange(channels)).reshape(-1)


def _taps(old: int, new: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `new` positions: the two of `old` it lies between, and the second's share, float32."""
    if old == 1 or new == 1:
        zeros = np.zeros(new, np.intp)
        return zeros, zeros.copy(), np.zeros(new, np.float32)
    spot = np.arange(new, dtype=np.float32) * (np.float32(old - 1) / np.float32(new - 1))
    first = np.minimum(spot.astype(np.intp), old - 1)
    return first, np.minimum(first + 1, old - 1), spot - first.astype(np.float32)


def _planes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def load_image(path: str, width: int, height: int, channels: int = 3) -> np.ndarray:
    """float32 [1, channels, height, width], RGB, 0..1: the file at `path`, stretched. Errors as `read_image` and
    `prepare`."""
    return prepare(read_image(path), width, height, channels)[0][None]


def batches(net: Net, files: List[str], size: int, letterbox: bool) -> Iterator[np.ndarray]:
    """The images as float32 [n,C,H,W] of the net's input, at most `size` at once."""
    shape = net.input.shape
    for start in range(0, len(files), size):
        pixels = [read_image(path) for path in files[start : start + size]]
        yield np.stack([prepare(image, shape.w, shape.h, shape.c, letterbox)[0] for image in pixels])
