"""Which channels go: floors, rounding, scope, grouping, the share that is reached, and what the user is told."""

from pathlib import Path

import numpy as np
import pytest

import small_nets
from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.prune.pipeline import prune
from darkprune.prune.score import set_scores
from small_nets import HEAD, cfg, conv, route, shortcut

UNEVEN = Path(__file__).resolve().parent.parent / "data" / "cfg" / "uneven.cfg"
CHAIN = cfg(conv(16), conv(24, 1), conv(32, 1), HEAD)
TIED = cfg(conv(24), conv(16, 1), conv(24), shortcut(-3), conv(16, 1), conv(24), shortcut(-3), conv(16, 1), HEAD)
GROUPED = cfg(conv(32), route(-1, groups=2, group_id=1), conv(16, 1), route(-1, 0), conv(16, 1), HEAD)


def net_with_gammas(tmp_path, text, gammas):
    """A net whose gammas are set: layer -> array, or a number for all; its other layers get 1."""
    net = small_nets.net(tmp_path, text, dead=0)
    for layer in net.layers:
        if layer.has("scales"):
            layer.set_param("scales", np.ones(layer.shape.c) * gammas.get(layer.index, 1.0))
    return net


def ramp(count, start=0.01, end=1.0):
    return np.linspace(start, end, count)


def counts(pruned):
    """Filters left of each convolution."""
    return [layer["filters"] for layer in pruned.net.layers if layer.type == "convolutional"]


def gone(pruned, layer):
    return pruned.plan.removed_channels.get(layer, []) + pruned.plan.constants.get(layer, [])


def notices(pruned):
    return [notice.message for notice in pruned.notices]


# ---- floors


def test_no_layer_goes_to_zero(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {0: 1e-6, 1: 1e-6, 2: ramp(32)})
    pruned = prune(net, channels=0.7, force=True)
    assert counts(pruned)[:2] == [1, 1]
    assert {"sets": 2, "reason": "min-keep"} in pruned.plan.kept


@pytest.mark.parametrize("min_keep, least", [(0.25, [4, 6, 8]), (0.3, [5, 8, 10]), (3, [3, 3, 3]), (20, [16, 20, 20])])
def test_min_keep_is_a_share_or_a_count(tmp_path, min_keep, least):
    net = net_with_gammas(tmp_path, CHAIN, {0: ramp(16), 1: ramp(24), 2: ramp(32)})
    assert counts(prune(net, channels=0.99, min_keep=min_keep, force=True))[:3] == least


def test_the_floor_keeps_the_best(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {0: ramp(16)[::-1] * 1e-3})
    assert gone(prune(net, channels=0.2, min_keep=4, force=True), 0) == list(range(4, 16))


def test_constants_are_no_floor(tmp_path):
    """A layer of constants alone would carry nothing: the floor counts channels that are still computed."""
    net = net_with_gammas(tmp_path, cfg(conv(16), conv(16), HEAD), {0: 1e-6})
    pruned = prune(net, channels=0.49, force=True)
    assert len(pruned.plan.constants[0]) == 1 and counts(pruned)[0] == 2


# ---- the share


def test_the_share_is_of_the_removable_filters(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {0: ramp(16), 1: ramp(24), 2: ramp(32)})
    pruned = prune(net, channels=0.5, force=True)
    assert pruned.reached == 0.5 and sum(counts(pruned)) == 36 + 5  # the head's five do not count
    assert not any("were to go" in text for text in notices(pruned))


def test_the_lowest_go_over_all_layers(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {0: ramp(16, 0.5, 0.6), 1: ramp(24, 0.1, 0.2), 2: ramp(32, 0.3, 0.4)})
    pruned = prune(net, channels=0.5, force=True)
    assert counts(pruned)[:3] == [16, 1, 19]
    assert gone(pruned, 1) == list(range(23)) and gone(pruned, 2) == list(range(13))


def test_scope_layer_takes_the_same_share_of_each(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {0: ramp(16, 0.5, 0.6), 1: ramp(24, 0.1, 0.2), 2: ramp(32, 0.3, 0.4)})
    assert counts(prune(net, channels=0.5, scope="layer", force=True))[:3] == [8, 12, 16]


def test_constants_count_as_kept(tmp_path):
    net = net_with_gammas(tmp_path, cfg(conv(20), conv(20), conv(20), HEAD), {i: ramp(20) for i in range(3)})
    pruned = prune(net, channels=0.5, force=True)
    removed = sum(len(v) for v in pruned.plan.removed_channels.values())
    assert sum(len(v) for v in pruned.plan.constants.values()) == 2
    assert removed == 60 + 5 - sum(counts(pruned))
    assert pruned.reached == removed / 60.0 and abs(pruned.reached - 0.5) < 0.02


def test_more_than_a_point_beside_the_goal_is_told(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {0: ramp(16), 1: ramp(24), 2: ramp(32)})
    pruned = prune(net, channels=0.9, min_keep=0.5, force=True)
    assert pruned.reached == 0.5
    assert "90.0% of the filters were to go, 50.0% did" in notices(pruned)


def test_nothing_goes_for_0(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {})
    pruned = prune(net, channels=0.0)
    assert pruned.plan.removed_channels == {} and pruned.reached == 0 and counts(pruned) == [16, 24, 32, 5]


# ---- rounding


@pytest.mark.parametrize("share", [0.2, 0.45, 0.7])
@pytest.mark.parametrize("absorb", ["exact", "none"])
def test_round_8_on_tied_widths(tmp_path, share, absorb):
    net = small_nets.net(tmp_path, TIED, dead=0.3)
    pruned = prune(net, channels=share, round=8, absorb=absorb, force=True)
    found = counts(pruned)
    assert all(count % 8 == 0 for count in found[:-1]) and sum(found) < sum([24, 16, 24, 16, 24, 16, 5])
    assert found[0] == found[2] == found[4]
    exact = prune(net, channels=share, absorb=absorb, force=True)
    assert any(count % 8 for count in counts(exact)[:-1])


