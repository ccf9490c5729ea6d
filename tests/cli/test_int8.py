"""--int8 in all commands that run or export a net: what it gives, and what is refused."""

import json
from functools import partial

import numpy as np
import pytest

import need
from bad_input import Cases
from darkprune.backends.clock import Clock
from darkprune.backends.model import Model
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.cli import bench
from darkprune.cli.main import main
from darkprune.evaluate.advice import PLAIN, Advice, Variant, timed
from darkprune.graph.build import load
from darkprune.machine.processor import saturation_notices
from darkprune.quant.ranges import Ranges
from darkprune.quant.tensors import output_name
from int8_nets import measured, pictures
from small_nets import cfg, conv, section, shortcut, write

NET = cfg(
    conv(8, stride=2),
    conv(8),
    shortcut(-2),
    conv(24, size=1, activation="linear", bn=None),
    section("yolo", mask="0,1,2", anchors="4,5, 6,9, 12,8", classes=3, num=3),
    width=32,
    height=32,
)
PAIR = ["net.cfg", "net.weights"]
INT8 = ["--int8", "ranges.json"]


case = Cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a pair, its ranges and an image."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(bench, "Clock", partial(Clock, duration=0.02))
    write(tmp_path, NET, dead=0.0)
    (tmp_path / "ranges.json").write_bytes(measured(load(*PAIR)).to_bytes())
    pixels = np.random.RandomState(1).randint(0, 256, (40, 60, 3)).astype(np.uint8)
    (tmp_path / "a.ppm").write_bytes(b"P6 60 40 255\n" + pixels.tobytes())
    return tmp_path


def output(argv, capsys, status=0):
    assert main(argv) == status
    return capsys.readouterr()


@pytest.mark.parametrize("runner", ["fakequant", "onnxruntime"])
def test_a_model_computes_on_integers(folder, runner):
    need.runner(runner, images=False)
    net = load(*PAIR)
    batch = pictures(net)
    exact = NumpyRunner(net).infer(batch, [3])[3]
    with Model(*PAIR, runner=runner, int8="ranges.json") as model:
        found = model.raw_heads(batch)[3]
        assert model.runner.name == runner
    step = np.abs(exact).max() / 255
    assert 0.1 * step < np.abs(found - exact).max() < 20 * step


def test_detect_takes_the_fastest_runner_of_integers(folder, capsys):
    need.opencv()
    out, err = output(["detect"] + PAIR + ["a.ppm", "--thresh", "0.1", "--json"] + INT8, capsys)
    assert err in ("runner: onnxruntime\n", "runner: fakequant\n")
    judged, _ = output(
        ["detect"] + PAIR + ["a.ppm", "--thresh", "0.1", "--json", "--runner", "fakequant"] + INT8, capsys
    )
    first, second = [json.loads(text)["images"][0]["objects"] for text in (out, judged)]
    assert len(first) == len(second) > 0
    assert [one["name"] for one in first] == [one["name"] for one in second]


def test_bench_times_a_pair_with_and_without_integers(folder, capsys):
    argv = ["bench"] + PAIR + INT8 + ["--repeats", "1", "--threads", "1", "--runners"]
    answer = json.loads(output(argv + ["numpy,fakequant", "--json"], capsys)[0])
    assert [(run["model"], run["runner"]) for run in answer["runs"]] == [("net", "numpy"), ("net int8", "fakequant")]
    assert [model["model"] for model in answer["models"]] == ["net"]
    assert answer["advice"] == []  # it is about ONNX Runtime


def test_bench_says_whether_integers_pay_in_onnxruntime(folder, capsys, monkeypatch):
    need.runner("onnxruntime", images=False)
    asked = []

    def told(net, ranges, threads, rounds, progress):
        asked.append((len(net.layers), ranges.pair, threads, rounds))
        return Advice(timed({PLAIN: [2.0], Variant(True, 1): [3.0]}), 0.5)

    monkeypatch.setattr(bench, "advise", told)
    argv = ["bench"] + PAIR + INT8 + ["--repeats", "1", "--threads", "1", "--runners", "onnxruntime"]
    lines = output(argv, capsys)[0].splitlines()
    assert lines[-5].startswith("onnxruntime  net  ") and lines[-4].startswith("onnxruntime  net int8 ")
    assert lines[-2:] == [
        "net int8: INT8 does not pay for this net on this machine: 3.00 ms in INT8, 2.00 ms in FP32; 50 % of its "
        "multiply-accumulates are in filters of fewer than 64 weights (depthwise, thin 1x1), which gain nothing "
        "from it",
        "net int8: use the FP32 net as it is",
    ]
    assert asked == [(len(load(*PAIR).layers), Ranges.read("ranges.json").pair, 1, 1)]
    (advice,) = json.loads(output(argv + ["--json"], capsys)[0])["advice"]
    assert (advice["model"], advice["recommended"], advice["thin_share"]) == ("net int8", "", 0.5)


