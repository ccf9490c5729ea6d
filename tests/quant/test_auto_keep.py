"""The fewest layers left float for a signal at the heads."""

import itertools

import pytest

import small_nets
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.errors import CalibrationError
from darkprune.quant import sqnr
from darkprune.quant.auto_keep import auto_keep
from int8_nets import measured, pictures
from small_nets import HEAD, conv


def test_as_few_layers_stay_float_as_any_choice_of_them_needs(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(8), conv(8), conv(8), conv(8), HEAD), dead=0.0)
    batch = pictures(net)

    def rate(layers):
        ranges = measured(net, keep_float=layers)
        return sqnr.of_heads(net, NumpyRunner(net), FakequantRunner(net, ranges), [batch])

    subsets = [list(chosen) for count in range(4) for chosen in itertools.combinations((1, 2, 3), count)]
    signals = [rate(sorted([0, 4] + chosen)) for chosen in subsets]
    for wanted in (signals[0] - 1, max(signals[1:4]) - 0.01, max(signals[4:7]) - 0.01):
        fewest = min(len(chosen) for chosen, signal in zip(subsets, signals) if signal >= wanted)
        found = auto_keep(net, [0, 4], wanted, rate)
        assert len(found.layers) == 2 + fewest and found.heads == rate(found.layers) >= wanted
    assert [signal for _, signal in found.ranking] == sorted(signals[1:4], reverse=True)
    with pytest.raises(CalibrationError) as error:
        auto_keep(net, [0, 4], 500.0, rate)
    assert str(error.value).endswith("500.0 were asked for\nhint: ask for less")


def test_layers_that_are_not_needed_are_given_back(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(8), conv(8), conv(8), HEAD))
    signals = {(): 10.0, (1,): 12.0, (2,): 11.0, (1, 2): 20.0}
    assert auto_keep(net, [], 11.5, lambda layers: signals.get(tuple(layers), 10.0)).layers == [1]
    signals = {(): 10.0, (1,): 12.0, (2,): 11.9, (0,): 10.0, (1, 2): 20.0}
    assert auto_keep(net, [], 19.0, lambda layers: signals.get(tuple(layers), 10.0)).layers == [1, 2]
