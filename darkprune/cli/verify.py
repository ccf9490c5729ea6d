"""Proves a pair, or a pruned pair against its original.

With one pair: each reader's raw heads against the numpy reference in that reader's own dialect.
With a second pair and its plan: the second pair against the first with the removed channels silenced, layer by
layer; then, in each reader, the second pair against the first written with those channels as zeros; then each reader
on the second pair alone. Exit status 1 when a check fails.
"""

import argparse
from collections import OrderedDict
from typing import Any, List, Optional, Tuple

import numpy as np

from darkprune.backends.registry import RUNNERS, TENSORRT, open_runner
from darkprune.cli.common import add_common, print_json, progress, warn, write
from darkprune.engine import report as reports
from darkprune.errors import CfgError, GraphError, UsageError, VerifyError, WeightsError, place
from darkprune.graph.build import load
from darkprune.graph.key import require_finite
from darkprune.graph.net import Net
from darkprune.judge import NAME, compare_masked
from darkprune.prune import plan as plans
from darkprune.prune.masked import BORDERS
from darkprune.verify import READERS, Check, compare_reader, compare_surgery, refused, test_batch

# As READERS, of engines. Zeros are off by 1, another net by more; the largest errors of deep nets whose weights are
# synthetic are 0.32 and 0.88 (docs/results.md).
ROUNDED = {"fp16": 0.5, "int8": 0.95}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("cfg2", metavar="CFG2", nargs="?")
    parser.add_argument("weights2", metavar="WEIGHTS2", nargs="?")
    parser.add_argument("--plan", metavar="PLAN", help="the plan that leads from the first pair to the second")
    parser.add_argument(
        "--runners",
        metavar="LIST",
        default="numpy",
        help="comma list of {} (default: %(default)s)".format(", ".join(RUNNERS)),
    )
    parser.add_argument("--image", metavar="FILE", help="an image to run; without it, a seeded synthetic one")
    parser.add_argument("--engine", metavar="ENGINE", help="a TensorRT engine of the last pair, to be run on it too")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    runners = list(OrderedDict.fromkeys(name.strip() for name in arguments.runners.split(",") if name.strip()))
    if arguments.engine is not None and TENSORRT not in runners:
        runners.append(TENSORRT)
    unknown = sorted(set(runners) - set(RUNNERS))
    if unknown or not runners:
        cause = "unknown runner {}".format(", ".join(unknown)) if unknown else "--runners names no runner"
        raise UsageError(cause, hint="use " + ", ".join(RUNNERS))
    if (arguments.cfg2 is None) != (arguments.plan is None) or (arguments.cfg2 and not arguments.weights2):
        raise UsageError("a second pair and its plan belong together", hint="CFG WEIGHTS CFG2 WEIGHTS2 --plan PLAN")
    if arguments.cfg2 is None and set(runners) == {"numpy"}:
        raise UsageError("one pair and one runner leave nothing to compare", hint="add --runners numpy,opencv")
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    require_finite(net)
    batch = test_batch(net, arguments.image)
    checks: List[Check] = []
    not_judged: List[Tuple[str, str]] = []
    if arguments.cfg2:
        pruned = load(arguments.cfg2, arguments.weights2, arguments.dialect)
        require_finite(pruned)
        plan = plans.read(arguments.plan)
        plans.require_pair(plan, net)
        try:
            checks += compare_surgery(net, pruned, plan, batch, progress("numpy"))
        except VerifyError as error:
            error.where = error.where or place(arguments.cfg2)
            error.hint = error.hint or "give the second pair and the plan that one run of prune wrote"
            raise
        judged = compare_masked(net, pruned, plan, [name for name in runners if name != "numpy"], batch)
        checks, not_judged = checks + judged.checks, judged.not_judged
        net = pruned
    for name in runners:
        if name != "numpy":
            checks += _reader(name, net, batch, arguments.engine)
    ok = all(check.ok for check in checks)
    if arguments.json:
        missing = [{"runner": runner, "reason": why} for runner, why in not_judged]
        print_json({"ok": ok, "checks": [check._asdict() for check in checks], "not_judged": missing})
    else:
        warn(net.notices)
        write(_as_text(checks, not_judged, ok))
    return 0 if ok else 1


def _reader(name: str, net: Net, batch: np.ndarray, engine: Optional[str]) -> List[Check]:
    assert net.source is not None
    cfg, weights = net.document.path, net.source.path
    runner: Any = open_runner(name, cfg, weights, net.dialect.name, engine if name == TENSORRT else None)
    try:
        own = load(cfg, weights, runner.dialect)
        checks = compare_reader(own, runner, batch, _tolerance(engine if name == TENSORRT else None))
        warn(getattr(runner, "notices", []))
        return checks
    except (CfgError, GraphError, VerifyError, WeightsError) as error:
        return [refused(name, error)]


def _tolerance(engine: Optional[str]) -> float:
    """The largest error that an engine may have."""
    report = None if engine is None else reports.read(engine)
    return READERS if report is None else ROUNDED.get(report.fields["precision"]["requested"], READERS)


def _as_text(checks: List[Check], not_judged: List[Tuple[str, str]], ok: bool) -> str:
    lines = []
    for name, runner in sorted({(c.name, c.runner) for c in checks}, key=lambda k: (k[0] != "surgery", k)):
        mine = [c for c in checks if (c.name, c.runner) == (name, runner)]
        worst = max(mine, key=lambda c: c.max_error)
        if worst.layer < 0:  # the reader refused the pair
            lines.append("FAIL {} in {}".format(name, runner))
            continue
        if worst.tolerance == float("inf"):  # nothing can fail
            where = "largest error {:.2g} (layer {})".format(worst.max_error, worst.layer)
            lines.append("--   {} in {}: measured, not judged: {}: {}".format(name, runner, BORDERS, where))
            continue
        lines.append(
            "{:4} {} in {}: {} of {} layers, largest error {:.2g} of the layer's largest value (layer {}, "
            "at most {:.2g})".format(
                "ok" if all(c.ok for c in mine) else "FAIL",
                name,
                runner,
                sum(c.ok for c in mine),
                len(mine),
                worst.max_error,
                worst.layer,
                worst.tolerance,
            )
        )
        first = next((c for c in mine if not c.ok), None)
        if first is not None:
            lines.append("     first diverging layer: {}".format(first.layer))
    lines += ["--   {} in {}: not judged: {}".format(NAME, runner, why) for runner, why in not_judged]
    lines.append("all checks passed" if ok else "a check failed")
    return "\n".join(lines) + "\n"
