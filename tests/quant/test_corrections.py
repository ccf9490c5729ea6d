"""Bias correction and learned rounding: what they promise of means and of squared errors."""

import itertools

import numpy as np
import pytest

import need
import small_nets
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.errors import CalibrationError
from darkprune.quant import sqnr
from darkprune.quant.bias_correction import added, correct
from darkprune.quant.learned_rounding import learn, turned, windows
from darkprune.quant.quantization import Quantization, prepared, round_weights, unpack, weight_scales
from int8_nets import measured, pictures
from small_nets import HEAD, conv, section

BODY = conv(8), conv(12, activation="linear"), conv(12, groups=12), conv(10, 1, "linear"), conv(8, groups=2)


@pytest.fixture
def net(tmp_path):
    return small_nets.net(tmp_path, small_nets.cfg(*(BODY + (section("avgpool"), HEAD))), dead=0.1)


def batches(net):
    batch = pictures(net, 6)
    return [batch[:4], batch[4:]]


def mean_errors(net, ranges, index):
    """|mean error| of a linear layer's channels, relative to the layer's largest value."""
    x, y = [run.infer(pictures(net, 6), [index])[index] for run in (NumpyRunner(net), FakequantRunner(net, ranges))]
    return np.abs((x - y).mean(axis=(0, 2, 3))) / np.abs(x).max()


def coarse(net):
    """Ranges that cut a fifth of what layer 0 puts out, so that the means behind it are off."""
    ranges = measured(net)
    value = ranges.tensors["L000_convolutional"]
    ranges.tensors["L000_convolutional"] = value._replace(high=0.8 * value.high)
    return ranges


def test_the_means_behind_corrected_layers_are_right(net):
    changes = correct(Quantization(net, coarse(net)), batches(net))
    assert sorted(changes) == [1, 2, 3, 4]  # the first convolution and the head's are float
    corrected = coarse(net)
    corrected.adjustments.biases = changes
    for index in (1, 3):
        assert mean_errors(net, corrected, index).mean() < mean_errors(net, coarse(net), index).mean() / 2


def test_torch_finds_the_same_corrections(net):
    need.torch()
    quantization = Quantization(net, coarse(net))
    first, second = correct(quantization, batches(net)), correct(quantization, batches(net), "torch")
    for index, change in first.items():
        np.testing.assert_allclose(second[index], change, atol=0.05 * np.abs(change).max())


def test_corrections_add_up():
    found = added({1: np.ones(2), 2: np.ones(1)}, {2: np.full(1, 2.0), 3: np.zeros(1)})
    assert {index: row.tolist() for index, row in found.items()} == {1: [1, 1], 2: [3], 3: [0]}


def test_descent_finds_a_rounding_that_no_single_turn_betters_and_nearly_the_best_of_all():
    random, gains = np.random.RandomState(1), []
    for _ in range(20):
        x = random.normal(size=(40, 6)) @ random.normal(size=(6, 6))
        z = x + 0.1 * random.normal(size=x.shape)
        weights, scales = random.normal(size=(3, 6)), np.full(3, 0.3)
        second, mixed = z.T @ z / 40, x.T @ z / 40

        def loss(up, x=x, z=z, weights=weights):
            made = (np.floor(weights / 0.3) + up) * 0.3
            return ((np.dot(x, weights.T) - np.dot(z, made.T)) ** 2).mean(axis=0)

        nearest = np.rint(weights / 0.3) > np.floor(weights / 0.3)
        found = turned(weights, scales, nearest, second, mixed)
        assert (loss(found) <= loss(nearest) + 1e-12).all()
        for column in range(6):
            other = found.copy()
            other[:, column] = ~other[:, column]
            assert (loss(other) >= loss(found) - 1e-9).all()
        best = np.min([loss(np.array(bits)[None]) for bits in itertools.product([0, 1], repeat=6)], axis=0)
        gains.append([loss(nearest).sum() - best.sum(), loss(found).sum() - best.sum()])
    nearest, found = np.sum(gains, axis=0)
    assert found < 0.5 * nearest


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_windows_are_what_the_taps_meet(groups):
    random = np.random.RandomState(2)
    maps, weights = random.normal(size=(2, 4, 7, 6)), random.normal(size=(8, 4 // groups, 3, 2))
    geometry = {"stride": (2, 1), "padding": 1, "dilation": 1, "groups": groups}
    places = [(np.array([0, 2, 6]), np.array([1, 0, 5]))] * 2
    found = windows(maps, places, weights.shape, slice(0, 4 // groups), geometry)
    padded = np.pad(maps, [(0, 0), (0, 0), (1, 1), (1, 1)], "constant")
    products = np.einsum("gpk,gnk->gnp", found, weights.reshape(groups, 8 // groups, -1)).reshape(8, 6)
    for number, (image, y, x) in enumerate((i, y, x) for i in (0, 1) for y, x in zip(*places[0])):
        for n in range(8):
            first = n // (8 // groups) * (4 // groups)
            cells = padded[image, first : first + 4 // groups, y : y + 3, x : x + 2]
            assert products[n, number] == pytest.approx((cells * weights[n]).sum())


def test_learned_rounding_keeps_more_of_the_signal(net):
    for index in (1, 3):  # one large weight in each filter: the steps of the others are coarse
        weights = net.layers[index].array("weights").copy()
        weights[:, 0, 0, 0] = 20 * np.abs(weights).max()
        net.layers[index].set_param("weights", weights)
    ranges = measured(net, pictures(net, 6))
    before = sqnr.measure(Quantization(net, ranges), batches(net)).layers
    rounding, biases = learn(Quantization(net, ranges), batches(net))
    assert sorted(rounding) == sorted(biases) == [1, 2, 3, 4]
    learned = measured(net, pictures(net, 6))
    learned.adjustments.rounding, learned.adjustments.biases = rounding, biases
    after = sqnr.measure(Quantization(net, learned), batches(net)).layers
    assert after[1] > before[1] + 1 and all(after[index] > before[index] for index in (2, 3, 4))
    made = prepared(net, learned.adjustments)
    weights = made.layers[3].array("weights")
    steps = weights / weight_scales(weights)[:, None, None, None]
    rounded = Quantization(net, learned).weights(made.layers[3], weights)[0]
    assert (np.abs(rounded - steps) < 1.001).all() and (rounded != round_weights(weights, weight_scales(weights))).any()
    assert unpack(rounding[3], weights.shape).any()


def test_learned_rounding_is_the_same_every_time_and_survives_the_file(net, tmp_path):
    first, second = [learn(Quantization(net, measured(net)), batches(net)) for _ in range(2)]
    assert first[0] == second[0]
    ranges = measured(net)
    ranges.adjustments.rounding, ranges.adjustments.biases = first
    path = tmp_path / "ranges.json"
    path.write_bytes(ranges.to_bytes())
    again = type(ranges).read(str(path))
    assert again.to_bytes() == ranges.to_bytes()


def test_rounding_of_a_layer_with_other_weights_is_refused(net):
    ranges = measured(net)
    ranges.adjustments.rounding, _ = learn(Quantization(net, ranges), batches(net))
    ranges.adjustments.rounding[3] = ranges.adjustments.rounding[1]
    with pytest.raises(CalibrationError):
        sqnr.measure(Quantization(net, ranges), batches(net))
