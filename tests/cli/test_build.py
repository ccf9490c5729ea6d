"""`darkprune build`, and engines in the commands that run nets: what they print, and what is said of bad input."""

import json
import sys

import numpy as np
import pytest

import need
from bad_input import Cases
from darkprune.cli import bench
from darkprune.cli.main import main
from darkprune.graph.build import load
from int8_nets import measured
from small_nets import cfg, conv, section, write
from stand_ins.loading import stand_in

YOLO = section("yolo", mask="0,1", anchors="4,5, 6,9", classes=3, num=2)
TEXT = cfg(conv(8, stride=2), conv(8, 3), conv(16, 1, "linear", None), YOLO, width=32, height=16)
PAIR = ["net.cfg", "net.weights"]
BUILD = ["build"] + PAIR + ["-o", "net.engine"]
INT8 = BUILD + ["--precision", "int8", "--ranges", "ranges.json"]
TX2 = (
    "warning: Jetson TX2 (compute capability 6.2) has no INT8 units: this engine's INT8 layers run in FP16 there, so "
    "that it is no faster than --precision fp16\n"
)
case = Cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder with net.cfg, net.weights and ranges.json."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.delenv("DARKPRUNE_TENSORRT", raising=False)
    write(tmp_path, TEXT)
    (tmp_path / "ranges.json").write_bytes(measured(load(*PAIR)).to_bytes())
    return tmp_path


def output(argv, capsys, status=0):
    assert main(argv) == status
    return capsys.readouterr()


def test_int8_for_a_tx2(folder, capsys):
    with stand_in("tensorrt82", "tx2"):
        found = output(INT8 + ["--target", "tx2"], capsys)
    size = len((folder / "net.engine").read_bytes())
    lines = found.out.splitlines()
    assert found.err == TX2
    assert lines[:7] == [
        "TensorRT   tensorrt 8.2.1.8, precision by flags and ranges",
        "target     tx2 (Jetson TX2, compute capability 6.2), with FP16",
        "input      1 x 3 x 16 x 32",
        "outputs    L002_convolutional 16 x 8 x 16",
        "precision  int8; native: fp16",
        "layers     2 fp16, 1 int8",
        "built      3 fp16",
    ]
    assert lines[7].startswith("size       {:,} bytes (".format(size)) and lines[8].startswith("time       ")
    assert lines[9:] == ["wrote net.engine", "wrote net.engine.json"]
    assert json.loads((folder / "net.engine.json").read_text())["warnings"] == [TX2.rstrip("\n")]


def test_json_is_the_report(folder, capsys):
    with stand_in("tensorrt10"):
        found = output(BUILD + ["--precision", "fp16", "--batch", "1-4", "--json"], capsys)
    assert json.loads(found.out) == json.loads((folder / "net.engine.json").read_text())
    assert json.loads(found.out)["batch"] == {"least": 1, "most": 4}


def test_tensorrt_rtx_is_taken_where_there_is_no_other(folder, capsys):
    version = need.tensorrt_rtx().__version__
    found = output(INT8, capsys)
    assert found.err == (
        "warning: there is only TensorRT-RTX {} here: the engine is for GeForce and RTX GPUs (compute capability 8.0 "
        "and newer), and runs in nothing else\n".format(version)
    )
    assert "built      as requested, as far as known; not inspected: there is no GPU here\n" in found.out


def test_another_size(folder, capsys):
    with stand_in("tensorrt82"):
        output(BUILD + ["--width", "64", "--height", "32"], capsys)
        found = output(["verify"] + PAIR + ["--engine", "net.engine"], capsys, 2)
    assert found.err == (
        "net.engine.json: error: the engine takes images of 64 x 32 x 3, the net of 32 x 16 x 3\n"
        "hint: run it at the engine's size (--width, --height), or build it again\n"
    )


@pytest.mark.parametrize("release", ["tensorrt82", "tensorrt10"])
def test_verify_runs_an_engine(folder, capsys, release):
    with stand_in(release):
        output(BUILD, capsys)
        found = output(["verify"] + PAIR + ["--engine", "net.engine", "--json"], capsys)
        checks = json.loads(found.out)["checks"]
        assert [(check["runner"], check["layer"], check["ok"]) for check in checks] == [("tensorrt", 2, True)]
        assert checks[0]["max_error"] < 1e-5
        built = output(["verify"] + PAIR + ["--runners", "tensorrt"], capsys)
        assert built.out.startswith("ok   reader in tensorrt: 1 of 1 layers")
        output(BUILD + ["--precision", "fp16", "--overwrite"], capsys)
        rounded = output(["verify"] + PAIR + ["--engine", "net.engine"], capsys)
        assert rounded.out.startswith("ok   reader in tensorrt: 1 of 1 layers") and "at most 0.5)" in rounded.out
        report = json.loads((folder / "net.engine.json").read_text())
        write(folder, TEXT, "other", seed=9)
        output(["build", "other.cfg", "other.weights"] + BUILD[3:] + ["--precision", "fp16", "--overwrite"], capsys)
        other = dict(json.loads((folder / "net.engine.json").read_text()), pair=report["pair"])
        (folder / "net.engine.json").write_text(json.dumps(other))
        wrong = output(["verify"] + PAIR + ["--engine", "net.engine"], capsys, 1)
    assert wrong.out.startswith("FAIL reader in tensorrt: 0 of 1 layers") and "a check failed" in wrong.out


