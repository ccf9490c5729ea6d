"""TensorRT's calibration cache: a text file of one scale per tensor.

    TRT-8201-EntropyCalibration2
    data: 3c010a14
    L001_convolutional: 3d3fca21

Behind each name stand the bits of a float32 in hexadecimal, the most significant digit first, without leading zeros:
the scale, amax / 127 (NVIDIA's sampleINT8, README.md). Names may hold colons. The header says for which version of
TensorRT and by which algorithm it was made; another version calibrates anew without a word. Nothing in a cache says
which net it belongs to.
"""

import re
import struct
from collections import OrderedDict
from typing import Dict, NamedTuple, Tuple

from darkprune.errors import CalibrationError, UsageError, place
from darkprune.graph.net import Net
from darkprune.quant.quantization import TENSORRT, qparams
from darkprune.quant.range_methods import MAX, Method
from darkprune.quant.ranges import Range
from darkprune.quant.ties import tied

VERSION = "8.2.1"  # of JetPack 4.6, the last one for the Jetson TX2
MAX_BYTES = 1 << 26
_HEADER = re.compile(r"TRT-([0-9]{4,7})-([A-Za-z0-9]+)\Z")
_SCALE = re.compile(r"[0-9a-fA-F]{1,8}\Z")
_CURE = "give a calibration cache as TensorRT or darkprune calibrate wrote it"

Cache = NamedTuple(
    "Cache",
    [
        ("version", str),  # the digits of the header
        ("algorithm", str),  # EntropyCalibration2...
        ("scales", Dict[str, float]),  # by the tensors' names, in the file's order
    ],
)


def cache_of(net: Net, tensors: Dict[str, Range], method: Method, version: str = VERSION) -> Cache:
    """The cache of a net's ranges, with TensorRT's ties. A tensor that is 0 everywhere has scale 1, as TensorRT takes
    none that is 0. Raises UsageError for a version that is none."""
    scales = [(name, qparams(found, TENSORRT).scale) for name, found in tied(net, tensors, TENSORRT.ties).items()]
    algorithm = "MinMaxCalibration" if method.name == MAX else "EntropyCalibration2"
    return Cache(version_digits(version), algorithm, OrderedDict(scales))


def version_digits(version: str) -> str:
    """8201 for 8.2.1, 100300 for 10.3.0: how TensorRT's headers say a version. Raises UsageError."""
    match = re.match(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{1,2})(\.[0-9]+)*\Z", version)
    major, minor, patch = [int(part) for part in match.groups()[:3]] if match else (0, 0, 0)
    if major < 4 or major < 10 and minor > 9:
        hint = "give its first three numbers, such as " + VERSION
        raise UsageError("{} is no version of TensorRT".format(version[:20]), hint=hint)
    return str(major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch)


def to_bytes(cache: Cache) -> bytes:
    """The file's text."""
    lines = ["TRT-{}-{}".format(cache.version, cache.algorithm)]
    for name, scale in cache.scales.items():
        lines.append("{}: {:x}".format(name, struct.unpack(">I", struct.pack(">f", scale))[0]))
    return ("\n".join(lines) + "\n").encode("utf-8")


def read(path: str) -> Cache:
    """Reads a cache. Raises CalibrationError, with the line where it is malformed."""
    try:
        with open(str(path), "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (IOError, OSError) as error:
        cause = "cannot read the calibration cache: {}".format(error.strerror)
        raise CalibrationError(cause, place(path), "check the path") from error
    if len(data) > MAX_BYTES:
        raise CalibrationError("this is no calibration cache: it is larger than any", place(path), _CURE)
    lines = [line.rstrip("\r") for line in data.decode("utf-8", "replace").split("\n")]
    match = _HEADER.match(lines[0])
    if not match:
        cause = "a calibration cache begins with its version and algorithm, TRT-8201-EntropyCalibration2"
        raise CalibrationError(cause, place(path, 1, lines[0][:80]), _CURE)
    scales: Dict[str, float] = OrderedDict()
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        name, scale = _entry(path, number, line)
        if name in scales:
            cause = "the tensor {} stands here a second time".format(name[:80])
            raise CalibrationError(cause, place(path, number, line[:120]), "remove one of the two lines")
        scales[name] = scale
    return Cache(match.group(1), match.group(2), scales)


def _entry(path: str, number: int, line: str) -> Tuple[str, float]:
    name, separator, digits = line.rpartition(": ")
    if not separator or not name or not _SCALE.match(digits):
        cause = "this is no line of a calibration cache, which has a name, a colon, a space and up to 8 digits"
        raise CalibrationError(cause, place(path, number, line[:120]), _CURE)
    scale = struct.unpack(">f", struct.pack(">I", int(digits, 16)))[0]
    if not 0 <= scale < float("inf"):
        cause = "the scale of {} is {}".format(name[:80], scale)
        raise CalibrationError(cause, place(path, number, line[:120]), "calibrate again")
    return name, scale
