"""The options of `darkprune train`: what they are, which contradict each other, and what they override in the cfg."""

import argparse
from typing import Any, Dict, Tuple

from darkprune.cli.arguments import one_of
from darkprune.cli.common import add_common
from darkprune.errors import UsageError
from darkprune.train.random_weights import MOST as MOST_SEED
from darkprune.train.settings import Settings

# what does nothing without another option
NEEDED_BY = {
    "sparsity": ("sparsity_method", "sparsity_schedule"),
    "teacher": ("teacher_weight", "temperature", "hints"),
}
LISTS = ("steps", "scales")
WHOLE = "batch subdivisions max_batches burn_in step sgdr_cycle sgdr_mult adam resize_step".split()
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


def add_options(parser: argparse.ArgumentParser) -> None:
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
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="any other option of [net], or how images are varied: steps=400,450, mosaic=0, jitter=0.1",
    )
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
        "--keep-zeros", action="store_true", help="what is 0 in WEIGHTS stays so, as darkprune sparsify left it"
    )
    parser.add_argument(
        "--teacher", metavar=("CFG", "WEIGHTS"), nargs=2, help="distil: learn from this pair's outputs too"
    )
    parser.add_argument("--teacher-weight", metavar="X", type=float, help="beside the labels (default: 1)")
    parser.add_argument("--temperature", metavar="T", type=float, help="of its classes (default: 2)")
    parser.add_argument("--hints", metavar="N,...", help="layers of the teacher whose maps are learnt too, by number")
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
    parser.add_argument("--every", metavar="N", type=int, default=10, help="epochs between evaluations; 0: at the end")
    parser.add_argument("--save-every", metavar="N", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier training wrote to OUT")
    parser.add_argument("--ignore-problems", action="store_true", help="go on without what is wrong with the data set")
    add_common(parser)


def _add_sparsity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sparsity", metavar="S", type=float, help="drive channel sets to zero with this strength")
    parser.add_argument(
        "--sparsity-method",
        choices=("proximal", "subgradient", "hoyer"),
        help="soft threshold, which reaches exact zeros; L1's slope; soft threshold at a constant norm of each "
        "layer's gammas, so that they do not all shrink alike (default: proximal)",
    )
    parser.add_argument(
        "--sparsity-schedule",
        metavar="KIND[:SINCE:RELAXED[:CHANNELS]]",
        help="constant; global:0.5:0.1 falls to a tenth in the second half; local:0.5:0.1:0.6 relaxes all but the 60 "
        "percent of the filters that pruning would remove, taylor:0.1:0:0.6 all but the 60 percent that the loss would "
        "miss least (default: constant)",
    )
    parser.add_argument(
        "--band",
        metavar="B",
        type=float,
        help="stop when the accuracy has fallen by B (as in 0.03) below that of WEIGHTS",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raises UsageError for options that contradict each other, do nothing, or are out of range."""
    if arguments.weights is None and (arguments.partial or arguments.reinit):
        raise UsageError("--partial and --reinit need WEIGHTS", hint="leave them out to start from random weights")
    if arguments.keep_zeros and (arguments.weights is None or arguments.reinit):
        raise UsageError("--keep-zeros needs WEIGHTS that training starts from", hint="give both, or neither")
    if arguments.resume and arguments.overwrite:
        raise UsageError("--resume goes on, --overwrite starts anew", hint="give one of them")
    for what, names in NEEDED_BY.items():
        given = [name for name in names if getattr(arguments, name) is not None]
        if given and not getattr(arguments, what):
            flag = "--" + given[0].replace("_", "-")
            raise UsageError("{} does nothing without --{}".format(flag, what), hint="give both, or neither")
    if arguments.plan and not arguments.hints:
        raise UsageError("--plan does nothing without --hints", hint="give both, or neither")
    if arguments.band is not None and not 0 < arguments.band < 1:
        raise UsageError("--band {} is no loss of accuracy".format(arguments.band), hint="use a number such as 0.03")
    if not 0 <= arguments.seed <= MOST_SEED:
        raise UsageError("no seed is {}".format(arguments.seed), hint="use a number from 0 to {}".format(MOST_SEED))
    for flag, value, low in (("--every", arguments.every, 0), ("--save-every", arguments.save_every, 1)):
        if value < low:
            raise UsageError("{} {} is too few".format(flag, value), hint="use {} or more".format(low))


def overrides(arguments: argparse.Namespace) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """What the options say of [net]'s settings, and of how images are varied. Raises UsageError."""
    from darkprune.train.augment import Augmentation

    names = [name.replace("-", "_") for name, _, _ in OVERRIDES]
    settings: Dict[str, Any] = {name: getattr(arguments, name) for name in names}
    variation: Dict[str, Any] = {}
    for text in arguments.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError("--set takes KEY=VALUE, not {!r}".format(text), hint="as in --set mosaic=0")
        key = one_of(key.strip(), Settings._fields + Augmentation._fields, "setting")
        where = settings if key in Settings._fields else variation
        where[key] = _value(key, value.strip(), where is settings)
    return settings, variation


def _value(key: str, text: str, of_net: bool) -> Any:
    """A setting's value in the type that the setting has."""
    whole = of_net and key in WHOLE
    try:
        if of_net and key in LISTS:
            return tuple((int if key == "steps" else float)(word) for word in text.split(","))
        if of_net and key == "policy":
            return text
        number = float(text)
        if whole and number != int(number):
            raise ValueError("not whole")
    except (ValueError, OverflowError):
        kind = "whole number" if whole else "number"
        raise UsageError("{}={} is no {}".format(key, text, kind), hint="as in --set steps=400,450") from None
    if key == "letter_box":
        return bool(number)
    return int(number) if whole else number
