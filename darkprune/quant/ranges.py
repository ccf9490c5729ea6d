"""The ranges of a pair's tensors, as calibration leaves them: a JSON file that INT8 nets and engines are made from."""

import json
import re
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from darkprune.errors import CalibrationError, Place, place
from darkprune.graph.key import pair_key
from darkprune.graph.net import Net

FORMAT = "darkprune ranges 1"
MAX_BYTES = 1 << 30
MOST = 1e30  # of any number, so that differences and steps stay in float32
PREPROCESSING = ("stretch", "letterbox", "centre")
_AGAIN = "calibrate the pair again"
_FIELDS = (
    ("pair", str),
    ("dialect", str),
    ("width", int),
    ("height", int),
    ("channels", int),
    ("preprocessing", str),
    ("method", dict),
    ("images", int),
    ("images_sha256", str),
    ("keep_float", list),
    ("adjustments", dict),
    ("tensors", dict),
)

_Range = NamedTuple(
    "_Range",
    [
        ("low", float),  # at most 0
        ("high", float),  # at least 0
        ("amax", float),  # what a symmetric quantiser clips |x| at
    ],
)


class Range(_Range):
    """What a quantiser lets through of a tensor: values of low..high, or of -amax..amax where it is symmetric."""

    __slots__ = ()


class Adjustments(object):
    """What was changed of a net, besides rounding it, so that its INT8 form computes more nearly the same.

    Attributes:
        factors: layer -> float64 [channels], by which its output is multiplied and its readers' weights are divided
            (equalisation).
        biases: layer -> float64 [filters], added to its biases (bias correction).
        rounding: layer -> base64 of zlib of numpy.packbits of whether each weight is rounded up (learned rounding).
    """

    __slots__ = ("factors", "biases", "rounding")

    def __init__(self) -> None:
        self.factors: Dict[int, np.ndarray] = OrderedDict()
        self.biases: Dict[int, np.ndarray] = OrderedDict()
        self.rounding: Dict[int, str] = OrderedDict()

    def to_dict(self) -> Dict[str, Any]:
        """As JSON values."""
        return OrderedDict(
            [
                ("factors", OrderedDict((str(i), [float(v) for v in self.factors[i]]) for i in sorted(self.factors))),
                ("biases", OrderedDict((str(i), [float(v) for v in self.biases[i]]) for i in sorted(self.biases))),
                ("rounding", OrderedDict((str(i), self.rounding[i]) for i in sorted(self.rounding))),
            ]
        )


