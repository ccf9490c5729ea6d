"""Whole nets in ONNX Runtime and in numpy, behind every layer; and the runner."""

import sys

import numpy as np
import pytest

import need
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner
from darkprune.backends.registry import RUNNERS, open_runner
from darkprune.darknet.dialect_epsilon import DIALECTS
from darkprune.darknet.weights import Header
from darkprune.errors import MissingDependency, Unsupported, UsageError, VerifyError
from darkprune.graph.build import load
from darkprune.graph.net import heads
from darkprune.ops.registry import OPS
from darkprune.quant.tensors import ranged_tensors
from darkprune.verify import test_batch as picture
from layer_agreement import largest_error
from odd_nets import NETS, text
from random_checks import draw
from random_layers import Choices
from random_nets import write_weights
from small_nets import HEAD, cfg, conv, make_weights, net, route, section, write
from type_nets import CFGS, NOT_RUN, with_weights
from type_nets import load as load_type

onnx, onnxruntime = need.onnx(), need.onnxruntime()

AGREE = 1e-4  # of a layer's largest value
SEEDS = 24
NET = cfg(conv(8), conv(16, 3, "mish", stride=2), section("upsample"), route(-1), HEAD)


def compare(one, batch):
    """The largest error of any layer, relative to the layer's largest value; fails where one is too large."""
    return largest_error(OnnxRuntimeRunner(one, threads=1), one, batch, AGREE)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("name", sorted(set(CFGS) - NOT_RUN))
def test_every_layer_type(name, dialect, tmp_path):
    one = load_type(name, dialect)
    with_weights(one, tmp_path)
    batch = np.random.RandomState(1).rand(2, 3, 8, 8).astype(np.float32)
    try:
        NumpyRunner(one).infer(batch)
    except Unsupported as error:
        with pytest.raises(Unsupported) as caught:
            OnnxRuntimeRunner(one).infer(batch)
        assert caught.value.message == error.message.replace("numpy", "onnx")
        assert caught.value.where.line is not None
        return
    compare(one, batch)


@pytest.mark.parametrize("name", sorted(NOT_RUN))
def test_layer_types_that_no_backend_runs(name, tmp_path):
    one = load_type(name, "pjreddie" if OPS[name].readers == ("pjreddie",) else "alexeyab")
    with_weights(one, tmp_path)
    with pytest.raises(Unsupported) as caught:
        OnnxRuntimeRunner(one).open()
    assert "[{}] cannot be run by the onnx backend".format(name) in str(caught.value)
    assert caught.value.where.line is not None


@pytest.mark.parametrize("name", sorted(NETS))
def test_options_that_few_cfgs_use(name, tmp_path):
    (tmp_path / "net.cfg").write_text(text(name), "ascii")
    paths, dialect = [str(tmp_path / "net.cfg"), str(tmp_path / "net.weights")], NETS[name][0]
    make_weights.make(*paths, dialect=dialect, dead=0)
    one = load(paths[0], paths[1], dialect)
    assert 0 < compare(one, np.concatenate([picture(one, seed=seed) for seed in range(2)]))


@pytest.mark.parametrize("first", range(0, SEEDS, 12))
def test_random_nets(first, tmp_path):
    for seed in range(first, first + 12):
        case, weights = draw(Choices(seed)), str(tmp_path / "net.weights")
        (tmp_path / "net.cfg").write_bytes(case.data)
        made = case.weights
        write_weights(case.data, weights, made["seed"], Header(*made["header"]), made["dead"], case.dialect)
        one = load(str(tmp_path / "net.cfg"), weights, case.dialect)
        try:
            compare(one, picture(one))
        except AssertionError as error:
            raise AssertionError("seed {}".format(seed)) from error


