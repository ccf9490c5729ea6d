"""Plans by any criterion, by several of them, in steps and for blocks: all through the same selection and proof."""

import numpy as np
import pytest

import small_nets
from criteria_nets import MIXED, batches_of, images, slopes_of
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import heads
from darkprune.prune.apply_plan import apply_plan
from darkprune.prune.block_scores import by_criterion, by_damage
from darkprune.prune.blocks import find_blocks
from darkprune.prune.combine import COMBINATIONS, Wanted, combine, parse, ranks
from darkprune.prune.criteria import CRITERIA
from darkprune.prune.criteria.base import WEIGHTS
from darkprune.prune.evidence import measure
from darkprune.prune.pipeline import prune
from darkprune.prune.remove_blocks import remove_blocks
from darkprune.prune.rescore import score_sets
from darkprune.prune.score import criterion_of, set_scores, values_of
from darkprune.prune.select import DEFAULTS
from darkprune.verify import compare_surgery
from darkprune.verify import test_batch as picture
from small_nets import HEAD, cfg, conv, shortcut

CHAIN = cfg(conv(10), conv(12, 1), conv(14, 1), HEAD)
BLOCKS = cfg(conv(8), conv(6, 1), conv(8), shortcut(-3), conv(6, 1), conv(8), shortcut(-3), conv(8, 1), HEAD)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return small_nets.net(tmp_path_factory.mktemp("mixed"), MIXED, dead=0.25)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    return small_nets.net(tmp_path_factory.mktemp("chain"), CHAIN, dead=0)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    return small_nets.net(tmp_path_factory.mktemp("blocks"), BLOCKS, dead=0.25)


def measuring(net, names):
    """What measures those criteria on any net, with images and stand-ins for gradients."""
    pixels = images(net, 2)
    return lambda narrower: measure(narrower, names, batches_of(pixels), slopes_of(net, pixels))


def require_proof(net, pruned):
    checks = compare_surgery(net, pruned.net, pruned.plan, picture(net))
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    again = apply_plan(net, pruned.plan)
    assert [layer.shape for layer in again.layers] == [layer.shape for layer in pruned.net.layers]


def gone(pruned):
    """(layer, filter) of all that was silenced."""
    lists = (pruned.plan.removed_channels, pruned.plan.constants)
    return {(index, place) for found in lists for index, places in found.items() for place in places}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", list(CRITERIA))
def test_every_criterion_makes_a_plan_that_is_proved(name, steps, mixed):
    measure_it = measuring(mixed, [name])
    pruned = prune(mixed, channels=0.5, criterion=name, steps=steps, measure=measure_it, absorb="none", force=True)
    assert 0.3 < pruned.reached <= 0.6 and pruned.plan.options["score"] == name
    assert pruned.plan.options.get("steps", 1) == steps
    require_proof(mixed, pruned)


@pytest.mark.parametrize("options", [{}, {"blocks": 1}, {"scope": "layer", "group": "mean", "round": 2}])
@pytest.mark.parametrize("name", ["l1,apoz", "geometric_median", "reconstruction"])
def test_exactly_with_blocks_and_rounding(name, options, mixed, blocks):
    net = blocks if "blocks" in options else mixed
    measure_it = measuring(net, list(parse(name).names))
    pruned = prune(net, channels=0.4, criterion=name, steps=2, measure=measure_it, force=True, **options)
    assert pruned.plan.removed_channels
    require_proof(net, pruned)


