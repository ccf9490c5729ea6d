"""The search by prefix sums against the published loop, taken literally; TensorRT's own number for |x| in 0..1."""

import numpy as np
import pytest

from darkprune.quant.entropy import best_length, divergences, threshold
from darkprune.quant.histogram import Histogram


def published(histogram, levels, lengths=None):
    """The divergences of lengths, by default of all, as the talk says it: one length, level and bin after the other."""
    found = []
    for length in lengths or range(levels, len(histogram) + 1):
        p = histogram[:length].astype(np.float64)
        q = np.zeros(length)
        for level in range(levels):
            start, stop = level * length // levels, (level + 1) * length // levels
            filled = p[start:stop] > 0
            if filled.any():
                q[start:stop][filled] = p[start:stop].sum() / filled.sum()
        p[-1] += histogram[length:].sum()
        clips_all = p[-1] == p.sum() and histogram[length:].any()  # our own rule
        if clips_all or ((p > 0) & (q == 0)).any():
            found.append(np.inf)
            continue
        p, q = p[p > 0] / p.sum(), q[p > 0] / q.sum()
        found.append((p * np.log(p / q)).sum())
    return np.array(found)


def random_histogram(random, bins):
    """Of counts or shares; dense or with holes; falling off in one way or another; with or without outliers."""
    mass = random.poisson(10 ** random.uniform(-1, 5) * np.exp(-np.arange(bins) / bins * random.uniform(0, 15)))
    mass = mass * (random.rand(bins) > random.choice([0, 0.1, 0.6]))
    mass[-1] += 1  # the largest value
    if random.rand() < 0.3:
        mass[0] += mass.sum()  # the zeros of relu
    return mass if random.rand() < 0.7 else mass * random.rand(bins)


def assert_equal_search(histogram, levels):
    expected, found = published(histogram, levels), divergences(histogram, levels)
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=0, atol=1e-11)
    least = levels + np.flatnonzero(expected <= expected.min() + 1e-12)[-1]
    assert best_length(histogram, levels) == least


def test_the_search_equals_the_published_loop_on_1000_random_histograms():
    random = np.random.RandomState(0)
    for _ in range(1000):
        levels = random.choice([4, 8, 13])
        assert_equal_search(random_histogram(random, random.randint(levels, 45)), levels)


def test_values_far_from_zero_are_not_clipped_altogether():
    """Without its own rule the search ends at the smallest value, with a divergence of exactly 0."""
    histogram = np.zeros(2048)
    histogram[600::8] = np.random.RandomState(0).poisson(1000, 181)
    assert threshold(histogram, 1.0) > 0.9


def test_the_search_equals_the_published_loop_at_full_size():
    histogram = random_histogram(np.random.RandomState(3), 2048)
    lengths = list(range(128, 2049, 60)) + [2048]
    found = divergences(histogram, 128)[[length - 128 for length in lengths]]
    np.testing.assert_allclose(found, published(histogram, 128, lengths), rtol=0, atol=1e-11)


def test_an_outlier_in_an_empty_bin_is_no_end():
    histogram = np.array([5, 5, 5, 5, 0, 0, 0, 1])
    assert np.isinf(divergences(histogram, 4)).tolist() == [False, True, True, True, False]


def test_equal_divergences_take_the_widest_range():
    assert best_length(np.zeros(16), 4) == 16
    assert best_length(np.ones(16), 4) == 16


def uniform():
    found = Histogram()
    for part in np.array_split(np.linspace(-1, 1, 1 << 18), 7):
        found.add(part.astype(np.float32))
    return found


def test_tensorrts_number_for_values_of_0_to_1():
    """3c010a14 stands in TensorRT's real caches for every tensor of 0..1: (2048 + 0.5) / 2048 / 127."""
    found = uniform()
    scale = np.float32(threshold(found.magnitudes(2048), found.amax) / 127)
    assert "{:08x}".format(int(scale.view(np.uint32))) == "3c010a14"


@pytest.mark.parametrize("bins, levels", [(2048, 64), (2048, 256), (4096, 128)])
def test_other_numbers_of_bins_and_levels(bins, levels):
    random = np.random.RandomState(1)
    found = Histogram()
    found.add(random.laplace(size=200000).astype(np.float32))
    end = threshold(found.magnitudes(bins), found.amax, levels)
    assert 0.3 * found.amax < end <= found.amax * (bins + 0.5) / bins
    assert divergences(found.magnitudes(bins), levels).shape == (bins - levels + 1,)
