"""Builds a TensorRT engine of a pair, and a report beside it (ENGINE.json).

An engine runs only on the kind of GPU, and in the version of TensorRT, that it was built with: copy the pair and its
ranges to a Jetson and run this command there. Where there is only TensorRT-RTX, engines for GeForce and RTX GPUs are
built, without a GPU.

The batch is static, N images, or any number of images from LOW to HIGH. INT8 needs the ranges of darkprune calibrate;
layers that are not INT8 are FP16. --keep-float names layers that stay FP32 with fp16, and are not INT8 with int8
(numbers, first-and-heads, none; with int8 those of the ranges by default).
"""

import argparse
import re
from collections import OrderedDict
from typing import Any, Dict, List

from darkprune.cli.common import add_common, grouped, print_json, table, warn, write
from darkprune.darknet.pair import require_writable
from darkprune.edit.resize import resize
from darkprune.engine import targets
from darkprune.engine.build import PRECISIONS, Build, Built, Request
from darkprune.engine.build import write as write_engine
from darkprune.engine.report import path_of
from darkprune.engine.validation import Batch
from darkprune.errors import UsageError
from darkprune.graph.build import load
from darkprune.quant.quantization import keep_float
from darkprune.quant.ranges import Ranges


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("-o", "--output", metavar="ENGINE", required=True, help="the file to write")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="default: %(default)s")
    parser.add_argument("--ranges", metavar="FILE", help="of darkprune calibrate, for int8")
    parser.add_argument(
        "--target", choices=targets.NAMES, default=targets.CURRENT, help="what is to run it (default: this machine)"
    )
    parser.add_argument("--batch", metavar="N|LOW-HIGH", default="1", help="images at once (default: %(default)s)")
    parser.add_argument("--width", metavar="W", type=int, help="another input width than the cfg's")
    parser.add_argument("--height", metavar="H", type=int, help="another input height")
    parser.add_argument("--workspace", metavar="MIB", type=int, help="memory that a layer may take for scratch")
    parser.add_argument("--keep-float", metavar="LAYERS", help="layers of more precision, separated by commas")
    parser.add_argument("--strict", action="store_true", help="refuse a precision that the target has no units for")
    parser.add_argument("--overwrite", action="store_true", help="replace the files if they exist")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    batch, sources = _batch(arguments.batch), _sources(arguments)
    for path in (arguments.output, path_of(arguments.output)):
        require_writable(path, list(sources.values()), arguments.overwrite)
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    if arguments.width is not None or arguments.height is not None:
        net = resize(net, arguments.width, arguments.height)
    kept = None if arguments.keep_float is None else keep_float(net, arguments.keep_float)
    request = Request(arguments.precision, arguments.target, batch, arguments.workspace, kept, strict=arguments.strict)
    build = Build(net, request, None if arguments.ranges is None else Ranges.read(arguments.ranges))
    warn(notice for notice in net.notices if notice.reader in (None, net.dialect.name))
    warn(build.notices)  # before it takes its time
    built = build.run()
    files = write_engine(arguments.output, built, sources, arguments.overwrite)
    if arguments.json:
        print_json(built.report.fields)
    else:
        write(_text(built) + "".join("wrote {}\n".format(path) for path in files))
    return 0


def _batch(text: str) -> Batch:
    match = re.match(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z", text)
    if not match:
        raise UsageError("--batch {} is no number of images".format(text[:40]), hint="use 1 or more, or LOW-HIGH")
    return int(match.group(1)), int(match.group(2) or match.group(1))


def _sources(arguments: argparse.Namespace) -> Dict[str, str]:
    every = OrderedDict([("cfg", arguments.cfg), ("weights", arguments.weights), ("ranges", arguments.ranges)])
    return OrderedDict((kind, path) for kind, path in every.items() if path is not None)


def _text(built: Built) -> str:
    """What was built, in a few lines."""
    fields = built.report.fields
    counts: Dict[str, int] = OrderedDict()
    for row in fields["layers"]:
        if row["requested"] is not None:
            counts[row["requested"]] = counts.get(row["requested"], 0) + 1
    image, batch, trt = fields["input"], built.report.batch, fields["tensorrt"]
    shown = str(batch[0]) if batch[0] == batch[1] else "{} to {}".format(*batch)
    size = "{} bytes ({:.0%} of the weights file)".format(
        grouped(fields["engine"]["bytes"]), fields["engine"]["bytes"] / max(1, fields["weights_bytes"])
    )
    rows: List[List[str]] = [
        ["TensorRT", "{} {}, precision by {}".format(trt["name"], trt["version"], trt["precision_by"])],
        ["target", _target(fields["target"])],
        ["input", "{} x {} x {} x {}".format(shown, image["channels"], image["height"], image["width"])],
        ["outputs", ", ".join("{} {}".format(h.tensor, " x ".join(map(str, h.shape))) for h in built.report.heads)],
        ["precision", "{}; native: {}".format(fields["precision"]["requested"], fields["precision"]["native"])],
        ["layers", ", ".join("{} {}".format(count, name) for name, count in counts.items())],
        ["built", _as_built(fields)],
        ["size", size],
        ["time", "{:.1f} s".format(fields["seconds"])],
    ]
    return table(rows, left=(0, 1))


def _target(target: Dict[str, Any]) -> str:
    capability = target["capability"]
    shown = "" if capability is None else ", compute capability {}.{}".format(*capability)
    units = [kind.upper() for kind in ("fp16", "int8") if target[kind]]
    return "{} ({}{}), with {}".format(target["name"], target["title"], shown, " and ".join(units) or "FP32 only")


def _as_built(fields: Dict[str, Any]) -> str:
    """What TensorRT made of the layers, where it was asked."""
    if not fields["inspected"]:
        return "as requested, as far as known; not inspected: {}".format(fields["not_inspected"])
    counts: Dict[str, int] = OrderedDict()
    for row in fields["layers"]:
        if row["requested"] is not None:
            counts[row["built"] or "unknown"] = counts.get(row["built"] or "unknown", 0) + 1
    return ", ".join("{} {}".format(count, name) for name, count in counts.items())