def test_the_lowest_filters_go(chain):
    net = chain
    for name in ("l1", "geometric_median", "similarity", "lamp"):
        pruned = prune(net, channels=0.5, criterion=name, scope="layer", absorb="none", force=True)
        values = values_of(net, Channels(net), criterion_of(name))
        for index in (0, 1, 2):
            lowest = np.argsort(values[index], kind="mergesort")[: len(values[index]) // 2]
            assert pruned.plan.removed_channels[index] == sorted(lowest.tolist()), name


def test_the_seed_changes_chance_alone(chain):
    options = dict(channels=0.4, criterion="random", absorb="none", force=True)
    first, again, other = (gone(prune(chain, seed=seed, **options)) for seed in (0, 0, 4))
    assert first == again != other
    assert prune(chain, seed=4, **options).plan.options["seed"] == 4
    by_gamma = [gone(prune(chain, channels=0.4, seed=seed, force=True)) for seed in (0, 4)]
    assert by_gamma[0] == by_gamma[1]


# ---- several criteria


@pytest.mark.parametrize(
    "text, how, expected",
    [
        ("l1", None, Wanted(("l1",), (1.0,), "rank")),
        ("l1,gamma", None, Wanted(("l1", "gamma"), (1.0, 1.0), "rank")),
        (" l1 , gamma", "union", Wanted(("l1", "gamma"), (1.0, 1.0), "union")),
        ("l1=2,gamma=0.5", None, Wanted(("l1", "gamma"), (2.0, 0.5), "weighted")),
    ],
)
def test_what_is_asked_for(text, how, expected):
    assert parse(text, how) == expected


KNOWN = ", ".join(sorted(CRITERIA))


@pytest.mark.parametrize(
    "text, how, expected",
    [
        ("l3", None, "error: unknown criterion 'l3'\nhint: use one of " + KNOWN),
        ("l1,", None, "error: unknown criterion ''\nhint: use one of " + KNOWN),
        ("l1,l1", None, "error: the criterion l1 is given twice\nhint: name each criterion once"),
        ("l1=0", None, "error: '0' is no weight for the criterion l1\nhint: use a number above 0, as in l1=0.5"),
        ("l1=nan", None, "error: 'nan' is no weight for the criterion l1\nhint: use a number above 0, as in l1=0.5"),
        ("l1=x", None, "error: 'x' is no weight for the criterion l1\nhint: use a number above 0, as in l1=0.5"),
        ("l1=1,l2", None, "error: the criterion l2 has no weight\nhint: write --criterion l1=1,gamma=2"),
        ("l1,l2", "weighted", "error: the criterion l1 has no weight\nhint: write --criterion l1=1,gamma=2"),
        ("l1=1,l2=1", "union", "error: union takes no weights\nhint: use --combine weighted, or leave =W out"),
        ("l1", "sum", "error: unknown combination 'sum'\nhint: use one of " + ", ".join(COMBINATIONS)),
    ],
)
def test_what_makes_no_sense(text, how, expected, chain):
    with pytest.raises(UsageError) as caught:
        prune(chain, channels=0.5, criterion=text, combine=how)
    assert str(caught.value) == expected


def test_ranks_are_shares_of_the_filters():
    scores, counts = np.array([3.0, np.nan, 1.0, 2.0, -np.inf]), np.array([4, 9, 2, 3, 1])
    np.testing.assert_allclose(ranks(scores, counts), [1.0, np.nan, 0.3, 0.6, 0.1])
    groups = np.array([0, 0, 0, 1, 1])
    np.testing.assert_allclose(ranks(scores, counts, groups), [1.0, np.nan, 2 / 6.0, 1.0, 0.25])


def test_sets_of_the_same_score_have_the_same_rank():
    scores, counts = np.array([0.0, 0.9, 0.0, 0.0]), np.array([1, 1, 2, 1])
    np.testing.assert_allclose(ranks(scores, counts), [0.8, 1.0, 0.8, 0.8])


def test_combinations_of_ranks():
    found = [np.array([0.2, 0.8, np.nan, np.nan]), np.array([0.6, 0.4, 0.5, np.nan])]
    for how, weights, expected in (
        ("rank", (1, 1), [0.4, 0.6, 0.5]),
        ("weighted", (3, 1), [0.3, 0.7, 0.5]),
        ("union", (1, 1), [0.2, 0.4, 0.5]),
        ("intersection", (1, 1), [0.6, 0.8, 0.5]),
    ):
        combined = combine(found, Wanted(("l1", "l2"), weights, how))
        np.testing.assert_allclose(combined, expected + [np.nan], err_msg=how)


@pytest.mark.parametrize("how, both", [("union", np.logical_or), ("intersection", np.logical_and)])
def test_growing_cuts_is_the_same_as_ranking(how, both, chain):
    """What the combined order removes first is the union (intersection) of equal cuts by each criterion."""
    sets = Channels(chain)
    options = DEFAULTS._replace(criterion="l1,random", combine=how)
    score = score_sets(chain, sets, options, {}, np.zeros(sets.size, bool), 0)
    free = np.flatnonzero((sets.filters > 0) & (sets.pinned < 0))
    orders = []
    for name in ("l1", "random"):
        mine = set_scores(chain, sets, name)
        order = free[np.argsort(mine[free], kind="mergesort")]
        place = np.full(sets.size, sets.size)
        place[order] = np.arange(order.size)
        orders.append(place)
    order = free[np.argsort(score[free], kind="mergesort")]
    for cut in range(1, free.size + 1):
        within = both(orders[0] < cut, orders[1] < cut)
        assert set(order[: within.sum()].tolist()) == set(np.flatnonzero(within).tolist())


@pytest.mark.parametrize("how", COMBINATIONS)
def test_combined_plans_reach_the_share(how, mixed):
    text = "l1=2,gamma=1,apoz=1" if how == "weighted" else "l1,gamma,apoz"
    measure_it = measuring(mixed, ["l1", "gamma", "apoz"])
    options = dict(criterion=text, combine=how, absorb="none", force=True)
    pruned = prune(mixed, channels=0.5, measure=measure_it, **options)
    assert 0.4 < pruned.reached <= 0.52 and pruned.plan.options["combine"] == how
    require_proof(mixed, pruned)


# ---- steps


def test_steps_score_what_is_left(tmp_path):
    """Two filters of layer 1 differ in one channel alone. It goes in the first step, and then one of them."""
    net = small_nets.net(tmp_path, cfg(conv(4, 1), conv(4, 1), HEAD), dead=0)
    first = [[9, 0, 0], [0, 8, 0], [0, 0, 7], [0.1, 0, 0]]
    second = [[3, 1, 0, 5], [3, 1, 0, -5], [-4, 3, 1, 0], [0, -3, 5, 0]]
    for index, filters in ((0, first), (1, second)):
        weights = net.layers[index].array("weights")
        net.layers[index].set_param("weights", np.array(filters, np.float32).reshape(weights.shape))
    options = dict(channels=0.25, criterion="similarity", absorb="none", force=True)
    at_once, stepwise = prune(net, **options), prune(net, steps=2, **options)
    assert {place for index, place in gone(at_once) if index == 1} != {0}
    assert gone(stepwise) == {(0, 3), (1, 0)}


def test_what_went_stays_gone(chain):
    """The sets of the first step are among those of the last."""
    options = dict(criterion="geometric_median", scope="layer", absorb="none", force=True)
    first, last = gone(prune(chain, channels=0.2, **options)), gone(prune(chain, channels=0.6, steps=3, **options))
    assert first < last


def test_one_step_of_gamma_is_what_it_was(mixed):
    options = dict(channels=0.5, force=True)
    once, thrice = (prune(mixed, steps=steps, **options) for steps in (1, 3))
    assert "steps" not in once.plan.options and thrice.plan.options["steps"] == 3
    require_proof(mixed, thrice)


def test_steps_need_images_again(mixed):
    evidence = measuring(mixed, ["apoz"])(mixed)
    with pytest.raises(UsageError) as caught:
        prune(mixed, channels=0.5, criterion="apoz", steps=2, evidence=evidence)
    expected = "error: the criterion apoz is measured again after each step, and there are no images\n"
    assert str(caught.value) == expected + "hint: give them too, or --steps 1"
    with pytest.raises(UsageError) as caught:
        prune(mixed, channels=0.5, steps=0)
    assert str(caught.value) == "error: steps must be at least 1\nhint: 1 prunes at once, 5 in five steps"


# ---- blocks


def test_blocks_by_criteria_of_weights(blocks):
    values = values_of(blocks, Channels(blocks), criterion_of("l1"))
    each = {1: 8, 2: 6 * 9, 4: 8, 5: 6 * 9}
    branches = {3: (1, 2), 6: (4, 5)}
    expected = {end: np.mean([values[i].mean() / each[i] for i in inside]) for end, inside in branches.items()}
    found = by_criterion(blocks, DEFAULTS._replace(criterion="l1"), {}, 0)
    assert {end: pytest.approx(score) for end, score in expected.items()} == found
    pruned = prune(blocks, blocks=1, criterion="l1", block_rank="criterion", force=True)
    assert pruned.plan.removed_blocks[0]["shortcut"] == min(found, key=found.get)
    assert pruned.blocks[0].score == found[3]


@pytest.mark.parametrize("name", sorted(n for n, c in CRITERIA.items() if c.unit is not None) + ["l1,apoz"])
def test_blocks_by_every_criterion_that_compares_layers(name, blocks):
    measure_it = measuring(blocks, list(parse(name).names))
    pruned = prune(blocks, blocks=1, criterion=name, block_rank="criterion", measure=measure_it, force=True)
    assert len(pruned.plan.removed_blocks) == 1
    assert all(np.isfinite(row.score) for row in pruned.blocks)


@pytest.mark.parametrize("name", ["lamp", "reconstruction"])
def test_what_compares_filters_of_a_layer_ranks_no_blocks(name, blocks):
    with pytest.raises(UsageError) as caught:
        options = dict(blocks=1, criterion=name, block_rank="criterion")
        prune(blocks, measure=measuring(blocks, [name]), **options)
    expected = "error: the criterion {} compares filters within their layer, and so no blocks\n".format(name)
    expected += "hint: use --block-rank mean, last or damage, or another criterion"
    assert str(caught.value) == expected


def test_the_damage_of_a_block_is_what_the_heads_lose(blocks):
    pixels = images(blocks, 3)
    found = by_damage(blocks, batches_of(pixels, 2))
    assert sorted(found) == [3, 6]
    whole = NumpyRunner(blocks).infer(pixels, heads(blocks))[heads(blocks)[0]].astype(np.float64)
    for block in find_blocks(blocks):
        shorter = remove_blocks(blocks, [block], "exact")
        cut = NumpyRunner(shorter).infer(pixels, heads(shorter))[heads(shorter)[0]]
        expected = ((whole - cut) ** 2).sum() / (whole**2).sum()
        assert found[block.shortcut.index] == pytest.approx(expected, rel=1e-6) and expected > 0
    evidence = measure(blocks, ["gamma"])._replace(blocks=found)
    pruned = prune(blocks, blocks=1, block_rank="damage", evidence=evidence)
    assert pruned.plan.removed_blocks[0]["shortcut"] == min(found, key=found.get)


def test_damage_needs_images(blocks):
    with pytest.raises(UsageError) as caught:
        prune(blocks, blocks=1, block_rank="damage")
    expected = "error: the damage of removing blocks is measured on images, and there are none\n"
    assert str(caught.value) == expected + "hint: give --images DIR, or --data FILE.data"


def test_units_are_numbers_above_0(mixed):
    for criterion in CRITERIA.values():
        if criterion.unit is not None:
            assert all(criterion.unit(layer) > 0 for layer in mixed.layers)
    assert {c.name for c in CRITERIA.values() if c.needs == WEIGHTS} >= {"gamma", "l1", "l2", "random"}
