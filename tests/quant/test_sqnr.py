"""Both nets side by side: the second is what fakequant computes, and the ratio of signal to noise is the formula's."""

import numpy as np
import pytest

import need
import small_nets
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.errors import UsageError
from darkprune.graph.net import heads
from darkprune.quant import sqnr
from darkprune.quant.quantization import Quantization
from darkprune.quant.side_by_side import Beside
from int8_nets import measured, pictures
from small_nets import HEAD, conv, route, section, shortcut

TEXT = small_nets.cfg(
    conv(8),
    conv(8, groups=8),
    conv(8, activation="linear"),
    shortcut(-3),
    section("maxpool", size=2, stride=2),
    conv(6, activation="relu"),
    section("upsample", stride=2),
    route(-1, -4),
    conv(8, activation="mish"),
    HEAD,
)


@pytest.fixture
def net(tmp_path):
    return small_nets.net(tmp_path, TEXT)


def halves(net, runner="numpy"):
    """(outputs of the net, of its INT8 form) at the heads, of four pictures in batches of 3 and 1."""
    builder, batch = Beside(Quantization(net, measured(net)), runner), pictures(net, 4)
    found = builder.run([batch[:3], batch[3:]])
    joined = {index: list(builder.values(y)) for index, y in found.items()}
    return [{i: np.concatenate(parts[k : k + 2]) for i, parts in joined.items()} for k in (0, 2)]


def test_the_first_half_is_the_net_and_the_second_what_fakequant_computes(net):
    real, rounded = halves(net)
    wanted = NumpyRunner(net).infer(pictures(net, 4), heads(net))
    integers = FakequantRunner(net, measured(net)).infer(pictures(net, 4), heads(net))
    assert sorted(real) == sorted(rounded) == heads(net)
    for index in heads(net):
        largest = np.abs(wanted[index]).max()
        np.testing.assert_allclose(real[index], wanted[index], atol=1e-5 * largest)
        noise = np.abs(integers[index] - wanted[index]).max()
        assert 1e-3 * largest < noise
        differing = np.abs(rounded[index] - integers[index])
        assert differing.mean() < 0.05 * np.abs(integers[index] - wanted[index]).mean()


def test_torch_computes_the_same(net):
    need.torch()
    for first, second in zip(halves(net), halves(net, "torch")):
        for index in first:
            np.testing.assert_allclose(first[index], second[index], atol=0.02 * np.abs(first[index]).max())


def test_the_ratio_is_that_of_the_sums_of_squares(net):
    ranges, batch = measured(net), pictures(net, 4)
    found = sqnr.measure(Quantization(net, ranges), [batch[:3], batch[3:]])
    real, rounded = [run.infer(batch) for run in (NumpyRunner(net), FakequantRunner(net, ranges))]
    assert sorted(found.layers) == sorted(real)
    for index, x in real.items():
        noise = np.sum((x - rounded[index]).astype(np.float64) ** 2)
        wanted = 10 * np.log10(np.sum(x.astype(np.float64) ** 2) / noise) if noise else sqnr.MOST
        assert found.layers[index] == pytest.approx(wanted, abs=0.3)
    assert found.heads == pytest.approx(np.mean([found.layers[index] for index in heads(net)]))
    assert 10 < found.heads < 60


def test_runners_are_compared_by_the_same_formula(net):
    ranges, batch = measured(net), pictures(net, 4)
    with NumpyRunner(net) as real, FakequantRunner(net, ranges) as rounded:
        found = sqnr.of_heads(net, real, rounded, [batch[:3], batch[3:]])
    assert found == pytest.approx(sqnr.measure(Quantization(net, ranges), [batch]).heads, abs=0.3)


def test_decibels():
    assert sqnr.decibels(100.0, 1.0) == pytest.approx(20)
    assert sqnr.decibels(1.0, 0.0) == sqnr.MOST
    assert sqnr.decibels(0.0, 1.0) == 0.0


def test_another_runner_is_refused(net):
    with pytest.raises(UsageError) as error:
        Beside(Quantization(net, measured(net)), "opencv")
    assert str(error.value) == "error: INT8 is not prepared in the runner opencv\nhint: use numpy, torch"
