"""Times of nets that may be what is looked for, in turn with those of the original, in the real runtime."""

import os
import tempfile
from typing import Callable, Dict, List, Optional

import numpy as np

from darkprune.backends.clock import Clock
from darkprune.evaluate.latency import Measurement
from darkprune.graph.net import Net
from darkprune.graph.save import save
from darkprune.prune.budget import Amount

TOLERANCE = 0.05  # of the latency that was asked for
PRECISE = 0.01  # standard error of a net's ratio, from which on it is known
FEW, MANY = 4, 9  # the fewest and the most measurements of a ratio
PASSES = 3  # the fewest of a measurement, besides the first, which does not count

Timer = Callable[[Net], float]  # seconds of a forward pass


class ProcessTimer:
    """Times nets in a runner, each in a process of its own; a context manager that holds their files.

    Args: original: is written once. threads: of the runner; None: its own choice. duration: seconds of passes, at least
    PASSES of them; short, so that two nets in turn meet the same pace of the machine.
    """

    def __init__(self, original: Net, runner: str, threads: Optional[int] = None, duration: float = 0.3) -> None:
        self._original, self._runner, self._threads = original, runner, threads
        self._clock = Clock(least=PASSES, duration=duration).as_dict()
        self._folder = tempfile.TemporaryDirectory(prefix="darkprune-")
        self._written = False

    def __call__(self, net: Net) -> float:
        """Median seconds of a pass. Raises MissingDependency, and VerifyError where the runner refuses the pair."""
        first = net is self._original
        prefix = os.path.join(self._folder.name, "original" if first else "candidate")
        if not (first and self._written):
            save(net, prefix, overwrite=True)
            self._written = self._written or first
        measurement = Measurement(
            prefix + ".cfg", prefix + ".weights", self._runner, None, None, self._threads, self._clock
        )
        return float(np.median(measurement.in_fresh_process().seconds))

    def __enter__(self) -> "ProcessTimer":
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def asked_ms(goal: Amount, base: List[float]) -> float:
    """Milliseconds of a goal: a share is one of the original's time. base: seconds of the original."""
    return 1e3 * goal.number * float(np.median(base)) if goal.share else goal.number


def over_asked(goal: Amount, seconds: float, base: List[float]) -> float:
    """A time over the one that was asked for. base: seconds of the original, when it was measured."""
    return 1e3 * seconds / asked_ms(goal, base)


def known(ratios: List[float]) -> bool:
    """Whether measurements of one ratio are enough to know it: by the estimated standard error of their mean."""
    if len(ratios) < FEW:
        return False
    error = float(np.std(ratios, ddof=1)) / len(ratios) ** 0.5
    return len(ratios) >= MANY or error <= PRECISE * float(np.median(ratios))


class Turns:
    """Times of candidates by share, in turn with those of the original.

    Attributes: timed (measurements of candidates so far). base (seconds of the original, one for each).
    """

    def __init__(self, original: Net, timer: Timer) -> None:
        self._original, self._timer = original, timer
        self.base: List[float] = []
        self.timed = 0
        self._ratios: Dict[float, List[float]] = {}

    def take(self, share: float, net: Net) -> None:
        """Times the candidate of that share once more."""
        self._ratios.setdefault(share, []).append(self.ratio(net))

    def ratio(self, net: Net, reference: Optional[Net] = None) -> float:
        """The time of a net over that of the original, or of another reference, measured in turn."""
        before = self._timer(self._original if reference is None else reference)
        if reference is None:
            self.base.append(before)
        self.timed += 1
        return self._timer(net) / before

    def settled_ratio(self, net: Net, reference: Net) -> float:
        """The same of a net and a reference, measured as often as it takes to know it."""
        ratios: List[float] = []
        while not known(ratios):
            ratios.append(self.ratio(net, reference))
        return float(np.median(ratios))

    def forget(self) -> None:
        """Forgets what was measured of shares: they come to mean other nets."""
        self._ratios = {}

    def count(self, share: float) -> int:
        """How often the candidate of that share was timed."""
        return len(self._ratios.get(share, ()))

    def settled(self, share: float) -> bool:
        """Whether the candidate was timed often enough for its ratio to be known."""
        return known(self._ratios[share])

    def of_goal(self, share: float, goal: Amount) -> float:
        """The time of the candidate of that share, over the one that was asked for."""
        return self.over_goal(float(np.median(self._ratios[share])), goal)

    def over_goal(self, ratio: float, goal: Amount) -> float:
        """The time of a net over the one that was asked for, from what `ratio` gave for it."""
        return over_asked(goal, ratio * float(np.median(self.base)), self.base)

    def shares(self) -> List[float]:
        """Those that were timed, in order."""
        return sorted(self._ratios)
