"""The tool that measures a pruned YOLOv3: it goes on where it was stopped, and its table has the right ratios."""

from collections import OrderedDict

import pytest

import small_nets
import tool
from darkprune.evaluate.latency import Timing
from small_nets import HEAD, cfg, conv

speed = tool.load("speed")
TIMES = {"original": [0.2, 0.4, 0.3], "small": [0.05, 0.2, 0.1]}  # seconds, by round


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "BUILD", str(tmp_path))
    found = [("original", small_nets.write(tmp_path, cfg(conv(16), conv(16), HEAD), "original"))]
    return OrderedDict(found + [("small", small_nets.write(tmp_path, cfg(conv(4), conv(4), HEAD), "small"))])


def test_a_run_goes_on_where_it_was_stopped(models, monkeypatch, tmp_path):
    asked = []

    class Measurement:
        def __init__(self, cfg, *_):
            self.name = "original" if cfg.endswith("original.cfg") else "small"

        def in_fresh_process(self):
            asked.append(self.name)
            if len(asked) == 4:
                raise KeyboardInterrupt
            turn = [name for name in asked if name == self.name]
            return Timing([TIMES[self.name][min(len(turn), 3) - 1]], 0.1, None)

    monkeypatch.setattr(speed, "Measurement", Measurement)
    with pytest.raises(KeyboardInterrupt):
        speed.measure(models, ["opencv"], 3, 1)
    assert asked == ["original", "small", "original", "small"]
    done = speed.measure(models, ["opencv"], 3, 1)
    assert asked[4:] == ["small", "original", "small"]
    assert done["original", "opencv", 1] == pytest.approx((400, 100)) and len(done) == 6
    assert len((tmp_path / "timings.jsonl").read_text("ascii").splitlines()) == 6
    assert len(speed.measure(models, ["opencv"], 1, 2)) == 2  # another number of threads is another measurement


def test_the_table(models):
    done = {(n, "darknet", i): (1e3 * t, 10 * len(n)) for n in TIMES for i, t in enumerate(TIMES[n])}
    lines = speed.rows(models, ["darknet"], 3, done)
    assert lines[0] == "| pair | MB | smaller | BFLOPs | fewer | Darknet FPS | speed-up | CPU time |"
    first, small = [line.strip("| ").split(" | ") for line in lines[2:]]
    assert first[0] == "original" and first[2] == "1.00x" and first[4:] == ["1.00x", "3.33", "1.00x", "1.00x"]
    floats = 4 * (3 * 9 + 4) + 4 * (4 * 9 + 4) + 5 * (4 + 1)
    large = 16 * (3 * 9 + 4) + 16 * (16 * 9 + 4) + 5 * (16 + 1)
    assert small[2] == "{:.2f}x".format((20 + 4 * large) / (20.0 + 4 * floats))
    assert small[5:] == ["10", "3.00x (2.0..4.0)", "1.60x"]  # of 4, 2 and 3