@pytest.mark.parametrize("step", [1, 4, 8])
def test_round_on_a_grouped_route(tmp_path, step):
    net = small_nets.net(tmp_path, GROUPED, dead=0.4)
    pruned = prune(net, channels=0.5, round=step, force=True)
    halves = np.split(np.arange(32), 2)
    left = [np.setdiff1d(half, pruned.plan.removed_channels[0]).size for half in halves]
    assert left[0] == left[1] < 16 and left[0] % step == 0
    assert pruned.net.layers[1].shape.c == left[0]
    assert all(count % step == 0 for count in counts(pruned)[:-1])


def test_rounding_never_exceeds_the_width(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(12), conv(12, 1), HEAD), dead=0.3)
    assert counts(prune(net, channels=0.3, round=8, force=True)) in ([12, 8, 5], [8, 12, 5], [8, 8, 5], [12, 12, 5])
    assert counts(prune(net, channels=0.3, round=100, force=True)) == [12, 12, 5]


# ---- scores


@pytest.mark.parametrize("group, wanted", [("max", 0.8), ("sum", 1.3), ("mean", 1.3 / 3)])
def test_scores_of_a_tied_set(tmp_path, group, wanted):
    net = net_with_gammas(tmp_path, TIED, {0: 0.2, 2: -0.8, 5: 0.3})
    sets = Channels(net)
    scores = set_scores(net, sets, "gamma", group)
    tied = sets.sets[sets.outputs[0]]
    assert (tied == sets.sets[sets.outputs[2]]).all() and (sets.filters[tied] == 3).all()
    np.testing.assert_allclose(scores[tied], wanted, rtol=1e-6)


def test_grouping_changes_who_goes(tmp_path):
    text = cfg(conv(16), conv(16, 1), shortcut(-2), conv(16, 1), HEAD)
    first = np.where(np.arange(16) < 8, 0.9, 0.4)  # by max the second half goes first, by sum the first half
    second = np.where(np.arange(16) < 8, 0.0, 0.6)
    net = net_with_gammas(tmp_path, text, {0: first, 1: second, 3: 5.0})
    assert gone(prune(net, channels=0.2, group="max", force=True), 0)[0] >= 8
    assert gone(prune(net, channels=0.2, group="sum", force=True), 0)[0] < 8
    assert gone(prune(net, channels=0.2, group="mean", force=True), 0)[0] < 8


def test_l2_scores_filters_by_their_weights(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {})
    weights = net.layers[1].array("weights").copy()
    weights[5] *= 1e-3
    net.layers[1].set_param("weights", weights)
    sets = Channels(net)
    scores = set_scores(net, sets, "l2")[sets.sets[sets.outputs[1]]]
    np.testing.assert_allclose(scores, np.sqrt((weights.astype(np.float64) ** 2).sum(axis=(1, 2, 3))), rtol=1e-6)
    assert gone(prune(net, channels=0.02, score="l2"), 1) == [5]


def test_unknown_words_are_refused(tmp_path):
    net = small_nets.net(tmp_path, CHAIN)
    for key in ("score", "group", "scope", "absorb", "block_rank"):
        with pytest.raises(UsageError) as caught:
            prune(net, **{"blocks" if key == "block_rank" else "channels": 0.2, key: "nonsense"})
        assert "'nonsense'" in caught.value.message and caught.value.hint


# ---- what the user is told


def test_a_net_that_was_never_sparsified(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {0: ramp(16, 0.5, 1), 1: ramp(24, 0.5, 1), 2: ramp(32, 0.5, 1)})
    told = notices(prune(net, channels=0.2))
    assert "this net was never trained for sparsity: 0.0% of its gammas are near zero" in told
    sparse = small_nets.net(tmp_path, CHAIN, dead=0.5)
    assert not any("sparsity" in text for text in notices(prune(sparse, channels=0.3)))


def test_a_destroyed_net_is_refused_without_force(tmp_path):
    net = net_with_gammas(tmp_path, CHAIN, {})
    with pytest.raises(UsageError) as caught:
        prune(net, channels=0.9)
    assert caught.value.message.startswith("pruning would remove ")
    pruned = prune(net, channels=0.9, force=True)
    assert any(text.startswith("pruning removes ") for text in notices(pruned))
    assert pruned.plan.predicted["damage"] == pruned.preflight["damage"] >= 0.75


def test_the_predicted_totals_are_those_of_the_result(tmp_path):
    net = small_nets.net(tmp_path, TIED)
    pruned = prune(net, channels=0.5, force=True)
    assert pruned.plan.predicted["parameters"] == pruned.net.count_parameters()
    assert pruned.plan.predicted["channels"] == sum(counts(pruned))


def test_the_share_is_not_overshot_where_it_jumps(tmp_path):
    """Some sets can only go once the free suffix of an uneven sum goes too: from 49 % to 68 % there is nothing."""
    text = UNEVEN.read_text()
    last = text.rindex("from=-2")
    net = small_nets.net(tmp_path, text[:last] + "from=-3" + text[last + 7 :], dead=0.75)
    goals = (0.3, 0.45, 0.5, 0.55, 0.6, 0.7)
    shares = [prune(net, channels=goal, force=True).reached for goal in goals]
    assert all(share <= goal + 0.03 for share, goal in zip(shares, goals))
    assert shares == sorted(shares) and shares[-1] > 0.68
