"""How far to prune: the share of the filters that meets a budget, found by bisection."""

import math
from typing import Callable, NamedTuple, Optional

from darkprune.errors import UsageError
from darkprune.evaluate.cost import cost
from darkprune.graph.net import Net

GRID = 200  # shares are multiples of 1 / GRID
MOST = 0.99  # no larger share is tried
COSTS = {"parameters": "parameters", "bflops": "bflops", "bytes": "weights_bytes"}  # budget -> field of Cost
CURE = "ask for less, remove blocks too, or lower {}"

# A number as it stands, or a share of what the original has: "20 %".
Amount = NamedTuple("Amount", [("number", float), ("share", bool)])


def parse_amount(text: str) -> Amount:
    """The amount that "5000", "1.5e6" or "20 %" means. Raises ValueError for others, and for shares that are none."""
    share = text.endswith("%")
    value = float(text.rstrip("% ")) / (100.0 if share else 1.0)
    if not (math.isfinite(value) and value > 0) or share and value >= 1:
        raise ValueError(text)
    return Amount(value, share)


def cost_of(net: Net, budget: str) -> float:
    """What a net has of that which a budget of COSTS bounds."""
    return float(getattr(cost(net), COSTS[budget]))


def last(holds: Callable[[float], bool], steps: int = GRID) -> Optional[float]:
    """The largest share on a grid of so many steps, from 0 to MOST, up to which `holds`, by bisection; None where it
    never does.

    Where it does not hold up to one share and not from there on, one of the shares at which it changes is found.
    """
    low, high = -1, int(MOST * steps) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle / float(steps)):
            low = middle
        else:
            high = middle
    return None if low < 0 else low / float(steps)


def smallest_share(budget: str, goal: float, pruned: Callable[[float], Net], steps: int = GRID) -> Optional[float]:
    """The smallest share on a grid of so many steps that meets a budget of COSTS; None where none up to MOST does.

    Args: pruned: the net without that share of its filters.
    """
    above = last(lambda share: cost_of(pruned(share), budget) > goal, steps)
    share = 0.0 if above is None else above + 1.0 / steps
    return None if share > MOST else share


def out_of_reach(budget: str, pruned: Callable[[float], Net], asked: str) -> str:
    """Why no share meets the budget."""
    return "pruning comes down to {:g} {}, not to {}".format(cost_of(pruned(MOST), budget), budget, asked)


def require_share(budget: str, amount: Amount, original: Net, pruned: Callable[[float], Net], asked: str) -> float:
    """`smallest_share` for an amount, as it was typed. Raises UsageError where pruning cannot reach it."""
    goal = amount.number * (cost_of(original, budget) if amount.share else 1.0)
    share = smallest_share(budget, goal, pruned)
    if share is None:
        raise UsageError(out_of_reach(budget, pruned, asked), hint=CURE.format("--min-keep"))
    return share


def largest_within(drop: float, baseline: float, accurate: Callable[[float], float]) -> Optional[float]:
    """The largest share whose accuracy is at most `drop` below the baseline; all in 0..1. None where even that of share
    0, with all else that was asked for (blocks, rounding), is lower.

    Args: accurate: the accuracy of the net without that share of its filters. It is measured about eight times.
    """
    return last(lambda share: accurate(share) >= baseline - drop)
