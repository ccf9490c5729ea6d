"""Histograms of tensors: exact counts in one pass, whatever the order, the batches and the way of counting."""

import threading

import numpy as np
import pytest

import need
from darkprune.quant import histogram
from darkprune.quant.histogram import BINS, Histogram, count_in_numpy, counter


def made(*parts, **options):
    found = Histogram()
    for part in parts:
        found.add(np.asarray(part, np.float32), **options)
    return found


def tensors(count, seed=0):
    """Arrays of very different sizes and ranges, with zeros, tiny and negative values."""
    random, found = np.random.RandomState(seed), []
    for number in range(count):
        values = random.standard_normal(random.randint(1, 4000)) * 2.0 ** random.randint(-30, 30)
        values[random.rand(values.size) < 0.3] = 0
        values[random.rand(values.size) < 0.1] *= 1e-12
        found.append((np.abs(values) if number % 3 == 0 else values).astype(np.float32))
    return found


def assert_same(first, second):
    assert (first.count, first.low, first.high, first.reach) == (second.count, second.low, second.high, second.reach)
    np.testing.assert_array_equal(first.counts, second.counts)


def exact_bins(values):
    """The counts of the definition, in Python's own arithmetic."""
    largest = max(abs(float(v)) for v in values)
    reach = 2.0 ** np.frexp(largest)[1]
    counts = np.zeros(2 * BINS, np.int64)
    for value in values:
        counts[BINS + int(float(value) / (reach / BINS))] += 1
    return reach, counts


def test_counts_are_those_of_the_definition():
    for values in tensors(9):
        found = made(values)
        reach, counts = exact_bins(values)
        assert found.reach == reach and found.count == values.size
        assert (found.low, found.high) == (values.min(), values.max())
        np.testing.assert_array_equal(found.counts, counts)


def test_any_order_and_any_batches_count_alike():
    parts = tensors(12)
    whole = made(np.concatenate(parts))
    for seed in range(5):
        order = np.random.RandomState(seed).permutation(len(parts))
        assert_same(made(*[parts[i] for i in order]), whole)
    halves = made(*parts[:6]), made(*parts[6:])
    halves[0].merge(halves[1])
    assert_same(halves[0], whole)


def test_merging_with_what_is_empty_or_zero():
    values = tensors(2)[1]
    for other in (made(), made([0, 0, 0])):
        zeros = np.zeros(other.count, np.float32)
        found = made(values)
        found.merge(other)
        assert_same(found, made(values, zeros))
        other.merge(made(values))
        assert_same(other, found)


def test_zeros_before_the_first_value():
    assert_same(made([0, 0], [0, 3], [0.5]), made([3, 0.5, 0, 0, 0]))
    only = made(np.zeros(7))
    assert (only.reach, only.amax, only.count, only.counts[BINS]) == (0.0, 0.0, 7, 7)


def test_opencv_counts_as_numpy_does():
    need.opencv()
    assert counter() is not count_in_numpy
    for values in tensors(20, seed=3):
        assert_same(made(values, count=counter()), made(values, count=count_in_numpy))
    same = np.full(3 * histogram.BLOCK + 5, 0.7, np.float32)  # all in one bin
    assert_same(made(same, count=counter()), made(same, count=count_in_numpy))
    assert made(same).counts.max() == same.size


def test_several_in_threads():
    parts = tensors(8, seed=5)
    found = [Histogram() for _ in parts]

    def work(numbers):
        for _ in range(20):
            for i in numbers:
                found[i].add(parts[i])

    threads = [threading.Thread(target=work, args=(range(k, 8, 2),)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, part in zip(found, parts):
        assert_same(one, made(*[part] * 20))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**127, -3e38])
def test_what_is_not_finite_is_told(bad):
    values = np.ones(100, np.float32)
    values[50] = bad
    found = made([1, 2], values)
    assert not found.finite
    assert (found.count, found.low, found.high) == (2, 1, 2)
    assert made([1]).finite
    whole = made([1])
    whole.merge(found)
    assert not whole.finite


def test_extreme_but_finite_values():
    found = made([2e-38, -2e-38], [1e-37], [1.5e38, -1.0])
    assert found.finite and found.reach == 2.0**127 and found.count == 5
    assert found.counts[BINS] == 4  # one bin holds all that is small beside the largest
    assert made([2e-38]).reach == histogram.LEAST  # normal: some libraries have the processor take smaller ones for 0


def test_non_contiguous_maps():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert_same(made(values.transpose(2, 0, 1)), made(values))


# ---- what is read off it


def test_magnitudes_where_edges_meet_are_exact():
    values = np.random.RandomState(1).randint(-4096, 4096, 20000) / np.float32(4096)
    values[0] = 1.0  # 0..1 in 2048 parts: four of our bins each, as the reach is 2
    expected = np.histogram(np.abs(values), 2048, (0, 1))[0]
    np.testing.assert_array_equal(made(values).magnitudes(2048), expected)


def test_magnitudes_are_split_where_edges_do_not_meet():
    values = np.random.RandomState(2).standard_normal(200000).astype(np.float32)
    found = made(values)
    expected = np.histogram(np.abs(values), 2048, (0, found.amax))[0]
    mass = found.magnitudes(2048)
    assert mass.sum() == pytest.approx(values.size, rel=1e-12)
    assert np.abs(np.cumsum(mass) - np.cumsum(expected)).max() < 2e-4 * values.size
    assert mass[-1] > 0  # the largest value lies in the last part


@pytest.mark.parametrize("largest", [1.0, 0.99999994, 3.0, 1e-6, 7e20])
def test_magnitudes_of_one_value(largest):
    mass = made([largest, largest, -largest]).magnitudes(2048)
    assert mass[-1] == pytest.approx(3) and mass[:2046].sum() == 0
    assert made(np.zeros(5)).magnitudes(4).tolist() == [5, 0, 0, 0]


def test_values_are_near_the_real_ones():
    values = tensors(3, seed=4)[1]
    middles, counts = made(values).values()
    assert counts.sum() == values.size and (np.diff(middles) > 0).all()
    assert middles[0] >= values.min() and middles[-1] <= values.max()
    assert np.dot(middles, counts) == pytest.approx(values.astype(np.float64).sum(), abs=made(values).reach / 4)
    assert 0.0 in middles


def test_quantiles():
    values = np.random.RandomState(6).standard_normal(100001).astype(np.float32)
    found = made(values)
    for share in (0.001, 0.25, 0.5, 0.9, 0.9999):
        assert found.quantile(share) == pytest.approx(np.percentile(values, 100 * share), abs=found.reach / BINS)
    assert (found.quantile(0), found.quantile(1)) == (values.min(), values.max())
    assert made(np.zeros(3)).quantile(0.3) == 0.0 == Histogram().quantile(0.3)
