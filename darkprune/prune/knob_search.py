"""Several knobs at once under one budget: blocks, rounding and the share of each tied width, by Optuna's TPE sampler
(Akiba et al. 2019; Bergstra et al. 2011).

Each combination is pruned exactly as far as the budget asks, so that what is compared is only what it costs in
damage: predicted from the arrays, or measured. What was asked for without a search is the first combination, so that
the best one is never worse than that.
"""

import importlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.errors import MissingDependency, UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.blocks import find_blocks
from darkprune.prune.budget import GRID, Amount, cost_of, smallest_share
from darkprune.prune.candidate_times import TOLERANCE, Turns
from darkprune.prune.latency_search import CLOSE, STEPS, Prune
from darkprune.prune.pipeline import Pruned

ROUNDINGS = (1, 4, 8, 16)
FACTORS = (0.2, 1.8)  # of the share, for each tied width
OPERATIONS = (0.8, 1.25)  # of those of the net that meets a latency without a search
LIBRARY = "optuna"

Space = NamedTuple(
    "Space",
    [
        ("blocks", Tuple[int, int]),  # least and most shortcut blocks
        ("rounds", Sequence[int]),
        ("widths", List[List[int]]),  # the layers of each tied width
        ("start", List[float]),  # factor of each, to begin with
        ("operations", bool),  # whether they are a knob, as where a latency is the budget
    ],
)
Outcome = NamedTuple(
    "Outcome",
    [
        ("options", Dict[str, Any]),  # of `prune`
        ("loss", float),  # of the signal or accuracy; 1 and more where the budget is missed
        ("seconds", Optional[float]),  # of a pass, where a latency is the budget
    ],
)
Evaluate = Callable[[Dict[str, Any], float], Optional[Outcome]]  # of options, and a factor of operations


def library() -> Any:
    """The module optuna. Raises MissingDependency."""
    try:
        return importlib.import_module(LIBRARY)
    except ImportError as error:
        cause = "--search needs Optuna, which does not import: {}".format(error)
        raise MissingDependency(cause, hint="pip install 'darkprune[search]'") from error


def space_of(
    net: Net, blocks: Optional[int], rounding: Optional[int], operations: bool, losses: Dict[Tuple[int, ...], float]
) -> Space:
    """What is searched.

    Args:
        blocks, rounding: fixed where they were asked for.
        losses: layers of a tied width -> how sensitive it is; one that loses more starts with a smaller share.
    """
    sets = Channels(net)
    widths: Dict[int, List[int]] = {}
    numbers = sets.widths()
    for layer, mine in sets.producers():
        if (sets.pinned[mine] < 0).any():
            widths.setdefault(int(numbers[mine[0]]), []).append(layer.index)
    groups = [widths[number] for number in sorted(widths)]
    known = sorted(value for value in losses.values() if value > 0)
    middle = known[len(known) // 2] if known else 1.0
    start = []
    for group in groups:
        loss = losses.get(tuple(group), middle)
        start.append(min(FACTORS[1], max(FACTORS[0], (middle / loss) ** 0.5 if loss > 0 else FACTORS[1])))
    free = sum(block.obstacle is None for block in find_blocks(net))
    rounds = ROUNDINGS if rounding is None else (rounding,)
    return Space((0, free) if blocks is None else (blocks, blocks), rounds, groups, start, operations)


def require_trials(trials: int) -> None:
    """Raises UsageError for a number of combinations that is none."""
    if trials < 1:
        raise UsageError("--search {} is too few".format(trials), hint="50 combinations are a good beginning")


def search(space: Space, first: Outcome, evaluate: Evaluate, trials: int, seed: int) -> Tuple[Outcome, int]:
    """The best of the `first` outcome and of `trials` combinations, and which it is: 0 for the first.

    Raises MissingDependency without Optuna, UsageError for fewer than 1 trial.
    """
    require_trials(trials)
    optuna = library()
    found: List[Outcome] = [first]

    def objective(trial: Any) -> float:
        options, operations = _asked(trial, space)
        outcome = evaluate(options, operations)
        if outcome is None:
            raise optuna.TrialPruned()
        found.append(outcome)
        return outcome.loss

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        begin: Dict[str, Any] = {"blocks": space.blocks[0], "round": space.rounds[0]}
        begin.update((_name(group), factor) for group, factor in zip(space.widths, space.start))
        study.enqueue_trial(dict(begin, operations=1.0) if space.operations else begin)
        study.optimize(objective, n_trials=trials)
    finally:
        optuna.logging.set_verbosity(before)
    best = min(range(len(found)), key=lambda number: found[number].loss)
    return found[best], best


def _name(group: Sequence[int]) -> str:
    return "share of width {}".format(group[0])


def _asked(trial: Any, space: Space) -> Tuple[Dict[str, Any], float]:
    factors: Dict[int, float] = {}
    blocks = trial.suggest_int("blocks", *space.blocks)
    step = trial.suggest_categorical("round", list(space.rounds))
    for group in space.widths:
        factors.update(dict.fromkeys(group, trial.suggest_float(_name(group), *FACTORS)))
    operations = trial.suggest_float("operations", *OPERATIONS) if space.operations else 1.0
    return {"blocks": blocks, "round": step, "scope": "layer", "factors": factors}, operations


def meet_cost(budget: str, goal: float, prune: Prune, loss: Callable[[Pruned], float], steps: int = GRID) -> Evaluate:
    """Prunes each combination until it meets a budget of COSTS, by shares on a grid of so many steps."""

    def evaluate(options: Dict[str, Any], operations: float) -> Optional[Outcome]:
        try:
            share = smallest_share(budget, goal, lambda share: prune(channels=share, **options).net, steps)
        except UsageError:  # so many blocks cannot go
            return None
        if share is None:
            return None
        options = dict(options, channels=share)
        return Outcome(options, loss(prune(**options)), None)

    return evaluate


def meet_latency(goal: Amount, plain: Net, turns: Turns, prune: Prune, loss: Callable[[Pruned], float]) -> Evaluate:
    """Prunes each combination to about the operations of the `plain` net that meets the latency, and times it in turn
    with the original: once, or three times where it may be fast enough."""
    whole = cost_of(plain, "bflops")

    def evaluate(options: Dict[str, Any], operations: float) -> Optional[Outcome]:
        cheap = meet_cost("bflops", whole * operations, prune, lambda pruned: 0.0, STEPS)(options, 1.0)
        if cheap is None:
            return None
        pruned = prune(**cheap.options)
        ratio = turns.ratio(pruned.net)
        if turns.over_goal(ratio, goal) <= 1 + TOLERANCE:  # by chance, perhaps
            ratio = float(np.median([ratio, turns.ratio(pruned.net), turns.ratio(pruned.net)]))
        missed = turns.over_goal(ratio, goal) - 1.0
        seconds = ratio * float(np.median(turns.base))
        return Outcome(cheap.options, loss(pruned) if missed <= CLOSE else 1.0 + missed, seconds)

    return evaluate
