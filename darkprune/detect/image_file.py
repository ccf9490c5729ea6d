"""Image files: read with OpenCV, bounded before they are decoded."""

import struct
from typing import Any, Optional, Tuple

import numpy as np

from darkprune.errors import MissingDependency, UsageError, place

MOST_BYTES = 1 << 29  # of a file
MOST_PIXELS = 1 << 28  # of an image: 800 MB as RGB; the largest cameras take 2e8 pixels

_SMALLER = "scale the image down"


def read_image(path: str) -> np.ndarray:
    """The image as uint8 [H, W, 3], RGB. As in Darknet, an orientation in the EXIF data turns nothing.

    Raises MissingDependency without OpenCV, UsageError for a file that is not there, no image, or a huge one.
    """
    cv2 = import_cv2()
    data = read_bytes(path)
    size = declared_size(data)
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        cause = "the image has {} x {} pixels, more than {}".format(size[0], size[1], MOST_PIXELS)
        raise UsageError(cause, place(path), _SMALLER)
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        raise UsageError("OpenCV cannot decode the image", place(path), _SMALLER) from error
    if pixels is None:
        cause = "cannot read the image: the file is empty" if not data else "cannot read the image"
        raise UsageError(cause, place(path), "give a JPEG, PNG or BMP file")
    return np.ascontiguousarray(pixels[:, :, ::-1])


def declared_size(data: bytes) -> Optional[Tuple[int, int]]:
    """(width, height) that the header of a JPEG, PNG or BMP file declares; None for anything else."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if data[:2] == b"BM" and len(data) >= 26:
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(width), abs(height)  # a negative height turns the rows over
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    return None


def _jpeg_size(data: bytes) -> Optional[Tuple[int, int]]:
    """From the frame header (markers SOF0 to SOF15; ITU-T T.81, B.1.1 and B.2.2)."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD8
        at += 2 if alone else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def read_bytes(path: str) -> bytes:
    """What the file holds. Raises UsageError where that cannot be read, or is too much for an image."""
    try:
        with open(str(path), "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError("cannot read the image: {}".format(error.strerror), place(path), "check the path") from error
    if len(data) > MOST_BYTES:
        raise UsageError("the image file has more than {} bytes".format(MOST_BYTES), place(path), _SMALLER)
    return data


def encode(pixels: np.ndarray, suffix: str) -> bytes:
    """An image file from uint8 [H, W, 3], RGB. Raises UsageError for a suffix that OpenCV writes no files of."""
    cv2 = import_cv2()
    try:
        done, data = cv2.imencode(suffix, pixels[:, :, ::-1])
    except cv2.error:
        done = False
    if not done:
        raise UsageError("OpenCV writes no {} files".format(suffix), hint="use .jpg, .png or .bmp")
    return bytes(data.tobytes())


def import_cv2() -> Any:
    """OpenCV. Raises MissingDependency where it is not installed."""
    try:
        import cv2
    except ImportError:
        raise MissingDependency("reading an image needs OpenCV", hint='pip install "opencv-python>=4.1,<5"') from None
    return cv2
