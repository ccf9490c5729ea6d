"""The tool that times the loader: its table is what the rows say, and each way to feed a net runs."""

import sys

import numpy as np
import pytest

import need
import tool
from small_nets import detector

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    return tool.load("bench_train")


def test_the_page_is_made_of_the_rows(bench):
    assert bench.results.read(bench.PART, bench.TOOL) == bench.page(bench.kept())


def test_the_table(bench):
    ways = {"bare": [500, 400], "memory": [800, 1000], "0": [880, 1200], "2": [800, 1050], "alone": [64, 32]}
    told = {"machine": "a machine, 2 cores", "threads": 2, "steps": 12, "size": [320, 256]}
    text = bench.page([dict(told, way=way, ms=ms) for way, ms in ways.items()])
    lines = text.splitlines()
    assert lines[2:4] == [
        "| 320 x 256 | 0 | 900 | 1040 | +15.0 % | 15.4 | 35.6 | 3.00 |",
        "| 320 x 256 | 2 | 900 | 925 | +2.5 % | 17.3 | 35.6 | 3.00 |",
    ]
    assert {line.count("|") for line in lines[:4]} == {9}
    assert "a machine, 2 cores, 2 threads, 12 steps of 16 images" in lines[-1]


def test_each_way_runs(bench, tmp_path, monkeypatch):
    cv2 = need.opencv()
    need.torch()
    (tmp_path / "net.cfg").write_text(detector(), "ascii")
    for name, text in (("set.names", "a\nb\nc\n"), ("a.txt", "1 0.5 0.5 0.4 0.3\n"), ("train.txt", "a.png\n")):
        (tmp_path / name).write_text(text, "ascii")
    (tmp_path / "set.data").write_text("classes=3\nnames=set.names\ntrain=train.txt\n", "ascii")
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((24, 32, 3), 90, np.uint8))
    monkeypatch.setattr(bench, "BATCH", 2)
    for way in ("bare", "memory", "0", "1", "alone"):
        ms = bench.child(str(tmp_path / "net.cfg"), str(tmp_path / "set.data"), (32, 64), way, 2, 1)
        assert 0 < ms < 1e5
