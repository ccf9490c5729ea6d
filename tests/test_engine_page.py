"""docs/results.md shows what INT8 for a TX2 prints today, and that YOLOv3's build stays within its bounds."""

import re
import sys

import pytest

import need
import tool

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the program is for a workstation")


@pytest.fixture
def engine_build(monkeypatch):
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    return tool.load("engine_build")


def test_int8_for_a_tx2_is_shown_as_it_is(engine_build):
    need.tensorrt_rtx()
    shown = engine_build.results.read("engine-tx2", engine_build.TOOL)
    version = re.compile(r"TensorRT-RTX [0-9.]+")
    assert version.sub("TensorRT-RTX", shown) == version.sub("TensorRT-RTX", engine_build.tx2("yolov3-tiny"))


def test_yolov3_takes_less_than_30_seconds_and_2_gigabytes(engine_build):
    rows = engine_build.results.read("engine-build", engine_build.TOOL).splitlines()[4:]
    assert [row.split(" | ")[0] for row in rows] == ["| int8", "| fp16", "| fp32"]
    for row in rows:
        seconds, memory = float(row.split(" | ")[3]), float(row.split(" | ")[5].split()[0])
        assert seconds < 30 and memory < 2000
