"""The runner tensorrt on stand-ins of TensorRT 8.2, which numbers bindings, and 10.3, which names tensors, and pycuda.

The stand-ins' memory holds bytes, their streams do nothing until they are waited for, and their engines compute in
numpy by code of their own: a copy that is missing or too early gives wrong numbers, as on a GPU.
"""

import json
import sys
import threading

import numpy as np
import pytest

from darkprune.backends import cuda_buffers, tensorrt_api
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.tensorrt_ import TensorrtRunner
from darkprune.engine import report as reports
from darkprune.engine.build import Build, Request, write
from darkprune.errors import DarkpruneError
from darkprune.graph.build import load
from darkprune.graph.net import heads
from int8_nets import pictures
from small_nets import cfg, conv, route, section, shortcut
from small_nets import write as write_pair
from stand_ins.loading import stand_in

YOLO = section("yolo", mask="0,1", anchors="4,5, 6,9", classes=3, num=2)
TEXT = cfg(
    conv(8, stride=2),
    section("maxpool", size=2, stride=1),
    conv(8, 3, "mish"),
    shortcut(-2),
    conv(16, 1, "linear", None),
    YOLO,
    route(-3),
    section("upsample", stride=2),
    conv(16, 1, "linear", None),
    YOLO,
    width=32,
    height=16,
)
RELEASES = ("tensorrt82", "tensorrt10")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.delenv("DARKPRUNE_TENSORRT", raising=False)
    write_pair(tmp_path, TEXT)
    return tmp_path


@pytest.fixture(params=RELEASES)
def release(request, folder):
    with stand_in(request.param) as module:
        yield module


def opened():
    return load("net.cfg", "net.weights")


def built(path, **request):
    """Writes an engine of net.cfg and its report."""
    sources = {"cfg": "net.cfg", "weights": "net.weights"}
    return write(path, Build(opened(), Request(**request)).run(), sources, overwrite=True)


def expected(net, batch):
    return NumpyRunner(net).infer(batch, heads(net))


def require_equal(found, wanted):
    assert sorted(found) == sorted(wanted)
    for index in wanted:
        assert found[index].dtype == np.float32 and found[index].shape == wanted[index].shape
        assert np.abs(found[index] - wanted[index]).max() < 1e-5 * np.abs(wanted[index]).max()


def memory():
    """What is allocated on the simulated GPU."""
    return len(sys.modules["simulated_gpu"].allocations)


def test_an_engine_in_memory_computes_what_numpy_computes(release):
    net = opened()
    batch = pictures(net, 1)
    with TensorrtRunner(net) as runner:
        assert memory() >= 3
        require_equal(runner.infer(batch), expected(net, batch))
        assert list(runner.infer(batch, [4])) == [4]
        assert runner.infer(batch, []) == {}
        assert runner.notices == [] and runner.report.fields["precision"]["requested"] == "fp32"
    assert memory() == 0


@pytest.mark.parametrize("batch", [(1, 1), (2, 2), (1, 3), (2, 3), (8, 8)])
def test_batches_of_another_length_than_the_engines(release, batch):
    """Five images: in pieces, the last one filled up, or all in one that is filled up."""
    net = opened()
    images = pictures(net, 5)
    built("net.engine", batch=batch)
    with TensorrtRunner(net, "net.engine") as runner:
        require_equal(runner.infer(images), expected(net, images))
        require_equal(runner.infer(images[:1]), expected(net, images[:1]))
        require_equal(runner.infer(images), expected(net, images))  # what was longer and shorter before
        assert {i: y.shape[0] for i, y in runner.infer(images[:0]).items()} == {4: 0, 8: 0}
    assert memory() == 0


def test_results_are_not_overwritten_by_the_next_batch(release):
    net = opened()
    images = pictures(net, 2)
    with TensorrtRunner(net) as runner:
        first = runner.infer(images[:1])
        kept = {index: y.copy() for index, y in first.items()}
        runner.infer(images[1:])
    for index in kept:
        assert np.array_equal(first[index], kept[index])


def test_other_threads_may_run_it_and_close_it(release):
    """A CUDA context belongs to a thread; a capture loop is another one than the one that opened the camera."""
    net = opened()
    images, wanted = pictures(net, 4), []
    runner, failures = TensorrtRunner(net), []
    wanted = expected(net, images)

    def run(number):
        try:
            for _ in range(3):
                found = runner.infer(images[number : number + 1])
                require_equal(found, {i: y[number : number + 1] for i, y in wanted.items()})
        except BaseException as error:
            failures.append(error)

    runner.open()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    last = threading.Thread(target=runner.close)
    last.start(), last.join()
    assert memory() == 0


def test_it_opens_itself_again(release):
    net = opened()
    batch = pictures(net, 1)
    runner = TensorrtRunner(net)
    for _ in range(2):
        require_equal(runner.infer(batch), expected(net, batch))
        runner.close()
        runner.close()
    assert memory() == 0


def test_two_at_once(release):
    net = opened()
    batch = pictures(net, 1)
    with TensorrtRunner(net) as one, TensorrtRunner(net) as other:
        require_equal(one.infer(batch), expected(net, batch))
        require_equal(other.infer(batch), expected(net, batch))
        one.close()
        require_equal(other.infer(batch), expected(net, batch))


# ---- what is refused


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
    for name in ("pair", "dialect", "engine", "inputs", "input", "batch", "heads", "precision", "tensorrt"):
        for value in (None, 3, {"least": 2, "most": 1}, [3], {"x": 3}):
            found = said(json.dumps(dict(sound, **{name: value})))
            assert found == '"{}" is missing or malformed'.format(name)
    assert said(json.dumps(dict(sound, gpu={}))) == '"gpu" is missing or malformed'


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
