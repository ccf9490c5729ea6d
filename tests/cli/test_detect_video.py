"""`darkprune detect` on videos, and on cameras that are made up here."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import need
import videos
from bad_input import Cases
from darkprune.cli import detect_video
from darkprune.cli.main import main
from darkprune.video.capture import LiveCapture
from small_nets import detector, write

NET = detector()
DETECT = ["detect", "net.cfg", "net.weights", "clip.avi", "--runner", "numpy", "--thresh", "0.2"]

case = Cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    write(tmp_path, NET, dead=0.0)
    videos.write("clip.avi", frames=6, fps=20.0)
    return tmp_path


def output(argv, capsys, status=0):
    assert main(argv) == status
    return capsys.readouterr()


def test_video_in_video_out(folder, capsys):
    captured = output(DETECT + ["-o", "out.mp4", "--log", "log.jsonl"], capsys)
    lines = captured.out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["frame {}".format(n) for n in range(1, 7)]
    assert lines[-1].startswith("6 frames in ") and " FPS from end to end (pre " in lines[-1]
    before, after = videos.read("clip.avi")[0], videos.read("out.mp4")
    assert len(after[0]) == 6 and after[1] == pytest.approx(20.0)
    for old, new in zip(before, after[0]):
        assert old.shape == new.shape and np.abs(old.astype(int) - new).max() > 60
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["frame"] for line in log] == [1, 2, 3, 4, 5, 6] and log[2]["time"] == 0.1
    assert all(line["objects"] and set(line["ms"]) == {"pre", "infer", "post"} for line in log)
    assert log[0]["fps"] is None and log[-1]["fps"] > 0


def test_json_is_a_line_a_frame_and_agrees_with_images(folder, capsys):
    cv2 = need.opencv()
    captured = output(DETECT + ["--json"], capsys)
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert len(found) == 6 and captured.err.startswith("6 frames in ")
    for number, pixels in enumerate(videos.read("clip.avi")[0], 1):
        cv2.imwrite("{}.png".format(number), pixels)
    argv = DETECT[:3] + ["{}.png".format(number) for number in range(1, 7)] + DETECT[4:] + ["--json"]
    images = json.loads(output(argv, capsys).out)["images"]
    assert [line["objects"] for line in found] == [image["objects"] for image in images]


def test_frames_and_coordinates(folder, capsys):
    lines = output(DETECT + ["--frames", "2", "-ext_output"], capsys).out.splitlines()
    assert len(lines) == 3 and lines[1].startswith("frame 2: ") and " at " in lines[1]
    assert lines[2].startswith("2 frames in ")


def test_files_in_any_order_and_a_video_without_a_suffix(folder, capsys):
    os.rename("clip.avi", "clip")
    argv = ["detect", "clip", "net.weights", "net.cfg"] + DETECT[4:]
    assert output(argv, capsys).out.startswith("frame 1: ")
    assert output(["detect", "net", "clip"] + DETECT[4:], capsys).out.startswith("frame 1: ")


def test_darknets_demo(folder, capsys):
    (folder / "three.names").write_text("cat\ndog\nemu\n")
    (folder / "three.data").write_text("classes=3\nnames=three.names\n")
    line = "detector demo three.data net.cfg net.weights clip.avi -dont_show -thresh 0.2 -out_filename res.avi"
    captured = output(line.split() + ["--runner", "numpy"], capsys)
    assert {word for word in ("cat", "dog", "emu") if word in captured.out.splitlines()[0]}
    assert len(videos.read("res.avi")[0]) == 6


# ---- cameras


def camera(monkeypatch, frames, **options):
    made = videos.Camera(frames, **options)

    def open_source(source):
        return LiveCapture(source, made, videos.picture(0), 30.0)

    monkeypatch.setattr(detect_video, "open_source", open_source)
    return made


def test_a_camera_that_is_unplugged_mid_run(folder, capsys, monkeypatch):
    made = camera(monkeypatch, 5, interval=0.02)
    argv = DETECT[:3] + ["usb://0"] + DETECT[4:] + ["-o", "out.mp4", "--log", "log.jsonl"]
    captured = output(argv, capsys, 2)
    assert captured.err == (
        "usb://0: error: the camera stopped after frame 5: it sends nothing any more\n"
        "hint: is it plugged in, and its connection stable?\n"
    )
    assert made.released == 1 and len(videos.read("out.mp4")[0]) >= 1
    log = (folder / "log.jsonl").read_text("utf-8")
    assert log.endswith("}\n") and json.loads(log.splitlines()[-1])["frame"] == 5


def test_a_full_disk_closes_the_camera(folder, capsys, monkeypatch):
    made = camera(monkeypatch, 1000, interval=0.001)
    rooms = [1 << 30] * 3 + [0]
    monkeypatch.setattr("darkprune.video.recorder.Recorder._room", lambda self: rooms.pop(0) if rooms else 0)
    captured = output(DETECT[:3] + ["usb://0"] + DETECT[4:] + ["-o", "out.mp4"], capsys, 2)
    assert captured.err == (
        "out.mp4: error: no space is left for the video, which ends after frame 3\n"
        "hint: make room or write elsewhere; what was recorded can be played\n"
    )
    assert made.released == 1 and len(videos.read("out.mp4")[0]) == 3


SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
import videos
from darkprune.cli import detect_video
from darkprune.cli.main import main
from darkprune.video.capture import LiveCapture
if sys.argv[4] == "usb://0":
    camera = videos.Camera(10 ** 6, interval=0.01)
    detect_video.open_source = lambda source: LiveCapture(source, camera, videos.picture(0), 30.0)
status = main(sys.argv[1:])
print("released", camera.released if sys.argv[4] == "usb://0" else None)
sys.exit(status)
"""


