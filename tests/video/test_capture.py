"""Frames of files and of cameras: order, newest ones, ends, and what is said of failures."""

import os
import struct
import threading
import time

import numpy as np
import pytest

import need
import videos
from darkprune.errors import SourceError
from darkprune.video import capture as captures
from darkprune.video import mp4, opening
from darkprune.video.capture import LiveCapture
from darkprune.video.opening import open_source
from darkprune.video.source import parse, still


def live(camera, word="usb://0"):
    return LiveCapture(parse(word), camera, videos.picture(0), 30.0)


def failure(action):
    with pytest.raises(SourceError) as caught:
        action()
    return str(caught.value)


# ---- files


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_a_file_gives_every_frame_in_order(tmp_path, name):
    need.opencv()
    path = videos.write(tmp_path / name, frames=12, fps=20.0)
    with open_source(parse(path)) as capture:
        assert (capture.width, capture.height, capture.fps, capture.live) == (64, 48, 20.0, False)
        frames = []
        while True:
            frame = capture.read()
            if frame is None:
                break
            time.sleep(0.005)  # a slow reader loses nothing
            frames.append(frame)
        assert capture.read() is None and capture.dropped == 0
    assert [frame.number for frame in frames] == list(range(1, 13))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(12) / 20.0)
    for number, frame in enumerate(frames):
        assert frame.pixels.shape == (48, 64, 3) and frame.pixels.flags.c_contiguous
        assert np.abs(frame.pixels[:, :, ::-1].astype(int) - videos.picture(number)).mean() < 6


def test_files_that_are_no_video(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    gone = "none.mp4: error: cannot read the video: No such file or directory\nhint: check the path"
    assert failure(lambda: open_source(parse("none.mp4"))) == gone
    (tmp_path / "empty.mp4").write_bytes(b"")
    empty = "empty.mp4: error: cannot read the video: the file is empty\nhint: copy it anew"
    assert failure(lambda: open_source(parse("empty.mp4"))) == empty
    videos.write("whole.mp4")
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])  # without the index, which stands at the end
    (tmp_path / "text.avi").write_text("a video of a dog\n" * 100)
    for name in ("half.mp4", "text.avi"):
        assert failure(lambda path=name: open_source(parse(path))) == (
            name + ": error: OpenCV can read no frame of this video: it is damaged, cut short, or of a codec that "
            "OpenCV lacks\nhint: have ffmpeg write it anew: ffmpeg -i VIDEO -c:v mpeg4 NEW.mp4"
        )


def test_a_video_that_ends_before_its_header_says(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    videos.write("whole.avi", frames=30)
    whole = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    read = []

    def all_of_it():
        with open_source(parse("cut.avi")) as capture:
            frame = capture.read()
            while frame is not None:
                read.append(frame)
                frame = capture.read()

    text = failure(all_of_it)
    cause = "cut.avi: error: the video ends after frame {} of 30: it is damaged\n".format(len(read))
    assert text == cause + "hint: copy it anew, or have ffmpeg mend it" and 5 < len(read) < 27


def test_a_video_that_was_trimmed_without_being_encoded_anew(tmp_path, monkeypatch):
    """Frames that an edit list hides are not missing."""
    need.opencv()
    monkeypatch.chdir(tmp_path)
    videos.write("whole.mp4", frames=30)
    whole = bytearray((tmp_path / "whole.mp4").read_bytes())
    at = whole.index(b"elst") + 12
    shown, first = struct.unpack(">II", bytes(whole[at : at + 8]))
    assert (shown, first) == (1500, 0)  # of 30 frames at 20 a second, in thousandths
    whole[at : at + 4] = struct.pack(">I", 500)
    (tmp_path / "trimmed.mp4").write_bytes(bytes(whole))
    with open_source(parse("trimmed.mp4")) as capture:
        count = 0
        while capture.read() is not None:
            count += 1
    assert count < 15


@pytest.mark.parametrize(
    "damage", [b"", b"\0\0\0\1moov", b"\0\0\0\4moov", b"\0\0\0\x18moov\0\0\0\x08mvhd\0\0\0\x08trak"]
)
def test_headers_that_do_not_say_how_long_a_video_plays(tmp_path, damage):
    (tmp_path / "a.mp4").write_bytes(damage)
    assert mp4.seconds(str(tmp_path / "a.mp4")) is None and mp4.seconds(str(tmp_path / "none.mp4")) is None


def test_a_still_image_is_shown_again_and_again(tmp_path):
    cv2 = need.opencv()
    cv2.imwrite(str(tmp_path / "a.png"), videos.picture(3))
    with open_source(still(str(tmp_path / "a.png"))) as capture:
        frames = [capture.read() for _ in range(3)]
    assert [frame.number for frame in frames] == [1, 2, 3]
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels[:, :, ::-1], videos.picture(3))


# ---- cameras


def test_a_slow_reader_gets_the_newest_frame_and_the_others_are_counted():
    camera = videos.Camera(1000, interval=0.002)
    with live(camera) as capture:
        assert (capture.width, capture.height, capture.fps, capture.live) == (64, 48, 30.0, True)
        numbers, seconds = [], []
        for _ in range(4):
            frame = capture.read()
            numbers.append(frame.number)
            seconds.append(frame.seconds)
            np.testing.assert_array_equal(frame.pixels[:, :, ::-1], videos.picture(frame.number))
            before = camera.given
            while camera.given < before + 10:
                time.sleep(0.001)
        newest = camera.given
        assert capture.read().number >= newest - 1
        assert numbers == sorted(numbers) and numbers[-1] > 20
    assert camera.released == 1 and seconds == sorted(seconds)
    seen = len(numbers) + 1
    assert capture.dropped in (camera.given - seen, camera.given - seen - 1)  # the last one waits in the slot


