"""The tool that times the calibrator: its table has the right ratios, and what it runs against ours is run."""

import sys

import numpy as np
import pytest

import need
import small_nets
import tool
from darkprune.cli.main import main
from small_nets import HEAD, conv

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


@pytest.fixture
def bench(monkeypatch):
    need.opencv()
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    return tool.load("bench_calibrate")


def test_the_table(bench):
    row = bench.row("net", 32, 101, (8.0, 10.0, 1.5e9), [(80.0, 120.0, 13.5e9), (40.0, 60.0, 6e9)])
    assert row == (
        ["net", "32", "101", "8.0", "1500"]
        + ["80.0", "13500", "10.0x", "12.0x", "1/9.0"]
        + ["40.0", "6000", "5.0x", "6.0x", "1/4.0"]
    )
    for some in (row, row[:10]):
        lines = bench.page([some]).splitlines()
        assert {line.count("|") for line in lines} == {len(some) + 1} and len(lines) == 3


@pytest.mark.parametrize("names", [[], ["data", "L000_convolutional"]])
def test_onnx_runtimes_calibrator_runs_on_the_exported_graph(bench, tmp_path, monkeypatch, capsys, names):
    need.runner("onnxruntime")
    monkeypatch.chdir(str(tmp_path))
    small_nets.write(tmp_path, small_nets.cfg(conv(4), HEAD))
    cv2 = need.opencv()
    pixels = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)
    assert cv2.imwrite("0.png", pixels)
    (tmp_path / "images.txt").write_text("0.png\n", "ascii")
    assert main(["export", "net.cfg", "net.weights", "-o", "net.onnx", "--batch", "1"]) == 0
    capsys.readouterr()
    bench.theirs("net.onnx", "images.txt", "net.cfg", names)
    assert int(capsys.readouterr().out.split()[-1]) >= max(2, len(names))
