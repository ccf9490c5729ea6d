"""Equalisation leaves a net's outputs as they are, makes channels alike, and touches only what lets factors through."""

import numpy as np
import pytest

import small_nets
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.edit.fuse_bn import fuse_batch_norm
from darkprune.errors import CalibrationError, DarkpruneError, Unsupported
from darkprune.graph.build import load
from darkprune.quant.equalize import LARGEST, Scalable, channel_maxima, equalized, factors
from int8_nets import pictures
from random_checks import Checker, draw
from random_layers import Choices
from small_nets import HEAD, conv, route, section, shortcut

DEPTHWISE = conv(8, groups=8)


def folded(folder, text):
    net = fuse_batch_norm(small_nets.net(folder, text), "alexeyab")
    layer = net.layers[0]
    layer.set_param(
        "weights", layer.array("weights") * np.logspace(-0.5, 0.5, len(layer.array("weights")))[:, None, None, None]
    )
    return net


def maxima(net):
    return channel_maxima(net, NumpyRunner(net), [pictures(net)])


def spread(net, index):
    """The largest range of a channel over the smallest."""
    found = maxima(net)[index]
    return found.max() / found[found > 0].min()


def test_channels_read_by_depthwise_filters_only_become_alike_at_any_strength(tmp_path):
    net = folded(tmp_path, small_nets.cfg(conv(8), DEPTHWISE, HEAD))
    assert spread(net, 0) > 5
    found = factors(net, maxima(net), 0.25)
    made, scaled = equalized(net, found), (found[0] > 1) & (found[0] < LARGEST)
    assert scaled.sum() > 4
    np.testing.assert_allclose(maxima(made)[0][scaled], maxima(net)[0].max(), rtol=1e-4)
    assert maxima(made)[0].max() == pytest.approx(maxima(net)[0].max(), rel=1e-4)
    assert spread(made, 1) > 1.5  # read by the head: a quarter of the way
    assert small_nets.distance(net, made) < 1e-5


def test_the_strength_is_the_exponent_where_all_channels_are_read_together(tmp_path):
    net = folded(tmp_path, small_nets.cfg(conv(8), conv(4), HEAD))
    largest = maxima(net)[0]
    for strength in (0.0, 0.5, 1.0):
        found = factors(net, maxima(net), strength)
        expected = (largest.max() / np.where(largest > 0, largest, largest.max())) ** strength
        np.testing.assert_allclose(found.get(0, np.ones(8)), np.minimum(expected, LARGEST**strength))
    assert factors(net, maxima(net), 0.0) == {}


def test_maps_that_meet_in_a_sum_share_their_factors_and_a_concatenation_hands_them_on(tmp_path):
    text = small_nets.cfg(
        conv(8), conv(8, activation="linear"), shortcut(-2), section("maxpool", size=2, stride=1), route(-1, -4), HEAD
    )
    net = folded(tmp_path, text)
    found = factors(net, maxima(net), 1.0)
    assert sorted(found) == [0, 1]
    np.testing.assert_array_equal(found[0], found[1])
    made = equalized(net, found)
    for before, after in zip(*[NumpyRunner(n).infer(pictures(n)).items() for n in (net, made)]):
        factor = np.tile(found[0], 2 if before[0] == 4 else 1)[: before[1].shape[1], None, None]
        wanted = before[1] * (factor if before[0] < 5 else 1)
        np.testing.assert_allclose(after[1], wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "text",
    [
        conv(8, activation="swish") + HEAD,
        conv(8) + section("activation", activation="logistic") + HEAD,
        conv(8) + section("softmax"),
        conv(8) + section("avgpool") + conv(8, 1) + section("scale_channels", from_=-3) + HEAD,
        conv(8) + section("batchnorm") + HEAD,
    ],
    ids=["swish", "logistic", "softmax", "gate", "batchnorm"],
)
def test_channels_that_meet_anything_else_keep_the_factor_1(tmp_path, text):
    net = folded(tmp_path, small_nets.cfg(text))
    scalable = Scalable(net)
    assert not scalable.free[scalable.groups[scalable.channels.output(net.layers[0])]].any()
    assert 0 not in factors(net, maxima(net), 1.0)


def test_factors_that_do_not_fit_are_refused(tmp_path):
    net = folded(tmp_path, small_nets.cfg(conv(8), conv(8, activation="linear"), shortcut(-2), HEAD))
    wanted = "error: the ranges' factors of layer {} do not fit this net\nhint: calibrate again"
    for index, found in (
        (3, {3: np.full(5, 2.0)}),  # a head
        (2, {2: np.full(8, 2.0)}),  # makes no channels
        (99, {99: np.full(8, 2.0)}),
        (0, {0: np.full(7, 2.0)}),
        (0, {0: np.full(8, -1.0), 1: np.full(8, -1.0)}),
        (1, {0: np.full(8, 2.0)}),  # without that of the map it is added to
    ):
        with pytest.raises(CalibrationError) as error:
            equalized(net, found)
        assert str(error.value) == wanted.format(index)


def test_random_nets_compute_the_same(tmp_path):
    checker, tried = Checker(str(tmp_path)), 0
    for seed in range(40):
        case = draw(Choices(seed))
        checker._write(case)
        try:
            net = fuse_batch_norm(
                load(checker.path("net.cfg"), checker.path("net.weights"), case.dialect), case.dialect
            )
            with np.errstate(all="ignore"):
                largest = maxima(net)
        except (Unsupported, DarkpruneError):
            continue
        if not all(np.isfinite(row).all() for row in largest.values()):
            continue
        found = factors(net, largest, 0.75)
        if found:
            tried += 1
            assert small_nets.distance(net, equalized(net, found)) < 1e-3, "seed {}".format(seed)
    assert tried > 10
