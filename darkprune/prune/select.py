"""Which channel sets go: by score, and then repaired until every rule holds, only ever by keeping more."""

import math
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.errors import GraphError, UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.constant_readers import Carriers, Key, Reader, assign, audible, readers_of, usable_sets
from darkprune.prune.emission import Walk, walk
from darkprune.prune.plan import MAX_ROUND
from darkprune.prune.score import set_scores

Options = NamedTuple(
    "Options",
    [
        ("channels", float),  # share of the removable filters that goes
        ("scope", str),  # global: one threshold; layer: the share is taken from each tied width
        ("group", str),
        ("criterion", str),  # NAME[=W][,NAME[=W]...]: see darkprune.prune.combine
        ("min_keep", float),  # of each layer: a fraction if below 1, else a count
        ("round", int),  # kept channels per tied width and per block are multiples of this
        ("absorb", str),  # exact, bias, none
        ("combine", Optional[str]),  # how several criteria make one score
    ],
)
NEAR = 0.004  # of the share that was asked for, which is near enough
DEFAULTS = Options(0.0, "global", "max", "gamma", 0.01, 1, "exact", None)

Selection = NamedTuple(
    "Selection",
    [
        ("removed", np.ndarray),  # bool by set: silenced; all but the constants go
        ("carriers", Carriers),
        ("walk", Walk),
        ("reached", float),  # share of the removable filters that really goes
        ("kept", Dict[int, str]),  # set -> why it was kept although its score was low
        ("eligible", np.ndarray),  # bool by set
        ("scores", np.ndarray),
    ],
)


def check_options(options: Options) -> None:
    """Raises UsageError for values out of range."""
    ranges = (
        (0 <= options.channels < 1, "channels must be at least 0 and below 1", "0.6 removes 60 % of the filters"),
        (options.scope in ("global", "layer"), "unknown scope {!r}".format(options.scope), "use global or layer"),
        (
            0 <= options.min_keep < math.inf,
            "min-keep must be a number of at least 0",
            "give a fraction below 1, or a count",
        ),
        (options.round >= 1, "round must be at least 1", "1 rounds nothing, 8 keeps multiples of 8"),
        (options.round <= MAX_ROUND, "round must be at most {}".format(MAX_ROUND), "8 keeps multiples of 8"),
        (
            options.absorb in ("exact", "bias", "none"),
            "unknown absorb mode {!r}".format(options.absorb),
            "use exact, bias or none",
        ),
    )
    for fine, cause, cure in ranges:
        if not fine:
            raise UsageError(cause, hint=cure)


def select(
    net: Net,
    channels: Channels,
    options: Options,
    added: Optional[np.ndarray] = None,
    scores: Optional[np.ndarray] = None,
    only: Optional[np.ndarray] = None,
    factors: Optional[np.ndarray] = None,
) -> Selection:
    """Chooses the channel sets to remove.

    Args:
        added: bool by set: they do not count as filters. scores: by set; None: those of the one criterion of weights.
        only: bool by set: these alone may go, and the share is of them.
        factors: by set: of the share of each tied width, where the scope is layer.

    Raises UsageError.
    """
    check_options(options)
    if scores is None:
        scores = set_scores(net, channels, options.criterion, options.group)
    eligible = (channels.filters > 0) & (channels.pinned < 0) & ~np.isnan(scores)
    counts = channels.filters.copy()
    if added is not None:
        counts[added] = 0
    candidates = eligible if only is None else eligible & only
    order = np.flatnonzero(candidates)
    order = order[np.argsort(scores[order], kind="mergesort")]
    free = candidates.copy()  # what cannot go at all is no part of the share, or the rest would go in its place
    if options.absorb == "exact":
        free[list(_unabsorbable(net, channels, candidates))] = False
        if channels.balances or options.round > 1:
            free &= _moving(channels, _repair(net, channels, candidates.copy(), scores, options))
    goal = asked = options.channels
    low, high = 0.0, 1.0  # what was asked for too little and too much
    best: Optional[Selection] = None
    nearest = math.inf  # share minus goal of the best
    for _ in range(8):
        wanted = _lowest(channels, counts, order, asked, options.scope, factors)
        removed, carriers, result, kept = _repair(net, channels, wanted, scores, options)
        gone = removed & eligible
        gone[list(carriers.values())] = False
        share = float(counts[gone].sum()) / max(1, int(counts[free].sum()))
        if best is None or _cost(share - goal) < _cost(nearest):
            reached = float(counts[gone].sum()) / max(1, int(counts[eligible].sum()))
            best, nearest = Selection(removed, carriers, result, reached, kept, eligible, scores), share - goal
        if abs(share - goal) <= NEAR or asked >= 1 and share < goal:
            break
        low, high = (asked, high) if share < goal else (low, asked)
        if high - low < NEAR:
            break
        asked = (low + high) / 2 if high < 1 else min(1.0, asked + (goal - share))
    assert best is not None
    return best


