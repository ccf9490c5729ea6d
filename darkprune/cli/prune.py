"""Removes shortcut blocks and channels from a Darknet pair and writes OUT.cfg, OUT.weights and OUT.plan.json.

Channels are chosen by their batch-norm gamma, or by other criteria (docs/criteria.md). With --absorb exact (the
default) the written pair computes exactly what the original computes with gamma = 0 on the removed channels, padded
borders included.
"""

import argparse
import json
from typing import Any, Dict, List, Optional, Tuple

from darkprune.cli import prune_budget as budgets
from darkprune.cli.common import add_common, comparison, grouped, notice_texts, print_json, table, warn, write
from darkprune.cli.prune_evidence import FLAGS, add_evidence, measurer, require_seed
from darkprune.darknet.pair import write_file
from darkprune.errors import Notice, UsageError
from darkprune.graph.build import load, totals
from darkprune.graph.net import Net
from darkprune.graph.save import PLAN_SUFFIX, save
from darkprune.prune import plan as plans
from darkprune.prune.apply_plan import apply_plan
from darkprune.prune.combine import COMBINATIONS
from darkprune.prune.criteria import CRITERIA
from darkprune.prune.explain import as_json, layer_cells
from darkprune.prune.pipeline import Pruned, prune
from darkprune.prune.score import GROUPINGS
from darkprune.prune.select import DEFAULTS

# What makes a plan: a given --plan has decided all of it.
DEFAULT = " (default: {})".format
CHOICES: List[Tuple[str, Dict[str, Any], str]] = [
    (
        "--channels",
        {"metavar": "R", "type": float},
        "share to remove of the removable filters, of those that --blocks leaves: 0.6",
    ),
    ("--blocks", {"metavar": "N", "type": int}, "number of shortcut blocks to remove, first"),
    (
        "--block-rank",
        {"choices": ("mean", "last", "criterion", "damage")},
        "rank blocks by gamma in all their convolutions or the last, by the criterion, or by what the heads lose on "
        "images" + DEFAULT("mean"),
    ),
    (
        "--scope",
        {"choices": ("global", "layer")},
        "one threshold, or the same share of each tied width" + DEFAULT(DEFAULTS.scope),
    ),
    ("--group", {"choices": GROUPINGS}, "how the scores of tied filters combine" + DEFAULT(DEFAULTS.group)),
    (
        "--criterion",
        {"metavar": "NAME[,NAME...]"},
        "what filters are scored by: {}{}".format(", ".join(CRITERIA), DEFAULT(DEFAULTS.criterion)),
    ),
    (
        "--combine",
        {"choices": COMBINATIONS},
        "how several criteria make one order" + DEFAULT("rank, or weighted for NAME=W"),
    ),
    ("--steps", {"metavar": "K", "type": int}, "prune in K steps, scored anew after each" + DEFAULT(1)),
    ("--seed", {"metavar": "S", "type": int}, "of what is left to chance" + DEFAULT(0)),
    (
        "--min-keep",
        {"metavar": "X", "type": float},
        "least to keep of a layer: a fraction if below 1, else a count" + DEFAULT(DEFAULTS.min_keep),
    ),
    (
        "--round",
        {"metavar": "N", "type": int},
        "keep a multiple of N channels per tied width and group" + DEFAULT(DEFAULTS.round),
    ),
    (
        "--absorb",
        {"choices": ("exact", "bias", "none")},
        "what becomes of the constants that removed channels emit" + DEFAULT(DEFAULTS.absorb),
    ),
]
OLDER = {"--criterion": ("--score",)}  # spellings that are taken too


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="prefix of the files to write")
    for flag, options, words in CHOICES:
        parser.add_argument(flag, *OLDER.get(flag, ()), default=None, help=words, **options)
    add_evidence(parser)
    parser.add_argument("--plan", metavar="FILE", help="carry out this plan instead of making one")
    parser.add_argument("--explain", action="store_true", help="print why each layer's filters go or stay")
    parser.add_argument("--dry-run", action="store_true", help="write only OUT.plan.json")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--force", action="store_true", help="prune even where the model is predicted to be destroyed")
    budgets.add_arguments(parser)
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    if arguments.plan and arguments.explain:
        raise UsageError("a plan holds its reasons itself", hint='leave out --explain, and see "kept" in the plan')
    budget = budgets.asked(arguments)
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    names = [flag[2:].replace("-", "_") for flag, _, _ in CHOICES]
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    inputs = [arguments.cfg, arguments.weights]
    if arguments.plan:
        measuring = {name: getattr(arguments, name) for name in FLAGS if getattr(arguments, name) is not None}
        pruned = _planned(net, arguments.plan, dict(given, **measuring))
        inputs.append(arguments.plan)
    else:
        pruned = _pruned(net, arguments, given, inputs, budget)
    if arguments.dry_run:
        write_file(arguments.output + PLAN_SUFFIX, pruned.plan.to_bytes(), inputs, arguments.overwrite)
    else:
        save(pruned.net, arguments.output, arguments.overwrite, pruned.plan, inputs)
    notices = net.notices + pruned.notices
    if arguments.json:
        fields = _as_dict(net, pruned, notices)
        if arguments.explain:
            fields["explain"] = as_json(pruned.layers, pruned.blocks)
        print_json(fields)
    else:
        warn(notices)
        write((_explained(net, pruned) if arguments.explain else "") + _as_text(net, pruned, arguments))
    return 0