@pytest.mark.parametrize(
    "source, number, status",
    [("usb://0", signal.SIGINT, 0), ("usb://0", signal.SIGTERM, 0), ("long.avi", signal.SIGINT, 130)],
)
def test_a_signal_leaves_a_playable_file_and_whole_lines(folder, source, number, status):
    if source == "long.avi":
        videos.write("long.avi", frames=5000)
    argv = [sys.executable, "-c", SLOW.format(tests=str(need.ROOT / "tests"))] + DETECT[:3] + [source] + DETECT[4:]
    argv += ["-o", "out.mp4", "--log", "log.jsonl", "--json"]
    env = dict(os.environ, PYTHONPATH=str(need.ROOT))
    run = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, universal_newlines=True)
    lines = [run.stdout.readline() for _ in range(5)]
    run.send_signal(number)
    out, err = run.communicate(timeout=60)
    assert run.returncode == status, err
    lines += out.splitlines()
    assert lines[-1] == "released {}".format(1 if source == "usb://0" else None)
    frames = [json.loads(line)["frame"] for line in lines[:-1]]
    assert len(frames) < 5000 and err.startswith("{} frames in ".format(len(frames)))
    log = (folder / "log.jsonl").read_text("utf-8")
    assert [json.loads(line)["frame"] for line in log.splitlines()] == frames and log.endswith("}\n")
    played = len(videos.read("out.mp4")[0])
    assert played == len(frames) if source == "long.avi" else played >= 1
    written = {"net.cfg", "net.weights", "clip.avi", "out.mp4", "log.jsonl", source} - {"usb://0"}
    assert set(os.listdir(".")) == written


CLOSING = """
import os, signal, sys
from darkprune.cli.main import main
from darkprune.video.recorder import Recorder
def playable(recorder, inner=Recorder._playable):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return inner(recorder)
Recorder._playable = playable
sys.exit(main(sys.argv[1:]))
"""


def test_signals_while_a_file_is_closed_lose_nothing(folder):
    argv = [sys.executable, "-c", CLOSING] + DETECT + ["-o", "out.mp4"]
    env = dict(os.environ, PYTHONPATH=str(need.ROOT))
    run = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, universal_newlines=True)
    assert run.returncode == 0, run.stderr
    assert len(videos.read("out.mp4")[0]) == len(videos.read("clip.avi")[0])


def test_a_later_signal_ends_at_once(folder):
    code = """
import os, signal, time
from darkprune import interrupt as interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
interrupts.GRACE = 0.05
with interrupts.Interrupt() as interrupt:
    os.kill(os.getpid(), signal.SIGINT)
    assert interrupt() and interrupt.asked
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.06)
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("second")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
    env = dict(os.environ, PYTHONPATH=str(need.ROOT))
    assert subprocess.check_output([sys.executable, "-c", code], env=env, universal_newlines=True) == "second\n"


def test_gstreamer():
    """A live pipeline in an OpenCV that has GStreamer, which pip's has not: Debian's."""
    python = need.gstreamer()
    code = """
