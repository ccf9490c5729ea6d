"""How long ONNX Runtime takes for a model file: one measurement in a process of its own.

    python -m darkprune.evaluate.onnx_latency SETTINGS

opens the file on the CPU, with all of ONNX Runtime's optimisations, feeds it the same random image again and again, and
prints the times as JSON; SETTINGS are those of `FileMeasurement`, as JSON.
"""

import json
import sys
from typing import Any, Dict, NamedTuple, Optional

import numpy as np

from darkprune.backends.clock import Clock
from darkprune.backends.onnxruntime_ import import_onnxruntime, quiet, session
from darkprune.evaluate.latency import Timing, print_timing, timed_in_fresh_process

_FileMeasurement = NamedTuple(
    "_FileMeasurement",
    [
        ("path", str),  # of the .onnx file; it has one input, float32
        ("threads", Optional[int]),  # None: as many as ONNX Runtime takes
        ("clock", Dict[str, Any]),  # settings of a Clock
    ],
)


class FileMeasurement(_FileMeasurement):
    """What is measured, and how."""

    __slots__ = ()

    def in_process(self) -> Timing:
        """Measures in this process.

        Raises MissingDependency without ONNX Runtime, VerifyError for a file that it refuses.
        """
        clock = Clock.from_dict(self.clock)
        session = self._session()
        source = session.get_inputs()[0]
        shape = [length if isinstance(length, int) else 1 for length in source.shape]
        feed = {source.name: np.random.RandomState(1).uniform(0, 1, shape).astype(np.float32)}
        seconds = clock.time(lambda: session.run(None, feed))
        return Timing(seconds, clock.cpu, clock.joules)

    def in_fresh_process(self) -> Timing:
        """Measures in a process that is started for it, and ends. Raises as `in_process`."""
        return timed_in_fresh_process(__name__, self._asdict(), self.threads)

    def _session(self) -> Any:
        runtime = import_onnxruntime()
        options = quiet(runtime)
        options.intra_op_num_threads = self.threads or 0
        return session(runtime, self.path, options)


if __name__ == "__main__":
    sys.exit(print_timing(lambda: FileMeasurement(**json.loads(sys.argv[1])).in_process()))
