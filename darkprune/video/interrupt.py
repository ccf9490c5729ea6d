"""Ctrl-C and SIGTERM as a wish to end in order: the camera is given back, files are closed."""

import signal
import threading
from types import FrameType
from typing import Any, Dict, Optional


class Interrupt:
    """While its `with` lasts, the first SIGINT or SIGTERM is only remembered; a second one acts as ever.

    Outside the main thread, where Python allows no handlers, it remembers nothing.
    """

    def __init__(self) -> None:
        self.asked = False
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
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
