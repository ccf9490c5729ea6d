"""The range of what a table activation reads: behind it the least error comes out, and less than by other ranges."""

import numpy as np
import pytest

import small_nets
from darkprune.ops.activation_functions import activate
from darkprune.quant.activation_input import before_range, invertible
from darkprune.quant.histogram import Histogram
from darkprune.quant.quantization import ONNXRUNTIME, TENSORRT, qparams
from darkprune.quant.range_methods import METHODS, Method, range_of
from darkprune.quant.ranges import Range


def counted(values):
    found = Histogram()
    found.add(np.asarray(values, np.float32))
    return found


def layer_with(folder, activation, dialect="alexeyab"):
    return small_nets.net(folder, small_nets.cfg(small_nets.conv(4, activation=activation)), dialect=dialect).layers[0]


def rounded(values, found, scheme):
    rounding = qparams(found, scheme)
    integers = np.clip(np.rint(values / np.float64(rounding.scale)) + rounding.zero_point, *rounding.limits)
    return (integers - rounding.zero_point) * rounding.scale


def behind(values, activation, inner, outer, scheme):
    """The squared error of the table from `inner` to `outer`."""
    wanted = activate(values, activation).astype(np.float64)
    table = activate(rounded(values, inner, scheme).astype(np.float32), activation)
    return ((rounded(table, outer, scheme) - wanted) ** 2).sum()


def seen(activation, seed=0):
    """What the activation of a layer reads: rather more negative than positive values, some of them large."""
    random = np.random.RandomState(seed)
    return (random.standard_normal(8000) * np.where(random.rand(8000) < 0.002, 6, 1.5) - 0.8).astype(np.float32)


@pytest.mark.parametrize("scheme", [ONNXRUNTIME, TENSORRT], ids=["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("activation", ["leaky", "mish", "swish", "logistic"])
def test_no_other_range_does_better(tmp_path, activation, scheme):
    values = seen(activation)
    after, before = counted(activate(values, activation)), counted(values)
    for name in METHODS:
        output = range_of(after, Method(name))
        found = before_range(layer_with(tmp_path, activation), after, before, output)
        least = behind(values, activation, found, output, scheme)
        for high in np.linspace(0.1, 1, 9) * values.max():
            for low in np.linspace(0.1, 1, 9) * values.min():
                other = Range(low, high, max(-low, high))
                assert least <= 1.03 * behind(values, activation, other, output, scheme), (name, low, high)


def test_negative_values_are_clipped_where_leaky_makes_them_small(tmp_path):
    values = seen("leaky")
    after = counted(activate(values, "leaky"))
    output = range_of(after, Method("max"))
    found = before_range(layer_with(tmp_path, "leaky"), after, after, output)
    assert 0.1 * values.min() > found.low > 0.9 * values.min()
    whole = behind(values, "leaky", Range(float(values.min()), float(values.max()), 0.0), output, ONNXRUNTIME)
    assert behind(values, "leaky", found, output, ONNXRUNTIME) < 0.92 * whole


def test_leaky_needs_no_histogram_of_its_own(tmp_path):
    values = seen("leaky")
    layer, before = layer_with(tmp_path, "leaky"), counted(values)
    after = counted(activate(values, "leaky"))
    output = range_of(after, Method("mse"))
    derived = before_range(layer, after, after, output)
    assert derived.low >= 1.001 * before.low and derived.high <= before.high
    assert invertible(layer)
    assert not invertible(layer_with(tmp_path, "mish"))
    assert not invertible(layer_with(tmp_path, "revleaky", "pjreddie"))  # there it is relu


@pytest.mark.parametrize("activation", ["leaky", "mish"])
def test_zeros(tmp_path, activation):
    zeros = counted(np.zeros(5))
    assert before_range(layer_with(tmp_path, activation), zeros, zeros, Range(0.0, 0.0, 0.0)) == Range(0.0, 0.0, 0.0)
