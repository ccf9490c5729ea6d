"""How many channels go: the share that meets a budget, found by bisection."""

from typing import Any, Callable, Dict, Optional

from darkprune.compress.config import Config
from darkprune.compress.config_keys import Amount
from darkprune.errors import UsageError
from darkprune.evaluate.cost import cost
from darkprune.graph.net import Net
from darkprune.prune.evidence import Evidence
from darkprune.prune.pipeline import Pruned, prune

GRID = 200  # shares are multiples of 1 / GRID
MOST = 0.99  # no larger share is tried
COSTS = {"parameters": "parameters", "bflops": "bflops", "bytes": "weights_bytes"}  # key -> field of Cost

Prune = Callable[[float], Pruned]


def options_of(config: Config, number: int) -> Dict[str, Any]:
    """What `prune` is given in that round, but for the share. Blocks go in the first round. What is trained again, or
    measured by max_drop, may be pruned as far as is asked for."""
    section = config["prune"]
    options = {key: section[key] for key in ("scope", "group", "min_keep", "round", "absorb")}
    options["criterion"], options["seed"] = section["score"], config["run"]["seed"]
    options["blocks"] = section["blocks"] if number == 1 else 0
    options["force"] = config.get("finetune") is not None or section["max_drop"] is not None
    return options


def share_of(
    config: Config,
    number: int,
    net: Net,
    first: Net,
    accurate: Callable[[Net], float],
    baseline: float,
    evidence: Optional[Evidence] = None,
) -> Optional[float]:
    """The share of the removable filters that goes in that round; None where only blocks go.

    Over k rounds a share R is reached by k equal ones, 1 - (1 - R)^(1/k), and a budget by k equal ratios. `max_drop`
    takes in each round the largest share whose accuracy, with new statistics and before it is trained again, is at
    most that much below the baseline.

    Args:
        number: the round, from 1. net: what is to be pruned. first: the first stage's net, of which shares are taken.
        accurate: the accuracy of a pruned net, in 0..1. baseline: the first stage's.
        evidence: what criteria that need images found on the net.

    Raises UsageError where pruning cannot reach the budget.
    """
    section, rounds = config["prune"], config["prune"]["steps"]
    if section["channels"] is not None:
        return float("{:.6f}".format(1.0 - (1.0 - section["channels"]) ** (1.0 / rounds)))
    options = options_of(config, number)
    tried = dict(options, force=True, force_blocks=options["force"], evidence=evidence)

    def pruned(share: float) -> Net:  # by force: a share that does too much only leads to others
        return prune(net, channels=share, **tried).net

    if section["max_drop"] is not None:
        least = baseline - section["max_drop"] / 100.0
        return last(lambda share: accurate(pruned(share)) >= least) or 0.0
    for key in COSTS:
        if section[key] is not None:
            return _cheapest(config, key, target(section[key], _cost(first, key), number, rounds), pruned)
    return None


def _cheapest(config: Config, key: str, goal: float, pruned: Callable[[float], Net]) -> float:
    """The smallest share that meets a budget."""
    above = last(lambda share: _cost(pruned(share), key) > goal)
    share = 0.0 if above is None else above + 1.0 / GRID
    if share > MOST:
        said = config["prune"].lines[key][1].partition("=")[2].strip()
        cause = "pruning comes down to {:g} {}, not to {}".format(_cost(pruned(MOST), key), key, said)
        raise UsageError(cause, config["prune"].place(key), "ask for less, remove blocks too, or lower min_keep")
    return share


def _cost(net: Net, key: str) -> float:
    return float(getattr(cost(net), COSTS[key]))


def target(amount: Amount, whole: float, number: int, rounds: int) -> float:
    """The budget of a round: the last one's is the whole budget."""
    ratio = amount.number if amount.share else amount.number / whole
    return float(whole * min(1.0, ratio) ** (number / float(rounds)))


def last(holds: Callable[[float], bool]) -> Optional[float]:
    """The largest share on the grid, from 0 to MOST, up to which `holds`, by bisection; None where it never does.

    Where it does not hold up to one share and not from there on, one of the shares at which it changes is found.
    """
    low, high = -1, int(MOST * GRID) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle / float(GRID)):
            low = middle
        else:
            high = middle
    return None if low < 0 else low / float(GRID)
