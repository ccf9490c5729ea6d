"""Ctrl-C and SIGTERM as a wish to end in order: the camera is given back, files are closed, a checkpoint is kept."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Dict, Optional

GRACE = 2.0  # seconds for files to be finished, in which a second Ctrl-C does no harm


class Interrupt:
    """While its `with` lasts, SIGINT and SIGTERM are only remembered; GRACE after the first they act as ever.

    Outside the main thread, where Python allows no handlers, it remembers nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._since = 0.0
        self._before: Dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether to end."""
        return self.asked

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, number: int, frame: Optional[FrameType]) -> None:
        now = time.perf_counter()
        if not self.asked:
            self.asked, self._since = True, now
        elif now - self._since >= GRACE:
            before = self._before.get(number)
            self._restore()
            if callable(before):
                before(number, frame)  # Python's own for SIGINT raises KeyboardInterrupt
            else:
                os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
