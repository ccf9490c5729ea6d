"""Times forward passes of one or more pairs in each runner, one image at a time.

Every measurement is a process of its own, and the pairs take turns, so that their ratios hold on a busy machine. Only
the forward pass is timed: no reading and resizing of images, and no decoding of boxes but OpenCV's own. Beside the
times stand parameters, multiply-accumulates, bytes and BFLOPs, and the energy where the machine has a meter.
"""

import argparse
import os
import platform
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from darkprune.backends.clock import Clock
from darkprune.backends.registry import INT8_RUNNERS, OF_INTEGERS, RUNNERS, TENSORRT, require_int8_runner
from darkprune.cli.arguments import one_of
from darkprune.cli.common import add_common, grouped, notice_texts, print_json, progress, table, warn, write
from darkprune.edit.resize import resize
from darkprune.engine import report as reports
from darkprune.errors import CalibrationError, EngineError, MissingDependency, Notice, UsageError, place
from darkprune.evaluate.advice import Advice
from darkprune.evaluate.bench import Comparison, Run
from darkprune.evaluate.cost import Cost, cost
from darkprune.evaluate.energy import find_meter
from darkprune.evaluate.latency import Measurement
from darkprune.evaluate.variants import advise
from darkprune.graph.build import load
from darkprune.graph.key import pair_key
from darkprune.graph.net import Net
from darkprune.quant.ranges import Ranges

ROUNDS = 5
ADVISED = "onnxruntime"  # the runner whose forms of a net are compared