from darkprune.video.opening import open_source
from darkprune.video.source import parse
live = "videotestsrc is-live=true pattern=red ! video/x-raw,width=64,height=48,framerate=50/1"
with open_source(parse(live)) as capture:
    frames = [capture.read() for _ in range(3)]
for frame in frames:
    assert frame.pixels.shape == (48, 64, 3) and abs(frame.pixels[0, 0].astype(int) - (255, 0, 0)).max() < 8
assert frames[0].number < frames[1].number < frames[2].number and capture.live and capture.fps == 50
with open_source(parse("gst://videotestsrc num-buffers=5")) as capture:
    count = 0
    while capture.read() is not None:
        count += 1
print("seen", count <= 5)
"""
    env = dict(os.environ, PYTHONPATH=str(need.ROOT))
    ran = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, timeout=60)
    assert ran.returncode == 0 and ran.stdout == b"seen True\n", ran.stderr


# ---- bad input


@case("none.mp4: error: cannot read the video: No such file or directory\nhint: check the path\n")
def missing_video(folder):
    return DETECT[:3] + ["none.mp4"] + DETECT[4:]


@case("clip.avi: error: a video or camera is read alone\nhint: run the command once for each\n")
def a_video_and_a_camera(folder):
    return DETECT + ["usb://0"]


@case("rtsp://***@h/x: error: a video or camera is read alone\nhint: run the command once for each\n")
def a_camera_with_a_password_and_an_image(folder):
    (folder / "a.png").write_bytes(b"\x89PNG\r\n")
    return DETECT[:3] + ["rtsp://me:secret@h/x", "a.png"] + DETECT[4:]


@case("clip.avi: error: a video or camera is read alone\nhint: run the command once for each\n")
def a_video_and_an_image(folder):
    (folder / "a.png").write_bytes(b"\x89PNG\r\n")
    return DETECT[:3] + ["a.png", "clip.avi"] + DETECT[4:]


@case("error: --out is for images\nhint: --log writes the boxes of all frames\n")
def darknets_json(folder):
    return DETECT + ["--out", "r.json"]


@case("error: --save-labels is for images\nhint: --log writes the boxes of all frames\n")
def labels(folder):
    return DETECT + ["--save-labels"]


@case("error: --log is for a video or camera\nhint: leave it out\n")
def a_log_of_images(folder):
    (folder / "a.png").write_bytes(b"\x89PNG\r\n")
    return DETECT[:3] + ["a.png"] + DETECT[4:] + ["--log", "l"]


@case("error: --frames must be at least 1\nhint: leave it out for all\n")
def no_frames(folder):
    return DETECT + ["--frames", "0"]


@case("error: --display and --dont-show contradict each other\nhint: leave one out\n")
def shown_and_not(folder):
    return DETECT + ["--display", "-dont_show"]


@case("out.png: error: -o names no video file\nhint: name a file that ends in .avi, .m4v, .mkv, .mov, .mp4\n")
def a_picture_of_a_video(folder):
    return DETECT + ["-o", "out.png"]


@case(
    "clip.avi: error: the output would replace the input clip.avi\n"
    "hint: choose another name; inputs are never overwritten\n"
)
def over_the_video_itself(folder):
    return DETECT + ["-o", "clip.avi", "--overwrite"]


@case("log: error: this file exists\nhint: --overwrite replaces it\n")
def log_exists(folder):
    (folder / "log").write_text("old")
    return DETECT + ["--log", "log"]


@case("o.avi: error: two outputs would have this name\nhint: choose another name for one\n")
def video_and_log_in_one_file(folder):
    return DETECT + ["-o", "o.avi", "--log", "o.avi"]


@case(
    "error: there is no screen: DISPLAY is not set\n"
    "hint: on the board itself: export DISPLAY=:0; or leave --display out, and write with -o\n"
)
def no_screen(folder):
    return DETECT + ["--display"]


@case("error: csi://0?flip=9: flip=9 is no number from 0 to 7\nhint: write flip=N\n")
def settings_of_a_camera(folder):
    return DETECT[:3] + ["csi://0?flip=9"] + DETECT[4:]


@pytest.mark.parametrize("name", list(case))
def test_bad_input(name, folder, capsys, monkeypatch):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    case.check(name, folder, capsys)
