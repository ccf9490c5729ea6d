"""The keys of `darkprune compress`'s config file: how each is read, its default, and what it is to be."""

import math
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple, get_type_hints

from darkprune.errors import UsageError
from darkprune.prune.budget import parse_amount
from darkprune.prune.combine import COMBINATIONS
from darkprune.prune.combine import parse as parse_criteria
from darkprune.prune.criteria import CRITERIA
from darkprune.prune.score import GROUPINGS
from darkprune.train.random_weights import MOST as MOST_SEED
from darkprune.train.settings import Settings
from darkprune.train.sparsity_schedule import parse_schedule

TRAINING = ("train", "sparsify", "finetune")  # sections that may hold any option of [net]
AMOUNTS = ("channels", "parameters", "bflops", "bytes")  # how far to prune; [prune] has at most one
BUDGETS = AMOUNTS + ("max_drop",)  # [prune] has one, or max_drop beside one
ALIASES = {"prune": {"score": "criterion"}}  # section -> another spelling -> the key

Key = NamedTuple("Key", [("parse", Callable[[str], Any]), ("default", Any), ("says", str)])

REQUIRED = object()


def _real(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(text)
    return value


def _above(text: str) -> float:
    value = _real(text)
    if value <= 0:
        raise ValueError(text)
    return value


def _count(low: int, most: Optional[int] = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if int(text) < low or (most is not None and int(text) > most):
            raise ValueError(text)
        return int(text)

    return parse


def _share(text: str) -> float:
    value = _real(text)
    if value >= 1:
        raise ValueError(text)
    return value


def _flag(text: str) -> bool:
    return {"yes": True, "no": False, "1": True, "0": False, "true": True, "false": False}[text.lower()]


def _one_of(default: str, *others: str) -> Key:
    choices = [default] + [choice for choice in others if choice != default]

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return Key(parse, default, "one of " + ", ".join(choices))


def _schedule(text: str) -> str:
    try:
        parse_schedule(text)
    except UsageError as error:
        raise ValueError(text) from error
    return text


def _floats(text: str) -> Tuple[float, ...]:
    return tuple(_real(word) for word in text.split(","))


def _steps(text: str) -> Tuple[int, ...]:
    return tuple(_count(0)(word) for word in text.split(","))


def _criteria(text: str) -> str:
    try:
        parse_criteria(text)
    except UsageError as error:
        raise ValueError(text) from error
    return text


_EPOCHS = Key(_above, REQUIRED, "a number of epochs such as 50")
_BOX_GRADIENT = _one_of("darknet", "loss")
_YES_NO = "yes or no"
_AMOUNT = "a number, or a share such as 20 %"

KEYS: Dict[str, Dict[str, Key]] = {
    "model": {
        "cfg": Key(str, REQUIRED, "the path of a cfg"),
        "data": Key(str, REQUIRED, "the path of a .data file"),
        "weights": Key(str, None, "the path of a .weights file"),
    },
    "train": {"epochs": _EPOCHS, "box_gradient": _BOX_GRADIENT},
    "sparsify": {
        "epochs": _EPOCHS,
        "strength": Key(_above, REQUIRED, "a number above 0 such as 0.1"),
        "method": _one_of("proximal", "subgradient", "hoyer"),
        "schedule": Key(_schedule, "constant", "constant, global:SINCE:RELAXED, (local or taylor):SINCE:RELAXED:SHARE"),
        "band": Key(_share, None, "the fall of the accuracy that ends the stage, such as 0.03"),
        "box_gradient": _BOX_GRADIENT,
    },
    "prune": {
        "channels": Key(_share, None, "a share of the removable filters such as 0.6"),
        "parameters": Key(parse_amount, None, _AMOUNT),
        "bflops": Key(parse_amount, None, _AMOUNT),
        "bytes": Key(parse_amount, None, _AMOUNT),
        "max_drop": Key(_above, None, "points of AP50 or top-1 such as 1.0"),
        "steps": Key(_count(1), 1, "a number from 1 on"),
        "blocks": Key(_count(0), 0, "a number of shortcut blocks"),
        "absorb": _one_of("exact", "bias", "none"),
        "scope": _one_of("global", "layer"),
        "group": _one_of("max", *GROUPINGS),
        "criterion": Key(_criteria, "gamma", "some of {}, with commas between".format(", ".join(CRITERIA))),
        "combine": Key(_one_of(*COMBINATIONS).parse, None, _one_of(*COMBINATIONS).says),
        "round": Key(_count(1), 1, "a number from 1 on"),
        "min_keep": Key(_real, 0.01, "a share below 1, or a number of filters"),
        "recalibrate": Key(_count(0), 256, "a number of training images; 0 leaves the statistics"),
    },
    "finetune": {"epochs": _EPOCHS, "distill": Key(_flag, True, _YES_NO), "box_gradient": _BOX_GRADIENT},
    "output": {"folder": Key(str, REQUIRED, "the path of a folder")},
    "run": {
        "seed": Key(_count(0, MOST_SEED), 0, "a number from 0 to {}".format(MOST_SEED)),
        "device": Key(str, "cpu", "cpu, cuda, cuda:1..."),
        "workers": Key(_count(0), None, "a number of processes"),
        "bfloat16": Key(_flag, False, _YES_NO),
        "every": Key(_count(0), 10, "a number of epochs"),
        "save_every": Key(_count(1), 100, "a number of steps"),
    },
}
_BY_TYPE: Dict[Any, Key] = {
    int: Key(_count(0), None, "a whole number"),
    float: Key(_real, None, "a number"),
    str: Key(str, None, "a policy of Darknet"),
    Tuple[int, ...]: Key(_steps, None, "whole numbers with commas between"),
    Tuple[float, ...]: Key(_floats, None, "numbers with commas between"),
}
# Options of [net]; the number of steps follows from the epochs.
NET_KEYS = {name: _BY_TYPE[kind] for name, kind in get_type_hints(Settings).items() if name != "max_batches"}
