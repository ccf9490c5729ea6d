"""The loop: frames through detectors to sinks, its rates, its ends; what stands over a picture and in the log."""

import json
import os

import numpy as np
import pytest

import need
import videos
from darkprune.detect.detector import Detection, Times
from darkprune.errors import OutputError, SourceError
from darkprune.evaluate.energy import PowerMeter, Rail
from darkprune.video import loop as loops
from darkprune.video import overlay, sinks
from darkprune.video.capture import Capture, Frame, LiveCapture
from darkprune.video.loop import Loop, Sink
from darkprune.video.source import parse

DOG = Detection(1, 0.9, (5.25, 6.0, 20.0, 10.0))
CAT = Detection(0, 0.25, (5.25, 6.0, 20.0, 10.0))
HIDDEN = Detection(2, 0.5, (0.0, 0.0, 9.0, 9.0))
NAMES = ["cat", "dog", "dont_show"]


class Clock:
    """In the place of the module time: moves only when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class Frames(Capture):
    """Frames of a list, each after `wait` seconds."""

    def __init__(self, count, clock, wait=0.0):
        super(Frames, self).__init__(parse("clip.avi"), videos.picture(0), 20.0)
        self.count, self.clock, self.wait, self.given, self.dropped = count, clock, wait, 0, 4

    def read(self, stop=lambda: False):
        if self.given == self.count:
            return None
        self.given += 1
        self.clock.now += self.wait
        return Frame(self.given, (self.given - 1) / 20.0, videos.picture(self.given))


class Finder:
    """In the place of a Detector: takes the given times and finds the same everywhere."""

    def __init__(self, clock, times, objects=(DOG, CAT, HIDDEN)):
        self.clock, self.times, self.objects = clock, Times(*times), list(objects)

    def detect(self, images):
        assert len(images) == 1 and images[0].dtype == np.uint8
        self.clock.now += sum(self.times)
        return [self.objects]


class Kept(Sink):
    def __init__(self, enough=None):
        self.shots, self.enough, self.closed = [], enough, 0

    def take(self, shot):
        self.shots.append(shot)
        return len(self.shots) != self.enough

    def close(self):
        self.closed += 1


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(loops, "time", found)
    return found


def test_rates_are_from_end_to_end_and_times_are_the_detectors(clock):
    finder = Finder(clock, (0.01, 0.06, 0.01))
    kept = Kept()
    summary = Loop([finder], NAMES).run(Frames(5, clock, wait=0.02), [kept])
    assert (summary.frames, summary.dropped) == (5, 4)
    assert summary.seconds == pytest.approx(0.5) and summary.fps == [pytest.approx(10.0)]
    assert summary.times == [pytest.approx((0.01, 0.06, 0.01))]
    assert [shot.frame.number for shot in kept.shots] == [1, 2, 3, 4, 5]
    assert [shot.sides[0].fps for shot in kept.shots[:2]] == [None, None]
    assert kept.shots[2].sides[0].fps == pytest.approx(10.0)
    assert kept.shots[0].sides[0].objects == [DOG, CAT]  # what Darknet does not show is left out


def test_of_two_detectors_each_has_the_rate_that_it_would_have_alone(clock):
    pair = [Finder(clock, (0.0, 0.09, 0.0)), Finder(clock, (0.0, 0.04, 0.0))]
    summary = Loop(pair, NAMES, ["original", "pruned"]).run(Frames(4, clock, wait=0.01), [])
    assert summary.fps == [pytest.approx(10.0), pytest.approx(20.0)]


def test_the_mean_forgets():
    rate = overlay.FrameRate()
    assert rate.fps is None
    for _ in range(3):
        rate.add(0.1)
    assert rate.fps == pytest.approx(10.0)
    rate.add(0.2)
    assert rate.fps == pytest.approx(1 / 0.11)
    for _ in range(100):
        rate.add(0.05)
    assert rate.fps == pytest.approx(20.0, rel=1e-3)


def test_what_ends_the_loop(clock):
    finder = Finder(clock, (0.0, 0.1, 0.0))
    assert Loop([finder], NAMES).run(Frames(9, clock), [], frames=3).frames == 3
    assert Loop([finder], NAMES).run(Frames(9, clock), [Kept(enough=4), Kept()]).frames == 4
    assert Loop([finder], NAMES, stop=lambda: clock.now > 10).run(Frames(999, clock), []).frames < 100
    assert Loop([finder], NAMES).run(Frames(0, clock), []) == (0, 4, 0.0, [0.0], [(0.0, 0.0, 0.0)])


def test_a_camera_that_is_unplugged_mid_run_leaves_what_was_done(clock):
    camera = videos.Camera(3)
    capture = LiveCapture(parse("usb://0"), camera, videos.picture(0))
    kept, loop = Kept(), Loop([Finder(clock, (0.0, 0.1, 0.0))], NAMES)
    with pytest.raises(SourceError, match="the camera stopped after frame 3"):
        loop.run(capture, [kept])
    capture.close()
    assert camera.released == 1 and loop.summary().frames == len(kept.shots) >= 1
    assert kept.shots[-1].frame.number == 3


def test_power_and_a_meter_that_fails(clock):
    values = [4.0, OSError(5, "I/O error"), 6.5]

    def watts():
        value = values.pop(0)
        if isinstance(value, OSError):
            raise value
        return value

    kept = Kept()
    meter = PowerMeter([Rail("VDD_IN", watts)])
    Loop([Finder(clock, (0.0, 0.1, 0.0))], NAMES, meter=meter).run(Frames(3, clock), [kept])
    assert [shot.watts for shot in kept.shots] == [4.0, None, 6.5]


# ---- what is shown


def test_lines():
    times = Times(0.0031, 0.05, 0.001)
    assert overlay.lines(18.26, times, 7.04) == ["FPS: 18.3", "pre 3.1  infer 50.0  post 1.0 ms", "7.0 W"]
    assert overlay.lines(None, times, title="pruned") == ["pruned", "FPS: -", "pre 3.1  infer 50.0  post 1.0 ms"]


def test_text_is_legible_on_any_ground():
    need.opencv()
    for ground in (0, 255):
        pixels = np.full((480, 640, 3), ground, np.uint8)
        overlay.write_lines(pixels, ["FPS: 12.3"])
        top = pixels[:60, :200]
        assert top.min() < 30 and top.max() > 225 and (pixels[100:] == ground).all()


def test_pictures_stand_side_by_side_and_are_drawn_once(clock):
    need.opencv()
    pair = [Finder(clock, (0.0, 0.1, 0.0)), Finder(clock, (0.0, 0.1, 0.0), objects=())]
    kept = Kept()
    Loop(pair, NAMES, ["", ""]).run(Frames(1, clock), [kept])
    (shot,) = kept.shots
    assert shot.picture().shape == (48, 128, 3) and shot.picture() is shot.picture()
    left, right = shot.picture()[:, :64], shot.picture()[:, 64:]
    assert (left != right).any()  # the box
    np.testing.assert_array_equal(right[40:], shot.frame.pixels[40:])


# ---- the log

LINE = {
    "frame": 2,
    "time": 0.05,
    "objects": [
        {"class": 1, "name": "dog", "confidence": 0.9, "box": [5.25, 6.0, 20.0, 10.0]},
        {"class": 0, "name": "cat", "confidence": 0.25, "box": [5.25, 6.0, 20.0, 10.0]},
    ],
    "ms": {"pre": 1.0, "infer": 98.0, "post": 1.0},
    "fps": None,
    "dropped": 4,
}


def shots(clock, count=3, detectors=1):
    kept = Kept()
    finders = [Finder(clock, (0.001, 0.098, 0.001)) for _ in range(detectors)]
    Loop(finders, NAMES, ["", "pruned"][:detectors]).run(Frames(count, clock), [kept])
    return kept.shots


def test_the_log_is_a_line_a_frame(clock, tmp_path):
    path = tmp_path / "log.jsonl"
    sink = sinks.LogSink(str(path))
    for number, shot in enumerate(shots(clock), 1):
        assert sink.take(shot)
        lines = path.read_text("utf-8").splitlines()  # whole at any time
        assert len(lines) == number and path.read_text("utf-8").endswith("}\n")
    sink.close()
    found = [json.loads(line) for line in lines]
    assert found[1] == LINE and list(found[1]) == list(LINE)
    assert found[2]["fps"] == 10.0
    assert sinks.json_line(shots(clock)[1]) == lines[1]


def test_the_log_of_two_detectors_and_of_power(clock):
    shot = shots(clock, detectors=2)[1]
    shot.watts = 5.12345
    found = json.loads(sinks.json_line(shot))
    first = {key: LINE[key] for key in ("objects", "ms", "fps")}
    assert found["sides"] == [first, dict(first, title="pruned")] and found["watts"] == 5.123


def test_a_log_is_not_replaced_and_fails_with_its_name(clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("old")
    with pytest.raises(OutputError) as caught:
        sinks.LogSink("log")
    assert str(caught.value) == "log: error: this file exists\nhint: --overwrite replaces it"
    sink = sinks.LogSink("log", overwrite=True)
    first, second = shots(clock, count=2)
    sink.take(first)
    before = (tmp_path / "log").read_bytes()

    class Full:
        """The stream of a disk that takes parts of a line and then nothing."""

        def __init__(self, stream):
            self.stream, self.calls = stream, 0

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def write(self, data):
            self.calls += 1
            if self.calls > 2:
                raise OSError(28, os.strerror(28))
            return self.stream.write(data[: len(data) // 2])

    sink._stream = Full(sink._stream)
    with pytest.raises(OutputError) as caught:
        sink.take(second)
    assert str(caught.value) == "log: error: cannot write the log: No space left on device\nhint: write elsewhere"
    sink.close()
    assert (tmp_path / "log").read_bytes() == before


def test_lines_for_people(clock):
    found = []
    sink = sinks.LineSink(found.append, sinks.text_line)
    for shot in shots(clock):
        sink.take(shot)
    assert found[0] == "frame 1: dog 90% (pre 1.0, infer 98.0, post 1.0 ms, - FPS)\n"
    assert found[2] == "frame 3: dog 90% (pre 1.0, infer 98.0, post 1.0 ms, 10.0 FPS)\n"
    assert sinks.text_line(shots(clock, 1)[0], extended=True).startswith("frame 1: dog 90% at 5 6 20 10 (")
    both = sinks.text_line(shots(clock, 1, detectors=2)[0])
    assert both.count(" | pruned frame 1: dog 90% (") == 1
