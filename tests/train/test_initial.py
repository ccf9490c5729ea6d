"""Random weights to start from."""

import math

import numpy as np

from darkprune.darknet.weights import NEW_HEADER
from darkprune.graph.build import build
from darkprune.train.initial import start
from small_nets import cfg, conv, parse, section


def made(text, seed=1, **options):
    return start(build(parse(text)), seed, **options)


def test_arrays_are_uniform_with_darknets_variance():
    net = made(cfg(conv(64), conv(64, 1), section("connected", output=32, activation="linear")))
    assert net.header == NEW_HEADER and net.loaded == 3 and net.source is None
    for layer, inputs in zip(net.layers, (3 * 9, 64, 64 * 16 * 16)):
        weights = layer.array("weights")
        bound = math.sqrt(2.0 / inputs)  # sqrt(2./(size*size*c/groups)) * rand_uniform(-1, 1)
        assert 0.97 * bound < np.abs(weights).max() <= np.float32(bound)
        assert abs(float(weights.std()) - bound / math.sqrt(3)) < 0.03 * bound
        assert not layer.array("biases").any()
    for name, value in (("scales", 1), ("mean", 0), ("variance", 1)):
        assert (net.layers[0].array(name) == value).all()
