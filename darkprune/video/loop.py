"""Frames through one detector or several, and on to sinks: a recording, a log, a window."""

import time
from typing import Callable, List, NamedTuple, Optional, Sequence

import numpy as np

from darkprune.detect.detector import Detection, Detector, Times
from darkprune.detect.draw import draw
from darkprune.detect.results import visible
from darkprune.evaluate.energy import Meter
from darkprune.video import overlay
from darkprune.video.capture import Capture, Frame

Side = NamedTuple(
    "Side",
    [
        ("title", str),  # shown above it where there are several
        ("objects", List[Detection]),
        ("times", Times),
        ("fps", Optional[float]),  # from end to end, had this detector been the only one
    ],
)

Summary = NamedTuple(
    "Summary",
    [
        ("frames", int),
        ("dropped", int),
        ("seconds", float),  # from the first frame to the end, all sinks included
        ("fps", List[float]),  # of each detector, over all frames but the first
        ("times", List[Times]),  # means over the same frames
    ],
)


class Shot:
    """A frame and what was found in it.

    Attributes: frame. sides: a Side for each detector. names: of the classes. dropped: frames that nobody saw so far.
        watts: what the machine draws, or None.
    """

    def __init__(
        self, frame: Frame, sides: Sequence[Side], names: Sequence[str], dropped: int, watts: Optional[float]
    ) -> None:
        self.frame, self.sides, self.names = frame, list(sides), names
        self.dropped, self.watts = dropped, watts
        self._picture: Optional[np.ndarray] = None

    def picture(self) -> np.ndarray:
        """The frame with boxes, rates and times, uint8 RGB; of several detectors, side by side. Drawn once."""
        if self._picture is None:
            self._picture = np.concatenate([self._drawn(side) for side in self.sides], axis=1)
        return self._picture

    def _drawn(self, side: Side) -> np.ndarray:
        drawn = draw(self.frame.pixels, side.objects, self.names)
        overlay.write_lines(drawn, overlay.lines(side.fps, side.times, self.watts, side.title))
        return drawn


class Sink:
    """Takes what was seen, shot by shot; to be closed."""

    def take(self, shot: Shot) -> bool:
        """Whether to go on. Raises OutputError where it cannot be written."""
        raise NotImplementedError("{}.take".format(type(self).__name__))

    def close(self) -> None:
        """Finishes what was written; may be called twice."""


class Loop:
    """Runs detectors on every frame.

    Args:
        detectors: all of the same classes. titles: their names, where there are several.
        names: of the classes. meter: of `find_meter`, or None.
        stop: whether to end; asked between frames and while a camera is waited for.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        names: Sequence[str],
        titles: Sequence[str] = ("",),
        meter: Optional[Meter] = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.detectors, self.titles, self.names = list(detectors), list(titles), names
        self.meter, self.stop = meter, stop
        self._rates = [overlay.FrameRate() for _ in detectors]
        self._spent = [_Spent() for _ in detectors]

    def run(self, capture: Capture, sinks: Sequence[Sink], frames: Optional[int] = None) -> Summary:
        """Goes on until the source ends, a sink or `stop` says so, or so many frames are done.

        Raises SourceError and OutputError; the summary of what was done by then is `summary`.
        """
        self._capture, self._done = capture, 0
        self._start = self._last = time.perf_counter()
        going = True
        while going and not self.stop() and (frames is None or self._done < frames):
            frame = capture.read(self.stop)
            if frame is None:
                break
            shot = self._look(frame)
            going = all([sink.take(shot) for sink in sinks])
            self._done += 1
            self._count(shot)
        return self.summary()

    def summary(self) -> Summary:
        """What was done so far."""
        seconds = time.perf_counter() - self._start
        fps, times = [spent.fps() for spent in self._spent], [spent.times() for spent in self._spent]
        return Summary(self._done, self._capture.dropped, seconds, fps, times)

    def _look(self, frame: Frame) -> Shot:
        sides = []
        for detector, title, rate in zip(self.detectors, self.titles, self._rates):
            objects = visible(detector.detect([frame.pixels])[0], self.names)
            sides.append(Side(title, objects, detector.times, rate.fps))
        return Shot(frame, sides, self.names, self._capture.dropped, self._watts())

    def _watts(self) -> Optional[float]:
        try:
            return self.meter.watts() if self.meter is not None else None
        except (OSError, ValueError):
            return None  # a driver that fails now and then stops no camera

    def _count(self, shot: Shot) -> None:
        """The time of this frame, from the end of the one before; another detector's part is not a side's own."""
        now = time.perf_counter()
        interval, self._last = now - self._last, now
        if self._done == 1:
            return  # the first one warms up
        all_sides = sum(sum(side.times) for side in shot.sides)
        for side, rate, spent in zip(shot.sides, self._rates, self._spent):
            own = interval - all_sides + sum(side.times)
            rate.add(own)
            spent.add(own, side.times)


class _Spent:
    """Times of a detector, added up."""

    def __init__(self) -> None:
        self.frames, self.seconds, self.sums = 0, 0.0, Times(0.0, 0.0, 0.0)

    def add(self, seconds: float, times: Times) -> None:
        self.frames, self.seconds = self.frames + 1, self.seconds + seconds
        self.sums = Times(*[a + b for a, b in zip(self.sums, times)])

    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0

    def times(self) -> Times:
        return Times(*[value / max(1, self.frames) for value in self.sums])
