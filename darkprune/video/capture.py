"""Frames of a source: all of a file in order; of a camera the newest one, however slow the reader is."""

import threading
import time
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from darkprune.detect.image_file import import_cv2, read_image
from darkprune.errors import SourceError, place
from darkprune.video import mp4
from darkprune.video.source import PIPELINE, Source, shown

PATIENCE = 10.0  # seconds without a frame after which a camera counts as dead
LEAVE = 1.5  # seconds that a camera which hangs is given to end
TICK = 0.05  # seconds between two looks at whether to stop
_COUNTED = (".mp4", ".m4v", ".mov", ".avi")  # containers whose header holds the number of frames
_SHARE = 0.9  # of these frames must come, else the file is damaged

Frame = NamedTuple(
    "Frame",
    [
        ("number", int),  # 1 for the source's first one; numbers are missing where frames were dropped
        ("seconds", float),  # since the first: by the file's rate, or as it came from the camera
        ("pixels", np.ndarray),  # uint8 [H, W, 3], RGB
    ],
)


class Capture:
    """Where frames come from; to be closed. A context manager.

    Attributes:
        source: the Source. live: whether frames come at their own pace. fps: the source's rate, None where unknown.
        dropped: how many frames nobody read. width, height: of the first frame, in pixels.
    """

    live = False

    def __init__(self, source: Source, first: np.ndarray, fps: Optional[float]) -> None:
        self.source = source
        self.height, self.width = first.shape[:2]
        self.fps = fps if fps is not None and 0 < fps <= 1000 else None
        self.dropped = 0

    def read(self, stop: Callable[[], bool] = lambda: False) -> Optional[Frame]:
        """The next frame, or None at the end, or when `stop` says so while it waits. Raises SourceError."""
        raise NotImplementedError("{}.read".format(type(self).__name__))

    def close(self) -> None:
        """Gives the file or camera back; may be called twice."""

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileCapture(Capture):
    """Every frame of a file, in order. Raises SourceError where it ends long before its header says.

    Args: grabber: a cv2.VideoCapture of it, open. first: its first frame, BGR.
    """

    def __init__(self, source: Source, grabber: Any, first: np.ndarray) -> None:
        cv2 = import_cv2()
        super(FileCapture, self).__init__(source, first, grabber.get(cv2.CAP_PROP_FPS))
        counted = source.target.lower().endswith(_COUNTED)
        self.count = int(max(0, grabber.get(cv2.CAP_PROP_FRAME_COUNT))) if counted else 0
        played = mp4.seconds(source.target) if self.count and self.fps else None
        if played is not None:
            self.count = min(self.count, int(played * (self.fps or 0)))
        self._grabber, self._number = grabber, 0
        self._next: Optional[np.ndarray] = first

    def read(self, stop: Callable[[], bool] = lambda: False) -> Optional[Frame]:
        if self._next is None:
            if self._number < _SHARE * self.count:
                cause = "the video ends after frame {} of {}: it is damaged".format(self._number, self.count)
                raise SourceError(cause, place(self.source.target), "copy it anew, or have ffmpeg mend it")
            return None
        pixels, self._number = rgb(self._next), self._number + 1
        self._next = _grab(self._grabber)
        return Frame(self._number, (self._number - 1) / (self.fps or 25.0), pixels)

    def close(self) -> None:
        self._grabber.release()


class StillCapture(Capture):
    """One image, again and again."""

    def __init__(self, source: Source) -> None:
        self._pixels, self._number = read_image(source.target), 0
        super(StillCapture, self).__init__(source, self._pixels, None)
        self._start = time.perf_counter()

    def read(self, stop: Callable[[], bool] = lambda: False) -> Optional[Frame]:
        self._number += 1
        return Frame(self._number, time.perf_counter() - self._start, self._pixels)


class LiveCapture(Capture):
    """The newest frame of a camera. From the first `read` on a thread takes them all, so that none waits in a queue.

    Args: grabber: has `read` and `release` of cv2.VideoCapture, and is open. first: its first frame, BGR,
            which by the first `read` is too old to be shown.
    """

    live = True

    def __init__(self, source: Source, grabber: Any, first: np.ndarray, fps: Optional[float] = None) -> None:
        super(LiveCapture, self).__init__(source, first, fps)
        self._grabber = grabber
        self._changed = threading.Condition()
        self._start: Optional[float] = None
        self._slot: Optional[Frame] = None
        self._number = 0
        self._stopping = self._ended = False
        self._error: Optional[Exception] = None
        self._thread = threading.Thread(target=self._watch, name="capture", daemon=True)

    def read(self, stop: Callable[[], bool] = lambda: False) -> Optional[Frame]:
        if self._thread.ident is None:
            self._thread.start()
        latest = time.perf_counter() + PATIENCE
        with self._changed:
            while self._slot is None and not self._ended:
                if stop():
                    return None
                if time.perf_counter() > latest:
                    raise self._stopped("no frame came for {:g} seconds".format(PATIENCE))
                self._changed.wait(TICK)
            frame, self._slot = self._slot, None
        if frame is not None:
            return frame._replace(pixels=rgb(frame.pixels))
        if self._error is not None:
            raise self._stopped("OpenCV failed: {}".format(self._error)) from self._error
        if self.source.kind != PIPELINE and not self._stopping:
            raise self._stopped("it sends nothing any more")
        return None

    def close(self) -> None:
        """Waits for the thread, which releases the camera; where the camera hangs, no longer than LEAVE."""
        self._stopping = True
        if self._thread.ident is None:
            self._grabber.release()
        else:
            self._thread.join(LEAVE)

    def _watch(self) -> None:
        try:
            while not self._stopping:
                pixels = _grab(self._grabber)
                if pixels is None:
                    break
                self._put(pixels)
        except Exception as error:  # told to who reads
            self._error = error
        finally:
            self._grabber.release()  # here, since a release beside a read may crash
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, pixels: np.ndarray) -> None:
        now = time.perf_counter()
        with self._changed:
            self._start = now if self._start is None else self._start
            self.dropped += self._slot is not None
            self._number += 1
            self._slot = Frame(self._number, now - self._start, pixels)
            self._changed.notify_all()

    def _stopped(self, why: str) -> SourceError:
        cause = "the camera stopped after frame {}: {}".format(self._number, why)
        return SourceError(cause, place(shown(self.source)), "is it plugged in, and its connection stable?")


def _grab(grabber: Any) -> Optional[np.ndarray]:
    """The next frame, or None."""
    done, pixels = grabber.read()
    return pixels if done else None


def rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] RGB from OpenCV's BGR, or from [H, W] grey."""
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, ::-1])