def _cost(miss: float) -> float:
    """How bad it is that a share misses the goal by `miss`: too much is worse than too little."""
    return 2 * miss if miss > 0 else -miss


def _moving(channels: Channels, most: Tuple[np.ndarray, Carriers, Walk, Dict[int, str]]) -> np.ndarray:
    """bool by set: in its tied width something goes when as much as possible goes."""
    gone, widths = most[0].copy(), channels.widths()
    gone[list(most[1].values())] = False
    return np.isin(widths, widths[gone])


def _unabsorbable(net: Net, channels: Channels, removed: np.ndarray) -> Dict[int, str]:
    """Sets of `removed` (bool by set) whose constants cannot be taken over -> why."""
    found = walk(net, channels, removed)
    reasons = dict(found.stuck)
    readers = readers_of(net, channels, found.emissions, set())
    _, unserved = assign(net, channels, readers, usable_sets(net, channels, removed))
    reasons.update(_uncarried(channels, readers, unserved, removed))
    return reasons


def _uncarried(channels: Channels, readers: List[Reader], unserved: List[Key], removed: np.ndarray) -> Dict[int, str]:
    """Sets of `removed` whose constants reach padded readers that nothing serves -> why."""
    reasons = {}
    for reader in readers:
        if reader.key in unserved:
            sets = channels.sets[reader.labels]
            for number in sets[(reader.offset != 0) & removed[sets]].tolist():
                reasons[number] = "no channel can carry its constant to padded layer {}".format(reader.layer.number)
    return reasons


def _lowest(
    channels: Channels,
    counts: np.ndarray,
    order: np.ndarray,
    share: float,
    scope: str,
    factors: Optional[np.ndarray],
) -> np.ndarray:
    """bool by set: the lowest-scored sets that together hold the share of the filters of `order`."""
    removed = np.zeros(channels.size, bool)
    groups = [order]
    if scope == "layer":
        widths = channels.widths()[order]
        groups = [order[widths == width] for width in np.unique(widths)]
    for group in groups:
        held = np.cumsum(counts[group])
        if held.size:
            part = share if factors is None else share * float(factors[group[0]])
            removed[group[held <= part * held[-1] + 1e-9]] = True
    return removed


def _repair(
    net: Net, channels: Channels, removed: np.ndarray, scores: np.ndarray, options: Options
) -> Tuple[np.ndarray, Carriers, Walk, Dict[int, str]]:
    """Restores sets until floors, absorption, balance and rounding all hold; the constants are counted as kept."""
    rules = Rules(channels, scores, options)
    usable = usable_sets(net, channels, np.ones(channels.size, bool))
    heard = audible(net, channels)
    kept: Dict[int, str] = {}
    left = -1
    while True:
        if int(np.count_nonzero(removed)) == left:  # every round but the last restores something
            raise GraphError("the rules of this net's channels contradict each other", net.config.place())
        left = int(np.count_nonzero(removed))
        _restore(removed, rules.floors(removed), "min-keep", kept)
        result = walk(net, channels, removed)
        carriers: Carriers = {}
        if options.absorb == "exact":
            if result.stuck:
                for number, why in result.stuck.items():
                    _restore(removed, [number], why, kept)
                continue
            readers = readers_of(net, channels, result.emissions, set())
            carriers, unserved = assign(net, channels, readers, usable & removed, heard)
            if unserved:
                for number, why in _uncarried(channels, readers, unserved, removed).items():
                    _restore(removed, [number], why, kept)
                continue
        constants = np.zeros(channels.size, bool)
        constants[list(carriers.values())] = True
        idle = rules.idle_constants(removed, constants)
        if idle:
            _restore(removed, idle, "a constant channel in its place would save nothing", kept)
            continue
        more = rules.repair(removed, constants)
        if not more:
            return removed, carriers, result, kept
        for number, why in more:
            _restore(removed, [number], why, kept)


