"""An engine that lies beside its pair: taken as it is while it still fits, else built anew."""

import os
from collections import OrderedDict
from typing import Any, Callable, Dict, Optional

from darkprune.backends import tensorrt_api
from darkprune.backends.cuda_buffers import find_gpu
from darkprune.engine import report as reports
from darkprune.engine.build import Build, Request, write
from darkprune.errors import EngineError, OutputError, place
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.quant.ranges import Ranges


def prepare(
    path: str, cfg: str, weights: str, request: Request, ranges: Optional[str] = None, say: Callable[[str], Any] = len
) -> None:
    """Sees to it that `path` is an engine of the pair for this device, with its report beside it.

    Args:
        request: for the device at hand. ranges: the path of the ranges, for int8.
        say: takes what a user should know, a line at a time.

    Raises OutputError for a file that darkprune did not write, and what building raises.
    """
    net = load(cfg, weights)
    reason = why_not(path, net, request, ranges)
    if reason is None:
        return
    if os.path.lexists(path) and not os.path.lexists(reports.path_of(path)):
        raise OutputError("a file of this name has no report of an engine", place(path), "move it away")
    build = Build(net, request, None if ranges is None else Ranges.read(ranges))
    for notice in build.notices:
        say(str(notice))
    say("building {}, since {}; that may take minutes".format(path, reason))
    sources: Dict[str, str] = OrderedDict([("cfg", cfg), ("weights", weights)])
    if ranges is not None:
        sources["ranges"] = ranges
    write(path, build.run(), sources, overwrite=True)


def why_not(path: str, net: Net, request: Request, ranges: Optional[str] = None) -> Optional[str]:
    """Why the engine at `path` cannot serve, or None."""
    if not os.path.lexists(path):
        return "there is none yet"
    try:
        report = reports.read(path)
        if report is None:
            return "it has no report"
        report.require(net)
        report.require_engine(path)
    except EngineError as error:
        return error.message
    fields, api, gpu = report.fields, tensorrt_api.load(), find_gpu()
    used = (fields.get("inputs") or {}).get("ranges", {}).get("sha256")
    checks = [
        ("its precision", fields["precision"]["requested"], request.precision),
        ("its ranges", used, None if ranges is None else reports.sha256_of(ranges)),
        ("its batch", report.batch, tuple(request.batch)),
        ("TensorRT", [fields["tensorrt"]["name"], fields["tensorrt"]["version"]], [api.name, api.version]),
        ("the GPU", _kind_of(fields.get("gpu")), None if gpu is None else _kind_of(gpu._asdict())),
    ]
    return next((what + " changed" for what, built, wanted in checks if built != wanted), None)


def _kind_of(gpu: Optional[Dict[str, Any]]) -> Any:
    """What an engine is bound to; a board's memory is what its firmware leaves of it."""
    return None if gpu is None else (gpu["name"], list(gpu["capability"]))
