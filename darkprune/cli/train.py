"""Trains a net on a data set, as the options of its cfg say; from scratch, or on from the weights that it has.

Writes into the folder OUT, by Darknet's names: NAME.cfg, NAME_last.weights while it trains, NAME_best.weights (the
best evaluation so far), NAME_final.weights in the end; and the log NAME.csv, chart.png, and the checkpoint
NAME_last.npz, from which --resume goes on after an interruption, to the same result.
"""

import argparse
import os
from collections import OrderedDict
from typing import Any, Dict, Optional

from darkprune.cli.common import add_common, notice_texts, print_json, warn, write
from darkprune.darknet.pair import write_file
from darkprune.data.data_file import DataFile
from darkprune.data.problems import Problems
from darkprune.errors import MissingDependency, UsageError, place
from darkprune.graph.build import load
from darkprune.graph.write import cfg_bytes

OBJECTNESS = 0.01  # what a head is to give everywhere before it has learnt anything: most cells see no object
# Settings of [net] that have an option of their own.
OVERRIDES = (
    ("batch", int, "images of a step"),
    ("subdivisions", int, "parts that a step's images are run in"),
    ("max-batches", int, "steps"),
    ("learning-rate", float, "the rate"),
    ("learning-rate-min", float, "the rate at the end of a cycle of policy=sgdr"),
    ("policy", str, "how the rate falls: constant, steps, poly, sgdr..."),
    ("burn-in", int, "steps over which the rate rises"),
    ("momentum", float, "of the gradients"),
    ("decay", float, "of the weights"),
    ("adam", int, "1: Adam in place of momentum"),
    ("ema-alpha", float, "share of the past in a moving average of the weights: 0.999; 0 is none"),
    ("random", float, "multi-scale training: 1, or the largest factor"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS", nargs="?")
    parser.add_argument("--data", metavar="DATA", required=True, help="the .data file")
    parser.add_argument("-o", "--output", metavar="OUT", help="folder to write into (default: backup= of DATA)")
    parser.add_argument("--epochs", metavar="N", type=float, help="how often each image is seen, not max_batches steps")
    for name, kind, words in OVERRIDES:
        flag = "--" + name
        parser.add_argument(flag, metavar="X", type=kind, help=words + " (default: the cfg's)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all chance (default: 0)")
    parser.add_argument("--workers", metavar="N", type=int, help="processes that load images")
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1... (default: a GPU where there is one)")
    parser.add_argument("--bfloat16", action="store_true", help="convolutions with 8 bits of precision: faster")
    parser.add_argument("--every", metavar="N", type=int, default=10, help="epochs between evaluations (default: 10)")
    parser.add_argument("--save-every", metavar="N", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier training wrote to OUT")
    parser.add_argument("--ignore-problems", action="store_true", help="go on without what is wrong with the data set")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    _require_torch()
    from darkprune.train.initial import start
    from darkprune.train.settings import Settings
    from darkprune.train.training import Options, make_run, read_set

    data, problems = DataFile.read(arguments.data), Problems()
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    train = read_set(data, "train", net, problems)
    valid = read_set(data, "valid", net, problems) if data.text("valid") else None
    notices = list(data.notices) + net.notices + problems.settle(arguments.ignore_problems)
    warn(notices)
    given = {name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name, _, _ in OVERRIDES}
    settings = Settings.of(net, len(train.images), arguments.epochs, **given)
    if arguments.weights is None:
        net = start(net, arguments.seed, OBJECTNESS)
    prefix = _prefix(arguments, data)
    options = Options(
        arguments.seed,
        arguments.workers,
        _device(arguments.device),
        arguments.bfloat16,
        arguments.every,
        arguments.save_every,
    )
    training = make_run(net, settings, train, valid, prefix, options)
    if arguments.resume:
        training.restore()
    elif not arguments.overwrite and os.path.exists(training.path):
        hint = "go on from it by --resume, or replace it by --overwrite"
        raise UsageError("an earlier training stands there", place(training.path), hint)
    write_file(prefix + ".cfg", cfg_bytes(net), [arguments.cfg], overwrite=True)
    last: Dict[str, Any] = {}

    def report(progress: Any) -> None:
        last.update(progress.values)
        if not arguments.json and (progress.step % 10 == 0 or "map" in progress.values):
            write(_line(progress, settings.max_batches))

    training.train(report)
    if arguments.json:
        print_json(OrderedDict(last, steps=training.done, warnings=notice_texts(notices)))
    return 0


def _line(progress: Any, steps: int) -> str:
    values = " ".join("{} {:.4g}".format(key, value) for key, value in progress.values.items())
    return "{}/{} rate {:.3g} {} ({:.2f} s)\n".format(progress.step, steps, progress.rate, values, progress.seconds)


def _prefix(arguments: argparse.Namespace, data: DataFile) -> str:
    folder = arguments.output or data.text("backup")
    if not folder:
        raise UsageError("nothing says where to write to", data.place(), "give -o FOLDER, or a line backup = FOLDER")
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, os.path.splitext(os.path.basename(arguments.cfg))[0])


def _device(asked: Optional[str]) -> str:
    import torch

    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def _require_torch() -> None:
    from darkprune.backends.torch_ import import_torch

    import_torch()
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        cause = "training needs OpenCV: {}".format(error)
        raise MissingDependency(cause, hint="pip install darkprune[train]") from error
