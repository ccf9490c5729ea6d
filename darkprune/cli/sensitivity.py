"""Measures what removing 10..90 % of each tied width alone, or one shortcut block, costs; appends to a table (CSV).

Without images the cost is the damage predicted from the arrays; with --images the signal over noise, in dB, that the
heads keep; with --data the accuracy (mAP@0.5 or top-1). Rows that FILE has are not measured again: a run that was
ended goes on, and --plot draws a picture of what is there.
"""

import argparse
import hashlib
import os
from collections import OrderedDict
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from darkprune.cli.common import add_common, notice_texts, print_json, progress, table, warn, write
from darkprune.cli.prune_budget import TIMED_IN
from darkprune.cli.prune_evidence import measurer
from darkprune.cli.running import fastest_runner
from darkprune.darknet.pair import require_writable, write_file
from darkprune.data import image_list
from darkprune.data.data_file import DataFile
from darkprune.detect.image_file import read_bytes
from darkprune.detect.preprocess import require_image_input
from darkprune.errors import UsageError
from darkprune.evaluate.net_accuracy import NetAccuracy
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.prune.criteria import CRITERIA
from darkprune.prune.criteria.base import Values
from darkprune.prune.score import GROUPINGS
from darkprune.prune.select import DEFAULTS
from darkprune.prune.sensitivity import PREDICTED, SIGNAL, WHOLE, Ranked, parts_of, ranked, short_key, tasks_of
from darkprune.prune.sensitivity_csv import Appended, Row
from darkprune.prune.sensitivity_plot import drawn, name_of
from darkprune.prune.sensitivity_run import Setup
from darkprune.prune.sensitivity_run import run as measure

