"""How far to prune for a latency, measured in the real runtime: few and noisy measurements.

Candidates and a reference take turns, so that a machine that becomes slower slows both: only the ratio of a turn's two
times counts. A goal that is a share of the original's time is compared with the median of a candidate's ratios; one in
milliseconds with that times the median of all times of the original, so that it holds while the machine keeps its pace.

1. The share: false position on the square root of the time, which falls about linearly with the share, since
   operations fall with its square; a candidate close to the goal is measured until its ratio is known.
2. The rounding: at that share, kept widths of multiples of 4, 8 and 16. One that is faster, as runtimes compute
   channels in groups, is taken, the fastest first, and the share is searched for again with it. Where a net is so
   small that such steps miss the goal, the next one has its turn, and what was found without any is the last.
3. What is given back: tied widths whose removed channels save least operations get them all back, as many widths as
   cost no time, or no more than is left below the goal: nobody gains by their removal.
4. The result is measured afresh.
"""

from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.errors import Notice, UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.apply_plan import numbering
from darkprune.prune.budget import CURE, MOST, Amount
from darkprune.prune.candidate_times import MANY, TOLERANCE, Timer, Turns, asked_ms, over_asked
from darkprune.prune.pipeline import Pruned

CLOSE = 0.02  # at which the search ends
INSIDE = 0.03  # from the goal, where a rounding has to end: noise may add what is left of TOLERANCE
STEPS = 2000  # of the share, from none to all: of a net with many dead filters, half a percent may be all that lives
TIMED = 24  # measurements of candidates, about, after which a search only settles the best that it has
ROUNDINGS = (4, 8, 16)
FASTER = 0.97  # of the time without it, from which a rounding is worth having
FREE = 1.01  # of the time, up to which channels cost nothing
AFRESH = 9  # measurements of the result, each in turn with one of the original
EIGHTHS = 8  # steps in which widths are given back
FLOORS = ("--min-keep", "--min-keep or --round")  # what keeps the smallest net large: without, with a rounding
WHOLE = 1.0 - 2.0**-50  # all filters, as a share, which is below 1

Prune = Callable[..., Pruned]  # of channels=share, and other options that differ from those asked for

Found = NamedTuple(
    "Found",
    [
        ("options", Dict[str, Any]),  # channels, round and only: what `prune` makes the net of
        ("share", float),  # before channels were given back
        ("given_back", int),  # filters
        ("seconds", float),  # measured afresh
        ("original", float),  # seconds, in turn with these
        ("timed", int),  # measurements of candidates, all in all
        ("notices", List[Notice]),
    ],
)


def search(turns: Turns, pruned: Callable[[float], Net], goal: Amount, floors: str = FLOORS[0]) -> float:
    """The share whose time is nearest to the goal, at most TOLERANCE above; 0 where the original needs no more.

    floors: options that keep the smallest net large. Raises UsageError where even that takes more than TOLERANCE above.
    """
    for share in (MOST, 0.0):
        if not turns.count(share):
            turns.take(share, pruned(share))
    while turns.of_goal(MOST, goal) > 1 and turns.count(MOST) < 3:  # by chance, perhaps
        turns.take(MOST, pruned(MOST))
    if turns.of_goal(MOST, goal) > 1 + TOLERANCE:
        asked = asked_ms(goal, turns.base)
        cause = "pruning comes down to {:.4g} ms, not to {:.4g}; the original takes {:.4g}".format(
            turns.of_goal(MOST, goal) * asked, asked, 1e3 * float(np.median(turns.base))
        )
        raise UsageError(cause, hint=CURE.format(floors))
    for number in range(TIMED - 2):
        miss = {share: abs(turns.of_goal(share, goal) - 1) for share in turns.shares()}
        near = min(miss, key=lambda share: miss[share])
        if turns.of_goal(0.0, goal) <= 1 and turns.settled(0.0):
            return 0.0
        if miss[near] <= CLOSE and turns.settled(near):
            return near
        # close, but perhaps by chance: once more; else where the goal is expected
        if turns.of_goal(0.0, goal) <= 1:
            guess = 0.0
        else:
            guess = near if miss[near] <= CLOSE else _guess(turns, goal, number)
        turns.take(guess, pruned(guess))
    best = _nearest(turns, goal)
    for _ in range(MANY):
        if turns.settled(best):
            break
        turns.take(best, pruned(best))
        best = _nearest(turns, goal)
    return best


