"""Criteria of weights, each against a computation by hand, and what they have in common."""

import numpy as np
import pytest

import need
import small_nets
from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.prune.criteria import CRITERIA
from darkprune.prune.criteria.base import MAPS, MEAN, NONE, WEIGHTS
from darkprune.prune.pipeline import prune
from darkprune.prune.score import scaled, set_scores, values_of
from small_nets import HEAD, cfg, conv, route, section, shortcut

# 0 and 1 are tied by the sum; 1, 3 and 5 read the sum's channels, 5 those of 3 too
JOINED = cfg(conv(4), conv(4, 1), shortcut(-2), conv(6), route(-1, 2), conv(5, 1), HEAD)


def values(name, net, seed=0):
    return values_of(net, Channels(net), CRITERIA[name], seed)


def rows(net, index):
    """The filters of a layer as float64 rows."""
    weights = net.layers[index].array("weights").astype(np.float64)
    return weights.reshape(len(weights), -1)


def with_weights(net, index, filters):
    weights = net.layers[index].array("weights")
    net.layers[index].set_param("weights", np.asarray(filters, np.float32).reshape(weights.shape))


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return small_nets.net(tmp_path_factory.mktemp("joined"), JOINED, dead=0.25)


def test_norms(joined):
    for index in (0, 1, 3, 5):
        expected = [sum(abs(w) for w in row) for row in rows(joined, index).tolist()]
        np.testing.assert_allclose(values("l1", joined)[index], expected, rtol=1e-12)
        expected = [sum(w * w for w in row) ** 0.5 for row in rows(joined, index).tolist()]
        np.testing.assert_allclose(values("l2", joined)[index], expected, rtol=1e-12)


def test_geometric_median_sums_distances(joined):
    filters = rows(joined, 3)
    expected = [sum(np.linalg.norm(a - b) for b in filters) for a in filters]
    np.testing.assert_allclose(values("geometric_median", joined)[3], expected, rtol=1e-6)


def test_the_middle_filter_goes_first(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(3, 1), HEAD), dead=0)
    with_weights(net, 0, [[5, 0, 0], [0, 0, 0.1], [-5, 0, 0]])
    assert values("geometric_median", net)[0].argmin() == 1


def replaced_by_hand(filters):
    """The order and the distances of similarity, pair by pair."""
    left, found, least = list(range(len(filters))), {}, 0.0
    while len(left) > 1:
        pairs = [(np.linalg.norm(filters[a] - filters[b]), a, b) for a in left for b in left if a < b]
        apart, a, b = min(pairs)
        target = a if np.abs(filters[a]).sum() <= np.abs(filters[b]).sum() else b
        least = max(least, apart)
        found[target] = least
        left.remove(target)
    found[left[0]] = max(least, np.linalg.norm(filters[left[0]]))
    return [found[number] for number in range(len(filters))]


def test_similarity_takes_the_smaller_of_the_nearest_two(joined):
    for index in (0, 1, 3, 5):
        expected = replaced_by_hand(rows(joined, index))
        np.testing.assert_allclose(values("similarity", joined)[index], expected, rtol=1e-6)


def test_of_duplicates_all_but_one_go_first(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(5, 1), HEAD), dead=0)
    with_weights(net, 0, [[1, 2, 3], [0.1, 0, 0], [1, 2, 3], [1.01, 2, 3], [-4, 0, 1]])
    scores = values("similarity", net)[0]
    assert sorted(np.argsort(scores)[:2].tolist()) == [0, 2]  # 3 has the largest L1 norm of the three, and stays
    assert scores[:3:2].max() < 0.02 < scores[[1, 3, 4]].min()


def test_lamp_is_the_share_of_what_is_not_smaller(joined):
    size = (rows(joined, 3) ** 2).sum(axis=1)
    expected = [own / sum(other for other in size if other >= own) for own in size]
    found = values("lamp", joined)[3]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[size.argmax()] == 1


def test_gamma_next_counts_all_that_read_the_channel(joined):
    weights = {index: joined.layers[index].array("weights").astype(np.float64) for index in (1, 3, 5)}
    squares = {index: (array**2).sum(axis=(0, 2, 3)) for index, array in weights.items()}
    trunk = np.sqrt(squares[1] + squares[3] + squares[5][6:])
    found = values("gamma_next", joined)
    for index in (0, 1):
        expected = np.abs(joined.layers[index].array("scales").astype(np.float64)) * trunk
        np.testing.assert_allclose(found[index], expected, rtol=1e-9)
    expected = np.abs(joined.layers[3].array("scales").astype(np.float64)) * np.sqrt(squares[5][:6])
    np.testing.assert_allclose(found[3], expected, rtol=1e-9)