def picture(folder):
    data = np.random.RandomState(2).randint(0, 255, (16, 32, 3)).astype(np.uint8)
    (folder / "a.ppm").write_bytes(b"P6\n32 16\n255\n" + data.tobytes())
    return "a.ppm"


def test_detect_runs_an_engine(folder, capsys):
    """The same objects as in numpy, and as an engine of integers that is built in memory."""
    need.opencv()
    detect = ["detect"] + PAIR + [picture(folder), "--json", "--thresh", "0.3"]
    plain = json.loads(output(detect + ["--runner", "numpy"], capsys).out)
    with stand_in("tensorrt82"):
        output(BUILD, capsys)
        found = output(detect + ["--engine", "net.engine"], capsys)
        again = output(detect + ["--runner", "tensorrt"], capsys)
        int8 = output(detect + ["--runner", "tensorrt", "--int8", "ranges.json"], capsys)
    assert found.err == again.err == ""
    assert len(shown(plain)) > 3
    for other in (found, again):
        assert shown(json.loads(other.out)) == shown(plain)
    assert len(shown(json.loads(int8.out))) > 3


def shown(found):
    """The objects of all images: class, and confidence to the third digit."""
    text = json.dumps(found)
    images = found if isinstance(found, list) else found["images"]
    assert "objects" in text
    return sorted((o["name"], round(o["confidence"], 3)) for image in images for o in image["objects"])


def test_bench_times_an_engine_beside_the_pair(folder, capsys, monkeypatch):
    with stand_in("tensorrt82") as module:
        output(BUILD + ["--precision", "fp16"], capsys)
        monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if "stand_ins" in path))
        argv = ["bench"] + PAIR + ["--engine", "net.engine", "--runners", "numpy", "--repeats", "1", "--json"]
        found = json.loads(output(argv, capsys).out)
    assert module is not None
    assert [(run["runner"], run["model"]) for run in found["runs"]] == [("numpy", "net"), ("tensorrt", "net net")]
    assert [model["model"] for model in found["models"]] == ["net"]


def test_images_prepared_in_another_way_than_those_of_the_calibration(folder, capsys):
    """The most frequent reason why INT8 of other tools finds nothing."""
    need.opencv()
    expected = (
        "{}: warning: its ranges were measured on images prepared by stretch, these are by letterbox, which costs "
        "accuracy\nhint: leave --letter-box out, or calibrate as the net is used\n"
    )
    detect = ["detect"] + PAIR + [picture(folder)]
    with stand_in("tensorrt82", "xavier"):
        output(INT8, capsys)
        assert output(detect + ["--engine", "net.engine"], capsys).err == ""
        assert output(detect + ["--engine", "net.engine", "--letter-box"], capsys).err == expected.format("net.engine")
        output(BUILD + ["--overwrite"], capsys)
        assert output(detect + ["--engine", "net.engine", "--letter-box"], capsys).err == ""
    fake = ["--runner", "fakequant", "--int8", "ranges.json"]
    assert output(detect + fake + ["--letter-box"], capsys).err == expected.format("ranges.json")


def test_no_runner_is_an_engines_unless_it_is_asked_for(folder, capsys):
    need.opencv()
    with stand_in("tensorrt82"):
        found = output(["detect"] + PAIR + [picture(folder)], capsys)
    assert "runner: " in found.err and "tensorrt" not in found.err
    assert "tensorrt" in bench.RUNNERS and "tensorrt" not in bench._runners(None, False)


# ---- bad input


@case(
    "error: Jetson TX2 (compute capability 6.2) has no INT8 units: this engine's INT8 layers run in FP16 there, so "
    "that it is no faster than --precision fp16\nhint: use --precision fp16, or leave --strict out\n"
)
def strict(folder):
    return INT8 + ["--target", "tx2", "--strict"]


@case(
    TX2
    + "error: the GPU of this machine (Xavier, compute capability 7.2) is no Jetson TX2: an engine runs only on the "
    "GPU, and in the TensorRT, that it was built with\n"
    "hint: run the same command on the Jetson TX2, which has JetPack 4.6.x with TensorRT 8.2\n"
)
def another_board(folder):
    return INT8 + ["--target", "tx2"]