def _nearest(turns: Turns, goal: Amount) -> float:
    """The share whose time is nearest to the goal, at most TOLERANCE above where there is one."""
    fine = [share for share in turns.shares() if turns.of_goal(share, goal) <= 1 + TOLERANCE] or turns.shares()
    return min(fine, key=lambda share: abs(turns.of_goal(share, goal) - 1))


def _guess(turns: Turns, goal: Amount, number: int) -> float:
    """Where the goal is expected between the shares that are too slow and fast enough; each other time in the middle.

    One that noise has put on the wrong side is measured again, as soon as nothing lies between the two.
    """
    shares = turns.shares()
    fast = min([share for share in shares if turns.of_goal(share, goal) <= 1] or [MOST])
    slow = max(share for share in shares if share < fast)
    low, high = int(round(slow * STEPS)), int(round(fast * STEPS))
    if high - low < 2:
        return min((slow, fast), key=turns.count)
    above, below = turns.of_goal(slow, goal) ** 0.5, turns.of_goal(fast, goal) ** 0.5
    part = (above - 1) / (above - below) if number % 2 == 0 and above > below else 0.5
    return min(high - 1, max(low + 1, int(round(low + part * (high - low))))) / float(STEPS)


def faster_roundings(turns: Turns, share: float, pruned: Callable[[int, float], Net]) -> List[int]:
    """The roundings whose nets are faster at that share than that of free widths by more than noise; the fastest
    first."""
    net = pruned(1, share)
    found = []
    for step in ROUNDINGS:
        other = pruned(step, share)
        ratio = turns.ratio(other, net)
        if ratio < FASTER:  # by chance, perhaps
            ratio = turns.settled_ratio(other, net)
        if ratio < FASTER:
            found.append((ratio, step))
    return [step for _, step in sorted(found)]


def give_back(
    turns: Turns, original: Net, found: Pruned, prune: Prune, limit: float = FREE
) -> Optional[Dict[int, List[int]]]:
    """What is left of a plan, layer -> channels, without the removal of those tied widths that nobody gains by: as
    many, the ones that save least operations first, as make the time at most `limit` times as long. None where all of
    it is left."""
    groups = savings(original, found)
    best, low, high = None, 0, EIGHTHS
    while high - low > 1 and len(groups) > 1:
        middle = (low + high) // 2
        back = len(groups) * middle // EIGHTHS
        if not back:
            break
        only: Dict[int, List[int]] = {}
        for group in groups[back:]:
            only.update(group)
        other = prune(channels=WHOLE, only=only)
        if turns.settled_ratio(other.net, found.net) <= limit:
            best, low = only, middle
        else:
            high = middle
    return best


def spare(over: float) -> float:
    """By which factor a time may grow where filters are given back: what noise hides, and what the widths' steps have
    left below the goal. over: the time over the goal."""
    return max(FREE if over <= 1 + CLOSE else 1.0, 1 / over)


def savings(original: Net, found: Pruned) -> List[Dict[int, List[int]]]:
    """What a plan removes of each tied width, layer -> channels by the original's numbers; first what saves least.

    A layer's operations are those of the pruned net, scaled by the width that it makes or reads.
    """
    plan, sets = found.plan, Channels(original)
    gone = {index: set(places) for index, places in plan.removed_channels.items()}
    for index, places in plan.constants.items():
        gone.setdefault(index, set()).update(places)
    number, widths = numbering(original, found.net), sets.widths()
    after = {number[layer.index]: layer for layer in found.net.layers}
    saved: Dict[int, float] = {}
    groups: Dict[int, Dict[int, List[int]]] = {}
    for layer, mine in sets.producers():
        if layer.index in gone and layer.index in after:
            width = int(widths[mine[0]])
            groups.setdefault(width, {})[layer.index] = sorted(c for c in gone[layer.index] if c < mine.size)
            saved[width] = saved.get(width, 0.0) + _ratio(layer, after) * len(groups[width][layer.index])
    for layer in original.layers:  # what reads the channels computes less, too
        labels = sets.axes.get(layer.index, {}).get("in")
        if labels is None or layer.index not in after:
            continue
        read = widths[sets.sets[labels]]
        removed = np.array([int(sets.place[x]) in gone.get(int(sets.owner[x]), ()) for x in labels.tolist()], bool)
        kept = max(1, int(np.count_nonzero(~removed)))
        for width in np.unique(read[removed]).tolist():
            more = after[layer.index].op.macs(after[layer.index]) / float(kept)
            saved[width] = saved.get(width, 0.0) + more * int(np.count_nonzero(removed & (read == width)))
    return [groups[width] for width in sorted(groups, key=lambda width: (saved[width], width))]


