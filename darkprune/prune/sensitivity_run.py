"""The rows of a sensitivity table measured one after the other, in this process or in several at once: the same rows
in the same order, each kept as soon as it is there."""

import multiprocessing
import signal
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from darkprune.data.data_file import DataFile
from darkprune.detect.preprocess import batches
from darkprune.errors import DarkpruneError
from darkprune.evaluate.net_accuracy import NetAccuracy, opened
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.interrupt import Interrupt
from darkprune.prune.criteria.base import Values
from darkprune.prune.evidence import Evidence
from darkprune.prune.sensitivity import HeadSignal, Measure, Task, row_of
from darkprune.prune.sensitivity_csv import Appended, Row

THREADS = 1  # of a runner, so that the values are the same however many processes there are

Setup = NamedTuple(
    "Setup",
    [
        ("cfg", str),
        ("weights", str),
        ("dialect", str),
        ("options", Dict[str, Any]),  # of `prune`
        ("values", Dict[str, Values]),  # what a criterion found that looks at images: see darkprune.prune.evidence
        ("data", Optional[str]),  # a .data file, on whose valid images accuracy is measured
        ("images", Sequence[str]),  # on which the signal is measured
        ("letterbox", bool),
        ("runner", Optional[str]),  # that runs the net on them
        ("head", Row),  # the fields all rows share
    ],
)


class Worker:
    """Measures rows. Raises what reading the pair, the data set and the images raises."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._net = load(setup.cfg, setup.weights, setup.dialect)
        self._measure = self._made_measure()
        self._options = dict(setup.options)
        if setup.values:
            self._options["evidence"] = Evidence(self._net, setup.values, 0, 0, None)

    def row(self, task: Task) -> Row:
        """The row of one task."""
        return row_of(self._net, task, self._options, self._measure, self._setup.head)

    def _made_measure(self) -> Optional[Measure]:
        setup = self._setup
        if setup.data is not None:
            assert setup.runner is not None
            return NetAccuracy(DataFile.read(setup.data), self._net, setup.runner, threads=THREADS)
        if setup.images:
            return HeadSignal(
                self._net, list(batches(self._net, list(setup.images), 1, setup.letterbox)), self._raw_heads
            )
        return None

    def _raw_heads(self, net: Net, inputs: Sequence[np.ndarray]) -> List[List[np.ndarray]]:
        assert self._setup.runner is not None
        with opened(net, self._setup.runner, THREADS) as model:
            return [[found[index] for index in model.layers] for found in map(model.raw_heads, inputs)]


def run(
    setup: Setup,
    tasks: Sequence[Task],
    table: Appended,
    jobs: int = 1,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> int:
    """Appends the rows of all tasks that the table has not; returns how many it appended.

    Ctrl-C ends it behind the row that is being measured, as KeyboardInterrupt.
    """
    known = table.known()
    todo = [task for task in tasks if (task.part.kind, task.part.layers, task.share) not in known]
    with Interrupt() as interrupt, _rows(setup, todo, min(jobs, len(todo))) as rows:
        for done, row in enumerate(progress(rows), 1):
            table.append(row)
            if interrupt() and done < len(todo):
                raise KeyboardInterrupt
    return len(todo)


@contextmanager
def _rows(setup: Setup, tasks: List[Task], jobs: int) -> Iterator[Iterable[Row]]:
    """The tasks' rows, in order."""
    if jobs <= 1:
        worker = Worker(setup) if tasks else None
        yield (worker.row(task) for task in tasks if worker is not None)
        return
    pool = multiprocessing.get_context("spawn").Pool(jobs, _start, [setup])
    try:
        yield map(_unwrapped, pool.imap(_row, tasks))
    finally:
        pool.terminate()
        pool.join()


_of_process: Dict[str, Any] = {}  # the setup, and the worker once a row was asked for


def _start(setup: Setup) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    _of_process["setup"] = setup


def _row(task: Task) -> Union[Row, DarkpruneError]:
    try:
        if "worker" not in _of_process:  # not in `_start`, whose errors would start another process
            _of_process["worker"] = Worker(_of_process["setup"])
        found: Row = _of_process["worker"].row(task)
        return found
    except DarkpruneError as error:
        return error


def _unwrapped(found: Union[Row, DarkpruneError]) -> Row:
    if isinstance(found, DarkpruneError):
        raise found
    return found
