"""Measurements in fresh processes: order, statistics, what runs in which process, and what cannot be measured."""

import json
import os
import sys
import time

import pytest

import need
import small_nets
from darkprune.backends.clock import Clock
from darkprune.errors import MissingDependency, VerifyError
from darkprune.evaluate import latency
from darkprune.evaluate.bench import Comparison
from darkprune.evaluate.latency import Measurement, Timing
from small_nets import HEAD, cfg, conv, section

SMALL = cfg(conv(4, stride=2), HEAD)
LARGE = cfg(conv(48), conv(48), conv(48), HEAD, width=48, height=48)
FEW = Clock(most=3, duration=0.2, energy=True).as_dict()


def measurement(folder, text=SMALL, name="net", runner="numpy", size=(None, None), threads=1):
    return Measurement(*small_nets.write(folder, text, name), runner, *size, threads=threads, clock=FEW)


class Scripted:
    """A measurement whose times are told."""

    def __init__(self, name, log, *answers):
        self.name, self.log, self.answers = name, log, list(answers)

    def in_fresh_process(self):
        self.log.append(self.name)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def timing(*milliseconds, joules=None):
    return Timing([value / 1e3 for value in milliseconds], min(milliseconds) / 2e3, joules)


def test_processes_take_turns_and_rounds_are_compared_with_each_other():
    log = []
    slow = Scripted("a", log, timing(10, 12, 11), timing(20, 20), timing(40, 40))
    fast = Scripted("b", log, timing(5), timing(10, 10, 90, joules=6.0), timing(16, joules=1.0))
    comparison = Comparison([((0, "numpy"), slow), ((1, "numpy"), fast)], strict=True)
    comparison.measure(3)
    assert log == ["a", "b", "a", "b", "a", "b"]
    first, second = comparison.runs()
    assert first[:2] == (0, "numpy") and second[:2] == (1, "numpy")
    assert first[2:5] == pytest.approx((20, 11, 40)) and first.processes == 3 and first.passes == 7
    assert second[2:5] == pytest.approx((10, 5, 16)) and second.passes == 5
    assert first.cpu_ms == pytest.approx(10) and second.cpu_ms == pytest.approx(5)
    assert first.speedup == 1 and second.speedup == pytest.approx(2.2)  # of 2.2, 2 and 2.5
    assert first.joules is None and second.joules == pytest.approx(1.5)  # of 2 and 1 per image


def test_what_is_missing_or_fails_is_left_out():
    log = []
    measurements = [
        ((0, "torch"), Scripted("a", log, MissingDependency("no torch"))),
        ((1, "torch"), Scripted("b", log)),
        ((0, "opencv"), Scripted("c", log, VerifyError("no mish"))),
        ((1, "opencv"), Scripted("d", log, timing(3), timing(3))),
    ]
    comparison = Comparison(measurements, strict=False)
    comparison.measure(2)
    assert log == ["a", "c", "d", "d"]
    assert comparison.left_out == {(0, "torch"): "no torch", (1, "torch"): "no torch", (0, "opencv"): "no mish"}
    assert [made[:2] for made in comparison.runs()] == [(1, "opencv")]
    assert comparison.runs()[0].speedup == 1
    strict = Comparison([((0, "torch"), Scripted("a", log, MissingDependency("no torch")))], strict=True)
    with pytest.raises(MissingDependency):
        strict.measure(1)


def test_the_clock():
    calls, now = [], [0.0]

    def run():
        calls.append(1)
        now[0] += 0.4

    clock = Clock(warm=2, least=1, most=5, duration=1.0, timer=lambda: now[0])
    assert clock.time(run) == pytest.approx([0.4, 0.4, 0.4]) and len(calls) == 5
    assert Clock(warm=0, least=4, duration=0, timer=lambda: now[0]).time(run) == pytest.approx([0.4] * 4)
    assert len(Clock(warm=0, most=2, timer=lambda: now[0]).time(run)) == 2
    burnt = Clock(warm=0, least=2, duration=0)
    slept = Clock(warm=0, duration=0)
    burnt.time(lambda: sum(range(300000)))
    slept.time(lambda: time.sleep(0.05))
    assert burnt.cpu > 1e-3 and slept.cpu < 0.03
    assert Clock.from_dict(clock.as_dict()).as_dict() == clock.as_dict()


@pytest.mark.parametrize("runner", ["numpy", "torch", "onnxruntime", "opencv", "darknet"])
def test_more_work_takes_longer_in_every_runner(tmp_path, runner):
    need.runner(runner, images=False)
    small = measurement(tmp_path, SMALL, "small", runner).in_fresh_process()
    large = measurement(tmp_path, LARGE, "large", runner).in_fresh_process()
    assert 1 <= len(small.seconds) <= 3 and min(large.seconds) > 2 * min(small.seconds) > 0
    assert 0 < small.cpu < large.cpu


def test_another_size_and_number_of_threads_reach_the_process(tmp_path, monkeypatch):
    started = []
    popen = latency.subprocess.Popen

    def recording(command, **options):
        started.append((command, options["env"]))
        return popen(command, **options)

    monkeypatch.setattr(latency.subprocess, "Popen", recording)
    measurement(tmp_path, size=(32, 24), threads=3).in_fresh_process()
    (command, environment), settings = started[0], json.loads(started[0][0][-1])
    assert command[:3] == [sys.executable, "-m", "darkprune.evaluate.latency"]
    assert [environment[name] for name in latency.THREADS] == ["3"] * 3
    assert (settings["width"], settings["height"], settings["threads"]) == (32, 24, 3)
    opencv = need.opencv()
    before = opencv.getNumThreads()
    try:
        measurement(tmp_path, runner="opencv", threads=1).in_process()
        assert opencv.getNumThreads() == 1
    finally:
        opencv.setNumThreads(before)


def test_a_net_that_the_runner_refuses(tmp_path):
    need.opencv()
    net = cfg(conv(4), section("local", filters=3, size=3, stride=1, pad=0, activation="linear"))
    with pytest.raises(VerifyError) as caught:
        measurement(tmp_path, net, runner="opencv").in_fresh_process()
    assert str(caught.value).startswith(str(tmp_path / "net.cfg") + ": error: OpenCV refuses the pair: ")


def test_a_runner_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKPRUNE_LIBDARKNET", str(tmp_path / "nowhere.so"))
    with pytest.raises(MissingDependency) as caught:
        measurement(tmp_path, runner="darknet").in_fresh_process()
    assert "DARKPRUNE_LIBDARKNET names no file" in str(caught.value)


def test_a_process_that_dies(tmp_path, monkeypatch):
    monkeypatch.setattr(latency.sys, "executable", os.path.join(str(tmp_path), "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho some noise\necho the cause >&2\nexit 3\n", "ascii")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(VerifyError) as caught:
        measurement(tmp_path).in_fresh_process()
    assert str(caught.value) == "error: the measuring process ended with status 3: the cause"