def test_gamma_next_of_groups_and_flat_layers(tmp_path):
    last = section("connected", output=3, activation="linear")
    net = small_nets.net(tmp_path, cfg(conv(4), conv(6, groups=2), conv(2), last, width=4, height=4), dead=0)
    weights = {i: net.layers[i].array("weights").astype(np.float64) ** 2 for i in (1, 2, 3)}
    found = values("gamma_next", net)
    gammas = [np.abs(net.layers[i].array("scales").astype(np.float64)) for i in (0, 2)]
    first = [weights[1][:3, c] if c < 2 else weights[1][3:, c - 2] for c in range(4)]
    np.testing.assert_allclose(found[0], gammas[0] * np.sqrt([part.sum() for part in first]), rtol=1e-9)
    flat = weights[3].reshape(3, 2, 16).sum(axis=(0, 2))
    np.testing.assert_allclose(found[2], gammas[1] * np.sqrt(flat), rtol=1e-9)


def test_random_is_one_number_per_set_and_seed(joined):
    first, again, other = values("random", joined), values("random", joined), values("random", joined, 1)
    np.testing.assert_array_equal(first[0], first[1])  # tied by the sum
    np.testing.assert_array_equal(first[3], again[3])
    assert len(set(np.concatenate([first[0], first[3], first[5]]).tolist())) == 15
    assert not np.array_equal(first[3], other[3])


def test_every_layer_with_weights_is_scored(joined):
    for name, criterion in CRITERIA.items():
        if criterion.needs == WEIGHTS:
            found = values(name, joined)
            assert sorted(set(found) - {6}) == [0, 1, 3, 5], name  # 6: the head, which has no batch norm
            assert all(mine.dtype == np.float64 and (mine >= 0).all() for mine in found.values()), name


def test_scaled_values_have_mean_1_in_each_layer(joined):
    for name in ("l1", "geometric_median", "similarity", "gamma_next"):
        assert CRITERIA[name].scale == MEAN
        found = scaled(values(name, joined), CRITERIA[name])
        np.testing.assert_allclose([mine.mean() for mine in found.values()], 1.0)
    for name in ("gamma", "l2", "lamp", "random"):
        assert CRITERIA[name].scale == NONE
        found = scaled(values(name, joined), CRITERIA[name])
        np.testing.assert_array_equal(found[3], values(name, joined)[3])
    absent = scaled({0: np.array([2.0, np.nan, 4.0]), 1: np.zeros(2)}, CRITERIA["l1"])
    np.testing.assert_array_equal(absent[0], [2 / 3.0, np.nan, 4 / 3.0])
    np.testing.assert_array_equal(absent[1], [0, 0])


def test_sets_of_mixed_layers_join_what_is_there(joined):
    sets = Channels(joined)
    given = {0: np.array([1.0, 5.0, 2.0, np.nan]), 1: np.array([3.0, 1.0, np.nan, np.nan])}
    for grouping, expected in (("max", [3, 5, 2]), ("sum", [4, 6, 2]), ("mean", [2, 3, 2])):
        found = set_scores(joined, sets, "gamma", grouping, given)[sets.sets[sets.outputs[0]]]
        np.testing.assert_array_equal(found[:3], expected)
        assert np.isnan(found[3])


@pytest.mark.parametrize("name", sorted(n for n, c in CRITERIA.items() if c.needs != WEIGHTS))
def test_what_needs_images_says_so(name, joined):
    with pytest.raises(UsageError) as caught:
        prune(joined, channels=0.5, criterion=name)
    if CRITERIA[name].needs == MAPS:
        expected = "error: the criterion {} looks at images, and there are none\n".format(name)
        expected += "hint: give --images DIR, or --data FILE.data"
    else:
        expected = "error: the criterion taylor needs images with labels, and there are none\n"
        expected += "hint: give --data FILE.data"
    assert str(caught.value) == expected


def test_the_page_tells_of_every_criterion():
    page = (need.ROOT / "docs" / "criteria.md").read_text()
    for c in CRITERIA.values():
        between = {NONE: "as it is", MEAN: "over the layer's mean"}[c.scale]
        cells = ["`{}`".format(c.name), c.about, c.needs, between, "no" if c.unit is None else "yes", c.source]
        assert "| {} |\n".format(" | ".join(cells)) in page, c.name


def test_the_older_spelling(joined):
    older, newer = (prune(joined, channels=0.4, force=True, **{key: "l1"}) for key in ("score", "criterion"))
    assert older.plan.to_bytes() == newer.plan.to_bytes() and older.plan.options["score"] == "l1"