def _ratio(layer: Any, after: Dict[int, Any]) -> float:
    """Operations of a layer of the pruned net for each of its filters."""
    now = after[layer.index]
    return now.op.macs(now) / float(max(1, now.shape.channels))


def rounded(
    turns: Turns, net_of: Callable[[int, float], Net], goal: Amount, free: float, steps: List[int]
) -> Tuple[int, float, float]:
    """The first of these roundings with which the goal is met, or missed by no more than without, the share with it,
    and its time over the goal; (1, free, its time) where there is none.

    Args: free: the share without rounding, timed. steps: roundings that are faster than none, the fastest first.
    """
    without = turns.of_goal(free, goal)
    miss = abs(without - 1)
    allowed = max(INSIDE, miss)
    for step in steps:
        turns.forget()
        try:
            share = search(turns, partial(net_of, step), goal)
        except UsageError:  # with these widths it is out of reach
            continue
        over = turns.of_goal(share, goal)
        if abs(over - 1) <= allowed:
            return step, share, over
    return 1, free, without


def find(original: Net, goal: Amount, timer: Timer, prune: Prune, rounding: Optional[int] = None) -> Found:
    """Prunes to a latency.

    Args:
        goal: milliseconds of a forward pass, or the share of what the original takes at the same time.
        prune: makes the pruned net for `channels`, and `round` or `only` where they differ from what was asked for.
        rounding: the one that was asked for; None: the fastest is taken.

    Raises UsageError where pruning cannot reach it, and what the timer raises.
    """
    turns, step = Turns(original, timer), 1 if rounding is None else rounding
    nets: Dict[Tuple[int, float], Pruned] = {}

    def made(step: int, share: float) -> Pruned:
        if (step, share) not in nets:
            for other in [key for key in nets if key[0] != step]:  # which are not needed again, and may be large
                del nets[other]
            nets[step, share] = prune(channels=share, round=step)
        return nets[step, share]

    def net_of(step: int, share: float) -> Net:
        return made(step, share).net

    share = search(turns, partial(net_of, step), goal, FLOORS[step > 1])
    over = turns.of_goal(share, goal)
    if rounding is None and share:
        step, share, over = rounded(turns, net_of, goal, share, faster_roundings(turns, share, net_of))
    first = best = made(step, share)
    options: Dict[str, Any] = {"channels": share, "round": step}
    only = give_back(turns, original, first, partial(prune, round=step), spare(over)) if share else None
    if only is not None:
        options.update(channels=WHOLE, only=only)
        best = prune(**options)
    seconds, base = afresh(original, best.net, timer)
    notices = missed(goal, seconds, base, turns.base)
    given = _removed(first) - _removed(best)
    return Found(options, share, given, seconds, float(np.median(base)), turns.timed + len(base), notices)


def afresh(original: Net, net: Net, timer: Timer) -> Tuple[float, List[float]]:
    """Seconds of a pass, and those of the original in turn with it: AFRESH measurements of each. The former are the
    median of the ratios, times the median of the latter."""
    base, ratios = [], []
    for _ in range(AFRESH):
        base.append(timer(original))
        ratios.append(timer(net) / base[-1])
    return float(np.median(ratios) * np.median(base)), base


def _removed(pruned: Pruned) -> int:
    return sum(map(len, pruned.plan.removed_channels.values()))


def missed(goal: Amount, seconds: float, base: List[float], before: Sequence[float] = ()) -> List[Notice]:
    """What is said where the latency is not met. base: seconds of the original in turn with it; before: earlier."""
    asked, times = asked_ms(goal, base), list(base) + list(before)
    near = over_asked(goal, seconds, base)
    idle = not goal.share and 1e3 * min(times) <= asked  # the original is fast enough by itself
    if near <= 1 + TOLERANCE and (near >= 1 - TOLERANCE or idle):
        return []
    cause = "{:.4g} ms were asked for, {:.4g} ms were measured in the end".format(asked, 1e3 * seconds)
    hint = "the original took from {:.4g} to {:.4g} ms meanwhile; measure on a quiet machine"
    return [Notice(cause, None, hint.format(1e3 * min(times), 1e3 * max(times)))]
