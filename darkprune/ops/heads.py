"""What detection heads share: the objects they may have found, and the arithmetic of their scores."""

from typing import TYPE_CHECKING, Callable, List, NamedTuple, Tuple, Union

import numpy as np

from darkprune.darknet import values
from darkprune.errors import Unsupported

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer

_Candidates = NamedTuple(
    "_Candidates",
    [
        ("boxes", np.ndarray),  # float64 [n, 4]: cx, cy, w, h as shares of the net's input
        ("objectness", np.ndarray),  # float32 [n]
        ("scores", np.ndarray),  # float32 [n, classes]: confidence per class, 0 where not above the threshold
    ],
)

DISTANCE_KINDS = ("greedynms", "diounms")  # values of nms_kind that look at distances; others are the plain IoU

Suppression = NamedTuple(
    "Suppression",
    [
        ("kind", str),  # default, or one of DISTANCE_KINDS
        ("beta", float),  # beta_nms: the power of the distance, with diounms
    ],
)
PLAIN = Suppression("default", 0.6)


Decoding = NamedTuple(
    "Decoding",
    [
        ("grid", Tuple[int, int]),  # columns and rows of cells
        ("entries", int),  # values per anchor beside its classes; the last is the objectness. 0: see below
        ("coordinates", Tuple[int, ...]),  # which of them are x, y, w and h
        ("deviations", Tuple[int, ...]),  # which of them say how unsure those are
        ("activation", str),  # of x, y, deviations and objectness: logistic or linear
        ("classes", str),  # activation of the classes: logistic, linear or softmax
        ("sizes", str),  # what w and h go through: exp, square or linear
        ("anchors", np.ndarray),  # float64 [A, 2]: what they are multiplied by then, for shares of the net's input
        ("stretch", float),  # scale_x_y
        ("shift", float),  # how far the centre lies from x and y, in box sizes
    ],
)
Decoding.__doc__ = """What the values of a detection head mean, for backends that decode in a graph.

A head is a map [A * (entries + classes), rows, columns]. With no entries it is a row of values instead: the classes of
all cells, the objectness of all boxes and the coordinates of all boxes, A boxes in each cell.

    centre = (f(x) * stretch - (stretch - 1) / 2 + corner of the cell) / grid + shift * size
    score of a class = f(objectness) * (1 - mean of f(deviations)) * g(class)
"""


class Candidates(_Candidates):
    """The boxes of one image whose objectness is above the threshold, before suppression."""

    __slots__ = ()

    def select(self, chosen: Union[np.ndarray, slice]) -> "Candidates":
        """Those that a mask or an index array chooses."""
        return Candidates(self.boxes[chosen], self.objectness[chosen], self.scores[chosen])


Cells = NamedTuple(
    "Cells",
    [
        ("image", np.ndarray),  # int [n]: the image's number, ascending
        ("anchor", np.ndarray),  # int [n]
        ("corner", np.ndarray),  # int [n, 2]: column and row
        ("values", np.ndarray),  # float32 [n, entries], raw
    ],
)

Jitter = NamedTuple(
    "Jitter",
    [
        ("jitter", float),  # by which share of an image its borders move while the head is trained
        ("resize", float),  # by which factor it is zoomed
    ],
)


def jitter(layer: "Layer") -> Jitter:
    """The options of a detection head that say how images vary in training, with Darknet's defaults."""
    return Jitter(values.atof(layer.text("jitter") or "0.2"), values.atof(layer.text("resize") or "1"))


def likely(raw: np.ndarray, anchors: int, entry: int, active: Callable[..., np.ndarray], threshold: float) -> Cells:
    """The anchors whose objectness is above the threshold, cell by cell.

    Args:
        raw: float32 [N, anchors * entries, h, w].
        entry: which value of an anchor is its objectness. active: its activation.
    """
    images, _, rows, columns = raw.shape
    grid = raw.reshape(images, anchors, -1, rows, columns)
    chosen = active(grid[:, :, entry]) > np.float32(threshold)
    image, row, column, anchor = np.nonzero(chosen.transpose(0, 2, 3, 1))
    return Cells(image, anchor, np.stack([column, row], axis=1), grid[image, anchor, :, row, column])


def per_image(
    image: np.ndarray, images: int, boxes: np.ndarray, objectness: np.ndarray, scores: np.ndarray, threshold: float
) -> List[Candidates]:
    """Splits candidates by their image's number, which ascends.

    Scores that are not above the threshold become 0, as in Darknet, and boxes that are not finite go.
    """
    scores = np.where(scores > np.float32(threshold), scores, np.float32(0))
    sound = np.isfinite(boxes).all(axis=1)
    found = Candidates(boxes, objectness, scores).select(sound)
    bounds = np.searchsorted(image[sound], np.arange(images + 1))
    return [found.select(slice(start, stop)) for start, stop in zip(bounds, bounds[1:])]


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), float32."""
    with np.errstate(over="ignore"):  # exp of a large number is inf, and the result 0
        return np.float32(1) / (np.float32(1) + np.exp(-x.astype(np.float32)))


def anchor_sizes(layer: "Layer", chosen: Tuple[int, ...]) -> np.ndarray:
    """float64 [len(chosen), 2]: widths and heights of those anchors; Darknet has 0.5 where none is given.

    Raises Unsupported for one that `num` does not count: Darknet would read behind the end of its anchors.
    """
    sizes = np.full(2 * layer["num"], 0.5)
    given = layer["anchors"][: len(sizes)]
    sizes[: len(given)] = given
    if any(not 0 <= number < layer["num"] for number in chosen):
        raise Unsupported(
            "mask names an anchor that num={} does not count".format(layer["num"]),
            layer.place("mask"),
            "use 0 to {}, or correct num".format(layer["num"] - 1),
        )
    return sizes.reshape(-1, 2)[list(chosen)]
