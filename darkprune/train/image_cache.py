"""Decoded images kept in memory that processes forked later share: each image is decoded once, by whoever needs it."""

import mmap
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from darkprune.detect.image_file import declared_size, import_cv2, read_image
from darkprune.detect.preprocess import grey
from darkprune.errors import UsageError, place

cv2 = import_cv2()

HEADER = 1 << 16  # bytes in which a file says how large its image is; those that say it later are not kept
LARGE = 6  # times the net's input
MOST_SIDE = 32766  # pixels; OpenCV's warp takes no longer rows and columns


class ImageCache:
    """Images as arrays, uint8 [H, W, channels], RGB or grey, with their mean colours.

    An image of which both sides are at least 6 times those of the net's input is halved (means of 2 x 2 pixels) until
    they are not: what is left is at least 3 times as large as needed. Boxes are shares of the image, so that nothing
    changes for them; the pixels are smoother than those that Darknet's bilinear resize would pick out. Smaller images
    keep every pixel.

    Args:
        paths: of the images.
        channels: 3, or 1 for grey.
        size: width and height of the net's input.
        limit: bytes to keep at most. The first images are kept until it is reached; the others are decoded each time.
    """

    def __init__(self, paths: Sequence[str], channels: int, size: Tuple[int, int], limit: int) -> None:
        self.paths = list(paths)
        self.channels, self._size = channels, size
        self._spots: List[Optional[Tuple[int, int, int]]] = [None] * len(self.paths)  # (offset, rows, columns)
        end = 0
        for number, path in enumerate(self.paths):
            shape = _declared(path) if end < limit else None
            if shape is None:
                continue
            rows, columns = self._halved(*shape)
            if end + rows * columns * channels <= limit:
                self._spots[number] = end, rows, columns
                end += rows * columns * channels
        self.bytes = end
        self._pixels = _shared(end, np.uint8)
        self._means = _shared(len(self.paths) * channels, np.float64).reshape(len(self.paths), channels)
        self._there = _shared(len(self.paths), np.uint8)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Tuple[np.ndarray, Tuple[float, ...]]:
        """The image, which must not be written to, and the mean of each channel. Errors as
        `read_image`, and UsageError for one that is too long for OpenCV."""
        spot = self._spots[number]
        if spot is None:
            pixels = self._decode(number)
            return pixels, self._mean(pixels)
        start, rows, columns = spot
        kept = self._pixels[start : start + rows * columns * self.channels].reshape(rows, columns, self.channels)
        if not self._there[number]:
            pixels = self._decode(number)
            if pixels.shape != kept.shape:  # the file's header told another size
                self._spots[number] = None
                return pixels, self._mean(pixels)
            kept[:], self._means[number] = pixels, self._mean(pixels)
            self._there[number] = 1  # last: another process reads only what is whole
        return kept, tuple(self._means[number].tolist())

    def decoded(self) -> int:
        """How many images are kept by now."""
        return int(self._there.sum())

    def _mean(self, pixels: np.ndarray) -> Tuple[float, ...]:
        return tuple(cv2.mean(pixels)[: self.channels])

    def _decode(self, number: int) -> np.ndarray:
        pixels = read_image(self.paths[number])
        rows, columns = self._halved(*pixels.shape[:2])
        if max(rows, columns) > MOST_SIDE:
            cause = "the image has {} x {} pixels, more than {} a side".format(columns, rows, MOST_SIDE)
            raise UsageError(cause, place(self.paths[number]), "cut the image, or scale it down")
        if (rows, columns) != pixels.shape[:2]:
            whole = pixels[: rows * (pixels.shape[0] // rows), : columns * (pixels.shape[1] // columns)]
            pixels = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
        return grey(pixels) if self.channels == 1 else pixels

    def _halved(self, rows: int, columns: int) -> Tuple[int, int]:
        while columns >= LARGE * self._size[0] and rows >= LARGE * self._size[1]:
            rows, columns = rows // 2, columns // 2
        return rows, columns


def _shared(length: int, kind: Any) -> np.ndarray:
    """Zeros in memory that this process shares with those forked from it; the system gives it as it is written to."""
    size = np.dtype(kind).itemsize * length
    return np.frombuffer(mmap.mmap(-1, max(1, size)), kind, length)


def _declared(path: str) -> Optional[Tuple[int, int]]:
    """(rows, columns) from the start of the file."""
    try:
        with open(path, "rb") as stream:
            size = declared_size(stream.read(HEADER))
    except OSError:
        return None  # whoever asks for the image is told
    return None if size is None else (size[1], size[0])
