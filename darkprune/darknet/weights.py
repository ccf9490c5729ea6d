"""The `.weights` file: a header of 16 or 20 bytes and raw little-endian float32, read piece by piece.

No size is ever taken from the file: a reader asks for as many floats as its cfg implies, after the file's
size was compared with the sum of them.
"""

import hashlib
import os
import struct
from typing import NamedTuple, Optional, Tuple

import numpy as np

from darkprune.errors import WeightsError, place

FLOAT = np.dtype("<f4")
_CHUNK = 4 << 20  # bytes per step when a whole file is scanned

_Header = NamedTuple(
    "_Header",
    [("major", int), ("minor", int), ("revision", int), ("seen", int), ("wide", bool)],
)


class Header(_Header):
    """Version, images seen in training, and whether `seen` takes 8 bytes (else 4)."""

    __slots__ = ()

    @property
    def transposed(self) -> bool:
        """Whether matrices of fully connected layers are stored [inputs][outputs] (files of 2015-16)."""
        return self.major > 1000 or self.minor > 1000

    @property
    def size(self) -> int:
        """Bytes the header takes in a file."""
        return 20 if self.wide else 16

    def to_bytes(self) -> bytes:
        """The header as it stands in a file."""
        return struct.pack("<iii" + ("Q" if self.wide else "I"), *self[:4])


NEW_HEADER = Header(0, 2, 5, 0, True)


def parse_header(data: bytes, path: str) -> Header:
    """The header at the start of a file. Raises WeightsError when fewer bytes are there than it needs."""
    if len(data) >= 12:
        major, minor, revision = struct.unpack("<iii", data[:12])
        wide = major * 10 + minor >= 2 and major < 1000 and minor < 1000
        if len(data) >= (20 if wide else 16):
            seen = struct.unpack("<Q" if wide else "<I", data[12 : 20 if wide else 16])[0]
            return Header(major, minor, revision, seen, wide)
    cause = "the file is empty" if not data else "the file ends inside its header, at byte {}".format(len(data))
    raise WeightsError(cause, place(path), "copy or download the file again")


class WeightsFile:
    """An opened weights file: its header and its floats, read on demand.

    Attributes: path, size (bytes), header, floats (number of float32 behind the header).
    """

    __slots__ = ("path", "size", "header", "floats", "_fingerprint")

    def __init__(self, path: str) -> None:
        self.path = str(path)
        try:
            with open(self.path, "rb") as stream:
                self.size = os.fstat(stream.fileno()).st_size
                start = stream.read(128)
        except (IOError, OSError) as error:
            raise WeightsError(
                "cannot read the weights: {}".format(error.strerror), place(path), "check the path"
            ) from error
        _refuse_text(start, self.path)
        self.header = parse_header(start, self.path)
        extra = (self.size - self.header.size) % 4
        self.floats = (self.size - self.header.size) // 4
        self._fingerprint: Optional[str] = None
        if extra:
            raise WeightsError(
                "{} byte{} behind the last whole float, at byte {}".format(
                    extra, "" if extra == 1 else "s", self.size - extra
                ),
                place(path),
                "the file was cut or is not a Darknet weights file; copy it again",
            )

    def read(self, start: int, shape: Tuple[int, ...]) -> np.ndarray:
        """A fresh float32 array of `shape` from float number `start` on. Raises WeightsError at the file's end."""
        count = 1
        for length in shape:
            count *= length
        if start + count > self.floats:
            raise WeightsError("floats {}..{} lie behind the file's end".format(start, start + count), place(self.path))
        with open(self.path, "rb") as stream:
            stream.seek(self.header.size + 4 * start)
            data = np.fromfile(stream, FLOAT, count)
        if data.size != count:
            raise WeightsError("the file shrank while it was read", place(self.path), "read it when no one writes it")
        return data.reshape(shape)

    def fingerprint(self) -> str:
        """SHA-256 of the floats, in hexadecimal. Raises WeightsError naming the byte of a nan or infinity."""
        if self._fingerprint is None:
            self._fingerprint = self._scan()
        return self._fingerprint

    def _scan(self) -> str:
        digest = hashlib.sha256()
        buffer = bytearray(_CHUNK)
        zeros = np.zeros(_CHUNK // 4, FLOAT)
        with open(self.path, "rb") as stream:
            stream.seek(self.header.size)
            done = 0
            while True:
                count = stream.readinto(buffer)
                if not count:
                    break
                digest.update(memoryview(buffer)[:count])
                values = np.frombuffer(buffer, FLOAT, count // 4)
                with np.errstate(invalid="ignore"):
                    clean = float(np.dot(values, zeros[: values.size])) == 0.0  # inf * 0 and nan * 0 are nan
                if not clean:
                    self._refuse_nonfinite(values, done)
                done += count
        return digest.hexdigest()

    def _refuse_nonfinite(self, values: np.ndarray, done: int) -> None:
        bad = np.flatnonzero(~np.isfinite(values))
        first = int(bad[0])
        raise WeightsError(
            "value {} at byte {} (float {})".format(
                values[first], self.header.size + done + 4 * first, done // 4 + first
            ),
            place(self.path),
            "training diverged or the file is damaged; use an earlier backup",
        )


def _refuse_text(start: bytes, path: str) -> None:
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError("this is a Git LFS pointer, not the weights", place(path), "run: git lfs pull")
    if b"\0" in start or len(start) < 20:
        return  # a header holds small numbers, and so zeros
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] in (b"[", b"#", b";"):
        cause, cure = "this is a text file, not weights", "the order is CFG WEIGHTS; are they swapped?"
    elif text[:1] == b"<":
        cause, cure = "this is a web page, not weights", "download the file itself, not the page that offers it"
    else:
        cause, cure = (
            "this is no Darknet weights file: something else stands in its header",
            "give the .weights that Darknet wrote",
        )
    raise WeightsError(cause, place(path), cure)