@pytest.mark.parametrize("name", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_trained_detectors(name):
    path = str(need.shared() / "models" / "yolo-fastest-1.1" / name)
    one = load(path + ".cfg", path + ".weights")
    assert compare(one, picture(one)) <= AGREE


# ---- the runner


def test_the_layers_that_are_asked_for_and_batches_of_any_length(tmp_path):
    one = net(tmp_path, NET)
    batch = np.concatenate([picture(one, seed=seed) for seed in range(3)])
    expected = NumpyRunner(one).infer(batch)
    with OnnxRuntimeRunner(one) as runner:
        for images, layers in ((3, [4]), (3, iter([1, 4])), (2, [3, 2]), (1, [0]), (3, None), (2, [])):
            wanted = range(5) if layers is None else list(layers)
            found = runner.infer(batch[:images], None if layers is None else wanted)
            assert sorted(found) == sorted(wanted)
            for index, y in found.items():
                assert np.abs(y - expected[index][:images]).max() <= 1e-5 * np.abs(expected[index]).max()
    runner.close()
    assert np.array_equal(runner.infer(batch, [4])[4], found.get(4, runner.infer(batch, [4])[4]))  # it opens again


def test_tensors_by_name(tmp_path):
    one = net(tmp_path, NET)
    names = [tensor.name for tensor in ranged_tensors(one)]
    runner, batch = OnnxRuntimeRunner(one), picture(one)
    found = runner.named(batch, names)
    assert sorted(found) == sorted(names) and "L001_convolutional_before" in names
    assert np.array_equal(found["data"], batch)
    assert np.array_equal(found["L002_upsample"], found["L003_route"])
    leaky = found["L000_convolutional_before"]
    assert np.array_equal(found["L000_convolutional"], np.maximum(leaky, np.float32(0.1) * leaky))
    assert np.array_equal(runner.infer(batch, [4])[4], found["L004_convolutional"])
    with pytest.raises(KeyError):
        runner.named(batch, ["L009_convolutional"])


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_dialects(dialect, tmp_path):
    paths = write(tmp_path, NET)
    assert "onnxruntime" in RUNNERS
    runner = open_runner("onnxruntime", paths[0], paths[1], dialect)
    assert (runner.name, runner.dialect) == ("onnxruntime", dialect)
    compare(runner.net, picture(runner.net))


def test_a_batch_that_does_not_fit(tmp_path):
    one = net(tmp_path, NET)
    with pytest.raises(UsageError) as caught:
        OnnxRuntimeRunner(one).infer(np.zeros((1, 3, 8, 16), np.float32))
    assert caught.value.message == "the batch has shape [1, 3, 8, 16], the net takes [N, 3, 16, 16]"


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_what_is_not_installed(name, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency) as caught:
        OnnxRuntimeRunner(net(tmp_path, NET)).open()
    assert str(caught.value) == (
        "error: {0} cannot be imported: import of {0} halted; None in sys.modules\nhint: pip install {0}".format(name)
    )


def test_a_model_that_the_runtime_is_too_old_for(tmp_path, monkeypatch):
    from darkprune.backends import onnx_graph

    one = net(tmp_path, NET)
    monkeypatch.setattr(onnx_graph, "IR_VERSION", 99)
    with pytest.raises(VerifyError) as caught:
        OnnxRuntimeRunner(one).infer(picture(one))
    assert caught.value.message.startswith("ONNX Runtime {} refuses the model: ".format(onnxruntime.__version__))
    assert "99" in caught.value.message and "\n" not in caught.value.message
    assert caught.value.hint == "pip install --upgrade onnxruntime"


def test_more_weights_than_a_file_can_hold(tmp_path, monkeypatch):
    from darkprune.backends import onnx_graph

    one = net(tmp_path, NET)
    monkeypatch.setattr(onnx_graph, "MOST_BYTES", 4000)
    with pytest.raises(Unsupported) as caught:
        OnnxRuntimeRunner(one).open()
    assert str(caught.value) == (
        "{}:12: error: the ONNX file would hold more than 4e-06 GB of weights, and none can\n"
        "   12 | [convolutional]\n      | ^^^^^^^^^^^^^^^\nhint: prune the net first".format(tmp_path / "net.cfg")
    )


def test_batch_norm_that_cannot_be_folded_stays(tmp_path):
    from darkprune.backends.onnx_model import to_onnx

    def operators(text):
        return [node.op_type for node in to_onnx(net(tmp_path, text)).graph.node]

    assert "BatchNormalization" not in operators(NET)
    assert operators(cfg(conv(8), section("batchnorm"), HEAD)).count("BatchNormalization") == 1
    assert operators(cfg(conv(8), conv(6, xnor=1), HEAD)).count("BatchNormalization") == 2


def test_an_output_that_another_layer_makes_is_a_copy(tmp_path):
    from darkprune.backends.onnx_model import to_onnx

    one = net(tmp_path, cfg(conv(8), section("dropout"), HEAD))
    model = to_onnx(one, [0, 1, 2])
    assert [x.name for x in model.graph.output] == ["L000_convolutional", "L001_dropout", "L002_convolutional"]
    assert [node.op_type for node in model.graph.node] == ["Conv", "LeakyRelu", "Conv", "Identity"]


def test_threads(tmp_path):
    one, seen = net(tmp_path, NET), []
    runner = OnnxRuntimeRunner(one, threads=1)
    runner.infer(picture(one), heads(one))
    seen.append(runner._session.get_session_options().intra_op_num_threads)
    assert seen == [1]
