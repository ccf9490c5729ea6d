"""Videos that are written: playable whatever ends them, never over another file."""

import os
import subprocess
import sys

import numpy as np
import pytest

import need
import videos
from darkprune.errors import OutputError, UsageError
from darkprune.video.recorder import CODECS, Recorder


def rgb(number, **size):
    return np.ascontiguousarray(videos.picture(number, **size)[:, :, ::-1])


def failure(kind, action):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_every_container_is_read_back_with_its_rate(tmp_path, suffix):
    need.opencv()
    path = tmp_path / ("out" + suffix.upper())
    recorder = Recorder(str(path), 12.5)
    for number in range(9):
        recorder.write(rgb(number))
    assert not path.exists()  # never half written
    recorder.close()
    recorder.close()
    frames, fps = videos.read(path)
    assert os.listdir(str(tmp_path)) == [path.name] and len(frames) == 9 and fps == pytest.approx(12.5)
    for number, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - videos.picture(number)).mean() < 6


def test_a_camera_plays_as_fast_as_it_was(tmp_path):
    need.opencv()
    recorder = Recorder(str(tmp_path / "out.avi"), 10.0)
    for number, seconds in enumerate([0.0, 0.05, 0.4, 0.41, 1.0]):
        recorder.write_until(rgb(number * 15), seconds)
    recorder.close()
    frames, _ = videos.read(tmp_path / "out.avi")
    assert len(frames) == 11  # 0.0, 0.1 ... 1.0

    def number(frame):
        return min((0, 2, 4), key=lambda n: np.abs(frame.astype(int) - videos.picture(n * 15)).mean())

    shown = [number(frame) for frame in frames]
    assert shown == [0] + [2] * 4 + [4] * 6


def test_frames_of_another_size_are_scaled(tmp_path):
    need.opencv()
    recorder = Recorder(str(tmp_path / "out.avi"), 10.0)
    recorder.write(rgb(0))
    recorder.write(rgb(1, width=96, height=80))
    recorder.close()
    assert [frame.shape for frame in videos.read(tmp_path / "out.avi")[0]] == [(48, 64, 3)] * 2


def test_no_frame_no_file(tmp_path):
    need.opencv()
    Recorder(str(tmp_path / "out.avi"), 10.0).close()
    assert os.listdir(str(tmp_path)) == []


def test_nothing_is_replaced(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.avi").write_bytes(b"old")
    exists = "out.avi: error: this file exists\nhint: --overwrite replaces it"
    assert failure(OutputError, lambda: Recorder("out.avi", 10.0)) == exists
    text = "./out.avi: error: the output would replace the input out.avi\n"
    cure = "hint: choose another name; inputs are never overwritten"
    assert failure(OutputError, lambda: Recorder("./out.avi", 10.0, ["out.avi"], True)) == text + cure
    late = Recorder("late.avi", 10.0)
    late.write(rgb(0))
    (tmp_path / "late.avi").write_bytes(b"of another program")
    assert failure(OutputError, late.close) == "late.avi: error: this file exists\nhint: --overwrite replaces it"
    assert (tmp_path / "late.avi").read_bytes() == b"of another program"
    assert sorted(os.listdir(".")) == ["late.avi", "out.avi"]
    new = Recorder("out.avi", 10.0, overwrite=True)
    new.write(rgb(0))
    assert (tmp_path / "out.avi").read_bytes() == b"old"
    new.close()
    assert len(videos.read("out.avi")[0]) == 1


def test_what_is_no_video_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder.avi")
    for path in ("out.gif", "out", "folder.avi"):
        text = "{}: error: -o names no video file\nhint: name a file that ends in .avi, .m4v, .mkv, .mov, .mp4"
        assert failure(UsageError, lambda name=path: Recorder(name, 10.0)) == text.format(path)


# ---- full disks

LIMITED = """
import resource, sys
import numpy as np
from darkprune.errors import OutputError
from darkprune.video.recorder import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
recorder = Recorder(sys.argv[1], 10.0)
random = np.random.RandomState(1)
try:
    for _ in range(500):
        recorder.write(random.randint(0, 256, (120, 160, 3)).astype(np.uint8))
except OutputError as error:
    print(error)
recorder.close()
print(recorder.frames)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_full_disk_ends_the_video_which_can_be_played(tmp_path, suffix):
    """`ulimit -f` in the place of a disk: a file of 3 MB is all that may be written."""
    need.opencv()
    path = str(tmp_path / ("out" + suffix))
    argv = [sys.executable, "-c", LIMITED, path, "3000000"]
    env = dict(os.environ, PYTHONPATH=str(need.ROOT))
    ran = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, universal_newlines=True)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0 and len(lines) == 3, ran.stdout + ran.stderr
    frames = int(lines[2])
    assert lines[0] == "{}: error: no space is left for the video, which ends after frame {}".format(path, frames)
    assert lines[1] == "hint: make room or write elsewhere; what was recorded can be played"
    assert 50 < frames < 500 and len(videos.read(path)[0]) == frames
    assert os.listdir(str(tmp_path)) == ["out" + suffix] and os.path.getsize(path) < 3000000


def test_a_disk_that_is_full_from_the_start(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Recorder, "_room", lambda self: 1 << 20)
    recorder = Recorder("out.avi", 10.0)
    text = "out.avi: error: no space is left for the video, which ends after frame 0\n"
    assert failure(OutputError, lambda: recorder.write(rgb(0))) == text + "hint: make room or write elsewhere"
    recorder.close()
    assert os.listdir(".") == []


def test_a_file_that_cannot_be_read_back(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    recorder = Recorder("out.mp4", 10.0)
    recorder.write(rgb(0))
    (part,) = os.listdir(".")
    os.truncate(part, 0)
    recorder._writer.release()
    os.truncate(part, 10)  # as a disk leaves it that had less room than it said
    text = "out.mp4: error: the video could not be written: OpenCV cannot read it back\n"
    assert failure(OutputError, recorder.close) == text + "hint: is the disk full, or the folder gone?"
    assert os.listdir(".") == []


def test_a_folder_that_takes_no_video(tmp_path, monkeypatch):
    need.opencv()
    monkeypatch.chdir(tmp_path)
    text = "gone: error: this folder does not exist\nhint: make it first, or write elsewhere"
    assert failure(OutputError, lambda: Recorder("gone/out.avi", 10.0)) == text
