"""The command `bench`: its table and JSON, and what it refuses."""

import json
import re
from functools import partial

import pytest

import small_nets
from darkprune.backends.clock import Clock
from darkprune.cli import bench
from darkprune.cli.main import main
from small_nets import HEAD, cfg, conv

PAIRS = ["bench", "small.cfg", "small.weights", "large.cfg", "large.weights"]
QUICK = ["--repeats", "1", "--threads", "1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the pairs small and large."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(bench, "Clock", partial(Clock, duration=0.05))
    small_nets.write(tmp_path, cfg(conv(4, stride=2), HEAD), "small")
    small_nets.write(tmp_path, cfg(conv(32), conv(32), HEAD), "large")
    return tmp_path


def output(argv, capsys, status=0):
    """What a command prints on stdout and stderr, with an exit status."""
    assert main(argv) == status
    return capsys.readouterr()


def test_json(folder, capsys):
    out, _ = output(PAIRS + QUICK + ["--runners", "numpy", "--json"], capsys)
    answer = json.loads(out)
    assert [(run["model"], run["runner"]) for run in answer["runs"]] == [("small", "numpy"), ("large", "numpy")]
    for run in answer["runs"]:
        assert 0 < run["min_ms"] == run["median_ms"] == run["max_ms"]  # of one process
        assert run["fps"] == pytest.approx(1000 / run["median_ms"]) and run["passes"] >= 1
        assert run["cpu_ms"] > 0
    small, large = answer["runs"]
    assert small["speedup"] == 1 and large["speedup"] == pytest.approx(small["median_ms"] / large["median_ms"])
    first = answer["models"][0]
    assert first == {
        "model": "small",
        "parameters": 4 * (3 * 9 + 4) + 5 * (4 + 1),
        "macs": 64 * 4 * 27 + 64 * 5 * 4,
        "weights_bytes": 20 + 4 * (4 * (3 * 9 + 4) + 5 * (4 + 1)),
        "bflops": pytest.approx(2 * (64 * 4 * 27 + 64 * 5 * 4) / 1e9),
    }
    assert answer["left_out"] == answer["warnings"] == [] and answer["threads"] == 1
    assert answer["energy"] and answer["machine"]


def test_text(folder, capsys):
    out, err = output(PAIRS + QUICK + ["--runners", "numpy"], capsys)
    lines = out.split("\n")
    assert lines[0].split() == ["model", "parameters", "MACs", "weights", "bytes", "BFLOPs"]
    assert re.match(r"small +149 +8,192 +616 +0\.000$", lines[1]) and re.match(r"large +10,501 +2,621,440 ", lines[2])
    assert re.search(r", \d+ cores; 1 threads; median of 1 processes$", lines[4])
    assert lines[5].split()[:10] == "runner model median ms min max FPS speed CPU ms".split()
    assert re.match(r"numpy   small( +\d+\.\d\d){4} +1\.00x +\d+\.\d\d", lines[6])
    assert re.match(r"numpy   large( +\d+\.\d\d){4} +0\.\d\dx", lines[7])
    assert lines[8].startswith("energy: ") and err == ""


def test_a_runner_that_is_not_there_is_left_out_unless_it_is_asked_for(folder, capsys, monkeypatch):
    monkeypatch.setenv("DARKPRUNE_LIBDARKNET", "/nowhere.so")
    monkeypatch.setattr(bench, "RUNNERS", ("numpy", "darknet"))
    out, err = output(["bench", "small.cfg", "small.weights"] + QUICK, capsys)
    assert "numpy" in out and not re.search("^darknet", out, re.MULTILINE)
    assert "warning: small in darknet was left out: DARKPRUNE_LIBDARKNET names no file: /nowhere.so\n" in err
    _, err = output(["bench", "small.cfg", "small.weights", "--runners", "numpy,darknet"] + QUICK, capsys, 2)
    assert "error: DARKPRUNE_LIBDARKNET names no file: /nowhere.so" in err


def test_what_a_reader_misreads_is_said(folder, capsys):
    small_nets.write(folder, cfg(conv(4, activation="mish"), HEAD), "mish")
    out, err = output(["bench", "mish.cfg", "mish.weights", "--runners", "numpy"] + QUICK, capsys)
    assert "computes ReLU instead of mish" in err and "numpy" in out


def test_models_of_one_name_are_told_apart(folder, capsys):
    (folder / "old").mkdir()
    for suffix in (".cfg", ".weights"):
        (folder / "old" / ("small" + suffix)).write_bytes((folder / ("small" + suffix)).read_bytes())
    argv = ["bench", "small.cfg", "small.weights", "old/small.cfg", "old/small.weights", "--runners", "numpy"]
    out, _ = output(argv + QUICK + ["--json"], capsys)
    assert [model["model"] for model in json.loads(out)["models"]] == ["small", "old/small"]


def test_pairs_that_are_the_same_are_told_apart(folder, capsys):
    argv = PAIRS + PAIRS[1:3] + PAIRS[1:3] + ["--runners", "numpy"]
    answer = json.loads(output(argv + QUICK + ["--json"], capsys).out)
    for part in ("models", "runs"):
        assert [one["model"] for one in answer[part]] == ["small", "large", "small-2", "small-3"]
    taken = ["a/x-2.weights", "a/x.weights", "a/x.weights", "a/x-2.weights"]
    assert bench._names(taken) == ["a/x-2", "a/x", "a/x-3", "a/x-2-2"]


def test_refusals(folder, capsys):
    def refusal(*more):
        return output(PAIRS + list(more), capsys, 2).err

    assert refusal("--repeats", "0") == "error: --repeats 0 is too few\nhint: use 1 or more\n"
    assert refusal("--threads", "0") == "error: --threads 0 is too few\nhint: use 1 or more\n"
    names = "numpy, torch, onnxruntime, opencv, darknet, tensorrt"
    assert refusal("--runners", ",") == "error: --runners names no runner\nhint: use {}\n".format(names)
    assert refusal("--runners", "openvc").startswith("error: unknown runner openvc\nhint: ")
    (folder / "small.weights").write_bytes(b"short")
    assert refusal().startswith("small.weights: error: ")


def test_a_cfg_without_weights(folder, capsys):
    """Neither is large.weights taken, which stands beside it: both pairs were to be named, it seems."""
    assert output(PAIRS[:4], capsys, 2).err == (
        "large.cfg: error: no weights were given for this cfg, and some for another\n"
        "hint: give CFG WEIGHTS for each, or only the cfgs, whose weights are looked for beside them\n"
    )
