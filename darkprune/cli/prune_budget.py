"""Options of `prune` that say what the net may cost, instead of which share of its filters goes."""

import argparse
from collections import OrderedDict
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.registry import RUNNERS, TENSORRT
from darkprune.cli.running import fastest_runner
from darkprune.darknet.pair import PairWriter, require_writable
from darkprune.data.data_file import DataFile
from darkprune.errors import UsageError
from darkprune.evaluate.net_accuracy import NetAccuracy
from darkprune.graph.net import Net
from darkprune.graph.save import PLAN_SUFFIX
from darkprune.prune import candidate_times, knob_search, latency_search, sensitivity
from darkprune.prune.budget import COSTS, Amount, cost_of, largest_within, parse_amount, require_share
from darkprune.prune.pipeline import Pruned, prune
from darkprune.prune.plan import Plan

TIMED_IN = tuple(name for name in RUNNERS if name != TENSORRT)  # which would build an engine for each candidate
AMOUNT = "a number, or a share of the original's: 30%%"
FLAGS = ["--target-" + name for name in COSTS] + ["--target-latency", "--max-drop"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--target-..., --max-drop, and what measures them."""
    for name, words in zip(COSTS, ("parameters", "BFLOPs, as Darknet counts them", "bytes of the weights")):
        parser.add_argument("--target-" + name, metavar="N", help="prune to so many {}: {}".format(words, AMOUNT))
    parser.add_argument(
        "--target-latency",
        metavar="RUNNER:MS",
        help="prune until a pass takes that many milliseconds in this runner on this machine, or that share of the "
        "original's time: opencv:12.5, opencv:40%%",
    )
    parser.add_argument(
        "--max-drop",
        metavar="POINTS",
        type=float,
        help="prune as far as accuracy, measured on --data, falls by at most so many points (mAP@0.5 or top-1)",
    )
    parser.add_argument("--threads", metavar="N", type=int, help="threads of the runner that --target-latency times")
    parser.add_argument(
        "--search",
        metavar="N",
        type=int,
        help="of N combinations of blocks, rounding and shares of tied widths that meet the target, the one that costs "
        "least: by the predicted damage, or by the accuracy on --data; needs optuna",
    )
    parser.add_argument("--sensitivity", metavar="FILE", help="of darkprune sensitivity: where --search starts")


def asked(arguments: argparse.Namespace) -> Optional[Tuple[str, Any]]:
    """The budget that was asked for, as (option, value); None for none. Raises UsageError for more than one, and for
    options that need one."""
    values = [(flag, getattr(arguments, flag[2:].replace("-", "_"))) for flag in FLAGS]
    given = [(flag, value) for flag, value in values if value is not None]
    flags = [flag for flag, _ in given] + (["--channels"] if arguments.channels is not None else [])
    if given and len(flags) > 1:
        raise UsageError("{} all say how far to prune".format(" and ".join(flags)), hint="give one of them")
    if given and arguments.plan:
        raise UsageError("--plan already says what goes", hint="leave out " + flags[0])
    if not given:
        for name in ("threads", "search", "sensitivity"):
            if getattr(arguments, name) is not None:
                raise UsageError("--{} needs a budget".format(name), hint="give one of " + ", ".join(FLAGS))
        return None
    if arguments.sensitivity is not None and arguments.search is None:
        raise UsageError("--sensitivity needs --search", hint="--search 50 tries 50 combinations")
    if arguments.search is not None:
        knob_search.require_trials(arguments.search)
    flag, value = given[0]
    if flag == "--target-latency":
        _runner_and_goal(value)  # before minutes of work
    if arguments.threads is not None and flag != "--target-latency":
        raise UsageError("--threads does nothing without --target-latency", hint="leave it out")
    if arguments.search is not None and flag == "--max-drop":
        raise UsageError("--search needs a target to meet, not --max-drop", hint="give one of " + ", ".join(FLAGS[:-1]))
    if flag == "--max-drop":
        _require_drop(arguments, value)
    return flag, value


def _require_drop(arguments: argparse.Namespace, points: float) -> None:
    """Raises UsageError for a fall of the accuracy that cannot be measured."""
    if arguments.data is None:
        raise UsageError("--max-drop measures accuracy", hint="give --data F.data")
    if not 0 <= points <= 100:
        raise UsageError("--max-drop {:g} is no number of points".format(points), hint="use 0 to 100: 1.5")


def pruned_to(
    net: Net, arguments: argparse.Namespace, given: Dict[str, Any], budget: Tuple[str, Any], inputs: Sequence[str]
) -> Pruned:
    """The net pruned to a budget; its plan's options hold what was asked for and reached, as `budget`.

    Args: given: options of `prune`, without channels. budget: of `asked`. inputs: files that must not be overwritten.
    """
    flag, value = budget
    if arguments.dry_run:
        require_writable(arguments.output + PLAN_SUFFIX, inputs, arguments.overwrite)
    else:
        PairWriter(arguments.output, inputs, arguments.overwrite, [PLAN_SUFFIX])  # its checks, before minutes of work
    trial = dict(given, force=True, force_blocks=arguments.force)  # what does too much only leads to others

    def made(**options: Any) -> Pruned:
        return prune(net, **dict(trial, **options))

    record: Dict[str, Any] = OrderedDict([("option", flag), ("asked", value)])
    notices: List[Any] = []
    if arguments.search is not None:
        options = _searched(net, arguments, given, made, budget, record, notices)
    elif flag == "--target-latency":
        options = _latency(net, arguments, given, made, value, record, notices)
    elif flag == "--max-drop":
        options = {"channels": _accurate(net, arguments, made, value, record)}
    else:
        name, amount = _amount(flag, value)
        options = {"channels": require_share(name, amount, net, lambda x: made(channels=x).net, value)}
    result = prune(net, force=arguments.force, **dict(given, **options))
    record.setdefault("share", options["channels"])
    result.plan.options.update(channels=record["share"], budget=record)
    return result._replace(notices=result.notices + notices)


def lines(plan: Plan) -> str:
    """What a plan's options say of its budget, as text for people."""
    record = plan.options.get("budget")
    if not record:
        return ""
    text = "{} {}: {:.1%} of the filters".format(record["option"], record["asked"], record["share"])
    if "ms" in record:
        text += "; {:.4g} ms measured afresh, {:.4g} the original; {} measurements".format(
            record["ms"], record["original_ms"], record["timed"]
        )
        text += ", widths of multiples of {}".format(plan.options["round"]) if plan.options["round"] > 1 else ""
        text += ", {} filters given back".format(record["given_back"]) if record["given_back"] else ""
    if "accuracy" in record:  # of --max-drop
        text += "; {} {:.2%} of {:.2%}".format(record["metric"], record["accuracy"], record["baseline"])
    if "trials" in record:
        found = record["trials"], record["best"], record["loss"]
        text += "; the best of {} combinations, {}: loss {:.2%}".format(*found)
    return text + "\n"


def _amount(flag: str, text: str) -> Tuple[str, Amount]:
    try:
        return flag[len("--target-") :], parse_amount(text)
    except ValueError:
        hint = "use a number such as 1e6, or a share of the original's such as 30%"
        raise UsageError("{} {} is no amount above 0".format(flag, text), hint=hint) from None


def _runner_and_goal(text: str) -> Tuple[str, Amount]:
    """The runner that times nets, and the goal: milliseconds, or a share of the original's time."""
    runner, _, number = text.partition(":")
    try:
        goal: Optional[Amount] = parse_amount(number)
    except ValueError:
        goal = None
    if runner not in TIMED_IN or goal is None:
        cause = "--target-latency {} is no runner with milliseconds or a share below 100%".format(text)
        hint = "use one of {}, such as opencv:12.5 or opencv:40%".format(", ".join(TIMED_IN))
        raise UsageError(cause, hint=hint)
    return runner, goal


def _timer(net: Net, arguments: argparse.Namespace, text: str) -> Tuple[candidate_times.ProcessTimer, Amount]:
    """What times nets, and the goal."""
    runner, goal = _runner_and_goal(text)
    if arguments.threads is not None and arguments.threads < 1:
        raise UsageError("--threads {} is too few".format(arguments.threads), hint="use 1 or more")
    return candidate_times.ProcessTimer(net, runner, arguments.threads), goal


def _latency(
    net: Net,
    arguments: argparse.Namespace,
    given: Dict[str, Any],
    made: latency_search.Prune,
    text: str,
    record: Dict[str, Any],
    notices: List[Any],
) -> Dict[str, Any]:
    """Options of `prune` for a latency."""
    timer, goal = _timer(net, arguments, text)
    with timer:
        found = latency_search.find(net, goal, timer, made, given.get("round"))
    record.update(share=found.share, ms=1e3 * found.seconds, original_ms=1e3 * found.original)
    record.update(timed=found.timed, given_back=found.given_back)
    notices += found.notices
    return found.options


def _accuracy(net: Net, arguments: argparse.Namespace) -> NetAccuracy:
    runner = arguments.runner or fastest_runner(arguments.cfg, arguments.weights, arguments.dialect)
    return NetAccuracy(DataFile.read(arguments.data), net, runner)


def _accurate(
    net: Net, arguments: argparse.Namespace, made: latency_search.Prune, points: float, record: Dict[str, Any]
) -> float:
    """The share that costs at most so many points."""
    measure, known = _accuracy(net, arguments), {}  # type: Any, Dict[float, float]

    def accurate(share: float) -> float:
        known[share] = measure(made(channels=share).net)
        return known[share]

    baseline = measure(net)
    share = largest_within(points / 100.0, baseline, accurate)
    if share is None:
        lost = 100.0 * (baseline - known[0.0])
        cause = "{:.2f} points are lost before a channel is removed, not {:g}".format(lost, points)
        raise UsageError(cause, hint="allow more points, or remove fewer blocks")
    record.update(metric=measure.metric, baseline=baseline, accuracy=known[share])
    return share


def _searched(
    net: Net,
    arguments: argparse.Namespace,
    given: Dict[str, Any],
    made: latency_search.Prune,
    budget: Tuple[str, Any],
    record: Dict[str, Any],
    notices: List[Any],
) -> Dict[str, Any]:
    """Options of `prune` for the best combination of several knobs."""
    flag, value = budget
    knob_search.library()
    timed = flag == "--target-latency"
    losses = sensitivity.losses(arguments.sensitivity, net) if arguments.sensitivity is not None else {}
    space = knob_search.space_of(net, given.get("blocks"), given.get("round"), timed, losses)
    loss = _loss(net, arguments, record)
    search = partial(knob_search.search, space, trials=arguments.search, seed=arguments.seed or 0)
    if not timed:
        name, amount = _amount(flag, value)
        goal = amount.number * (cost_of(net, name) if amount.share else 1.0)
        options = {"channels": require_share(name, amount, net, lambda x: made(channels=x).net, value)}
        first = knob_search.Outcome(options, loss(made(**options)), None)
        best, number = search(first=first, evaluate=knob_search.meet_cost(name, goal, made, loss))
    else:
        timer, latency = _timer(net, arguments, value)
        with timer:
            found = latency_search.find(net, latency, timer, made, given.get("round"))
            plain = made(**found.options)
            turns = candidate_times.Turns(net, timer)
            evaluate = knob_search.meet_latency(latency, plain.net, turns, made, loss)
            over = candidate_times.over_asked(latency, found.seconds, [found.original])
            met = over <= 1 + candidate_times.TOLERANCE
            first = knob_search.Outcome(found.options, loss(plain) if met else over, found.seconds)
            best, number = search(first=first, evaluate=evaluate)
            seconds, original = latency_search.afresh(net, made(**best.options).net, timer)
        if number == 0:
            record.update(share=found.share, given_back=found.given_back)
        record.setdefault("given_back", 0)
        record.update(ms=1e3 * seconds, original_ms=1e3 * float(np.median(original)), timed=found.timed + turns.timed)
        notices += latency_search.missed(latency, seconds, original)
    how = "with the share of each tied width its own" if number else "with the options as given"
    record.update(trials=arguments.search, best=how, loss=best.loss)
    return best.options


def _loss(net: Net, arguments: argparse.Namespace, record: Dict[str, Any]) -> Callable[[Pruned], float]:
    """What a search makes least: the accuracy that is lost, or the damage that is predicted."""
    if arguments.data is None:
        return lambda pruned: float(pruned.preflight["damage"])
    measure = _accuracy(net, arguments)
    baseline = measure(net)
    record.update(metric=measure.metric, baseline=baseline)
    return lambda pruned: baseline - measure(pruned.net)