def _pruned(
    net: Net, arguments: argparse.Namespace, given: Dict[str, Any], inputs: List[str], budget: Optional[Tuple[str, Any]]
) -> Pruned:
    """Prunes by what was given, or to a budget; the files that are read for that are added to `inputs`."""
    ranking, criterion = given.get("block_rank"), given.get("criterion", DEFAULTS.criterion)
    seed = require_seed(given.get("seed", 0))
    _require_use(given, budget is not None, arguments.search is not None)
    measure, files = measurer(arguments, net, criterion, ranking, seed)
    inputs += files
    idle = [flag for flag in ("--images", "--count") if measure is None and getattr(arguments, flag[2:]) is not None]
    if idle:
        cause = "{} does nothing: no criterion is measured on images here".format(" and ".join(idle))
        raise UsageError(cause, hint="leave it out, or give --criterion entropy and --images or --data")
    evidence = None
    if measure is not None and ranking == "damage":
        evidence = measure.with_blocks(net, given.get("absorb", DEFAULTS.absorb), arguments.force)
    if budget is None:
        return prune(net, force=arguments.force, evidence=evidence, measure=measure, **given)
    if evidence is None and measure is not None:
        evidence = measure(net)  # once for all trials
    return budgets.pruned_to(net, arguments, dict(given, evidence=evidence, measure=measure), budget, inputs)


def _require_use(given: Dict[str, Any], with_budget: bool, with_search: bool) -> None:
    """Raises UsageError for an option that would do nothing."""
    if given.get("block_rank") == "damage" and not given.get("blocks") and not with_search:
        raise UsageError("--block-rank damage does nothing without --blocks", hint="give --blocks N, or leave it out")
    if given.get("steps", 1) > 1 and "channels" not in given and not with_budget:
        raise UsageError("--steps does nothing without --channels", hint="give --channels R, or leave it out")


def _planned(net: Net, path: str, given: Dict[str, Any]) -> Pruned:
    if given:
        flags = ["--" + name.replace("_", "-") for name in given]
        raise UsageError("--plan already says what goes", hint="leave out " + ", ".join(sorted(flags)))
    plan = plans.read(path)
    return Pruned(apply_plan(net, plan), plan, [], {}, None, [], [])


def _as_dict(net: Net, pruned: Pruned, notices: List[Notice]) -> Dict[str, Any]:
    return {
        "before": totals(net),
        "after": totals(pruned.net),
        "removed_channels": sum(len(v) for v in pruned.plan.removed_channels.values()),
        "removed_blocks": len(pruned.plan.removed_blocks),
        "constants": sum(len(v) for v in pruned.plan.constants.values()),
        "reached": pruned.reached,
        "preflight": pruned.preflight,
        "warnings": notice_texts(notices),
        "plan": json.loads(pruned.plan.to_bytes().decode("ascii")),
    }


def _as_text(net: Net, pruned: Pruned, arguments: argparse.Namespace) -> str:
    lines = [_preflight(pruned.preflight)] if pruned.preflight else []
    lines.append(comparison(net, pruned.net))
    if pruned.reached is not None:
        constants = sum(len(v) for v in pruned.plan.constants.values())
        lines.append("{:.1%} of the removable filters went; {} stay as constants\n".format(pruned.reached, constants))
    if pruned.plan.removed_blocks:
        ends = ", ".join(str(block["shortcut"]) for block in pruned.plan.removed_blocks)
        lines.append("{} shortcut blocks went, those that ended at {}\n".format(len(pruned.plan.removed_blocks), ends))
    lines.append("" if arguments.plan else budgets.lines(pruned.plan))
    suffixes = (PLAN_SUFFIX,) if arguments.dry_run else (".cfg", ".weights", PLAN_SUFFIX)
    lines.append("wrote " + " ".join(arguments.output + suffix for suffix in suffixes) + "\n")
    return "".join(lines)


def _explained(net: Net, pruned: Pruned) -> str:
    text = ""
    if pruned.blocks:
        rows = [["block", _block_score(pruned), "", "why it stays"]]
        for block in pruned.blocks:
            rows.append(
                [str(block.shortcut), "{:.4f}".format(block.score), "goes" if block.removed else "stays", block.reason]
            )
        text += table(rows, left=(0, 3)) + "\n"
    if pruned.layers:
        text += table(layer_cells(net, pruned.layers), left=(1, 7)) + "\n"
    return text


def _block_score(pruned: Pruned) -> str:
    """What the blocks are ranked by."""
    options = pruned.plan.options
    if options["block_rank"] == "criterion":
        return str(options["score"])
    return "damage" if options["block_rank"] == "damage" else "mean |gamma|"


def _preflight(preflight: Dict[str, Any]) -> str:
    gamma = preflight["gamma"]
    lines = [
        "|gamma| of {} filters, {:.1%} near zero ({})".format(
            grouped(gamma["filters"]),
            gamma["near_zero"],
            "trained for sparsity" if gamma["sparsified"] else "never trained for sparsity",
        )
    ]
    most = max(gamma["counts"] or [1])
    for count, low, high in zip(gamma["counts"], gamma["edges"], gamma["edges"][1:]):
        lines.append("  {:8.4f} .. {:8.4f} {:>8} {}".format(low, high, count, "#" * int(round(40.0 * count / most))))
    lines.append(
        "predicted damage: {:.1%} of the signal{}".format(
            preflight["damage"], " (most in {})".format(", ".join(preflight["layers"])) if preflight["layers"] else ""
        )
    )
    return "\n".join(lines) + "\n\n"
