"""Ranges from histograms: each method against its definition, and mse against every other range at hand."""

import numpy as np
import pytest

from darkprune.errors import UsageError
from darkprune.quant.histogram import Histogram
from darkprune.quant.quantization import ONNXRUNTIME, TENSORRT, qparams
from darkprune.quant.range_methods import METHODS, Method, range_of
from darkprune.quant.ranges import Range


def counted(values):
    found = Histogram()
    found.add(np.asarray(values, np.float32))
    return found


def heavy_tails(count=200000, seed=0):
    """What leaky leaves of a bell with rare large values."""
    random = np.random.RandomState(seed)
    values = random.standard_normal(count) * np.where(random.rand(count) < 0.001, 20, 1)
    return np.maximum(values, 0.1 * values).astype(np.float32)


def squared_error(values, found, scheme):
    rounding = qparams(found, scheme)
    integers = np.clip(np.rint(values / np.float64(rounding.scale)) + rounding.zero_point, *rounding.limits)
    return (((integers - rounding.zero_point) * rounding.scale - values) ** 2).sum()


def test_max_takes_all_values():
    assert range_of(counted([-0.5, 3, 1]), Method("max")) == Range(-0.5, 3.0, 3.0)
    assert range_of(counted([2, 3]), Method("max")) == Range(0.0, 3.0, 3.0)
    assert range_of(counted([-4, -1]), Method("max")) == Range(-4.0, 0.0, 4.0)


@pytest.mark.parametrize("name", METHODS)
def test_zeros_have_an_empty_range(name):
    assert range_of(counted(np.zeros(9)), Method(name)) == Range(0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", METHODS)
def test_one_value(name):
    low, high, amax = range_of(counted([3.0] * 9), Method(name))
    assert low == 0 and high == pytest.approx(3, rel=1e-3) and amax == pytest.approx(3, rel=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_ranges_hold_zero_and_stay_within_the_values(name):
    for seed in range(4):
        values = heavy_tails(5000, seed) * np.float32([1, -3, 1e-6, 1e9][seed])
        low, high, amax = range_of(counted(values), Method(name))
        assert values.min() <= low <= 0 <= high <= values.max()
        assert 0 < amax <= np.abs(values).max() * 2048.5 / 2048


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
def test_percentile_leaves_its_share_out(percent):
    values = heavy_tails()
    low, high, amax = range_of(counted(values), Method("percentile", percent=percent))
    beyond = (100 - percent) / 100
    assert (np.abs(values) > amax).mean() == pytest.approx(beyond, rel=0.1)
    assert (values > high).mean() == pytest.approx(beyond / 2, rel=0.1)
    assert (values < low).mean() == pytest.approx(beyond / 2, rel=0.1)


def test_entropy_clips_rare_large_values():
    values = heavy_tails()
    found = range_of(counted(values), Method("entropy"))
    assert found.amax < 0.8 * np.abs(values).max()
    assert (found.low, found.high) == (-found.amax, found.amax)
    assert range_of(counted(np.maximum(values, 0)), Method("entropy")).low == 0


def test_entropy_is_not_narrowed_by_the_zeros_behind_a_relu():
    values = np.abs(np.random.RandomState(0).standard_normal(100000)).astype(np.float32)
    sparse = np.concatenate([values, np.zeros(900000, np.float32)])
    assert range_of(counted(sparse), Method("entropy")).amax == range_of(counted(values), Method("entropy")).amax
    assert range_of(counted(values), Method("entropy")).amax > 0.8 * values.max()


@pytest.mark.parametrize("seed", range(3))
def test_mse_has_the_least_error_of_the_real_quantiser(seed):
    values = heavy_tails(10000, seed)
    found = range_of(counted(values), Method("mse"))
    least = squared_error(values, found, ONNXRUNTIME)
    for high in np.linspace(0.2, 1, 21) * values.max():
        for low in np.linspace(0.2, 1, 9) * values.min():
            assert least <= 1.01 * squared_error(values, Range(low, high, high), ONNXRUNTIME)
    least = squared_error(values, found, TENSORRT)
    for amax in np.linspace(0.2, 1, 81) * np.abs(values).max():
        assert least <= 1.01 * squared_error(values, Range(0.0, 0.0, amax), TENSORRT)


def test_what_a_method_is_called():
    assert Method.parse("entropy", 64).to_dict() == {"name": "entropy", "bins": 2048, "levels": 64}
    assert Method.parse("percentile").to_dict() == {"name": "percentile", "percent": 99.99}
    assert Method.parse("percentile:99.9").to_dict() == {"name": "percentile", "percent": 99.9}
    assert Method.parse("max").to_dict() == {"name": "max"}


@pytest.mark.parametrize(
    "text, levels, message",
    [
        ("kl", None, "error: unknown method kl\nhint: use entropy, max, percentile, mse"),
        ("max:3", None, "error: unknown method max:3\nhint: use entropy, max, percentile, mse, or percentile:99.9"),
        ("percentile:", None, "error: unknown method percentile:\nhint: use {}, or percentile:99.9"),
        ("percentile:-1", None, "error: unknown method percentile:-1\nhint: use {}, or percentile:99.9"),
        ("percentile:10", None, "error: a percentile of 10\nhint: give one from 50 to 100, such as 99.99"),
        ("percentile:999", None, "error: a percentile of 999\nhint: give one from 50 to 100, such as 99.99"),
        ("mse", 64, "error: the method mse has no levels\nhint: leave --levels out"),
        (
            "entropy",
            1,
            "error: no search over 2048 bins and 1 levels\nhint: give 2 levels or more, and at most 16384 bins",
        ),
        (
            "entropy",
            2049,
            "error: no search over 2048 bins and 2049 levels\nhint: give 2 levels or more, and at most 16384 bins",
        ),
    ],
)
def test_bad_settings(text, levels, message):
    with pytest.raises(UsageError) as caught:
        Method.parse(text, levels)
    assert str(caught.value) == message.format(", ".join(METHODS))
