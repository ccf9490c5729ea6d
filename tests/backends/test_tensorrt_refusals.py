"""What the runner tensorrt says where there is no GPU or library, or an engine is not the net's: the whole texts."""

import json
import os
import sys

import numpy as np
import pytest

from darkprune.backends import cuda_buffers, tensorrt_api
from darkprune.backends.tensorrt_ import TensorrtRunner
from darkprune.engine import report as reports
from darkprune.engine.build import Build, Request
from darkprune.errors import DarkpruneError
from darkprune.graph.build import load
from int8_nets import pictures
from small_engines import TEXT, YOLO, built, expected, folder, memory, opened, release, require_equal
from small_nets import cfg, conv
from small_nets import write as write_pair
from stand_ins.loading import stand_in

__all__ = ["folder", "release"]  # fixtures


def without(*libraries):
    """In place of importlib.import_module, where some libraries are not there."""

    def load_module(name, package=None):
        if name.split(".")[0] in libraries:
            raise ImportError("No module named {}".format(name))
        return __import__(name, fromlist=["*"])

    return load_module


def refusal(call):
    with pytest.raises(DarkpruneError) as caught:
        call()
    return str(caught.value)


def test_layers_and_shapes_that_it_does_not_give(release):
    net = opened()
    with TensorrtRunner(net) as runner:
        assert refusal(lambda: runner.infer(pictures(net, 1), [3])) == (
            "error: an engine gives the raw heads only, and layer 3 is none\n"
            "hint: run the net in numpy or torch to see other layers"
        )
        assert refusal(lambda: runner.infer(np.zeros((1, 3, 32, 32), np.float32))) == (
            "error: the batch has shape [1, 3, 32, 32], the net takes [N, 3, 16, 32]"
        )


def test_an_engine_of_another_pair(release, folder):
    built("net.engine")
    write_pair(folder, TEXT, seed=8)
    found = refusal(TensorrtRunner(opened(), "net.engine").open)
    assert found.startswith("net.engine.json: error: the engine is that of another pair (")
    assert found.endswith("hint: build the engine again (darkprune build) from this pair")
    write_pair(folder, TEXT.replace("width=32", "width=64"))
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "net.engine.json: error: the engine takes images of 32 x 16 x 3, the net of 64 x 16 x 3\n"
        "hint: run it at the engine's size (--width, --height), or build it again"
    )
    assert memory() == 0


def test_another_dialect(release):
    built("net.engine")
    assert refusal(TensorrtRunner(load("net.cfg", "net.weights", "pjreddie"), "net.engine").open) == (
        "net.engine.json: error: the engine was built in the dialect alexeyab, the pair was read in pjreddie\n"
        "hint: give --dialect alexeyab, or build the engine again"
    )


def test_an_engine_without_a_report(release, folder):
    built("net.engine")
    (folder / "net.engine.json").unlink()
    net = opened()
    batch = pictures(net, 1)
    with TensorrtRunner(net, "net.engine") as runner:
        require_equal(runner.infer(batch), expected(net, batch))
        assert [str(notice) for notice in runner.notices] == [
            "net.engine: warning: the engine has no report, so that only the shapes of its inputs and outputs are "
            "checked\nhint: build it again on this device, with this TensorRT: darkprune build"
        ]
    write_pair(folder, TEXT.replace("width=32", "width=64"))
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "net.engine: error: the engine's input data has shape [3, 16, 32], the net's [3, 16, 64]\n"
        "hint: build it again on this device, with this TensorRT: darkprune build; or give its --width and --height"
    )
    write_pair(folder, cfg(conv(8, stride=2), conv(16, 1, "linear", None), YOLO, width=32, height=16))
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "net.engine: error: the engine has no output L001_convolutional: it was not built from this pair\n"
        "hint: build it again on this device, with this TensorRT: darkprune build"
    )
    assert memory() == 0


def test_a_report_of_another_engine(release, folder):
    built("net.engine")
    (folder / "net.engine").write_bytes((folder / "net.engine").read_bytes() + b"x")
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "net.engine.json: error: this report is about another engine than the one beside it\n"
        "hint: build the engine again (darkprune build)"
    )