def test_export_compares_the_file_with_fakequant(folder, capsys):
    onnx = need.onnx()
    need.onnxruntime()
    argv = ["export"] + PAIR + INT8 + ["-o", "net.onnx", "--batch", "dynamic"]
    lines = output(argv, capsys)[0].splitlines()
    assert lines[:2] == ["input   data  N x 3 x 32 x 32", "output  L003_convolutional  N x 24 x 16 x 16"]
    assert " agrees with fakequant: largest error " in lines[2]
    model = onnx.load("net.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["darkprune.int8"]) == {"images": 0, "keep_float": [0, 3], "method": {}}
    assert {node.op_type for node in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    for more in (["--decode"], ["--pad-channels", "16"]):
        found = json.loads(output(argv + more + ["--overwrite", "--json"], capsys)[0])
        assert found["agreement"]["ok"] is True and found["agreement"]["error"] < 1e-5


def test_export_for_tensorrt_is_symmetric(folder, capsys):
    need.runner("onnxruntime", images=False)
    onnx = pytest.importorskip("onnx")
    argv = ["export"] + PAIR + ["-o", "net.onnx", "--target", "tensorrt", "--json"] + INT8
    assert json.loads(output(argv, capsys).out)["agreement"]["ok"]
    graph = onnx.load("net.onnx").graph
    kinds = {x.name: x.data_type for x in graph.initializer}
    assert kinds and onnx.TensorProto.UINT8 not in kinds.values() and onnx.TensorProto.INT32 not in kinds.values()
    rounding = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    # what the first layer puts out, layer 1, the sum; nothing before an activation
    assert len(rounding) == 3
    output(["export"] + PAIR + ["-o", "other.onnx", "--target", "tensorrt"], capsys, 2)


def test_export_says_where_nothing_is_rounded(folder, capsys):
    need.runner("onnxruntime", images=False)
    ranges = Ranges.read("ranges.json")
    ranges.keep_float = [0, 1, 3]
    (folder / "kept.json").write_bytes(ranges.to_bytes())
    err = output(["export"] + PAIR + ["-o", "net.onnx", "--int8", "kept.json"], capsys).err
    assert "no layer computes on integers: all that could are kept float" in err


def test_a_damaged_graph_is_noticed(folder, capsys, monkeypatch):
    need.onnx(), need.onnxruntime()
    from darkprune.backends.onnx_int8 import OnnxInt8Builder

    real = OnnxInt8Builder.int8_add
    monkeypatch.setattr(OnnxInt8Builder, "int8_add", lambda self, a, b, relu, out: real(self, a, a, relu, out))
    out, _ = output(["export"] + PAIR + INT8 + ["-o", "net.onnx"], capsys, status=1)
    assert " DIFFERS from fakequant: largest error " in out


def test_processors_without_vnni_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\nflags\t\t: fpu avx2 fma\n")
    (notice,) = saturation_notices(str(path))
    assert notice.message.startswith("this processor has no VNNI: ")
    path.write_text("processor : 0\nflags\t\t: fpu avx2 avx_vnni\n")
    assert saturation_notices(str(path)) == saturation_notices(str(tmp_path / "none")) == []
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    path.write_text("flags : \n")
    assert saturation_notices(str(path)) == []


# ---- bad input


@case(
    "error: the runner numpy does not run nets on 8-bit integers\n"
    "hint: use --runner onnxruntime, fakequant or tensorrt, or leave --int8 out\n"
)
def a_runner_of_floats(folder):
    return ["detect"] + PAIR + ["a.ppm", "--runner", "numpy"] + INT8


@case(
    "error: the runner fakequant needs the ranges of the net's tensors\n"
    "hint: give them with --int8 RANGES (darkprune calibrate)\n"
)
def no_ranges(folder):
    return ["classify"] + PAIR + ["a.ppm", "--runner", "fakequant"]


@case(
    "error: the runner fakequant needs the ranges of the net's tensors\n"
    "hint: give them with --int8 RANGES (darkprune calibrate)\n"
)
def no_ranges_to_time(folder):
    return ["bench"] + PAIR + ["--runners", "numpy,fakequant"]


@case(
    "error: the runner torch does not run nets on 8-bit integers\n"
    "hint: use --runner onnxruntime, fakequant or tensorrt, or leave --int8 out\n"
)
def a_runner_of_floats_in_eval(folder):
    return ["eval"] + PAIR + ["--data", "none.data", "--runner", "torch"] + INT8


@case("ranges.json: error: cannot read the ranges: No such file or directory\nhint: check the path\n")
def missing_ranges(folder):
    (folder / "ranges.json").unlink()
    return ["detect"] + PAIR + ["a.ppm", "--runner", "fakequant"] + INT8


@case(
    "ranges.json: error: the ranges were measured at 32 x 32 x 3, the net runs at 64 x 64 x 3\n"
    "hint: calibrate at that size, or run the net at this one (--width, --height)\n"
)
def ranges_of_another_size(folder):
    return ["detect"] + PAIR + ["a.ppm", "--width", "64", "--height", "64"] + INT8


@case("ranges.json: error: the ranges hold none of L002_shortcut\nhint: calibrate again\n")
def a_tensor_without_range(folder):
    fields = json.loads((folder / "ranges.json").read_text())
    del fields["tensors"][output_name(load(*PAIR).layers[2])]
    (folder / "ranges.json").write_text(json.dumps(fields))
    return ["detect"] + PAIR + ["a.ppm", "--runner", "fakequant"] + INT8


@case(
    "ranges.json: error: the ranges are those of none of the pairs\n"
    "hint: calibrate one of them; every change of the weights needs new ranges\n"
)
def ranges_of_none_of_the_pairs(folder):
    for name in ("one", "two"):
        write(folder, NET, name, seed=len(name), dead=0.2 if name == "one" else 0.3)
    return ["bench", "one.cfg", "one.weights", "two.cfg", "two.weights"] + INT8


@pytest.mark.parametrize("name", list(case))
def test_bad_input(name, folder, capsys):
    case.check(name, folder, capsys)


def test_ranges_of_another_pair(folder, capsys):
    write(folder, NET, dead=0.4, seed=9)
    assert main(["detect"] + PAIR + ["a.ppm", "--runner", "fakequant"] + INT8) == 2
    err = capsys.readouterr().err
    assert err.startswith("ranges.json: error: the ranges are those of another pair (") and err.endswith(
        "hint: calibrate this pair; every change of the weights needs new ranges\n"
    )
