"""What a training tells while it runs: every tenth step and each evaluation, into its log and onto the screen."""

import time
from typing import Any, Callable, Dict, Optional

from darkprune.train.logs import Log
from darkprune.train.loop import Progress, Run

LOG_EVERY = 10  # steps
CHART_EVERY = 30.0  # seconds: drawing takes half of one


class Reporter:
    """To be given to `Run.train`.

    Args: say: takes lines of text; None for silence.

    Attributes: last (the newest value of each column).
    """

    def __init__(self, log: Log, run: Run, say: Optional[Callable[[str], None]] = None) -> None:
        self.last: Dict[str, Any] = {}
        self._log, self._run, self._say = log, run, say
        self._drawn = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Takes a step's report."""
        settings = self._run.settings
        evaluated = "map" in progress.values or "top1" in progress.values
        ended = progress.step == settings.max_batches
        if not (evaluated or ended or progress.step % LOG_EVERY == 0 or progress.step == 1):
            return
        values: Dict[str, Any] = dict(progress.values)
        sparsity = self._run.stepper.sparsity
        if evaluated and sparsity is not None:
            values.update(sparsity.columns())
        self.last.update(values)
        seen = progress.step * settings.batch
        row = dict(values, epoch=round(seen / self._run.images, 4), images=seen)
        self._log.row(progress.step, learning_rate=progress.rate, seconds=round(progress.seconds, 3), **row)
        if ended or time.monotonic() - self._drawn > CHART_EVERY:
            self._log.chart()
            self._drawn = time.monotonic()
        if self._say is not None:
            words = " ".join("{} {:.4g}".format(key, value) for key, value in values.items())
            of = "{}/{}".format(progress.step, settings.max_batches)
            self._say("{} rate {:.3g} {} ({:.2f} s)\n".format(of, progress.rate, words, progress.seconds))
