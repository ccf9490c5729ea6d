"""Found objects drawn into their image."""

import colorsys
from typing import Any, List, Sequence, Tuple

import numpy as np

from darkprune.detect.detector import Detection
from darkprune.detect.image_file import import_cv2
from darkprune.detect.results import grouped

_LABELS = 100  # the surest boxes that get one: a place for each takes time, which a camera has not
_GOLDEN = 0.6180339887  # steps of hue by it keep neighbouring classes apart

Rectangle = Tuple[int, int, int, int]  # left, top, right, bottom; the last two are the first pixels outside


def colour(class_id: int) -> Tuple[int, int, int]:
    """A bright RGB colour of the class."""
    red, green, blue = colorsys.hsv_to_rgb((0.33 + class_id * _GOLDEN) % 1, 0.85, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)


def draw(pixels: np.ndarray, objects: Sequence[Detection], names: Sequence[str]) -> np.ndarray:
    """A copy of the image, uint8 [H, W, 3] RGB, with boxes, names and confidences; the surest are on top.

    Lines and letters grow with the image; labels stay inside it, and of many boxes only the surest have one. Raises
    MissingDependency without OpenCV.
    """
    cv2 = import_cv2()
    canvas = np.ascontiguousarray(pixels).copy()
    height, width = canvas.shape[:2]
    thickness = max(1, int(round((width + height) / 800)))
    boxes = grouped(objects)
    for box in reversed(boxes):
        left, top, right, bottom = _inside(box[0].box, width, height)
        cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour(box[0].class_id), thickness)
    writer = _Writer(cv2, canvas, thickness)
    placed = [writer.place(box, names) for box in boxes[:_LABELS]]
    for label in reversed(placed):
        writer.write(*label)
    return canvas


def _inside(box: Tuple[float, ...], width: int, height: int) -> Rectangle:
    """The box in whole pixels, cut at the image's borders."""
    left, top = np.clip(np.round(box[:2]), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.round(np.add(box[:2], box[2:])), (left + 1, top + 1), (width, height))
    return int(left), int(top), int(right), int(bottom)


class _Writer:
    """Puts labels where they hide no other label, if there is such a place at their box."""

    def __init__(self, cv2: Any, canvas: np.ndarray, thickness: int) -> None:
        self.cv2, self.canvas, self.thickness = cv2, canvas, thickness
        self.height, self.width = canvas.shape[:2]
        self.font = cv2.FONT_HERSHEY_SIMPLEX
        self.taken: List[Rectangle] = []

    def place(self, box: List[Detection], names: Sequence[str]) -> Tuple[str, Rectangle, float, Tuple[int, int, int]]:
        """(text, its rectangle, font scale, colour) for the classes of one box."""
        text = ", ".join("{} {:.0f}%".format(_legible(found, names), found.confidence * 100) for found in box)
        scale = max(0.5, (self.width + self.height) / 2700)
        across, down = self._extent(text, scale)
        if across > self.width:
            scale *= self.width / across
            across, down = self._extent(text, scale)
        across, down = min(across, self.width), min(down, self.height)
        spots = [(x, y, x + across, y + down) for x, y in self._spots(box[0].box, across, down)]
        free = [spot for spot in spots if not any(_meet(spot, other) for other in self.taken)]
        self.taken.append((free or spots)[0])
        return text, self.taken[-1], scale, colour(box[0].class_id)

    def _spots(self, box: Tuple[float, ...], across: int, down: int) -> List[Tuple[int, int]]:
        """Left and top of a label of that size, the best place first: above the box, in a large one, below, in it."""
        left, top, right, bottom = _inside(box, self.width, self.height)
        sides = [min(left, self.width - across), max(0, right - across)]
        above = [(x, top - down) for x in sides]
        below = [(x, bottom) for x in sides]
        within = [(sides[0], top), (sides[0], bottom - down)]
        spots = above + (within + below if bottom - top > 3 * down else below + within)
        return [spot for spot in spots if 0 <= spot[1] <= self.height - down] or [(sides[0], 0)]

    def write(self, text: str, spot: Rectangle, scale: float, background: Tuple[int, int, int]) -> None:
        left, top, right, bottom = spot
        self.canvas[top:bottom, left:right] = background
        _, base = self._size(text, scale)
        dark = np.dot(background, (0.299, 0.587, 0.114)) > 110
        ink = (0, 0, 0) if dark else (255, 255, 255)
        at = (left + self._margin(scale), bottom - base - self._margin(scale) // 2)
        weight = max(1, int(round(scale * 2)))
        self.cv2.putText(self.canvas, text, at, self.font, scale, ink, weight, self.cv2.LINE_AA)

    def _extent(self, text: str, scale: float) -> Tuple[int, int]:
        (across, down), base = self._size(text, scale)
        return across + 2 * self._margin(scale), down + base + self._margin(scale)

    def _size(self, text: str, scale: float) -> Tuple[Tuple[int, int], int]:
        size, base = self.cv2.getTextSize(text, self.font, scale, max(1, int(round(scale * 2))))
        return size, base

    @staticmethod
    def _margin(scale: float) -> int:
        return max(1, int(round(6 * scale)))


def _legible(found: Detection, names: Sequence[str]) -> str:
    """The class's name; its number where the name has letters that OpenCV's font has not."""
    name = names[found.class_id]
    return name if all(32 <= ord(letter) < 127 for letter in name) else "class {}".format(found.class_id)


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
