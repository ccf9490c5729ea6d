"""How long a forward pass takes: one measurement in a process of its own.

    python -m darkprune.evaluate.latency SETTINGS

opens a pair in a runner, feeds it one image again and again, and prints the times as JSON; SETTINGS are those of
`Measurement`, as JSON. Only the forward pass is timed: not reading and resizing an image, nor decoding and suppressing
boxes (OpenCV decodes boxes within its net). numpy holds the arrays in memory, OpenCV runs with fusion and Winograd's
algorithm, as its users have it.
"""

import json
import os
import subprocess
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from darkprune.backends.clock import Clock
from darkprune.backends.model import Model
from darkprune.errors import DarkpruneError, MissingDependency, Place, VerifyError
from darkprune.verify import test_batch

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_Measurement = NamedTuple(
    "_Measurement",
    [
        ("cfg", str),
        ("weights", str),
        ("runner", str),  # a name of darkprune.backends.registry.RUNNERS
        ("width", Optional[int]),  # of the input; None: the cfg's
        ("height", Optional[int]),
        ("threads", Optional[int]),  # None: as many as the runner takes
        ("clock", Dict[str, Any]),  # settings of a Clock
        ("int8", Optional[str]),  # the ranges' file of a net that runs on 8-bit integers
        ("engine", Optional[str]),  # the file of a TensorRT engine that is run
    ],
)
Timing = NamedTuple(
    "Timing",
    [
        ("seconds", List[float]),  # of the passes that count
        ("cpu", float),  # seconds of processor time per pass, of all threads
        ("joules", Optional[float]),  # of all passes, the whole machine's
    ],
)


class Measurement(_Measurement):
    """What is measured, and how."""

    __slots__ = ()

    def __new__(
        cls,
        cfg: str,
        weights: str,
        runner: str,
        width: Optional[int],
        height: Optional[int],
        threads: Optional[int],
        clock: Dict[str, Any],
        int8: Optional[str] = None,
        engine: Optional[str] = None,
    ) -> "Measurement":
        return super(Measurement, cls).__new__(cls, cfg, weights, runner, width, height, threads, clock, int8, engine)

    def in_process(self) -> Timing:
        """Measures in this process, whose environment already holds the number of threads."""
        clock = Clock.from_dict(self.clock)
        model = Model(self.cfg, self.weights, self.runner, self.width, self.height, int8=self.int8, engine=self.engine)
        model.runner.fast = True
        if self.threads is not None:
            set_threads(model.runner, self.threads)
        with model:
            seconds = model.runner.seconds(test_batch(model.net), model.layers, clock)
        return Timing(seconds, clock.cpu, clock.joules)

    def in_fresh_process(self) -> Timing:
        """Measures in a process that is started for it, and ends.

        Raises MissingDependency where the runner is not installed; VerifyError where it, or the pair, fails.
        """
        return timed_in_fresh_process(__name__, self._asdict(), self.threads)


def timed_in_fresh_process(module: str, settings: Dict[str, Any], threads: Optional[int]) -> Timing:
    """What a process prints that is started for `python -m module SETTINGS`; `module` ends in `print_timing`.

    Raises MissingDependency where it lacks something; VerifyError where it fails.
    """
    environment = dict(os.environ, PYTHONPATH=_search_path())
    if threads is not None:
        environment.update((name, str(threads)) for name in THREADS)
    process = subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(settings)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = process.communicate()
    finally:
        if process.poll() is None:  # interrupted
            process.kill()
            process.wait()
    return _result(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _result(status: int, out: str, err: str) -> Timing:
    """What a process printed. Raises the error that it says, or VerifyError for one that died."""
    try:
        answer = json.loads(out.splitlines()[-1])
        if "error" not in answer:
            return Timing(**answer)
    except (IndexError, TypeError, ValueError):
        last = (err.strip().splitlines() or ["it says nothing"])[-1]
        raise VerifyError("the measuring process ended with status {}: {}".format(status, last)) from None
    kind = MissingDependency if answer["missing"] else VerifyError
    raise kind(answer["error"], Place(*answer["where"]) if answer["where"] else None, answer["hint"])


def set_threads(runner: Any, count: int) -> None:
    """The number of threads of a runner that is not open yet, where the environment does not say it."""
    if runner.name == "opencv":
        from darkprune.backends.opencv_ import import_cv2

        import_cv2().setNumThreads(count)
    elif hasattr(runner, "threads"):
        runner.threads = count


def _search_path() -> str:
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.pathsep.join([package] + [path for path in (os.environ.get("PYTHONPATH"),) if path])


def print_timing(measure: Callable[[], Timing]) -> int:
    """Prints what `measure` gives, or its DarkpruneError, as JSON; returns the exit status."""
    try:
        answer: Dict[str, Any] = dict(measure()._asdict())
    except DarkpruneError as error:
        missing = isinstance(error, MissingDependency)
        answer = {"error": error.message, "where": error.where, "hint": error.hint, "missing": missing}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(print_timing(lambda: Measurement(**json.loads(sys.argv[1])).in_process()))
