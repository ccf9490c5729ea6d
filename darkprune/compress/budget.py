"""How many channels go in each round: the share of the budget that is the round's, and what meets it."""

from typing import Any, Callable, Dict, Optional

from darkprune.compress.config import Config
from darkprune.errors import UsageError
from darkprune.graph.net import Net
from darkprune.prune.budget import COSTS, CURE, Amount, cost_of, largest_within, out_of_reach, smallest_share
from darkprune.prune.evidence import Evidence
from darkprune.prune.pipeline import prune


def options_of(config: Config, number: int) -> Dict[str, Any]:
    """What `prune` is given in that round, but for the share. Blocks go in the first round. What is trained again, or
    measured by max_drop, may be pruned as far as is asked for."""
    section = config["prune"]
    options = {key: section[key] for key in ("scope", "group", "criterion", "combine", "min_keep", "round", "absorb")}
    options["seed"] = config["run"]["seed"]
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
    alone takes in each round the largest share whose accuracy, with new statistics, is at most that much below the
    baseline; beside a share or budget it says nothing here, but when the rounds end (darkprune.compress.rounds).

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

    if section["max_drop"] is not None and config.most_lost is None:
        return largest_within(section["max_drop"] / 100.0, baseline, lambda share: accurate(pruned(share))) or 0.0
    for key in COSTS:
        if section[key] is not None:
            return _cheapest(config, key, target(section[key], cost_of(first, key), number, rounds), pruned)
    return None


def _cheapest(config: Config, key: str, goal: float, pruned: Callable[[float], Net]) -> float:
    """The smallest share that meets a budget."""
    share = smallest_share(key, goal, pruned)
    if share is None:
        said = config["prune"].lines[key][1].partition("=")[2].strip()
        raise UsageError(out_of_reach(key, pruned, said), config["prune"].place(key), CURE.format("min_keep"))
    return share


def target(amount: Amount, whole: float, number: int, rounds: int) -> float:
    """The budget of a round: the last one's is the whole budget."""
    ratio = amount.number if amount.share else amount.number / whole
    return float(whole * min(1.0, ratio) ** (number / float(rounds)))
