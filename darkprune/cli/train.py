"""Trains a net on a data set, as the options of its cfg say; from scratch, or on from the weights that it has.

Writes into the folder OUT, by Darknet's names: NAME.cfg, NAME_last.weights while it trains, NAME_best.weights (the
best evaluation so far), NAME_final.weights in the end; and the log NAME.csv, chart.png, and the checkpoint
NAME_last.npz, from which --resume goes on after an interruption, to the same result.
"""

import argparse
import os
import sys
from collections import OrderedDict
from typing import Any, Dict, List, Optional

from darkprune.cli.common import add_common, notice_texts, print_json, warn, write
from darkprune.darknet.pair import write_file
from darkprune.data.data_file import DataFile
from darkprune.data.problems import Problems
from darkprune.errors import DarkpruneError, MissingDependency, UsageError, place
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.graph.write import cfg_bytes

WRITTEN = ("_last.npz", "_last.weights", "_best.weights", "_final.weights")
# options that a resumed training must have had before; make_run knows of others
REMEMBERED = ("sparsity", "sparsity_method", "sparsity_schedule", "teacher_weight", "temperature", "hints", "band")
INTERRUPTED = 130  # exit status, as of a shell
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
    parser.add_argument(
        "--partial",
        metavar="CFG",
        nargs="?",
        const="",
        help="WEIGHTS are those of another net, CFG's, "
        "or of this one's first layers, or of other classes: take what fits",
    )
    parser.add_argument("--reinit", action="store_true", help="start from random weights in spite of WEIGHTS")
    _add_sparsity(parser)
    parser.add_argument(
        "--teacher", metavar=("CFG", "WEIGHTS"), nargs=2, help="distil: learn from this pair's outputs too"
    )
    parser.add_argument("--teacher-weight", metavar="X", type=float, default=1.0, help="beside the labels (default: 1)")
    parser.add_argument("--temperature", metavar="T", type=float, default=2.0, help="of its classes (default: 2)")
    parser.add_argument(
        "--hints", metavar="N,...", default="", help="layers of the teacher whose maps are learnt too, by number"
    )
    parser.add_argument("--plan", metavar="FILE", help="by which this net was pruned from the teacher, for --hints")
    parser.add_argument(
        "--box-gradient",
        choices=("darknet", "loss"),
        default="darknet",
        help="of iou_loss in [yolo]: AlexeyAB's deltas, or the true gradient (default: darknet)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all chance (default: 0)")
    parser.add_argument("--workers", metavar="N", type=int, help="processes that load images")
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1... (default: a GPU where there is one)")
    parser.add_argument("--bfloat16", action="store_true", help="convolutions with 8 bits of precision: faster")
    parser.add_argument("--every", metavar="N", type=int, default=10, help="epochs between evaluations, 0: one in the end (10)")
    parser.add_argument("--save-every", metavar="N", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier training wrote to OUT")
    parser.add_argument("--ignore-problems", action="store_true", help="go on without what is wrong with the data set")
    add_common(parser)


def _add_sparsity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sparsity", metavar="S", type=float, help="drive channel sets to zero with this strength")
    parser.add_argument(
        "--sparsity-method",
        choices=("proximal", "subgradient"),
        default="proximal",
        help="soft threshold, which reaches exact zeros, or L1's slope (default: %(default)s)",
    )
    parser.add_argument(
        "--sparsity-schedule",
        metavar="KIND[:SINCE:RELAXED[:CHANNELS]]",
        default="constant",
        help="constant; global:0.5:0.1 falls to a tenth in the second half; local:0.5:0.1:0.6 relaxes all but the 60 "
        "percent of the filters that pruning would remove (default: constant)",
    )
    parser.add_argument(
        "--band",
        metavar="B",
        type=float,
        help="stop when the accuracy has fallen by B (as in 0.03) below that of WEIGHTS",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    require_training()
    from darkprune.train.distributed import join, own_device

    _check(arguments)
    device = own_device(_device(arguments.device))
    group = join(device)
    if group is None:
        return _train(arguments, device, None)
    try:
        return _train(arguments, device, group)
    except (DarkpruneError, KeyboardInterrupt) as error:
        if group.speaks(error):
            raise
        return 2
    finally:
        group.leave()


def _train(arguments: argparse.Namespace, device: str, group: Any) -> int:
    from darkprune.train.assemble import Options, make_run, read_set
    from darkprune.train.logs import Log
    from darkprune.train.reporter import Reporter
    from darkprune.train.settings import Settings

    first = group is None or group.rank == 0
    data, problems = DataFile.read(arguments.data), Problems()
    net, said = _start(arguments)
    train = read_set(data, "train", net, problems)
    valid = read_set(data, "valid", net, problems) if data.text("valid") else None
    notices = list(data.notices) + net.notices + problems.settle(arguments.ignore_problems)
    names = [name.replace("-", "_") for name, _, _ in OVERRIDES]
    settings = Settings.of(net, len(train.images), arguments.epochs, **{n: getattr(arguments, n) for n in names})
    prefix = _prefix(arguments, data)
    options = Options(
        arguments.seed, arguments.workers, device, arguments.bfloat16, arguments.every, arguments.save_every
    )
    teacher, distillation = _teacher(arguments, net)
    training = make_run(
        net,
        settings,
        train,
        valid,
        prefix,
        options,
        teacher=teacher,
        distillation=distillation,
        sparsity=_sparsity(arguments),
        box_gradient=arguments.box_gradient,
        group=group,
        about={name: getattr(arguments, name) for name in REMEMBERED},
    )
    training.band = arguments.band
    if arguments.resume:
        training.restore()
    if group is not None:
        group.require_same([training.done, training.about], "training")
    if not first:
        training.train()
        return 0
    inputs = _inputs(arguments, data, train, valid)
    if not arguments.resume:
        _require_free(prefix, arguments.overwrite)
    write_file(prefix + ".cfg", cfg_bytes(net), inputs, overwrite=True)
    warn(notices + training.loader.notices)
    last: Dict[str, Any] = {}
    with Log(prefix, training.done if arguments.resume else None, arguments.overwrite, inputs) as log:
        reporter = Reporter(log, training, None if arguments.json else write)
        if not arguments.json:
            write("".join(line + "\n" for line in said))
        training.train(reporter)
        last = reporter.last
        warn(log.notices)
    if training.interrupted:
        write("interrupted after step {}; --resume goes on from there\n".format(training.done), sys.stderr)
        return INTERRUPTED
    if arguments.json:
        print_json(OrderedDict(last, steps=training.done, stopped=training.stopped, warnings=notice_texts(notices)))
    elif training.stopped:
        write("stopped after step {}: {}\n".format(training.done, training.stopped))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Options that contradict each other, or are out of range. Raises UsageError."""
    if arguments.weights is None and (arguments.partial or arguments.reinit):
        raise UsageError("--partial and --reinit need WEIGHTS", hint="leave them out to start from random weights")
    if arguments.resume and arguments.overwrite:
        raise UsageError("--resume goes on, --overwrite starts anew", hint="give one of them")
    if arguments.band is not None and not 0 < arguments.band < 1:
        raise UsageError("--band {} is no loss of accuracy".format(arguments.band), hint="use a number such as 0.03")
    for flag, value, low in (("--every", arguments.every, 0), ("--save-every", arguments.save_every, 1)):
        if value < low:
            raise UsageError("{} {} is too few".format(flag, value), hint="use {} or more".format(low))


def _start(arguments: argparse.Namespace) -> Any:
    """(the net that training starts from, lines that say where its values come from)"""
    from darkprune.train import partial_weights, random_weights

    if arguments.partial is not None and arguments.weights is not None:
        net = load(arguments.cfg, None, arguments.dialect)
        source = partial_weights.read_source(net, arguments.weights, arguments.partial or None)
        made = partial_weights.adopt(net, source, arguments.seed, random_weights.OBJECTNESS)
        return made.net, partial_weights.describe(made.layers)
    weights = None if arguments.reinit else arguments.weights
    net = load(arguments.cfg, weights, arguments.dialect)
    if weights is None:
        net = random_weights.start(net, arguments.seed, random_weights.OBJECTNESS)
        return net, ["random weights, seed {}".format(arguments.seed)]
    return net, []


def _sparsity(arguments: argparse.Namespace) -> Any:
    """What makes the penalty of a net and its module; None where there is none."""
    if not arguments.sparsity:
        return None
    from darkprune.train.sparsity import Sparsity, parse_schedule

    schedule = parse_schedule(arguments.sparsity_schedule)
    return lambda net, module: Sparsity(net, module, arguments.sparsity, arguments.sparsity_method, schedule)


def _teacher(arguments: argparse.Namespace, net: Net) -> Any:
    """(the teacher's net, the Distillation), or Nones."""
    if arguments.teacher is None:
        return None, None
    from darkprune.prune import plan as plans
    from darkprune.train import distill

    teacher = load(arguments.teacher[0], arguments.teacher[1], arguments.dialect)
    options = distill.DEFAULTS._replace(weight=arguments.teacher_weight, temperature=arguments.temperature)
    plan = plans.read(arguments.plan) if arguments.plan else None
    return teacher, distill.Distillation(net, teacher, options, _numbers(arguments.hints), plan)


def _numbers(text: str) -> List[int]:
    try:
        return [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise UsageError("--hints {} are no layer numbers".format(text), hint="write them as in 36,61,74") from None


def _inputs(arguments: argparse.Namespace, data: DataFile, *sets: Any) -> List[str]:
    """What must not be written over."""
    given = [arguments.cfg, arguments.weights] + list(arguments.teacher or []) + data.files()
    return [path for path in given if path] + [path for one in sets if one is not None for path in one.images]


def _require_free(prefix: str, overwrite: bool) -> None:
    for suffix in WRITTEN:
        if not overwrite and os.path.exists(prefix + suffix):
            hint = "go on from it by --resume, replace it by --overwrite, or give another -o"
            raise UsageError("an earlier training stands there", place(prefix + suffix), hint)


def _prefix(arguments: argparse.Namespace, data: DataFile) -> str:
    folder = arguments.output or data.text("backup")
    if not folder:
        raise UsageError("nothing says where to write to", data.place(), "give -o FOLDER, or a line backup = FOLDER")
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, os.path.splitext(os.path.basename(arguments.cfg))[0])


def _device(asked: Optional[str]) -> str:
    import torch

    device = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        cause = "torch has no device {}: {}".format(device, str(error).splitlines()[0].rstrip("."))
        raise UsageError(cause, hint="use cpu, or install a torch that was built for the device") from error
    return device


def require_training() -> None:
    """Raises MissingDependency where torch or OpenCV is not installed."""
    from darkprune.backends.torch_ import import_torch

    import_torch()
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        cause = "training needs OpenCV: {}".format(error)
        raise MissingDependency(cause, hint="pip install darkprune[train]") from error