def test_a_damaged_report(folder):
    with stand_in("tensorrt82"):
        built("net.engine")
    path = folder / "net.engine.json"
    sound = json.loads(path.read_text())

    def said(text):
        path.write_text(text)
        found = refusal(lambda: reports.read("net.engine"))
        assert found.startswith("net.engine.json: error: ")
        assert found.endswith("\nhint: build the engine again (darkprune build)")
        return found.splitlines()[0][len("net.engine.json: error: ") :]

    assert said("{") == said("[]") == said('{"format": "x"}') == "this is no report of an engine of this version"
    names = ("pair", "dialect", "engine", "inputs", "input", "preprocessing", "batch", "heads", "precision", "tensorrt")
    for name in names:
        for value in (None, 3, {"least": 2, "most": 1}, [3], {"x": 3}):
            found = said(json.dumps(dict(sound, **{name: value})))
            assert found == '"{}" is missing or malformed'.format(name)
    assert said(json.dumps(dict(sound, int8=3))) == '"int8" is missing or malformed'
    assert said(json.dumps({name: value for name, value in sound.items() if name != "int8"})) == (
        '"int8" is missing or malformed'
    )
    gpu = sound["gpu"]
    for value in ({}, {"capability": [6, 2]}, dict(gpu, capability=[6]), dict(gpu, capability=[10**400, 2])):
        assert said(json.dumps(dict(sound, gpu=value))) == '"gpu" is missing or malformed'
    assert said(json.dumps(dict(sound, dialect="\x1b[2J"))) == '"dialect" is missing or malformed'
    assert said(json.dumps(dict(sound, input=dict(sound["input"], width=1 << 40)))) == '"input" is missing or malformed'
    assert said(json.dumps(dict(sound, gpu=3))) == '"gpu" is missing or malformed'


def test_devices_and_pipes_are_no_engines(folder):
    os.mkfifo("pipe.engine")
    os.mkfifo("net.engine.json")
    engine, report = (
        "cannot read the engine: it is no file\nhint: check the path",
        "cannot read the report: it is no file",
    )
    with stand_in("tensorrt82"):
        for path, expected in (
            ("/dev/zero", "/dev/zero: error: " + engine),
            ("pipe.engine", "pipe.engine: error: " + engine),
            ("net.engine", "net.engine.json: error: {}\nhint: check it".format(report)),
        ):
            assert refusal(TensorrtRunner(opened(), path).open) == expected


def test_files_that_are_no_engines(release, folder):
    rebuild = "\nhint: build it again on this device, with this TensorRT: darkprune build"
    assert refusal(TensorrtRunner(opened(), "none.engine").open) == (
        "none.engine: error: cannot read the engine: No such file or directory\nhint: check the path"
    )
    (folder / "net.engine").write_bytes(b"")
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "net.engine: error: the engine's file is empty\nhint: build the engine again (darkprune build)"
    )
    (folder / "net.engine").write_bytes(b"no engine at all" * 100)
    found = refusal(TensorrtRunner(opened(), "net.engine").open)
    assert found.startswith("net.engine: error: TensorRT {} cannot load the engine (".format(release.__version__))
    assert found.endswith(rebuild)
    assert memory() == 0


def test_an_engine_of_another_version(folder):
    with stand_in("tensorrt82"):
        built("net.engine")
    with stand_in("tensorrt10"):
        assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
            "net.engine: error: the engine was built with TensorRT 8.2.1.8, here is 10.3.0\n"
            "hint: build it again on this device, with this TensorRT: darkprune build"
        )
        (folder / "net.engine.json").unlink()  # then TensorRT itself says so
        found = refusal(TensorrtRunner(opened(), "net.engine").open)
    assert found.startswith("net.engine: error: TensorRT 10.3.0 cannot load the engine (")
    assert "Serialized Engine Version: 8.2.1.8" in found
    assert found.endswith("hint: build it again on this device, with this TensorRT: darkprune build")


