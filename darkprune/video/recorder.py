"""Frames into a video file, which can be played whatever ends the recording.

OpenCV's writer does not tell of errors, so that this looks after the free space itself: it stops while there is still
room for the end of the file, without which no player takes it, and reads the file back when it is closed.
"""

import os
import shutil
from contextlib import suppress
from typing import Any, Optional, Sequence

import numpy as np

from darkprune.darknet.pair import require_writable
from darkprune.detect.image_file import import_cv2
from darkprune.errors import OutputError, UsageError, place

# Container -> codec: MPEG-4 part 2 and Motion JPEG are in every OpenCV and in every player.
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
FASTEST = 30.0  # frames a second of a recorded camera: each is written until the next one is there
DEFAULT_FPS = 25.0  # of a file that does not say
_RESERVE = 1 << 20  # bytes that stay free for the file's end and the writer's buffers
_INDEX = 64  # bytes at most that a frame takes there


class Recorder:
    """Writes a video beside its target, under whose name it is put when it is closed; to be closed.

    Args:
        path: its suffix says the container. fps: what it is played at. inputs, overwrite: as of `write_file`.

    Raises OutputError, UsageError for another suffix, MissingDependency without OpenCV.
    """

    def __init__(self, path: str, fps: float, inputs: Sequence[str] = (), overwrite: bool = False) -> None:
        require_container(path)
        require_writable(path, inputs, overwrite)
        self._cv2 = import_cv2()
        self.path, self.fps = path, fps
        self.frames = 0
        stem, suffix = os.path.splitext(path)
        self._part = "{}.part-{}{}".format(stem, os.getpid(), suffix)
        self._check = (tuple(inputs), overwrite)
        self._writer: Optional[Any] = None
        self._size = (0, 0)

    def write(self, pixels: np.ndarray) -> None:
        """One more frame, uint8 [H, W, 3], RGB; of another size than the first it is scaled to that.

        Raises OutputError where no space is left for it.
        """
        if self._writer is None:
            self._open(pixels)
        if (pixels.shape[1], pixels.shape[0]) != self._size:
            pixels = self._cv2.resize(pixels, self._size)
        if self._room() < _RESERVE + 2 * self._size[0] * self._size[1] * 3 + _INDEX * self.frames:
            cause = "no space is left for the video, which ends after frame {}".format(self.frames)
            hint = "make room or write elsewhere" + ("; what was recorded can be played" if self.frames else "")
            raise OutputError(cause, place(self.path), hint)
        self._writer.write(self._cv2.cvtColor(pixels, self._cv2.COLOR_RGB2BGR))  # type: ignore[union-attr]
        self.frames += 1

    def write_until(self, pixels: np.ndarray, seconds: float) -> None:
        """The frame as often as it takes to fill the file up to that time, so that it plays as fast as it was taken."""
        while self.frames <= seconds * self.fps:
            self.write(pixels)

    def close(self) -> None:
        """Finishes the file and puts it in place; nothing where no frame was written. May be called twice.

        Raises OutputError where the file cannot be read back: the disk had less room than it said.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.release()
        try:
            if not self.frames:
                return
            if not self._playable():
                cause = "the video could not be written: OpenCV cannot read it back"
                raise OutputError(cause, place(self.path), "is the disk full, or the folder gone?")
            require_writable(self.path, *self._check)
            os.replace(self._part, self.path)
        finally:
            with suppress(OSError):
                os.remove(self._part)

    def _open(self, pixels: np.ndarray) -> None:
        codec = CODECS[os.path.splitext(self.path)[1].lower()]
        self._size = (pixels.shape[1], pixels.shape[0])
        fourcc = self._cv2.VideoWriter_fourcc(*codec)
        self._writer = self._cv2.VideoWriter(self._part, fourcc, float(self.fps), self._size)
        if not self._writer.isOpened():
            cause = "OpenCV cannot write a video of {} x {} pixels here".format(*self._size)
            raise OutputError(cause, place(self.path), "try an .avi file, and look whether the disk is full")

    def _room(self) -> int:
        """Bytes that the file may still grow by."""
        room = shutil.disk_usage(os.path.dirname(self.path) or os.curdir).free
        limit = _size_limit()
        if limit is not None and os.path.exists(self._part):
            room = min(room, limit - os.path.getsize(self._part))
        return room

    def _playable(self) -> bool:
        grabber = self._cv2.VideoCapture(self._part)
        try:
            return bool(grabber.isOpened() and grabber.read()[0])
        finally:
            grabber.release()


def require_container(path: str) -> None:
    """Raises UsageError for a suffix that no video is written with."""
    if os.path.splitext(path)[1].lower() not in CODECS or os.path.isdir(path):
        known = ", ".join(sorted(CODECS))
        raise UsageError("-o names no video file", place(path), "name a file that ends in {}".format(known))


def _size_limit() -> Optional[int]:
    """The most bytes that this process may write into a file (ulimit -f); None where there is no such limit."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
