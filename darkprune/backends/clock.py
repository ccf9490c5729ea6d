"""How forward passes are timed, in every runner alike."""

import time
from typing import Any, Callable, Dict, List, Optional


class Clock(object):
    """Times forward passes: first some that do not count, then until enough time went by.

    Args:
        warm: passes before the first that counts.
        least, most: number of passes that count.
        duration: seconds after which no further pass begins.
        energy: whether to read the machine's meter, where it has one.

    Attributes: cpu (seconds of processor time per pass that counts, of all threads of this process). joules (drawn
    during those passes, None where nothing measures that).
    """

    def __init__(
        self,
        warm: int = 1,
        least: int = 1,
        most: int = 1000,
        duration: float = 1.0,
        energy: bool = False,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.warm = warm
        self.least = least
        self.most = most
        self.duration = duration
        self.energy = energy
        self.timer = timer
        self.cpu = 0.0
        self.joules: Optional[float] = None

    def time(self, run: Callable[[], Any]) -> List[float]:
        """Seconds of each call of `run` that counts."""
        for _ in range(self.warm):
            run()
        meter = self._meter()
        if meter is not None:
            meter.start()
        found: List[float] = []
        before = time.process_time()
        now = begin = self.timer()
        while len(found) < self.least or (len(found) < self.most and now - begin < self.duration):
            start = self.timer()
            run()
            now = self.timer()
            found.append(now - start)
        self.cpu = (time.process_time() - before) / max(1, len(found))
        if meter is not None:
            self.joules = meter.stop()
        return found

    def _meter(self) -> Optional[Any]:
        if not self.energy:
            return None
        from darkprune.evaluate.energy import find_meter

        return find_meter()[0]

    def as_dict(self) -> Dict[str, Any]:
        """The settings, for the clock of another process."""
        return {name: getattr(self, name) for name in ("warm", "least", "most", "duration", "energy")}

    @classmethod
    def from_dict(cls, settings: Dict[str, Any]) -> "Clock":
        """The clock that has these settings."""
        return cls(**settings)