class Ranges(object):
    """The content of a ranges.json.

    Attributes:
        pair: the key of the pair, at the input size that counts. dialect: whose arithmetic was measured.
        width, height, channels: of the net's input.
        preprocessing: how images became inputs, one of PREPROCESSING.
        method: {"name": entropy..., and its settings}. images: how many; images_sha256: over their files' contents.
        keep_float: layers that stay float. adjustments: Adjustments.
        tensors: name (darkprune.quant.tensors) -> Range. Ties are not applied.
        where: the file it was read from, for messages.
    """

    def __init__(self, net: Net) -> None:
        shape = net.input.shape
        self.pair = pair_key(net)
        self.dialect = net.dialect.name
        self.width, self.height, self.channels = shape.w, shape.h, shape.c
        self.preprocessing = PREPROCESSING[0]
        self.method: Dict[str, Any] = {}
        self.images = 0
        self.images_sha256 = ""
        self.keep_float: List[int] = []
        self.adjustments = Adjustments()
        self.tensors: Dict[str, Range] = OrderedDict()
        self.where: Optional[Place] = None

    def to_bytes(self) -> bytes:
        """The file's text: one line per field, tensor and adjusted layer; the same ranges give the same bytes."""
        fields = [("format", FORMAT)] + [(name, getattr(self, name)) for name, _ in _FIELDS[:-2]]
        lines = [" {}: {}".format(json.dumps(name), json.dumps(value)) for name, value in fields]
        parts = [_rows(name, value, "  ") for name, value in self.adjustments.to_dict().items()]
        lines.append(' "adjustments": {\n' + ",\n".join(parts) + "\n }")
        tensors = OrderedDict((name, value._asdict()) for name, value in self.tensors.items())
        lines.append(_rows("tensors", tensors, " "))
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")

    def require(self, net: Net) -> None:
        """Raises CalibrationError where the ranges are those of another pair or input size than `net`'s."""
        shape = net.input.shape
        if (self.width, self.height, self.channels) != (shape.w, shape.h, shape.c):
            raise CalibrationError(
                "the ranges were measured at {} x {} x {}, the net runs at {} x {} x {}".format(
                    self.width, self.height, self.channels, shape.w, shape.h, shape.c
                ),
                self.where,
                "calibrate at that size, or run the net at this one (--width, --height)",
            )
        if self.dialect != net.dialect.name:
            cause = "the ranges were measured in the dialect {}, the pair was read in {}"
            cause, hint = cause.format(self.dialect[:20], net.dialect.name), "give --dialect {}, or calibrate again"
            raise CalibrationError(cause, self.where, hint.format(self.dialect[:20]))
        found = pair_key(net)
        if found != self.pair:
            cause = "the ranges are those of another pair ({}..., this one is {}...)"
            raise CalibrationError(
                cause.format(self.pair[:12], found[:12]),
                self.where,
                "calibrate this pair; every change of the weights needs new ranges",
            )

    @classmethod
    def read(cls, path: str) -> "Ranges":
        """Reads a ranges.json. Raises CalibrationError."""
        try:
            with open(str(path), "rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except (IOError, OSError) as error:
            cause = "cannot read the ranges: {}".format(error.strerror)
            raise CalibrationError(cause, place(path), "check the path") from error
        cure = "give the file that darkprune calibrate wrote"
        if len(data) > MAX_BYTES:
            raise CalibrationError("these are no ranges: the file is larger than any", place(path), cure)
        try:
            fields = json.loads(data.decode("ascii"))
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", None)
            raise CalibrationError("these are no ranges, as the file is no JSON", place(path, line), cure) from error
        return from_dict(fields, str(path))


def from_dict(fields: Any, path: str = "<ranges>") -> Ranges:
    """The ranges of JSON values. Raises CalibrationError for anything malformed."""
    where = place(path)
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        cause = "these are no ranges of this version"
        raise CalibrationError(cause, where, 'its "format" must be "{}"'.format(FORMAT))
    ranges = Ranges.__new__(Ranges)
    ranges.where = where
    for name, kind in _FIELDS:
        if not isinstance(fields.get(name), kind) or isinstance(fields[name], bool):
            raise CalibrationError('"{}" is missing or malformed'.format(name), where, _AGAIN)
        setattr(ranges, name, fields[name])
    if ranges.preprocessing not in PREPROCESSING:
        raise CalibrationError('"preprocessing" is none of {}'.format(", ".join(PREPROCESSING)), where, _AGAIN)
    if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in ranges.keep_float):
        raise CalibrationError('"keep_float" is no list of layers', where, _AGAIN)
    if ranges.images < 0:
        raise CalibrationError('"images" is no number of images', where, _AGAIN)
    ranges.tensors = OrderedDict((name, _range(name, value, where)) for name, value in fields["tensors"].items())
    ranges.adjustments = _adjustments(fields["adjustments"], where)
    return ranges


def _range(name: str, value: Any, where: Place) -> Range:
    numbers: List[Any] = [value.get(key) for key in Range._fields] if isinstance(value, dict) else []
    if len(numbers) != 3 or not all(_is_finite(v) for v in numbers):
        raise CalibrationError("{} has no low, high and amax".format(name[:80]), where, _AGAIN)
    low, high, amax = [float(v) for v in numbers]
    if low > 0 or high < 0 or amax < 0:
        cause = "the range of {} does not hold 0: {:g} to {:g}, amax {:g}".format(name[:80], low, high, amax)
        raise CalibrationError(cause, where, _AGAIN)
    return Range(low, high, amax)


def _adjustments(value: Dict[str, Any], where: Place) -> Adjustments:
    found = Adjustments()
    for name in Adjustments.__slots__:
        rows = value.get(name, {})
        if not isinstance(rows, dict):
            raise CalibrationError('"{}" is malformed'.format(name), where, _AGAIN)
        for key, row in rows.items():
            good = isinstance(row, str) if name == "rounding" else isinstance(row, list) and all(map(_is_finite, row))
            if not re.match(r"[0-9]{1,9}\Z", key) or not good:
                raise CalibrationError('"{}" is malformed for layer {}'.format(name, key[:20]), where, _AGAIN)
            getattr(found, name)[int(key)] = row if isinstance(row, str) else np.array(row, np.float64)
    return found


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(float(value)) < MOST
    except OverflowError:  # an integer beyond any float
        return False


def _rows(name: str, values: Dict[str, Any], indent: str) -> str:
    """A field whose value is an object, each of its members on a line."""
    rows = ["{} {}: {}".format(indent, json.dumps(key), json.dumps(value)) for key, value in values.items()]
    inner = "\n" + ",\n".join(rows) + "\n" + indent if rows else ""
    return "{}{}: {{{}}}".format(indent, json.dumps(name), inner)