def test_no_thread_runs_before_the_first_frame_is_asked_for():
    camera = videos.Camera(10)
    capture = live(camera)
    time.sleep(0.01)
    assert camera.given == 0
    capture.close()
    capture.close()
    assert camera.released >= 1 and not any(one.name == "capture" for one in threading.enumerate())


def test_a_camera_that_is_unplugged():
    camera = videos.Camera(3)
    capture = live(camera)
    numbers = []

    def all_of_it():
        while True:
            numbers.append(capture.read().number)

    text = "usb://0: error: the camera stopped after frame 3: it sends nothing any more\n"
    assert failure(all_of_it) == text + "hint: is it plugged in, and its connection stable?"
    assert numbers[-1] == 3 and camera.released == 1
    capture.close()


def test_a_camera_whose_driver_fails():
    camera = videos.Camera(0, end=ValueError("VIDIOC_DQBUF: no such device"))
    capture = live(camera, "rtsp://me:secret@host/x")
    text = "rtsp://***@host/x: error: the camera stopped after frame 0: OpenCV failed: VIDIOC_DQBUF: no such device\n"
    assert failure(capture.read) == text + "hint: is it plugged in, and its connection stable?"
    assert camera.released == 1


def test_a_camera_that_hangs(monkeypatch):
    camera = videos.Camera(1, end="hang")
    capture = live(camera)
    assert capture.read().number == 1
    monkeypatch.setattr(captures, "PATIENCE", 0.1)
    monkeypatch.setattr(captures, "LEAVE", 0.1)
    text = "usb://0: error: the camera stopped after frame 1: no frame came for 0.1 seconds\n"
    assert failure(capture.read) == text + "hint: is it plugged in, and its connection stable?"
    capture.close()  # returns, though the thread hangs
    camera.let_go.set()


def test_waiting_for_a_camera_ends_when_it_is_told_to():
    camera = videos.Camera(0, end="hang")
    capture = live(camera)
    asked = []
    assert capture.read(lambda: asked.append(1) or len(asked) > 2) is None
    camera.let_go.set()
    capture.close()
    assert camera.released == 1


def test_a_pipeline_may_end():
    capture = live(videos.Camera(2), "gst://videotestsrc num-buffers=2")
    while capture.read() is not None:
        pass
    assert capture.read() is None


def test_grey_frames_become_rgb():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert captures.rgb(grey).shape == (3, 4, 3) and (captures.rgb(grey)[:, :, 2] == grey).all()


# ---- what cannot be opened


def test_cameras_that_are_not_there(monkeypatch, tmp_path):
    need.opencv()
    monkeypatch.setattr("glob.glob", lambda pattern: [])
    text = "/dev/video97: error: there is no such camera\nhint: "
    assert failure(lambda: open_source(parse("usb://97"))) == text + "plug one in; a container must be given it"
    monkeypatch.setattr("glob.glob", lambda pattern: ["/dev/video1", "/dev/video0"])
    assert failure(lambda: open_source(parse("usb://97"))) == text + "there is /dev/video0, /dev/video1"
    device = tmp_path / "video0"
    device.write_bytes(b"")
    monkeypatch.setattr("darkprune.video.opening.device_of", lambda source: str(device))
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    text = "{}: error: you may not use this camera\nhint: sudo usermod -aG video $USER, then log in again"
    assert failure(lambda: open_source(parse("usb://0"))) == text.format(device)


class Dead:
    """A cv2.VideoCapture of something that gives no frame."""

    opened = []

    def __init__(self, *arguments):
        self.opened.append(arguments)
        self.released = False

    def isOpened(self):
        return len(self.opened) % 2 == 0

    def set(self, key, value):
        return False

    def read(self):
        return False, None

    def release(self):
        self.released = True


@pytest.mark.parametrize(
    "word, name, hint",
    [
        ("usb://0", "usb://0", "does another program have it? v4l2-ctl -d {} --list-formats-ext shows its sizes"),
        ("rtsp://a:b@h/x", "rtsp://***@h/x", "check the address, the password and the network"),
    ],
)
def test_a_source_that_gives_no_frame(word, name, hint, monkeypatch, tmp_path):
    cv2 = need.opencv()
    device = tmp_path / "video0"
    device.write_bytes(b"")
    monkeypatch.setattr("darkprune.video.opening.device_of", lambda source: str(device))
    monkeypatch.setattr(cv2, "VideoCapture", Dead)
    text = "{}: error: no frame comes from this source\nhint: {}".format(name, hint.format(device))
    assert failure(lambda: open_source(parse(word), lambda element: False)) == text


def test_a_camera_that_never_answers(monkeypatch):
    cv2 = need.opencv()
    let_go = threading.Event()
    monkeypatch.setattr(opening, "PATIENCE", 0.05)
    tried = []
    monkeypatch.setattr(opening, "has_gstreamer", lambda cv2: True)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *arguments: tried.append(arguments) or let_go.wait(60) and Dead())
    text = "rtsp://***@h/x: error: no frame comes from this source\nhint: "
    found = failure(lambda: open_source(parse("rtsp://a:b@h/x"), lambda element: True))
    assert found == text + "check the address, the password and the network"
    assert len(tried) == 3  # H.264, H.265, and without GStreamer
    let_go.set()


def test_what_fails_while_a_camera_is_opened(monkeypatch):
    cv2 = need.opencv()

    def fails(*arguments):
        raise MemoryError()

    monkeypatch.setattr(cv2, "VideoCapture", fails)
    with pytest.raises(MemoryError):
        open_source(parse("rtsp://h/x"), lambda element: False)