def _restore(removed: np.ndarray, sets: List[int], why: str, kept: Dict[int, str]) -> None:
    for number in sets:
        removed[number] = False
        kept.setdefault(number, why)


class Rules:
    """Floors, balance and rounding over the kept sets of each layer and block."""

    def __init__(self, channels: Channels, scores: np.ndarray, options: Options) -> None:
        self.scores = np.where(np.isnan(scores), np.inf, scores)
        self.step = options.round
        self.layers = [sets for _, sets in channels.producers()]
        self.balances = channels.balances
        every = np.ones(channels.size, bool)
        self.overreaches = [rule for rule in channels.overreaches if not rule.broken(every)]
        self.least = [self._least(sets.size, options.min_keep) for sets in self.layers]

    def _least(self, size: int, min_keep: float) -> int:
        count = math.ceil(min_keep * size) if min_keep < 1 else int(min_keep)
        return min(size, max(1, count))

    def floors(self, removed: np.ndarray) -> List[int]:
        """Sets to keep so that no layer falls below its floor; no constant counts here."""
        found: List[int] = []
        for sets, least in zip(self.layers, self.least):
            missing = least - np.count_nonzero(~removed[sets])
            if missing > 0:
                found += self._best(sets, removed, missing)
        return found

    def idle_constants(self, removed: np.ndarray, constants: np.ndarray) -> List[int]:
        """Constants in whose layers nothing else goes: the real channel costs no more."""
        if not constants.any():
            return []
        busy = np.zeros(removed.size, bool)
        for sets in self.layers:
            if (removed & ~constants)[sets].any():
                busy[sets] = True
        return np.flatnonzero(constants & ~busy).tolist()

    def repair(self, removed: np.ndarray, constants: np.ndarray) -> List[Tuple[int, str]]:
        """Sets to keep until balance, rounding and the widths of uneven sums are right; empty when all are."""
        kept = ~removed | constants
        found: List[Tuple[int, str]] = []
        while True:
            before = len(found)
            for balance in self.balances:
                counts = [self._rounded(int(np.count_nonzero(kept[block])), block.size) for block in balance.blocks]
                for block in balance.blocks:
                    found += self._fill(block, min(max(counts), block.size), kept, balance.reason)
            for sets in self.layers if self.step > 1 else []:
                goal = self._rounded(int(np.count_nonzero(kept[sets])), sets.size)
                found += self._fill(sets, goal, kept, "round {}".format(self.step))
            for rule in self.overreaches:
                if rule.broken(kept):  # one more channel of the sum, or of what is read, and the widths differ
                    sets = np.concatenate([rule.wide, rule.before])
                    found += self._fill(sets, np.count_nonzero(kept[sets]) + 1, kept, rule.reason)
            if len(found) == before:
                return found

    def _fill(self, sets: np.ndarray, goal: int, kept: np.ndarray, why: str) -> List[Tuple[int, str]]:
        """Keeps the best of the sets that are gone until `goal` are there, if there are so many, and says which."""
        missing = goal - int(np.count_nonzero(kept[sets]))
        best = self._best(sets, ~kept, missing) if missing > 0 else []
        kept[best] = True
        return [(number, why) for number in best]

    def _rounded(self, count: int, size: int) -> int:
        return min(size, -(-count // self.step) * self.step)

    def _best(self, sets: np.ndarray, gone: np.ndarray, count: int) -> List[int]:
        """The best-scored sets among those that are gone; a set that lies twice in a block counts twice."""
        candidates = np.array(sorted(set(sets[gone[sets]].tolist())), int)
        ranked = candidates[np.argsort(-self.scores[candidates], kind="mergesort")]
        return ranked[: max(1, count)].tolist()
