"""The table of TensorRT-RTX engines in docs/results.md: its rows, and its sizes, of which some are built again."""

import sys

import pytest

import int8_nets
import need
import tool
from darkprune.engine.build import Build, Request
from darkprune.graph.build import load

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


@pytest.fixture
def bench(monkeypatch):
    need.onnx(), need.onnxruntime(), need.opencv()
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    return tool.load("bench_engines")


@pytest.fixture
def rows(bench):
    """The table's cells by the name of the row."""
    lines = bench.results.read(bench.PART, bench.TOOL).splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {row[0]: row for row in cells[1:]}


def test_a_line(bench):
    engine = {"bytes": 36000000, "seconds": 1.26, "peak": 330000000}
    engines = {"fp32": engine, "fp16": dict(engine, bytes=18000000), "int8": dict(engine, bytes=9000000, seconds=20)}
    row = {"net": "a", "form": "pruned", "input": "96 x 96", "parameters": 8860000, "engines": engines}
    row.update(layers=10, failures=["layer 3: its biases are not there", "layer 3: a float32 kernel is there"])
    assert bench.line(row).strip("| \n").split(" | ") == [
        "a, 60 % pruned",
        "96 x 96",
        "8.86 M",
        "36.00",
        "18.00",
        "9.00",
        "0.25",
        "1.3, 1.3, 20.0",
        "330, 330, 330",
        "9 of 10",
    ]


def test_the_table_has_all_nets_and_every_layer_is_ours(bench, rows):
    names = [name + form for name in bench.NETS for form in ("", ", 60 % pruned")]
    assert list(rows) == names
    for row in rows.values():
        there, _, count = row[-1].partition(" of ")
        assert there == count and int(count) >= 10


def test_sizes_are_those_of_engines_built_now(bench, rows):
    trt, name = need.tensorrt_rtx(), "yolo-fastest-1.1"
    assert "TensorRT-RTX {};".format(trt.__version__) in bench.results.read(bench.PART, bench.TOOL)
    net = load(*[str(need.shared() / "models" / name / (name + suffix)) for suffix in (".cfg", ".weights")])
    ranges = int8_nets.measured(net, int8_nets.pictures(net, 1))
    for column, precision in ((3, "fp32"), (5, "int8")):
        built = Build(net, Request(precision, "rtx"), ranges if precision == "int8" else None).run()
        assert len(bytes(built.plan)) / 1e6 == pytest.approx(float(rows[name][column]), rel=0.02), precision
