"""Captures that change another's frames."""

from typing import Callable, Optional

from darkprune.detect.image_file import import_cv2
from darkprune.video.capture import Capture, Frame


class _Wrapped(Capture):
    def __init__(self, inner: Capture) -> None:
        self.inner, self.source, self.live = inner, inner.source, inner.live
        self.width, self.height, self.fps = inner.width, inner.height, inner.fps

    @property
    def dropped(self) -> int:  # type: ignore[override]
        return self.inner.dropped

    def close(self) -> None:
        self.inner.close()


class Resized(_Wrapped):
    """Frames scaled to a size, whatever their proportions."""

    def __init__(self, inner: Capture, width: int, height: int) -> None:
        super(Resized, self).__init__(inner)
        self.width, self.height = width, height
        self._cv2 = import_cv2()

    def read(self, stop: Callable[[], bool] = lambda: False) -> Optional[Frame]:
        frame = self.inner.read(stop)
        if frame is None:
            return None
        return frame._replace(pixels=self._cv2.resize(frame.pixels, (self.width, self.height)))


class Looped(_Wrapped):
    """A file that begins anew at its end.

    Args: reopen: opens it again.
    """

    def __init__(self, inner: Capture, reopen: Callable[[], Capture]) -> None:
        super(Looped, self).__init__(inner)
        self._reopen = reopen
        self._before: Optional[Frame] = None  # the last frame of the rounds before
        self._last: Optional[Frame] = None

    def read(self, stop: Callable[[], bool] = lambda: False) -> Optional[Frame]:
        frame = self.inner.read(stop)
        if frame is None and not stop():
            self.inner.close()
            self.inner, self._before = self._reopen(), self._last
            frame = self.inner.read(stop)
        if frame is None:
            return None
        if self._before is not None:
            step = 1 / (self.fps or 25.0)
            number, seconds = self._before.number + frame.number, self._before.seconds + step + frame.seconds
            frame = frame._replace(number=number, seconds=seconds)
        self._last = frame
        return frame