Model = NamedTuple(
    "Model",
    [
        ("name", str),
        ("cfg", str),
        ("weights", str),
        ("cost", Cost),
        ("notices", List[Notice]),
        ("int8", Optional[str]),  # the ranges' file of a net on 8-bit integers, which is another one than the float net
        ("engine", Optional[str]),  # the file of a TensorRT engine of it
    ],
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("pairs", metavar="PAIR", nargs="+", help="CFG and WEIGHTS, once or more")
    parser.add_argument(
        "--runners",
        metavar="LIST",
        help="comma list of {} (default: those installed that take the pairs, but for {})".format(
            ", ".join(RUNNERS), TENSORRT
        ),
    )
    parser.add_argument(
        "--int8",
        metavar="RANGES",
        action="append",
        help="time a pair also on 8-bit integers, with these ranges of its own; in {}".format(OF_INTEGERS),
    )
    parser.add_argument(
        "--engine",
        metavar="ENGINE",
        action="append",
        help="time a TensorRT engine of a pair; --runners tensorrt without it builds one in each process",
    )
    parser.add_argument("--threads", metavar="N", type=int, help="threads of each runner (default: its own choice)")
    parser.add_argument("--width", metavar="W", type=int, help="width of the input")
    parser.add_argument("--height", metavar="H", type=int, help="height of the input")
    parser.add_argument(
        "--repeats",
        metavar="N",
        type=int,
        default=ROUNDS,
        help="processes per pair and runner, of about a second each (default: %(default)s)",
    )
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    runners = _runners(arguments.runners, bool(arguments.int8))
    if arguments.engine and TENSORRT not in runners:
        runners.append(TENSORRT)
    for name in ("threads", "repeats"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UsageError("--{} {} is too few".format(name, value), hint="use 1 or more")
    models = _models(arguments)
    meter, energy = find_meter()
    comparison = Comparison(_measurements(arguments, models, runners), strict=arguments.runners is not None)
    comparison.measure(arguments.repeats, progress("processes"))
    runs = comparison.runs()
    if not runs:
        reasons = "; ".join(OrderedDict.fromkeys(comparison.left_out.values()))
        raise MissingDependency("no runner measured anything: " + reasons, hint="see darkprune doctor")
    left_out = [
        {"model": models[pair].name, "runner": runner, "reason": why}
        for (pair, runner), why in comparison.left_out.items()
    ]
    notices = [notice for model in models for notice in model.notices]
    advice = _advice(arguments, models, runs)
    if arguments.json:
        answer: Dict[str, Any] = {"runs": [_run_as_dict(models, made) for made in runs]}
        answer["models"] = [dict(model.cost._asdict(), model=model.name) for model in _as_they_are(models)]
        answer.update(left_out=left_out, energy=energy, threads=arguments.threads, machine=machine())
        answer["advice"] = [dict(found.to_dict(), model=name) for name, found in advice]
        answer["warnings"] = notice_texts(notices)
        print_json(answer)
        return 0
    warn(notices)
    warn(Notice("{model} in {runner} was left out: {reason}".format(**gone)) for gone in left_out)
    write(_text(models, runs, arguments.threads, meter is not None))
    write("energy: {}\n".format(energy))
    for name, found in advice:
        write("".join("{}: {}\n".format(name, line) for line in found.lines()))
    return 0


def _advice(arguments: argparse.Namespace, models: List[Model], runs: List[Run]) -> List[Tuple[str, Advice]]:
    """What to do with each pair that ran on integers in ONNX Runtime: its forms are timed against each other."""
    found = []
    for made in runs:
        model = models[made.pair]
        if made.runner == ADVISED and model.int8 is not None:
            net = load(model.cfg, model.weights, arguments.dialect)
            if arguments.width is not None or arguments.height is not None:
                net = resize(net, arguments.width, arguments.height)
            ranges, steps = Ranges.read(model.int8), progress("processes, for advice")
            found.append((model.name, advise(net, ranges, arguments.threads, arguments.repeats, progress=steps)))
    return found


def _runners(text: Optional[str], int8: bool) -> List[str]:
    if text is None:
        return [name for name in RUNNERS if name != TENSORRT]  # which would build engines for minutes, unasked
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("--runners names no runner", hint="use " + ", ".join(RUNNERS))
    known = list(OrderedDict.fromkeys(RUNNERS + INT8_RUNNERS))
    found = list(OrderedDict.fromkeys(one_of(name, known, "runner") for name in names))
    for name in found:
        if not int8 or not set(found).intersection(INT8_RUNNERS):
            require_int8_runner(name, int8)
    return found


def _models(arguments: argparse.Namespace) -> List[Model]:
    paths = arguments.pairs
    if len(paths) % 2:
        raise UsageError("every cfg needs its weights", place(paths[-1]), "use CFG WEIGHTS [CFG WEIGHTS]...")
    pairs = list(zip(paths[::2], paths[1::2]))
    models, ranges = [], [Ranges.read(path) for path in arguments.int8 or []]
    for name, (cfg, weights) in zip(_names([weights for _, weights in pairs]), pairs):
        net = load(cfg, weights, arguments.dialect)
        if arguments.width is not None or arguments.height is not None:
            net = resize(net, arguments.width, arguments.height)
        models.append(Model(name, cfg, weights, cost(net), net.notices, None, None))
        for path, found in zip(arguments.int8 or [], ranges):
            if len(pairs) == 1 or found.pair == pair_key(net):
                found.require(net)
                models.append(models[-1]._replace(name=name + " int8", notices=[], int8=path))
        models += _engines(arguments, models[-1]._replace(name=name, notices=[], int8=None), net, len(pairs) == 1)
    used = [path for model in models for path in (model.int8, model.engine)]
    for path in arguments.int8 or []:
        if path not in used:
            cause = "the ranges are those of none of the pairs"
            raise CalibrationError(
                cause, place(path), "calibrate one of them; every change of the weights needs new ranges"
            )
    for path in arguments.engine or []:
        if path not in used:
            cause = "the engine is that of none of the pairs, as far as its report tells"
            raise EngineError(cause, place(path), "build it from one of them, at this input size")
    return models


def _engines(arguments: argparse.Namespace, model: Model, net: Net, alone: bool) -> List[Model]:
    """The pair in each of its engines; where there is one pair, all are its own."""
    found = []
    for path in arguments.engine or []:
        report = reports.read(path)
        if alone and report is not None:
            report.require(net)
        if report is None:
            reports.sha256_of(path)  # it can be read
        if alone or report is not None and report.fields["pair"] == pair_key(net):
            name = "{} {}".format(model.name, os.path.splitext(os.path.basename(path))[0])
            found.append(model._replace(name=name, engine=path))
    return found


def _names(paths: List[str]) -> List[str]:
    """What each pair is called, after its weights: the stem, or the path where stems repeat; -2, -3... if that does."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    if len(set(stems)) < len(stems):
        stems = [os.path.splitext(path)[0] for path in paths]
    names: List[str] = []
    for stem in stems:
        name, number = stem, 1
        while name in names:
            number += 1
            name = "{}-{}".format(stem, number)
        names.append(name)
    return names


def _measurements(
    arguments: argparse.Namespace, models: List[Model], runners: List[str]
) -> List[Tuple[Tuple[int, str], Measurement]]:
    clock = Clock(energy=True).as_dict()
    size = (arguments.width, arguments.height, arguments.threads)
    return [
        (
            (number, runner),
            Measurement(model.cfg, model.weights, runner, *size, clock=clock, int8=model.int8, engine=model.engine),
        )
        for runner in runners
        for number, model in enumerate(models)
        if _runs(model, runner, bool(arguments.engine))
    ]


def _runs(model: Model, runner: str, engines: bool) -> bool:
    """Whether a runner is to run that form of a pair; where there are engines, TensorRT runs nothing else."""
    if runner == TENSORRT and engines or model.engine is not None:
        return runner == TENSORRT and model.engine is not None
    return runner in (RUNNERS if model.int8 is None else INT8_RUNNERS)


def _as_they_are(models: List[Model]) -> List[Model]:
    """The pairs themselves, without their other forms."""
    return [model for model in models if model.int8 is None and model.engine is None]


def _run_as_dict(models: List[Model], made: Run) -> Dict[str, Any]:
    found: Dict[str, Any] = dict(made._asdict(), model=models[made.pair].name, fps=1e3 / made.median_ms)
    del found["pair"]
    return found


def _text(models: List[Model], runs: List[Run], threads: Optional[int], energy: bool) -> str:
    costs = [["model", "parameters", "MACs", "weights bytes", "BFLOPs"]]
    for model in _as_they_are(models):
        counts = (model.cost.parameters, model.cost.macs, model.cost.weights_bytes)
        costs.append([model.name] + [grouped(count) for count in counts] + ["{:.3f}".format(model.cost.bflops)])
    times = [["runner", "model", "median ms", "min", "max", "FPS", "speed", "CPU ms"] + ["J/image"] * energy]
    for made in runs:
        row = [made.runner, models[made.pair].name]
        row += ["{:.2f}".format(value) for value in (made.median_ms, made.min_ms, made.max_ms, 1e3 / made.median_ms)]
        row += ["{:.2f}x".format(made.speedup), "{:.2f}".format(made.cpu_ms)]
        times.append(row + ["{:.4g}".format(made.joules) if made.joules is not None else "-"] * energy)
    count = "their own choice of" if threads is None else str(threads)
    head = "{}; {} threads; median of {} processes\n".format(machine(), count, max(made.processes for made in runs))
    return table(costs) + "\n" + head + table(times, left=(0, 1))


def machine() -> str:
    """The processor and the number of its cores."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as stream:
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
    except OSError:
        names = []
    return "{}, {} cores".format(names[0] if names else name, os.cpu_count())
