"""Random weights to start from."""

import hashlib
import math

import numpy as np
import pytest

from darkprune.darknet.weights import NEW_HEADER
from darkprune.errors import UsageError
from darkprune.graph.build import build
from darkprune.graph.save import weights_chunks
from darkprune.ops.heads import logistic
from darkprune.train.random_weights import start
from small_nets import HEAD, cfg, conv, detector, parse, raw_heads, route, section, shortcut
from type_nets import CFGS
from type_nets import load as load_type


def made(text, seed=1, **options):
    return start(build(parse(text)), seed, **options)


def content(net):
    return b"".join(weights_chunks(net))


def test_arrays_are_uniform_with_darknets_bounds():
    # make_convolutional_layer: sqrt(2./(size*size*c/groups)) * rand_uniform(-1, 1); make_connected_layer: of its inputs
    net = made(cfg(conv(64), conv(64, 5, groups=4), section("connected", output=32, activation="linear")))
    assert net.header == NEW_HEADER and net.loaded == 3 and net.source is None
    for layer, inputs in zip(net.layers, (3 * 9, 16 * 25, 64 * 16 * 16)):
        weights, bound = layer.array("weights"), math.sqrt(2.0 / inputs)
        assert 0.97 * bound < np.abs(weights).max() <= np.float32(bound)
        assert abs(float(weights.std()) - bound / math.sqrt(3)) < 0.03 * bound
        assert abs(float(weights.mean())) < 0.05 * bound and not layer.array("biases").any()
    for name, value in (("scales", 1), ("mean", 0), ("variance", 1)):
        assert (net.layers[0].array(name) == value).all()


def test_factors_and_constants_start_as_darknet_has_them():
    net = made(
        cfg(
            conv(4),
            conv(4),
            shortcut(-2, weights_type="per_channel", weights_normalization="relu"),
            section("implicit", filters=400, mean=2, std=0.5),
            route(-2),
            conv(4, activation="normalize_channels"),
        )
    )
    assert (net.layers[2].array("weights") == 1).all()  # make_shortcut_layer
    learnt = net.layers[3].array("weights")  # make_implicit_layer: mean + rand_uniform(-std, std)
    assert 1.5 <= learnt.min() < 1.51 and 2.49 < learnt.max() <= 2.5
    assert (net.layers[5].array("weights") == 1).all()


@pytest.mark.parametrize("name", sorted(CFGS))
def test_every_layer_type_starts(name):
    net = start(load_type(name, "alexeyab"), 1)
    assert len(content(net)) == net.header.size + 4 * net.count_parameters()


def test_a_seed_gives_the_same_weights_on_every_machine():
    net = made(cfg(conv(8), conv(8), HEAD), 7)
    assert content(net) == content(start(net, 7)) != content(start(net, 8))
    assert (
        hashlib.sha256(content(net)).hexdigest() == "65586e75650c3888c922bafb1d02873742a2d92d5f525eaeb70ec2db4f31a4a0"
    )
    assert not np.array_equal(net.layers[1].array("weights"), start(net, 8).layers[1].array("weights"))


def test_objectness_starts_at_the_probability_that_is_asked_for():
    net = made(detector(classes=2), objectness=0.01)
    (raw,) = raw_heads(net)
    raw = raw.reshape(3, 7, -1)
    biases = net.layers[1].array("biases").reshape(3, 7)
    np.testing.assert_allclose(logistic(biases[:, 4]), 0.01, rtol=1e-3)
    assert not np.delete(biases, 4, axis=1).any()
    assert logistic(raw[:, 4]).mean() < 0.05 < logistic(raw[:, 3]).mean()
    behind = made(detector(classes=2).replace("[yolo]", "[route]\nlayers=-1\n[yolo]"), objectness=0.01)
    np.testing.assert_array_equal(behind.layers[1].array("biases"), net.layers[1].array("biases"))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"seed": -1}, "error: no seed is -1\nhint: use a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "error: no seed is 4294967296\nhint: use a whole number from 0 to 4294967295"),
        ({"objectness": 1.0}, "error: no objectness starts at 1.0\nhint: use a probability such as 0.01"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(UsageError) as caught:
        made(detector(), **options)
    assert str(caught.value) == text
