"""The fewest layers left float for a signal at the heads."""

import numpy as np
import pytest

import small_nets
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.errors import CalibrationError
from darkprune.quant import sqnr
from darkprune.quant.auto_keep import auto_keep
from int8_nets import measured, pictures
from small_nets import HEAD, conv


def test_the_layer_that_loses_the_most_is_left_float_and_no_other(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(8), conv(8), conv(8), conv(8), HEAD), dead=0.0)
    weights = net.layers[2].array("weights").copy()
    weights[:, 0, 0, 0] = 300 * np.abs(weights).max()  # the steps of the others are coarse
    net.layers[2].set_param("weights", weights)
    rated = []

    def rate(layers):
        rated.append(layers)
        ranges = measured(net, keep_float=layers)
        return sqnr.of_heads(net, NumpyRunner(net), FakequantRunner(net, ranges), [pictures(net)])

    whole = rate([0, 4])
    found = auto_keep(net, [0, 4], whole + 1, rate)
    assert found.layers == [0, 2, 4]
    assert found.ranking[0][0] == 2 and found.heads == found.ranking[0][1] > whole + 1
    assert auto_keep(net, [0, 4], whole - 1, rate) == ([0, 4], whole, [])
    with pytest.raises(CalibrationError) as error:
        auto_keep(net, [0, 4], 500.0, rate)
    assert str(error.value).endswith("500.0 were asked for\nhint: ask for less")


def test_layers_that_are_not_needed_are_given_back(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(8), conv(8), conv(8), HEAD))
    signals = {(): 10.0, (1,): 12.0, (2,): 11.0, (1, 2): 20.0}
    assert auto_keep(net, [], 11.5, lambda layers: signals.get(tuple(layers), 10.0)).layers == [1]
    signals = {(): 10.0, (1,): 12.0, (2,): 11.9, (0,): 10.0, (1, 2): 20.0}
    assert auto_keep(net, [], 19.0, lambda layers: signals.get(tuple(layers), 10.0)).layers == [1, 2]
