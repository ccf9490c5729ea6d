"""Padded convolutions in ONNX graphs: the same outputs, under the same names and in the same shapes."""

from collections import Counter

import numpy as np
import pytest

import need
from darkprune.backends.channel_padding import Padded
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner
from darkprune.darknet.weights import Header
from darkprune.errors import Unsupported
from darkprune.graph.build import load
from darkprune.graph.net import heads
from darkprune.quant.quantization import Quantization
from darkprune.verify import allow_noise, check, moved
from darkprune.verify import test_batch as picture
from int8_nets import measured
from odd_nets import NETS, text
from random_checks import draw
from random_layers import Choices
from random_nets import write_weights
from small_nets import cfg, conv, make_weights, route, section, shortcut
from small_nets import net as small_net
from type_nets import CFGS, NOT_RUN, with_weights
from type_nets import load as load_type

need.onnx()
need.onnxruntime()

from darkprune.backends.onnx_graph import BATCH  # noqa: E402
from darkprune.backends.onnx_int8 import lowering  # noqa: E402
from darkprune.backends.onnx_model import folded, lower  # noqa: E402

AGREE = 1e-4  # of a layer's largest value
SEEDS = 12


def lowered(net, layers, batch, multiple=5):
    return lower(folded(net), layers, batch, lambda inner: Padded(inner, multiple, heads(net)))


def compare(net, batch, layers=None, multiple=5):
    """Fails where a layer of the padded graph gives other numbers than numpy."""
    runner = OnnxRuntimeRunner(net, threads=1, lower=lambda *asked: lowered(net, *asked, multiple=multiple))
    expected, found = NumpyRunner(net).infer(batch, layers), runner.infer(batch, layers)
    checks = [check("padded", "numpy", i, expected[i], found[i], AGREE) for i in sorted(expected)]

    def noise():
        other = NumpyRunner(net, lambda layer, y: moved(y)).infer(moved(batch))
        return {i: check("noise", "numpy", i, y, other[i], 0.0).max_error for i, y in expected.items()}

    failed = [c for c in allow_noise(checks, noise) if not c.ok]
    assert not failed, failed[0]


@pytest.mark.parametrize("name", sorted(set(CFGS) - NOT_RUN))
def test_every_layer_type(name, tmp_path):
    net = load_type(name, "alexeyab")
    with_weights(net, tmp_path)
    batch = np.random.RandomState(1).rand(2, 3, 8, 8).astype(np.float32)
    try:
        NumpyRunner(net).infer(batch)
    except Unsupported as error:
        with pytest.raises(Unsupported) as caught:
            lowered(net, None, 1)
        assert caught.value.message == error.message.replace("numpy", "onnx")
        return
    compare(net, batch)
    compare(net, batch, heads(net))


@pytest.mark.parametrize("name", sorted(NETS))
def test_options_that_few_cfgs_use(name, tmp_path):
    (tmp_path / "net.cfg").write_text(text(name), "ascii")
    paths, dialect = [str(tmp_path / "net.cfg"), str(tmp_path / "net.weights")], NETS[name][0]
    make_weights.make(*paths, dialect=dialect, dead=0)
    net = load(paths[0], paths[1], dialect)
    compare(net, picture(net), multiple=3)


def test_random_nets(tmp_path):
    for seed in range(SEEDS):
        case, weights = draw(Choices(seed)), str(tmp_path / "net.weights")
        (tmp_path / "net.cfg").write_bytes(case.data)
        made = case.weights
        write_weights(case.data, weights, made["seed"], Header(*made["header"]), made["dead"], case.dialect)
        net = load(str(tmp_path / "net.cfg"), weights, case.dialect)
        try:
            compare(net, picture(net), heads(net), 2 + seed % 4)
        except AssertionError as error:
            raise AssertionError("seed {}".format(seed)) from error


HEAD = conv(5, 1, "linear", None)


@pytest.mark.parametrize("last", [HEAD, conv(6) + shortcut(0), conv(6, groups=6), section("avgpool"), route(-1, 0)])
def test_outputs_keep_their_names_and_widths(last, tmp_path):
    net = small_net(tmp_path, cfg(conv(6) + conv(6) + last), dead=0)
    for batch in (1, BATCH):
        plain, padded = lower(folded(net), None, batch).model(), lowered(net, None, batch, 4).model()
        assert list(padded.graph.output) == list(plain.graph.output)
        widths = {x.name: x.dims[0] for x in padded.graph.initializer if x.name.endswith("_weights")}
        assert widths["L000_convolutional_weights"] == 8


INT8 = (
    conv(6)
    + conv(10, activation="relu")
    + route(-1, 0)
    + conv(16, groups=16)
    + conv(6, 1, "mish")
    + conv(6)
    + shortcut(-2)
    + conv(10)
    + shortcut(-2)
    + section("avgpool")
    + conv(10, 1, "logistic")
    + section("scale_channels", from_=-3)
    + route(-1, groups=2, group_id=1)
    + section("maxpool", size=2, stride=2)
    + section("upsample")
    + HEAD
)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_integers_are_padded_too(batch, tmp_path):
    """ONNX Runtime gives the same with wider convolutions, which are integers as before."""
    net = small_net(tmp_path, cfg(INT8), dead=0)
    quantization = Quantization(net, measured(net))
    images, outputs, kinds = picture(net), [], []
    for multiple in (1, 8):
        model = lowering(quantization, multiple=multiple)(None, batch).model()
        session = need.onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"data": images})[0])
        kinds.append(Counter(node.op_type for node in model.graph.node))
    assert [x.name for x in model.graph.output] == ["L015_convolutional"]
    width = {x.name: list(x.dims) for x in model.graph.initializer}
    assert width["L001_convolutional_weights_quantized"] == [16, 8, 3, 3]
    assert kinds[0]["QuantizeLinear"] <= kinds[1]["QuantizeLinear"] <= kinds[0]["QuantizeLinear"] + 2
    assert kinds[1]["Conv"] == kinds[0]["Conv"]
    steps = np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max()
    assert steps <= 0.01 and np.abs(outputs[0]).max() > 0
