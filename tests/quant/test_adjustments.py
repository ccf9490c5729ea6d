"""What holds the accuracy, put together: the strength that is chosen, layers left float, and what is said of them."""

import numpy as np
import pytest

import need
import small_nets
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.errors import CalibrationError
from darkprune.quant import adjustments, sqnr
from darkprune.quant.adjustments import Wanted
from darkprune.quant.calibrate import calibrate, preprocessing_of
from darkprune.quant.quantization import keep_float
from darkprune.quant.range_methods import Method
from small_nets import HEAD, conv


@pytest.fixture
def case(tmp_path):
    """(net, its Ranges, paths of images, method)"""
    cv2 = need.opencv()
    net = small_nets.net(tmp_path, small_nets.cfg(conv(8), conv(8, groups=8), conv(8), conv(6), HEAD), dead=0.2)
    weights = net.layers[0].array("weights")
    net.layers[0].set_param("weights", weights * np.logspace(-1, 1, 8)[:, None, None, None])
    paths = [str(tmp_path / "{}.png".format(number)) for number in range(4)]
    for number, path in enumerate(paths):
        pixels = np.random.RandomState(number).randint(0, 256, (16, 16, 3)).astype(np.uint8)
        assert cv2.imwrite(path, pixels)
    method = Method("max")
    ranges = calibrate(NumpyRunner(net), net, paths, method).ranges
    ranges.keep_float = keep_float(net, None)
    return net, ranges, paths, method


def heads_of(net, ranges, paths):
    held = adjustments.batches(net, paths, preprocessing_of(net))
    return sqnr.of_heads(net, NumpyRunner(net), FakequantRunner(net, ranges), held)


def test_the_strength_with_the_best_signal_is_chosen(case):
    net, ranges, paths, method = case
    before = heads_of(net, ranges, paths)
    choice = adjustments.equalized(ranges, net, paths, method, adjustments.opener("numpy"), (0.0, 0.5, 1.0))
    assert sorted(choice.heads) == [0.0, 0.5, 1.0]
    assert choice.heads[0.0] == pytest.approx(before)
    assert choice.heads[choice.strength] == max(choice.heads.values())
    assert heads_of(net, ranges, paths) == pytest.approx(choice.heads[choice.strength])
    assert bool(ranges.adjustments.factors) == bool(choice.strength)


def test_everything_at_once_keeps_more_and_says_what_was_done(case):
    net, ranges, paths, method = case
    before = heads_of(net, ranges, paths)
    said = adjustments.improve(ranges, net, paths, method, Wanted(True, None, True, True, before + 1), "numpy", iter)
    assert [line.split()[-1] for line in said[2:]] == ["learned", "corrected"]
    assert "equalised, with strength" in said[0] and said[1].startswith("float: layers 0, ")
    assert heads_of(net, ranges, paths) > before
    assert set(ranges.adjustments.rounding) == set(ranges.adjustments.biases)
    assert not set(ranges.adjustments.rounding) & set(ranges.keep_float)


def test_nothing_wanted_changes_nothing(case):
    net, ranges, paths, method = case
    before = ranges.to_bytes()
    assert adjustments.improve(ranges, net, paths, method, Wanted(False, None, False, False, None), "numpy", iter) == []
    assert ranges.to_bytes() == before


def test_a_signal_out_of_reach_is_refused(case):
    net, ranges, paths, method = case
    with pytest.raises(CalibrationError) as error:
        adjustments.improve(ranges, net, paths, method, Wanted(False, None, False, False, 400.0), "numpy", iter)
    text = str(error.value)
    assert text.startswith("error: the heads have ")
    assert text.endswith(" dB with all layers float, 400.0 were asked for\nhint: ask for less")
