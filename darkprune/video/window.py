"""A window that shows what is seen. Keys: esc or q ends, f switches to the full screen and back, h hides the help."""

import os
import re
import socket
import sys
from typing import Any, Optional

from darkprune.detect.image_file import import_cv2
from darkprune.errors import MissingDependency, UsageError
from darkprune.video import overlay
from darkprune.video.loop import Shot, Sink

HELP = "ESC or Q: end   F: full screen   H: hide this"
_HINT = 'pip install "opencv-python>=4.1,<5" in place of the headless one; on a Jetson, apt has one with windows'
_SCREEN_HINT = "{}; or leave --display out, and write with -o"
_ESC = 27


class Window(Sink):
    """Shows every shot. Raises MissingDependency for an OpenCV without windows, UsageError without a screen."""

    def __init__(self, title: str = "darkprune", width: int = 0, height: int = 0, full_screen: bool = False) -> None:
        self._cv2 = import_cv2()
        self._title, self._help, self._full = title, False, full_screen
        if sys.platform.startswith("linux") and not os.environ.get("WAYLAND_DISPLAY"):
            _require_screen(os.environ.get("DISPLAY"))
        try:
            self._cv2.namedWindow(title, self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_GUI_NORMAL)  # no tool bar
            if width and height:
                self._cv2.resizeWindow(title, width, height)
            self._set_full(full_screen)
        except self._cv2.error:
            raise MissingDependency("this OpenCV cannot show windows", hint=_HINT) from None

    def take(self, shot: Shot) -> bool:
        cv2 = self._cv2
        picture = cv2.cvtColor(shot.picture(), cv2.COLOR_RGB2BGR)
        if self._help:
            overlay.write_lines(picture, [""] * 4 + [HELP])
        cv2.imshow(self._title, picture)
        return self._obey(cv2.waitKey(1)) and not self._closed()

    def close(self) -> None:
        try:
            self._cv2.destroyWindow(self._title)
            self._cv2.waitKey(1)
        except self._cv2.error:
            pass  # its user closed it

    def _obey(self, key: int) -> bool:
        """Whether to go on after this key; -1 is none."""
        if key == -1:
            return True
        letter = chr(key & 0xFF).lower()
        if key & 0xFF == _ESC or letter == "q":
            return False
        if letter == "f":
            self._set_full(not self._full)
        if letter == "h":
            self._help = not self._help
        return True

    def _closed(self) -> bool:
        visible: Any = self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE)
        return bool(visible < 1)

    def _set_full(self, full: bool) -> None:
        cv2 = self._cv2
        state = cv2.WINDOW_FULLSCREEN if full else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, state)
        self._full = full


def _require_screen(display: Optional[str]) -> None:
    """Raises UsageError without one. GTK and Qt would end the program where nothing answers."""
    if not display:
        hint = _SCREEN_HINT.format("on the board itself: export DISPLAY=:0")
        raise UsageError("there is no screen: DISPLAY is not set", hint=hint)
    local = re.match(r"(?:unix)?:(\d{1,4})(?:\.\d+)?$", display)  # one on another machine is left to the libraries
    if local and not _answers(int(local.group(1))):
        cause = "there is no screen: nothing answers on DISPLAY={}".format(display)
        raise UsageError(cause, hint=_SCREEN_HINT.format("start its desktop"))


def _answers(number: int) -> bool:
    """Whether an X server of that number listens on this machine, in one of the three ways that there are."""
    path = "/tmp/.X11-unix/X{}".format(number)
    tcp = ("127.0.0.1", 6000 + number)
    for family, address in ((socket.AF_UNIX, path), (socket.AF_UNIX, "\0" + path), (socket.AF_INET, tcp)):
        with socket.socket(family, socket.SOCK_STREAM) as made:
            if made.connect_ex(address) == 0:
                return True
    return False
