"""The demo for the TX2 as a program: TensorRT 8.2 and pycuda are stood in for, a video is the camera."""

import argparse
import ast
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import need
import tool
import videos
from darkprune.errors import UsageError
from darkprune.video.opening import open_source
from darkprune.video.source import CSI, FILE, PIPELINE, RTSP, STILL, USB, parse, still
from darkprune.video.wrapped import Looped, Resized
from small_nets import detector, write
from stand_ins.loading import paths

TOOL = str(need.ROOT / "tools" / "tx2_camera.py")
NET = detector(activation="leaky")
QUIET = ["--no-display", "-t", "0.2"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    write(tmp_path, NET, dead=0.0)
    write(tmp_path, NET.replace("filters=8", "filters=5"), "less", dead=0.0)
    videos.write("clip.avi", frames=5, fps=20.0)
    return tmp_path


def environment(*stand_ins):
    found = {name: os.environ[name] for name in os.environ if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return dict(found, PYTHONPATH=os.pathsep.join(paths(*stand_ins)), STAND_IN_GPU="tx2")


def demo(*words, **more):
    """(stdout, stderr) of the program, which must end with that status."""
    argv = [sys.executable, TOOL] + list(words)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "universal_newlines": True}
    run = subprocess.run(argv, env=environment("tensorrt82", "cuda"), **pipes)
    assert run.returncode == more.get("status", 0), run.stderr
    return run.stdout, run.stderr


def logged(path):
    with open(path) as stream:
        return [json.loads(line) for line in stream]


def test_the_engine_is_built_once_and_finds_what_numpy_finds(folder):
    videos.write("clip.avi", frames=5, fps=20.0, drawn=videos.noise)
    words = ["--video", "clip.avi", "-m", "net", "--precision", "fp32"] + QUIET
    out, err = demo(*(words + ["-o", "out.mp4", "--log", "log.jsonl"]))
    assert err == "building net-fp32.engine, since there is none yet; that may take minutes\n"
    assert out.startswith("5 frames in ") and " FPS from end to end (pre " in out
    frames, fps = videos.read("out.mp4")
    assert len(frames) == 5 and fps == pytest.approx(20.0) and frames[0].shape == (48, 64, 3)
    engine = (folder / "net-fp32.engine").read_bytes()
    out, err = demo(*(words + ["--frames", "2", "--category_num", "3"]))
    assert err == "" and out.startswith("2 frames in ")
    assert (folder / "net-fp32.engine").read_bytes() == engine
    demo(*(words + ["--runner", "numpy", "--log", "numpy.jsonl"]))
    for ours, theirs in zip(logged("log.jsonl"), logged("numpy.jsonl")):
        assert len(ours["objects"]) == len(theirs["objects"]) > 0
        for a in ours["objects"]:  # nearly equal confidences may change places
            like = [b for b in theirs["objects"] if b["class"] == a["class"]]
            same = [b for b in like if np.allclose(a["box"], b["box"], 0, 0.01)]
            assert len(same) == 1 and abs(a["confidence"] - same[0]["confidence"]) < 1e-4


def test_before_and_after_pruning_side_by_side(folder):
    words = ["--video", "clip.avi", "-m", "net.cfg", "--compare", "less.cfg", "less.weights", "-o", "out.avi"]
    out, err = demo(*(words + ["--log", "log.jsonl"] + QUIET))
    assert "building net-fp16.engine" in err and "building less-fp16.engine" in err
    assert "; original " in out and "; pruned " in out and " times the rate" in out
    assert [frame.shape for frame in videos.read("out.avi")[0]] == [(48, 128, 3)] * 5
    assert [[side["title"] for side in line["sides"]] for line in logged("log.jsonl")] == [["original", "pruned"]] * 5


def test_ctrl_c_leaves_a_playable_file(folder):
    words = ["--video", "clip.avi", "--video_looping", "-m", "net", "-o", "out.avi", "--log", "log.jsonl"] + QUIET
    argv = [sys.executable, TOOL] + words
    run = subprocess.Popen(argv, env=environment("tensorrt82", "cuda"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not os.path.exists("log.jsonl") or len((folder / "log.jsonl").read_bytes().splitlines()) < 8:
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    count = len(videos.read("out.avi")[0])
    assert count >= 8 and out.decode().startswith("{} frames in ".format(count))
    lines = logged("log.jsonl")
    assert [line["frame"] for line in lines] == list(range(1, count + 1))
    assert lines[6]["time"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    "words, text",
    [
        (
            "--video clip.avi -m net -c 80 --no-display --runner numpy",
            "error: net.cfg has 3 classes, not 80\nhint: leave --category_num out: the cfg says it\n",
        ),
        (
            "--video clip.avi -m net --precision int8 --no-display",
            "error: int8 needs the ranges of each pair\nhint: give --ranges (and --ranges2), of darkprune calibrate\n",
        ),
        (
            "--video clip.avi -m net --no-display -o clip.avi --overwrite",
            "clip.avi: error: the output would replace the input clip.avi\n"
            "hint: choose another name; inputs are never overwritten\n",
        ),
        (
            "--video clip.avi -m net --no-display --names list --log list --overwrite --runner numpy",
            "list: error: the output would replace the input list\n"
            "hint: choose another name; inputs are never overwritten\n",
        ),
        (
            "--video clip.avi -m net --no-display --log net.names --overwrite --runner numpy",
            "names: net.names\nnet.names: error: the output would replace the input net.names\n"
            "hint: choose another name; inputs are never overwritten\n",
        ),
        (
            "--usb 97 -m net --no-display --runner numpy",
            "/dev/video97: error: there is no such camera\nhint: ",
        ),
        (
            "--video clip.avi -m net --runner numpy",
            "error: there is no screen: DISPLAY is not set\n"
            "hint: on the board itself: export DISPLAY=:0; or leave --display out, and write with -o\n",
        ),
        (
            "--rtsp host/x -m net --no-display --runner numpy",
            "error: --rtsp names no network camera\nhint: write rtsp://HOST/PATH\n",
        ),
        ("--frames 0 -m net", "error: --frames must be from 1 to 1000000000\nhint: leave it out for the default\n"),
        ("--height 99999 -m net", "error: --height must be from 1 to 16384\nhint: leave it out for the default\n"),
        ("--width 0 -m net", "error: --width must be from 1 to 16384\nhint: leave it out for the default\n"),
        ("--video none.avi -m net --no-display --runner numpy", "none.avi: error: cannot read the video: No such "),
    ],
)
def test_bad_input(folder, words, text):
    (folder / "list").write_text("a\nb\nc\n")
    if "net.names" in words:
        (folder / "net.names").write_text("a\nb\nc\n")
    out, err = demo(*words.split(), status=2)
    assert out == "" and err.startswith(text)


def test_nothing_is_built_that_cannot_run(folder):
    words = ["--video", "clip.avi", "-m", "net"] + QUIET
    argv = [sys.executable, TOOL] + words
    run = subprocess.run(argv, env=environment("tensorrt82"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.returncode == 2 and run.stderr.startswith(b"error: pycuda cannot be imported: "), run.stderr
    assert not os.path.exists("net-fp16.engine")


def test_a_full_disk_behind_its_output(folder):
    argv = [sys.executable, TOOL, "--video", "clip.avi", "-m", "net", "--runner", "numpy"] + QUIET
    with open("/dev/full", "wb") as full:
        run = subprocess.run(argv, env=environment(), stdout=full, stderr=subprocess.PIPE)
    assert run.returncode == 2 and run.stderr.startswith(b"error: cannot write the output: No space left"), run.stderr


# ---- flags


def options(*words):
    return tool.load("tx2_camera").parser().parse_args(["-m", "net"] + list(words))


@pytest.mark.parametrize(
    "words, kind, target, size",
    [
        ("--usb 1", USB, "1", (640, 480)),
        ("--usb --vid 2 --width 800 --height 600", USB, "2", (800, 600)),
        ("--vid 3", USB, "3", (640, 480)),
        ("--onboard", CSI, "0", (640, 480)),
        ("--onboard 1 --width 1280 --height 720", CSI, "1", (1280, 720)),
        ("--video clip", FILE, "clip", (None, None)),
        ("--image dog.jpg", STILL, "dog.jpg", (None, None)),
        ("--gstr videotestsrc", PIPELINE, "videotestsrc", (None, None)),
        ("--rtsp rtsp://host/x", RTSP, "rtsp://host/x", (None, None)),
    ],
)
def test_jkjungs_flags(words, kind, target, size):
    need.opencv()
    found = tool.load("tx2_camera").source_of(options(*words.split()))
    assert (found.kind, found.target, (found.width, found.height)) == (kind, target, size)


def test_more_of_jkjungs_flags():
    need.opencv()
    found = options("--rtsp", "rtsp://h/x", "--rtsp_latency", "50", "--copy_frame", "--do_resize", "-l", "-c", "80")
    assert tool.load("tx2_camera").source_of(found).latency == 50
    assert (found.copy_frame, found.do_resize, found.letter_box, found.category_num) == (True, True, True, 80)
    assert (found.conf_thresh, found.model, found.video_looping) == (0.3, "net", False)


def test_the_first_usb_camera_is_not_the_boards_own(tmp_path):
    need.opencv()
    for number, name in enumerate(("vi-output, ov5693 2-0036", "HD Pro Webcam C920", "HD Pro Webcam C920")):
        (tmp_path / "video{}".format(number)).mkdir()
        (tmp_path / "video{}".format(number) / "name").write_text(name + "\n")
    first = tool.load("tx2_camera").usb_number
    assert first(str(tmp_path / "video*")) == 1 and first(str(tmp_path / "none*")) == 0


def test_a_usb_camera_is_looked_for_where_no_source_is_named(monkeypatch):
    need.opencv()
    program = tool.load("tx2_camera")
    monkeypatch.setattr(program, "usb_number", lambda: 4)
    for words in ([], ["--usb"]):
        found = program.source_of(program.parser().parse_args(["-m", "net"] + words))
        assert (found.kind, found.target) == (USB, "4")


def test_opencv_is_imported_first():
    """Behind TensorRT it may find no room for its thread-local memory (JetsonHacksNano/CSI-Camera issue 55)."""
    with open(TOOL) as stream:
        tree = ast.parse(stream.read())
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert isinstance(imports[0], ast.Import) and [name.name for name in imports[0].names] == ["cv2"]


# ---- what wraps frames


def test_frames_are_scaled_and_files_begin_anew(tmp_path):
    need.opencv()
    clip = parse(videos.write(tmp_path / "clip.avi", frames=3, fps=20.0))
    with Resized(Looped(open_source(clip), lambda: open_source(clip)), 32, 16) as capture:
        frames = [capture.read() for _ in range(7)]
        assert (capture.width, capture.height, capture.fps, capture.dropped) == (32, 16, 20.0, 0)
    assert [frame.number for frame in frames] == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(7) / 20.0)
    assert all(frame.pixels.shape == (16, 32, 3) for frame in frames)
    np.testing.assert_array_equal(frames[1].pixels, frames[4].pixels)
    assert (frames[0].pixels != frames[1].pixels).any()


def test_a_scaled_image(tmp_path):
    cv2 = need.opencv()
    cv2.imwrite(str(tmp_path / "a.png"), videos.picture(0))
    with Resized(open_source(still(str(tmp_path / "a.png"))), 20, 10) as capture:
        assert capture.read().pixels.shape == (10, 20, 3)


def test_names_of_pairs():
    need.opencv()
    program = tool.load("tx2_camera")
    for model in ("a/net", "a/net.cfg", "a/net.weights"):
        made = argparse.Namespace(model=model, ranges=None, ranges2=None, compare=None, precision="fp16")
        made.runner = "tensorrt"
        assert program.pairs_of(made) == [("a/net.cfg", "a/net.weights", None)]
    assert program.engine_of("a/net.cfg", "fp16") == "a/net-fp16.engine"
    made.precision, made.ranges, made.compare = "int8", "r.json", ["b.cfg", "b.weights"]
    with pytest.raises(UsageError):
        program.pairs_of(made)
