"""Videos of drawn shapes, and cameras that are none."""

import threading
import time

import numpy as np

import need


def picture(number, width=64, height=48):
    """uint8 [H, W, 3]: frame `number` of a bright square that moves over a slope of grey; the number is its colour."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:] = np.linspace(20, 120, width).astype(np.uint8)[:, None]
    left = number * 2 % (width - 16)
    pixels[10:26, left : left + 16] = (60, 220, number * 4 % 256)
    return pixels


def noise(number, width=64, height=48):
    """uint8 [H, W, 3] without two places that are alike, so that no two boxes are equally sure."""
    return np.random.RandomState(number).randint(0, 256, (height, width, 3)).astype(np.uint8)


def write(path, frames=10, fps=20.0, width=64, height=48, drawn=picture):
    """A video of that many pictures, by default moving squares; its codec is that of the suffix."""
    cv2 = need.opencv()
    codec = "MJPG" if str(path).endswith(".avi") else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(drawn(number, width, height))
    writer.release()
    return str(path)


def read(path):
    """(the frames, BGR, and the rate) of a video."""
    cv2 = need.opencv()
    grabber = cv2.VideoCapture(str(path))
    assert grabber.isOpened(), "{} cannot be played".format(path)
    found = []
    while True:
        done, pixels = grabber.read()
        if not done:
            break
        found.append(pixels)
    fps = grabber.get(cv2.CAP_PROP_FPS)
    grabber.release()
    return found, fps


class Camera:
    """In the place of a cv2.VideoCapture: so many frames, one each `interval` seconds, and then what comes of `end`.

    Args: end: an exception that `read` raises, or False for nothing any more; "hang" waits until it is released.
    """

    def __init__(self, frames, interval=0.0, end=False):
        self.frames, self.interval, self.end = frames, interval, end
        self.given, self.released = 0, 0
        self.let_go = threading.Event()

    def isOpened(self):
        return True

    def get(self, key):
        return 30.0

    def set(self, key, value):
        return True

    def read(self):
        assert not self.released, "read after release"
        if self.given == self.frames:
            if self.end == "hang":
                self.let_go.wait(60)
                return False, None
            if self.end:
                raise self.end
            return False, None
        time.sleep(self.interval)
        self.given += 1
        return True, picture(self.given)

    def release(self):
        self.released += 1
        self.let_go.set()
