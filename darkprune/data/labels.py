"""Label files: the objects of one image, a line `class cx cy width height` each, relative to the image's size."""

import math
import os
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.data.problems import Problems
from darkprune.data.text import read_bytes
from darkprune.errors import UsageError, place

MAX_BYTES = 2 << 20
LONGEST_NUMBER = 64  # characters
TOLERANCE = 1e-4  # by which a box may leave the image: labels are often written with four decimals

# The words that AlexeyAB's Darknet replaces to get from an image to its labels (replace_image_to_label in utils.c),
# each once and one after the other.
_ALEXEYAB = (
    ("/images/train2017/", "/labels/train2017/"),
    ("/images/val2017/", "/labels/val2017/"),
    ("/JPEGImages/", "/labels/"),
    ("\\images\\train2017\\", "\\labels\\train2017\\"),
    ("\\images\\val2017\\", "\\labels\\val2017\\"),
    ("\\images\\train2014\\", "\\labels\\train2014\\"),
    ("\\images\\val2014\\", "\\labels\\val2014\\"),
    ("/images/train2014/", "/labels/train2014/"),
    ("/images/val2014/", "/labels/val2014/"),
    ("\\JPEGImages\\", "\\labels\\"),
)
# Those of the original Darknet (fill_truth_detection in data.c), which replaces them anywhere.
_ORIGINAL = (("images", "labels"), ("JPEGImages", "labels"), ("raw", "labels"))
_FOLDERS = ("images", "JPEGImages", "raw")

Truth = NamedTuple(
    "Truth",
    [
        ("classes", np.ndarray),  # int64 [n]
        ("boxes", np.ndarray),  # float64 [n, 4]: centre x, centre y, width, height, in 0..1 of the image
    ],
)


def candidates(image: str) -> List[str]:
    """Where an image's labels may stand, in the order in which they are looked for.

    As AlexeyAB's Darknet says; as the original Darknet says; with the last folder named images, JPEGImages or raw
    replaced by labels; beside the image.
    """
    stem = os.path.splitext(image)[0] + ".txt"
    parts = stem.split(os.sep)
    paths = [_replaced(stem, _ALEXEYAB), _replaced(stem, _ORIGINAL)]
    for index in reversed(range(len(parts) - 1)):
        if parts[index] in _FOLDERS:
            paths.append(os.sep.join(parts[:index] + ["labels"] + parts[index + 1 :]))
            break
    return list(dict.fromkeys(paths + [stem]))


def find(image: str) -> Optional[str]:
    """The existing label file of an image, the first of `candidates`; None where there is none."""
    for path in candidates(image):
        if os.path.isfile(path):
            return path
    return None


def read_of_image(image: str, classes: int, problems: Optional[Problems] = None) -> Truth:
    """The labels of an image; a missing label file is a problem, and then there are none."""
    path = find(image)
    if path is not None:
        return read(path, classes, problems)
    found = Problems() if problems is None else problems
    hint = "an image without objects has an empty label file"
    found.add("missing label file", "no label file for {}".format(image), place(candidates(image)[0]), hint)
    if problems is None:
        found.settle()
    return _truth([])


def read(path: str, classes: int, problems: Optional[Problems] = None) -> Truth:
    """The labels of a file; an empty file has none.

    Lines that Darknet could use go into the result even where they are a problem (a box that leaves the image or
    has no area); others are left out.

    Args:
        classes: the number of classes.
        problems: collects what is wrong. Without it that is an error.
    """
    found = Problems() if problems is None else problems
    objects = []
    try:
        data = read_bytes(path, "the label file", MAX_BYTES)
    except UsageError as error:
        found.add("unreadable label file", error.message, error.where, error.hint)
        data = b""
    for number, line in enumerate(data.split(b"\n"), 1):
        fields = line.split()
        if fields:
            objects += _object(fields, classes, _Line(path, number, line, found))
    if problems is None:
        found.settle()
    return _truth(objects)


class _Line:
    """A line of a label file, and where its problems go."""

    def __init__(self, path: str, number: int, text: bytes, problems: Problems) -> None:
        self._path, self._number, self._text, self._problems = path, number, text, problems

    def add(self, kind: str, message: str, hint: str) -> None:
        text = self._text[:120].decode("ascii", "backslashreplace").strip()
        self._problems.add(kind, message, place(self._path, self._number, text), hint)


def _object(fields: List[bytes], classes: int, line: _Line) -> List[Tuple[int, List[float]]]:
    """[(class, box)], or [] where the line says no object."""
    if len(fields) != 5:
        hint = "a line is: class centre-x centre-y width height"
        line.add("label without 5 fields", "{} fields instead of 5".format(len(fields)), hint)
        return []
    try:
        index, box = _numbers(fields)
    except ValueError:
        hint = "a line is: class centre-x centre-y width height; the class is a whole number"
        line.add("label that is no number", "one of the fields is no number", hint)
        return []
    if not 0 <= index < classes:
        hint = "mend the label, or classes= in the .data file"
        line.add("class out of range", "class {}, but the classes are 0 to {}".format(index, classes - 1), hint)
        return []
    if not all(map(math.isfinite, box)):
        line.add("label that is no number", "one of the fields is not finite", "write numbers from 0 to 1")
        return []
    x, y, w, h = box
    if w <= 0 or h <= 0:
        line.add("box without area", "this box has no area", "take the line out")
    else:
        over = max(w / 2 - x, x + w / 2 - 1, h / 2 - y, y + h / 2 - 1)
        if over > TOLERANCE:
            cause = "the box leaves the image by {:.2g} of its size".format(over)
            line.add("box outside the image", cause, "numbers are relative to the image's width and height, 0 to 1")
    return [(index, box)]


def _numbers(fields: List[bytes]) -> Tuple[int, List[float]]:
    if any(len(field) > LONGEST_NUMBER or b"_" in field for field in fields):  # Python would take 1_0 as 10
        raise ValueError("no number of C's")
    return int(fields[0]), [float(field) for field in fields[1:]]


def _truth(objects: List[Tuple[int, List[float]]]) -> Truth:
    classes = np.array([index for index, _ in objects], np.int64)
    return Truth(classes, np.array([box for _, box in objects], np.float64).reshape(-1, 4))


def _replaced(text: str, pairs: Tuple[Tuple[str, str], ...]) -> str:
    for old, new in pairs:
        text = text.replace(old, new, 1)
    return text
