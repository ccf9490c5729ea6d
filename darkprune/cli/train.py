"""Trains a net on a data set, as the options of its cfg say; from scratch, or on from the weights that it has.

Writes into the folder OUT, by Darknet's names: NAME.cfg, NAME_last.weights while it trains, NAME_best.weights (the
best evaluation so far), NAME_final.weights in the end; NAME_log.csv, NAME_chart.png (with matplotlib),
NAME_tensorboard (with TensorBoard); and the checkpoint NAME_last.npz, from which --resume goes on after an
interruption, to the same result.
"""

import argparse
import os
import sys
from collections import OrderedDict
from typing import Any, Dict, List

from darkprune.cli.common import notice_texts, print_json, warn, write
from darkprune.cli.train_options import add_options, check, overrides
from darkprune.darknet.pair import write_file
from darkprune.data.data_file import DataFile
from darkprune.data.problems import Problems
from darkprune.errors import DarkpruneError, MissingDependency, Notice, UsageError, place
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.graph.write import cfg_bytes

# what it writes beside the log
WRITTEN = (".cfg", "_last.npz", "_last.weights", "_best.weights", "_final.weights")
# options that a resumed training must have had before; make_run knows of others
REMEMBERED = ("sparsity", "sparsity_method", "sparsity_schedule", "teacher_weight", "temperature", "hints", "band")
INTERRUPTED = 130  # exit status, as of a shell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    require_training()
    from darkprune.train.device import usable_device
    from darkprune.train.distributed import join, own_device

    check(arguments)
    device = own_device(usable_device(arguments.device))
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
    from darkprune.train.logs import Log
    from darkprune.train.reporter import Reporter

    training, said, notices, inputs = _assembled(arguments, device, group)
    if arguments.resume:
        training.restore()
    if group is not None:
        group.require_same([training.done, training.about], "training")
    if not training.writes:
        training.train()
        return 0  # interrupted too: torchrun ends the first process, which may be writing, where another one fails
    text = cfg_bytes(training.net)
    _require_free(training.prefix, text, inputs, arguments)
    if not _holds(training.prefix + ".cfg", text):
        write_file(training.prefix + ".cfg", text, inputs, overwrite=True)
    warn(notices)
    with Log(training.prefix, training.done if arguments.resume else None, arguments.overwrite, inputs) as log:
        reporter = Reporter(log, training, None if arguments.json else write)
        if not arguments.json:
            write("".join(line + "\n" for line in said))
        training.train(reporter)
        warn(log.notices)
    return _ended(arguments, training, reporter.last, notices)


def _assembled(arguments: argparse.Namespace, device: str, group: Any) -> Any:
    """(the Run, lines that say where the net's values come from, notices, files that are read)"""
    from darkprune.train.assemble import Options, make_run, read_set
    from darkprune.train.augment import Augmentation
    from darkprune.train.settings import Settings

    data, problems = DataFile.read(arguments.data), Problems()
    net, said = _start(arguments)
    train = read_set(data, "train", net, problems)
    valid = read_set(data, "valid", net, problems) if data.text("valid") else None
    notices = list(data.notices) + net.notices + problems.settle(arguments.ignore_problems)
    if arguments.band is not None and valid is None:
        raise UsageError("--band needs something to measure accuracy on", data.place(), "add a line valid = FILE")
    given, variation = overrides(arguments)
    teacher, distillation = _teacher(arguments, net)
    training = make_run(
        net,
        Settings.of(net, len(train.images), arguments.epochs, **given),
        train,
        valid,
        _prefix(arguments, data),
        Options(arguments.seed, arguments.workers, device, arguments.bfloat16, arguments.every, arguments.save_every),
        Augmentation.of(net, **variation),
        teacher,
        distillation,
        _sparsity(arguments),
        arguments.box_gradient,
        group,
        arguments.band,
        {name: getattr(arguments, name) for name in REMEMBERED},
        arguments.keep_zeros,
    )
    return training, said, notices + training.loader.notices, _inputs(arguments, data, train, valid)


def _ended(arguments: argparse.Namespace, training: Any, last: Dict[str, Any], notices: List[Notice]) -> int:
    """Says how a training ended; returns the exit status."""
    if training.interrupted:
        write("interrupted after step {}; --resume goes on from there\n".format(training.done), sys.stderr)
        return INTERRUPTED
    if arguments.json:
        print_json(OrderedDict(last, steps=training.done, stopped=training.stopped, warnings=notice_texts(notices)))
    elif training.stopped:
        write("stopped after step {}: {}\n".format(training.done, training.stopped))
    return 0


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
    from darkprune.train.gamma_sparsity import Sparsity
    from darkprune.train.sparsity_schedule import parse_schedule

    schedule = parse_schedule(arguments.sparsity_schedule or "constant")
    method = arguments.sparsity_method or "proximal"
    return lambda net, module: Sparsity(net, module, arguments.sparsity, method, schedule)


def _teacher(arguments: argparse.Namespace, net: Net) -> Any:
    """(the teacher's net, the Distillation), or Nones."""
    if arguments.teacher is None:
        return None, None
    from darkprune.prune import plan as plans
    from darkprune.train import distill

    teacher = load(arguments.teacher[0], arguments.teacher[1], arguments.dialect)
    given = {"weight": arguments.teacher_weight, "temperature": arguments.temperature}
    options = distill.DEFAULTS._replace(**{key: value for key, value in given.items() if value is not None})
    plan = plans.read(arguments.plan) if arguments.plan else None
    return teacher, distill.Distillation(net, teacher, options, _numbers(arguments.hints or ""), plan)


def _numbers(text: str) -> List[int]:
    try:
        return [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise UsageError("--hints {} are no layer numbers".format(text), hint="write them as in 36,61,74") from None


def _inputs(arguments: argparse.Namespace, data: DataFile, *sets: Any) -> List[str]:
    """What must not be written over."""
    given = [arguments.cfg, arguments.weights] + list(arguments.teacher or []) + data.files()
    return [path for path in given if path] + [path for one in sets if one is not None for path in one.images]


def _require_free(prefix: str, text: bytes, inputs: List[str], arguments: argparse.Namespace) -> None:
    """Nothing that is read may be written over, and nothing that stands there unasked."""
    read = {os.path.realpath(path) for path in inputs}
    for suffix in WRITTEN:
        path = prefix + suffix
        if os.path.realpath(path) in read and not (suffix == ".cfg" and _holds(path, text)):
            raise UsageError("this file is read, and would be written over", place(path), "give another folder by -o")
        if arguments.resume or arguments.overwrite or not os.path.lexists(path) or _holds(path, text):
            continue
        hint = "go on from it by --resume, replace it by --overwrite, or give another -o"
        raise UsageError("an earlier training stands there", place(path), hint)


def _holds(path: str, data: bytes) -> bool:
    """Whether a file has just these bytes."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(data) + 1) == data
    except OSError:
        return False


def _prefix(arguments: argparse.Namespace, data: DataFile) -> str:
    folder = arguments.output or data.text("backup")
    if not folder:
        raise UsageError("nothing says where to write to", data.place(), "give -o FOLDER, or a line backup = FOLDER")
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, os.path.splitext(os.path.basename(arguments.cfg))[0])


def require_training() -> None:
    """Raises MissingDependency where torch or OpenCV is not installed."""
    from darkprune.backends.torch_ import import_torch

    import_torch()
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        cause = "training needs OpenCV: {}".format(error)
        raise MissingDependency(cause, hint="pip install darkprune[train]") from error