def test_an_engine_of_another_device(folder):
    with stand_in("tensorrt82", "xavier"):
        built("net.engine")
    with stand_in("tensorrt82", "tx2"):
        assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
            "net.engine: error: the engine was built on another GPU (Xavier, compute capability 7.2), here is NVIDIA "
            "Tegra X2, 6.2\nhint: build it again on this device, with this TensorRT: darkprune build"
        )


def test_no_gpu(release, folder, monkeypatch):
    built("net.engine")
    monkeypatch.setenv("STAND_IN_GPU", "none")
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "error: there is no CUDA device here (cuInit failed: no CUDA-capable device is detected)\n"
        "hint: run it on the machine with the GPU; see darkprune doctor"
    )


def test_no_pycuda(release, folder, monkeypatch):
    built("net.engine")
    monkeypatch.setattr(cuda_buffers.importlib, "import_module", without("pycuda"))
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "error: pycuda cannot be imported: No module named pycuda.driver\n"
        "hint: pip install pycuda; on JetPack 4.6: pip3 install 'pycuda<2021.1'"
    )


def test_no_tensorrt(folder, monkeypatch):
    names = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    monkeypatch.setattr(tensorrt_api.importlib, "import_module", without(*names))
    expected = (
        "error: TensorRT cannot be imported (tensorrt: No module named tensorrt; tensorrt_rtx: No module named "
        "tensorrt_rtx; tensorrt_rtx_bindings: No module named tensorrt_rtx_bindings)\n"
        "hint: on a Jetson TensorRT comes with JetPack (see tools/tx2_setup.md), elsewhere from NVIDIA; engines for "
        "RTX GPUs are built without either: pip install tensorrt_rtx_cu12_libs tensorrt_rtx_cu12_bindings"
    )
    assert refusal(TensorrtRunner(opened()).open) == expected
    assert refusal(lambda: Build(opened(), Request())) == expected


def test_too_little_memory_on_the_gpu(release, folder, monkeypatch):
    built("net.engine", batch=(64, 64))
    gpu = sys.modules["simulated_gpu"]
    machine = gpu.machine()
    room = 64 * 3 * 16 * 32 * 4 + 100  # the input fits, the outputs do not
    monkeypatch.setattr(gpu, "machine", lambda: machine._replace(memory=room))
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "error: the GPU is out of memory (cuMemAlloc failed: out of memory)\n"
        "hint: close what else uses the GPU, or take a smaller batch, input size or workspace"
    )
    assert memory() == 0


def test_no_memory_at_all(release, folder, monkeypatch):
    built("net.engine")
    driver = sys.modules["pycuda.driver"]

    def full(device):
        raise driver.MemoryError("cuCtxCreate failed: out of memory")

    monkeypatch.setattr(driver.Device, "make_context", full)
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "error: the GPU is out of memory (cuCtxCreate failed: out of memory)\n"
        "hint: close what else uses the GPU, or take a smaller batch, input size or workspace"
    )


def test_too_little_memory_for_the_engines_own_maps(release, folder, monkeypatch):
    """TensorRT allocates them with the execution context, which is None where that fails."""
    built("net.engine")
    monkeypatch.setattr(release.ICudaEngine, "create_execution_context", lambda engine: None)
    assert refusal(TensorrtRunner(opened(), "net.engine").open) == (
        "net.engine: error: there is not enough GPU memory to run the engine (it does not say why)\n"
        "hint: close what else uses the GPU, or build for a smaller batch or input size"
    )
    assert memory() == 0


def test_an_engine_that_fails_to_run(release, monkeypatch):
    name = "execute_async_v3" if hasattr(release.IExecutionContext, "execute_async_v3") else "execute_async_v2"
    with TensorrtRunner(opened()) as runner:
        monkeypatch.setattr(release.IExecutionContext, name, lambda *_, **__: False)
        assert refusal(lambda: runner.infer(pictures(runner.net, 1))) == (
            "error: TensorRT {} cannot run the engine (it does not say why)\n"
            "hint: build it again on this device, with this TensorRT: darkprune build".format(release.__version__)
        )