SHARES = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
SHOWN = 5  # parts at either end of the text
WORDS = {
    PREDICTED: "predicted damage",
    SIGNAL: "noise's share of the heads' signal",
    "map": "mAP@0.5 lost",
    "top1": "top-1 lost",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the table to append to")
    parser.add_argument("--data", metavar="DATA", help="a .data file: measure the accuracy on its valid images")
    parser.add_argument("--images", metavar="DIR|LIST", help="images: measure the signal that the heads keep on them")
    parser.add_argument(
        "--limit", metavar="N", type=int, default=16, help="images that are taken of --images (default: %(default)s)"
    )
    parser.add_argument("--letter-box", action="store_true", help="keep the proportions of --images")
    parser.add_argument(
        "--runner", choices=TIMED_IN, help="what runs the net on images (default: the fastest that is installed)"
    )
    parser.add_argument(
        "--criterion", choices=sorted(CRITERIA), default=DEFAULTS.criterion, help="what filters are scored by"
    )
    parser.add_argument("--group", choices=GROUPINGS, default=DEFAULTS.group, help="how scores of tied filters join")
    parser.add_argument("--shares", metavar="LIST", default=SHARES, help="of each width (default: %(default)s)")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes; the rows are the same")
    parser.add_argument("--plot", metavar="PNG", help="draw the curves")
    parser.add_argument("--overwrite", action="store_true", help="replace PNG if it exists")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    shares = _checked(arguments)
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    setup, inputs = _setup(net, arguments)
    if arguments.plot:
        require_writable(arguments.plot, inputs + [arguments.output], arguments.overwrite)
    parts = parts_of(net)
    tasks = ([WHOLE] if setup.data is not None else []) + tasks_of(parts, shares)
    with Appended(arguments.output, setup.head, inputs) as rows:
        measured = measure(setup, tasks, rows, arguments.jobs, progress("rows", "row"))
        wanted = {task.part for task in tasks}
        found = [one for one in ranked(rows, shares) if one.part in wanted]
    files = [arguments.output] + ([arguments.plot] if arguments.plot else [])
    if arguments.plot:
        title = "{}, criterion {}".format(os.path.basename(arguments.weights), arguments.criterion)
        picture = drawn(found, WORDS[setup.head.metric], title)
        write_file(arguments.plot, picture, inputs + [arguments.output], arguments.overwrite)
    if arguments.json:
        print_json(_as_dict(net, setup, found, measured, len(tasks), files))
    else:
        warn(net.notices)
        write(_text(setup, found, measured, len(tasks), files))
    return 0


def _checked(arguments: argparse.Namespace) -> List[float]:
    """The shares. Raises UsageError."""
    if arguments.data is not None and arguments.images is not None:
        raise UsageError("--data and --images measure two things", hint="give one, and a file for each")
    for name in ("jobs", "limit"):
        if getattr(arguments, name) < 1:
            raise UsageError("--{} {} is too few".format(name, getattr(arguments, name)), hint="use 1 or more")
    try:
        shares = sorted({float(word) for word in arguments.shares.split(",")})
        if not all(0 < share < 1 for share in shares):
            raise ValueError(arguments.shares)
    except ValueError:
        hint = "use numbers between 0 and 1: " + SHARES
        raise UsageError("--shares {} is no list of shares".format(arguments.shares), hint=hint) from None
    return shares


def _setup(net: Net, arguments: argparse.Namespace) -> Tuple[Setup, List[str]]:
    """What is measured, and the files that it reads."""
    options: Dict[str, Any] = {"criterion": arguments.criterion, "group": arguments.group}
    words = ["group=" + arguments.group, "dialect=" + arguments.dialect]
    inputs, images, runner, metric = [arguments.cfg, arguments.weights], [], None, PREDICTED
    used: List[str] = []
    if arguments.data is not None or arguments.images is not None:
        runner = arguments.runner or fastest_runner(arguments.cfg, arguments.weights, arguments.dialect)
    if arguments.images is not None:
        require_image_input(net)
        every, metric = image_list.read(arguments.images), SIGNAL
        step = max(1.0, len(every) / float(arguments.limit))
        images = used = [every[int(number * step)] for number in range(min(arguments.limit, len(every)))]
        inputs += [arguments.images] + every
        words.append("letter_box={:d}".format(arguments.letter_box))
    elif arguments.data is not None:
        data = DataFile.read(arguments.data)
        accuracy = NetAccuracy(data, net, str(runner))
        metric, used = accuracy.metric, accuracy.images
        inputs += data.files() + used
        words.append("labels=" + accuracy.labels_key())
    if used:
        words += ["runner={}".format(runner), "images={}:{}".format(len(used), _digest(used))]
    values = _evidence(net, arguments, inputs)
    if values:
        words.append("evidence=" + _digest_of(values[arguments.criterion]))
    head = Row(short_key(net), arguments.criterion, metric, " ".join(words), "", (), 0.0, 0, 0, 0.0, None)
    files = (arguments.cfg, arguments.weights, arguments.dialect)
    return Setup(*files, options, values, arguments.data, images, arguments.letter_box, runner, head), inputs


def _evidence(net: Net, arguments: argparse.Namespace, inputs: List[str]) -> Dict[str, Values]:
    """What a criterion that looks at images found; empty for others. The files it read are added to `inputs`."""
    wanted = argparse.Namespace(
        count=None, combine=None, **{n: getattr(arguments, n) for n in ("images", "data", "runner")}
    )
    measurer_, files = measurer(wanted, net, arguments.criterion, None, 0)
    inputs += files
    return {} if measurer_ is None else measurer_(net).values


def _digest_of(values: Values) -> str:
    """A short name for these scores."""
    digest = hashlib.sha256()
    for index in sorted(values):
        digest.update(np.ascontiguousarray(values[index]).tobytes())
    return digest.hexdigest()[:12]


def _digest(images: List[str]) -> str:
    """A short name for what these images hold. Raises UsageError for one that cannot be read."""
    digest = hashlib.sha256()
    for path in images:
        digest.update(hashlib.sha256(read_bytes(path)).digest())
    return digest.hexdigest()[:12]


def _as_dict(
    net: Net, setup: Setup, found: List[Ranked], measured: int, rows: int, files: List[str]
) -> "OrderedDict[str, Any]":
    parts = [
        OrderedDict(kind=one.part.kind, layers=list(one.part.layers), loss=one.loss, losses=one.losses) for one in found
    ]
    answer: "OrderedDict[str, Any]" = OrderedDict(metric=setup.head.metric, criterion=setup.head.criterion)
    answer.update(setting=setup.head.setting, rows=rows, measured=measured, parts=parts, files=files)
    answer["warnings"] = notice_texts(net.notices)
    return answer


def _text(setup: Setup, found: List[Ranked], measured: int, rows: int, files: List[str]) -> str:
    """The ends of the ranking."""
    shown: List[Optional[Ranked]] = list(found)
    if len(found) > 2 * SHOWN + 1:
        shown = list(found[:SHOWN]) + [None] + list(found[-SHOWN:])
    lines = [["layers", "mean loss", "at the smallest share", "at the largest"]]
    for one in shown:
        if one is None:
            lines.append(["...", "", "", ""])
            continue
        ends = [one.losses[0], one.losses[-1]]
        cells = ["{:.4f} at {:.0%}".format(loss, share) for share, loss in ends]
        lines.append([name_of(one), "{:.4f}".format(one.loss)] + cells)
    head = "{} (0 to 1), criterion {}; the most sensitive first\n".format(
        WORDS[setup.head.metric], setup.head.criterion
    )
    tail = "{} rows, {} measured now; wrote {}\n".format(rows, measured, " ".join(files))
    return head + table(lines) + tail
