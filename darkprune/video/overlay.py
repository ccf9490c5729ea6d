"""What is written over a frame: frames a second, times, power; and how the first of these is measured."""

from typing import List, Optional, Sequence

import numpy as np

from darkprune.detect.detector import Times
from darkprune.detect.image_file import import_cv2

_WEIGHT = 0.1  # of the newest interval in the mean


class FrameRate:
    """Frames a second from end to end: of the exponential mean of the times between frames."""

    def __init__(self) -> None:
        self._mean: Optional[float] = None

    def add(self, seconds: float) -> None:
        """One more interval."""
        self._mean = seconds if self._mean is None else self._mean + _WEIGHT * (seconds - self._mean)

    @property
    def fps(self) -> Optional[float]:
        """None before the first interval."""
        return 1 / self._mean if self._mean else None


def lines(fps: Optional[float], times: Times, watts: Optional[float] = None, title: str = "") -> List[str]:
    """The text over one frame."""
    rate = "FPS: {:.1f}".format(fps) if fps is not None else "FPS: -"
    ms = "pre {:.1f}  infer {:.1f}  post {:.1f} ms".format(*[1000 * value for value in times])
    power = ["{:.1f} W".format(watts)] if watts is not None else []
    return ([title] if title else []) + [rate, ms] + power


def write_lines(pixels: np.ndarray, text: Sequence[str]) -> None:
    """Lines at the upper left of an image, uint8 [H, W, 3], which is changed: white with a black rim."""
    cv2 = import_cv2()
    scale = max(0.4, min(pixels.shape[:2]) / 800)
    weight = max(1, int(round(scale * 1.5)))
    step = int(round(38 * scale))
    for number, line in enumerate(text):
        for colour, rim in (((0, 0, 0), 2), ((255, 255, 255), 0)):
            at = (int(8 * scale) + 1, (number + 1) * step)
            cv2.putText(pixels, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, weight + rim, cv2.LINE_AA)
