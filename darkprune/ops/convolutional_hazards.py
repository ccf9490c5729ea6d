"""Which readers take a [convolutional] section otherwise than AlexeyAB's fork, or refuse it."""

from typing import TYPE_CHECKING, Iterator

from darkprune.darknet import values
from darkprune.ops.base import Hazard
from darkprune.ops.common import SPECIAL, activation_hazards

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer
    from darkprune.ops.convolutional import Convolutional

NO_LAYER = -1000000000  # Darknet's default of share_index

_IDLE = {"stride_x": -1, "stride_y": -1, "dilation": 1, "share_index": NO_LAYER}
_IGNORED = (
    ("stride_x", ("pjreddie", "opencv")),
    ("stride_y", ("pjreddie", "opencv")),
    ("dilation", ("pjreddie", "opencv")),
    ("antialiasing", ("pjreddie", "opencv")),
    ("cbn", ("pjreddie", "opencv")),
    ("share_index", ("pjreddie", "opencv")),
    ("xnor", ("opencv",)),
    ("flipped", ("opencv",)),
    ("dontload", ("opencv",)),
    ("dontloadscales", ("opencv",)),
    ("numload", ("alexeyab", "opencv")),
)


def convolution_hazards(op: "Convolutional", layer: "Layer") -> Iterator[Hazard]:
    """The hazards of one convolution."""
    if layer["size"] == 1:
        yield from _plain(op, layer)
    for key in ("filters", "size"):
        if layer.text(key) is None:
            yield Hazard("opencv", None, "needs the option {}".format(key))
    shape = layer.input_shape()
    if layer["size"] == 3 and 1 < op.groups(layer) == shape.c == layer["filters"] and 1 in (shape.w, shape.h):
        text = "computes a depthwise 3x3 convolution over a map of one row or one column from memory behind the map"
        yield Hazard("opencv", "groups", text)  # measured in 4.14
    for key, readers in _IGNORED:
        for reader in () if _idle(layer, key) else readers:
            yield Hazard(reader, key, "does not read {}: other numbers, or misread weights".format(key))
    for key in ("dontload", "dontloadscales"):
        for reader in ("alexeyab", "pjreddie") if layer[key] else ():
            yield Hazard(reader, key, "leaves what {} names at its initial, partly random values".format(key))
    if values.atoi(layer.text("batch_normalize") or "0") not in (0, 1):
        yield Hazard("opencv", "batch_normalize", "takes only batch_normalize=1 for batch norm: misread weights")
    yield from activation_hazards(layer, SPECIAL)


def _plain(op: "Convolutional", layer: "Layer") -> Iterator[Hazard]:
    """Readers that multiply a 1x1 convolution's input as it lies, though a stride or padding moves it."""
    text = "reads a 1x1 convolution with {} as a plain one"
    (sx, sy), padded = op.strides(layer), op.padding(layer)
    if (sx, sy) != (1, 1):
        yield Hazard("pjreddie", "stride", text.format("a stride"))
    if padded:
        yield Hazard("pjreddie", "padding", text.format("padding"))
    sx, sy = op.strides(layer, host=True)
    if sx == 1 and padded:
        yield Hazard("alexeyab", "padding", text.format("padding"))
    if sx == 1 and sy != 1:
        yield Hazard("alexeyab", "stride_y", text.format("a vertical stride"))


def _idle(layer: "Layer", key: str) -> bool:
    """Whether an option of _IGNORED is absent or has no effect."""
    number = values.atoi(layer.text(key) or str(_IDLE.get(key, 0)))
    if key in ("stride_x", "stride_y"):
        return number <= 0 or number == layer["stride"]
    return number == _IDLE.get(key, 0)
