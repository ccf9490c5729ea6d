"""`darkprune export --deepstream -o DIR`: a detector as DeepStream takes it."""

import argparse
import os
from collections import OrderedDict
from typing import Any, Dict, List

from darkprune.cli.common import grouped, notice_texts, print_json, warn, write
from darkprune.cli.running import class_names
from darkprune.darknet.pair import require_writable, write_file
from darkprune.detect.decode import class_count
from darkprune.detect.detector import NMS, THRESHOLD
from darkprune.engine import deepstream
from darkprune.errors import Notice, OutputError, UsageError, place
from darkprune.graph.net import Net
from darkprune.quant.ranges import Ranges

_REFUSED = (("decode", False), ("nms", False), ("target", None), ("pad_channels", 1))  # options of a plain model
_NOT_RUN = "no DeepStream has run these files yet"


def check(arguments: argparse.Namespace) -> None:
    """Raises UsageError for options that make no sense here."""
    for name, default in _REFUSED:
        if getattr(arguments, name) != default:
            cause = "--{} is not for --deepstream, which says itself what the model puts out"
            raise UsageError(cause.format(name.replace("_", "-")), hint="leave it out")
    if not arguments.batch.isdigit():
        raise UsageError("--deepstream needs a number of images", hint="give --batch N, the number of streams")


def paths(folder: str, int8: bool) -> Dict[str, str]:
    """The files that are written, by their names."""
    names = [deepstream.MODEL, deepstream.LABELS, deepstream.PARSER] + [deepstream.TABLE] * int8 + [deepstream.CONFIG]
    return OrderedDict((name, os.path.join(folder, name)) for name in names)


def run(arguments: argparse.Namespace, net: Net, batch: int, inputs: List[str]) -> int:
    """Writes the files of a net that has values; returns the exit status."""
    from darkprune.backends.onnx_decode import add_decoding
    from darkprune.backends.onnx_model import describe, folded, lower

    classes = class_count(net)
    ranges = None if arguments.int8 is None else Ranges.read(arguments.int8)
    names = class_names(arguments, classes, surplus=True, inputs=inputs)
    files = _require(arguments, ranges is not None, inputs)
    lowered = lower(folded(deepstream.adjusted(net, ranges)), None, batch)
    add_decoding(lowered)
    contents: Dict[str, bytes] = {
        deepstream.MODEL: lowered.model(describe(net, names)).SerializeToString(deterministic=True),
        deepstream.LABELS: deepstream.labels(names),
        deepstream.PARSER: deepstream.parser(),
        deepstream.CONFIG: deepstream.config(_settings(arguments, net, classes, batch, ranges)),
    }
    notices = [notice for notice in net.notices if notice.reader in (None, net.dialect.name)] + _said(ranges)
    if ranges is not None:
        contents[deepstream.TABLE] = deepstream.table(net, ranges, arguments.cache_version)
    _make_folder(arguments.output)
    for name, path in files.items():
        write_file(path, contents[name], inputs, arguments.overwrite)
    if arguments.json:
        sizes = [OrderedDict([("file", path), ("bytes", len(contents[name]))]) for name, path in files.items()]
        found: Dict[str, Any] = OrderedDict(folder=arguments.output, files=sizes, batch=batch, classes=classes)
        print_json(OrderedDict(found, warnings=notice_texts(notices)))
        return 0
    warn(notices)
    for name, path in files.items():
        write("wrote {}, {} bytes\n".format(path, grouped(len(contents[name]))))
    write("nvinfer needs the parser: compile {} where DeepStream is\n".format(files[deepstream.PARSER]))
    return 0


def _require(arguments: argparse.Namespace, int8: bool, inputs: List[str]) -> Dict[str, str]:
    """The files. Raises OutputError where one cannot be written."""
    files = paths(arguments.output, int8)
    for path in files.values() if os.path.lexists(arguments.output) else []:
        require_writable(path, inputs, arguments.overwrite)
    return files


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise OutputError("cannot make this folder: {}".format(error.strerror), place(path), "name another") from error


def _settings(arguments: argparse.Namespace, net: Net, classes: int, batch: int, ranges: Any) -> deepstream.Settings:
    letterbox = bool(net.config["letter_box"]) if ranges is None else ranges.preprocessing == "letterbox"
    threshold = THRESHOLD if arguments.thresh is None else arguments.thresh
    nms = NMS if arguments.nms_thresh is None else arguments.nms_thresh
    return deepstream.Settings(classes, batch, letterbox, threshold, nms, ranges is not None)


def _said(ranges: Any) -> List[Notice]:
    found = [Notice(_NOT_RUN)]
    if ranges is not None and ranges.adjustments.rounding:
        cause = "TensorRT rounds the weights itself there: the learned rounding is lost"
        found.append(Notice(cause, ranges.where, "darkprune build keeps it"))
    return found
