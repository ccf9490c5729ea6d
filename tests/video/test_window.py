"""The window's keys and ends, on an OpenCV that only writes down what it is told."""

import os
import socket

import numpy as np
import pytest

import need
from darkprune.errors import MissingDependency, UsageError
from darkprune.video import window as windows
from darkprune.video.window import Window


class Shot:
    def picture(self):
        return np.zeros((200, 320, 3), np.uint8)


class Screen:
    """cv2 with another screen: `keys` are typed, one for each frame."""

    def __init__(self, cv2, keys="", visible=1.0):
        self.cv2, self.keys, self.visible = cv2, list(keys), visible
        self.said = []

    def __getattr__(self, name):
        return getattr(self.cv2, name)

    def namedWindow(self, *arguments):
        self.said.append("open")

    def resizeWindow(self, name, width, height):
        self.said.append((width, height))

    def setWindowProperty(self, name, key, value):
        assert key == self.cv2.WND_PROP_FULLSCREEN
        self.said.append("full" if value == self.cv2.WINDOW_FULLSCREEN else "normal")

    def getWindowProperty(self, name, key):
        return self.visible

    def imshow(self, name, pixels):
        self.said.append("help" if pixels.any() else "shown")

    def waitKey(self, wait):
        return ord(self.keys.pop(0)) if self.keys else -1

    def destroyWindow(self, name):
        self.said.append("closed")


@pytest.fixture
def screen(monkeypatch):
    cv2 = need.opencv()
    monkeypatch.setenv("DISPLAY", "elsewhere:7")

    def make(**options):
        made = Screen(cv2, **options)
        monkeypatch.setattr(windows, "import_cv2", lambda: made)
        return made

    return make


@pytest.mark.parametrize("key", ["\x1b", "q", "Q"])
def test_keys_that_end_it(screen, key):
    made = screen(keys="x" + key)
    window = Window()
    assert window.take(Shot()) and not window.take(Shot())
    window.close()
    assert made.said == ["open", "normal", "shown", "shown", "closed"]


def test_full_screen_and_help(screen):
    made = screen(keys="fFhh")
    window = Window(width=640, height=480)
    assert [window.take(Shot()) for _ in range(5)] == [True] * 5
    assert made.said == ["open", (640, 480), "normal", "shown", "full", "shown", "normal", "shown", "help", "shown"]


def test_a_window_that_its_user_closes(screen):
    screen(visible=0.0)
    assert not Window().take(Shot())


def test_an_opencv_without_windows(screen, monkeypatch):
    made = screen()

    def fails(*arguments):
        raise made.error("The function is not implemented")

    monkeypatch.setattr(Screen, "namedWindow", fails)
    with pytest.raises(MissingDependency) as caught:
        Window()
    assert str(caught.value) == (
        "error: this OpenCV cannot show windows\n"
        'hint: pip install "opencv-python>=4.1,<5" in place of the headless one; on a Jetson, apt has one with windows'
    )


def test_no_screen(monkeypatch):
    need.opencv()
    monkeypatch.setattr("sys.platform", "linux")
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UsageError, match="there is no screen: DISPLAY is not set"):
        Window()


def test_a_screen_that_does_not_answer(screen, monkeypatch):
    """GTK and Qt end the program then."""
    made = screen()
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    number = 9000 + os.getpid() % 1000
    for display in (":{}".format(number), ":{}.0".format(number), "unix:{}".format(number)):
        monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(UsageError) as caught:
            Window()
        assert str(caught.value) == (
            "error: there is no screen: nothing answers on DISPLAY={}\n"
            "hint: start its desktop; or leave --display out, and write with -o"
        ).format(display)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind("\0/tmp/.X11-unix/X{}".format(number))
            server.listen(5)
            Window().close()
    assert made.said.count("open") == 3
