"""Pairs timed against each other: fresh processes in turn (A B A B ...), so that ratios hold on a noisy machine."""

from collections import OrderedDict
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.errors import MissingDependency, VerifyError
from darkprune.evaluate.latency import Measurement, Timing

Key = Tuple[int, str]  # (number of the pair, runner)
Progress = Callable[[Iterable[Any]], Iterable[Any]]

Run = NamedTuple(
    "Run",
    [
        ("pair", int),
        ("runner", str),
        ("median_ms", float),  # of the processes' medians, per image
        ("min_ms", float),  # the fastest and the slowest process's median
        ("max_ms", float),
        ("processes", int),
        ("cpu_ms", float),  # processor time per image, of all threads: what a busy machine disturbs least; a median
        ("passes", int),  # timed, in all processes
        ("joules", Optional[float]),  # per image, where there is a meter: median of the processes
        ("speedup", float),  # over the first pair in the same runner: median of the rounds' ratios
    ],
)


class Comparison:
    """Measurements of pairs in runners, round after round.

    Args:
        measurements: (number of the pair, runner) -> what one process measures. The first pair of a runner is what
            its others are compared with.
        strict: whether a runner that is missing, or fails on a pair, is an error.

    Attributes: left_out (the runners and pairs that were left out instead -> why).
    """

    def __init__(self, measurements: Sequence[Tuple[Key, Measurement]], strict: bool) -> None:
        self._measurements = OrderedDict(measurements)
        self._strict = strict
        self._found: Dict[Key, List[Timing]] = OrderedDict((key, []) for key in self._measurements)
        self.left_out: Dict[Key, str] = OrderedDict()

    def measure(self, rounds: int, progress: Progress = iter) -> None:
        """Runs each measurement once per round. Raises MissingDependency and VerifyError if `strict`."""
        turns = [key for _ in range(rounds) for key in self._measurements]
        for key in progress(turns):
            if key in self.left_out:
                continue
            try:
                self._found[key].append(self._measurements[key].in_fresh_process())
            except (MissingDependency, VerifyError) as error:
                if self._strict:
                    raise
                missing = isinstance(error, MissingDependency)
                gone = [other for other in self._found if other == key or missing and other[1] == key[1]]
                self.left_out.update((other, error.message) for other in gone)

    def runs(self) -> List[Run]:
        """The results so far, in the order of the measurements."""
        found = []
        for key, timings in self._found.items():
            if timings and key not in self.left_out:
                found.append(self._run(key, timings))
        return found

    def _run(self, key: Key, timings: List[Timing]) -> Run:
        medians = _medians(timings)
        first = next(other for other in self._found if other[1] == key[1] and other not in self.left_out)
        ratios = [a / b for a, b in zip(_medians(self._found[first]), medians)]
        joules = [t.joules / len(t.seconds) for t in timings if t.joules is not None]
        return Run(
            key[0],
            key[1],
            float(np.median(medians)) * 1e3,
            min(medians) * 1e3,
            max(medians) * 1e3,
            len(timings),
            float(np.median([timing.cpu for timing in timings])) * 1e3,
            sum(len(timing.seconds) for timing in timings),
            float(np.median(joules)) if joules else None,
            float(np.median(ratios)),
        )


def _medians(timings: List[Timing]) -> List[float]:
    return [float(np.median(timing.seconds)) for timing in timings]