@case("error: --batch many is no number of images\nhint: use 1 or more, or LOW-HIGH\n")
def no_batch(folder):
    return BUILD + ["--batch", "many"]


@case("error: a batch of 4 to 2 images makes no sense\nhint: use 1 to 4096, the smaller number first\n")
def a_batch_the_wrong_way_round(folder):
    return BUILD + ["--batch", "4-2"]


@case(
    "error: --precision int8 needs the ranges of the net's tensors\n"
    "hint: make them with darkprune calibrate, and give --ranges FILE\n"
)
def no_ranges(folder):
    return BUILD + ["--precision", "int8"]


@case("error: --ranges is for --precision int8\nhint: give --precision int8, or leave the ranges out\n")
def ranges_for_nothing(folder):
    return BUILD + ["--ranges", "ranges.json"]


@case(
    "ranges.json: error: the ranges are those of another pair (KEY, this one is KEY)\n"
    "hint: calibrate this pair; every change of the weights needs new ranges\n"
)
def ranges_of_the_unpruned_net(folder):
    assert main(["prune"] + PAIR + ["-o", "pruned", "--channels", "0.3"]) == 0
    return ["build", "pruned.cfg", "pruned.weights"] + INT8[3:]


@case(
    "ranges.json: error: the ranges were measured at 32 x 16 x 3, the net runs at 64 x 32 x 3\n"
    "hint: calibrate at that size, or run the net at this one (--width, --height)\n"
)
def ranges_of_another_size(folder):
    return INT8 + ["--width", "64", "--height", "32"]


@case(
    "error: Jetson Xavier has 8192 MiB, less than 9000 of workspace and 1 for the weights and the largest maps\n"
    "hint: use a smaller --workspace, --batch or input size\n"
)
def too_much_workspace(folder):
    return BUILD + ["--target", "xavier", "--workspace", "9000"]


@case("net.engine.json: error: this file exists\nhint: --overwrite replaces it\n")
def a_report_in_the_way(folder):
    (folder / "net.engine.json").write_text("mine")
    return BUILD


@case(
    "net.weights: error: the output would replace the input net.weights\n"
    "hint: choose another name; inputs are never overwritten\n"
)
def over_the_weights(folder):
    return ["build"] + PAIR + ["-o", "net.weights", "--overwrite"]


@case("error: --keep-float is for fp16 and int8\nhint: leave it out: every layer is float32\n")
def float_layers_in_float32(folder):
    return BUILD + ["--keep-float", "1"]


@case(
    "error: --keep-float names 9, which is no layer of this net\nhint: use numbers of 0 to 3, first-and-heads or none\n"
)
def a_float_layer_that_is_none(folder):
    return INT8 + ["--keep-float", "9"]


@case("error: the runner numpy runs no TensorRT engines\nhint: use --runner tensorrt, or leave --engine out\n")
def an_engine_in_numpy(folder):
    return ["detect"] + PAIR + [picture(folder), "--runner", "numpy", "--engine", "net.engine"]


@case("error: an engine has its ranges within it\nhint: leave --int8 out, or --engine\n")
def an_engine_and_ranges(folder):
    return ["detect"] + PAIR + [picture(folder), "--int8", "ranges.json", "--engine", "net.engine"]


@case("none.engine: error: cannot read the engine: No such file or directory\nhint: check the path\n")
def no_engine(folder):
    return ["verify"] + PAIR + ["--engine", "none.engine"]


@case(
    "net.engine: error: the engine is that of none of the pairs, as far as its report tells\n"
    "hint: build it from one of them, at this input size\n"
)
def an_engine_of_no_pair(folder):
    (folder / "net.engine").write_bytes(b"x")
    write(folder, TEXT, "other", seed=9)
    return ["bench"] + PAIR + ["other.cfg", "other.weights", "--engine", "net.engine", "--repeats", "1"]


@case(
    "net.engine.json: error: the engine is that of another pair (KEY, this one is KEY)\n"
    "hint: build the engine again (darkprune build) from this pair\n"
)
def an_engine_of_another_pair_timed(folder):
    assert main(BUILD) == 0
    write(folder, TEXT, "other", seed=9)
    return ["bench", "other.cfg", "other.weights", "--engine", "net.engine", "--repeats", "1"]


@case("none.engine: error: cannot read this file: No such file or directory\nhint: check the path\n")
def no_engine_timed(folder):
    return ["bench"] + PAIR + ["--engine", "none.engine", "--repeats", "1"]


@pytest.mark.parametrize("name", list(case))
def test_bad_input(name, folder, capsys):
    need.opencv() if "picture" in case.makers[name].__code__.co_names else None
    with stand_in("tensorrt82", "xavier"):
        argv = case.makers[name](folder)
        capsys.readouterr()
        case.makers[name] = lambda _: argv
        case.check(name, folder, capsys)
