"""Pruning to a latency: with a clock that tells made-up, noisy times of a net, whose true times are known."""

import numpy as np
import pytest

import small_nets
from darkprune.errors import UsageError
from darkprune.prune import knob_search
from darkprune.prune.budget import Amount
from darkprune.prune.candidate_times import MANY, TOLERANCE, ProcessTimer, Turns, known
from darkprune.prune.latency_search import (
    AFRESH,
    CLOSE,
    FREE,
    MOST,
    TIMED,
    find,
    missed,
    rounded,
    savings,
    search,
    spare,
)
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, section, shortcut

NET = cfg(conv(32), conv(48), conv(32), shortcut(-3), section("maxpool", size=2, stride=2), conv(64), conv(32, 1), HEAD)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return small_nets.net(tmp_path_factory.mktemp("pair"), NET, dead=0.0)


@pytest.fixture(scope="module")
def made(net):
    """Makes a pruned net, each once."""
    known = {}

    def prune_once(**options):
        key = repr(sorted(options.items()))
        if key not in known:
            known[key] = prune(net, force=True, **options)
        return known[key]

    return prune_once


def macs(net, step=1):
    """Multiply-accumulates, as a runtime does them that computes channels in groups of `step`."""
    total = 0.0
    for layer in net.layers:
        if layer.type == "convolutional":
            read = -(-layer.input_shape().c // step) * step
            made_ = -(-layer.shape.c // step) * step
            total += read * made_ * layer["size"] ** 2 * layer.shape.w * layer.shape.h
    return total


class Clock:
    """Tells the times of a net, off by noise; the calls numbered in `late` take half as long again."""

    def __init__(self, true, noise=0.01, seed=0, late=()):
        self.true, self.calls = true, 0
        self._noise, self._random, self._late = noise, np.random.RandomState(seed), late

    def __call__(self, net):
        self.calls += 1
        late = 1.5 if self.calls in self._late else 1.0
        return self.true(net) * late * float(np.exp(self._random.normal(0, self._noise)))


def smooth(net):
    return 1e-3 + 2e-9 * macs(net)


def ms(seconds):
    """A goal."""
    return Amount(1e3 * seconds, False)


def test_the_latency_is_met_within_five_percent(net, made):
    whole = smooth(net)
    for seed, part in enumerate([0.8, 0.6, 0.4, 0.6]):
        clock = Clock(smooth, seed=seed)
        turns = Turns(net, clock)
        share = search(turns, lambda share: made(channels=share).net, ms(part * whole))
        assert smooth(made(channels=share).net) == pytest.approx(part * whole, rel=TOLERANCE)
        assert turns.timed <= TIMED + 2


@pytest.mark.parametrize("slow", [2, 7, 1000])
def test_a_share_of_the_originals_time_is_met_however_fast_the_machine_is(net, made, slow):
    """At some point all passes take three times as long: their ratio to the original's is what counts."""
    clock = Clock(lambda any_net: smooth(any_net) * (3.0 if clock.calls > slow else 1.0), noise=0.01)
    found = find(net, Amount(0.6, True), clock, made, rounding=1)
    assert smooth(made(**found.options).net) == pytest.approx(0.6 * smooth(net), rel=TOLERANCE)
    assert found.seconds / found.original == pytest.approx(0.6, rel=TOLERANCE) and not found.notices


def test_without_noise_it_is_found_in_a_few_measurements(net, made):
    for part in (0.75, 0.5):
        turns = Turns(net, Clock(smooth, noise=0.0))
        share = search(turns, lambda share: made(channels=share).net, ms(part * smooth(net)))
        assert smooth(made(channels=share).net) == pytest.approx(part * smooth(net), rel=CLOSE)
        assert turns.timed <= 8


@pytest.mark.parametrize("late", [(2,), (4,), (6,), (8,)])
def test_one_measurement_that_is_far_off_leads_not_astray(net, made, late):
    turns = Turns(net, Clock(smooth, noise=0.0, late=late))
    share = search(turns, lambda share: made(channels=share).net, ms(0.6 * smooth(net)))
    assert smooth(made(channels=share).net) == pytest.approx(0.6 * smooth(net), rel=TOLERANCE)


def test_the_best_of_a_search_is_not_taken_for_one_lucky_measurement(net):
    """Nothing lies at the goal; of two levels the nearer one is measured until it is known."""
    goal = Amount(0.5, True)
    clock = Clock(lambda share: 1.0 if share is net else 0.52 if share < 0.4 else 0.4, noise=0.02)
    turns = Turns(net, clock)
    share = search(turns, lambda share: share, goal)
    assert share < 0.4 and turns.settled(share)
    assert turns.timed <= TIMED + MANY


def test_times_of_a_real_runner(net, made):
    with ProcessTimer(net, "numpy", 1, 0.01) as timer:
        assert timer(net) > 0 and timer(made(channels=MOST).net) > 0


def test_a_machine_that_gets_slower_slows_both(net, made):
    """Halfway all passes take three times as long: the ratio to the original is what counts."""
    clock = Clock(lambda any_net: smooth(any_net) * (3.0 if clock.calls > 9 else 1.0), noise=0.0)
    turns = Turns(net, clock)
    share = search(turns, lambda share: made(channels=share).net, ms(0.6 * smooth(net)))
    slowed = float(np.median(turns.base)) / smooth(net)
    assert smooth(made(channels=share).net) * slowed == pytest.approx(0.6 * smooth(net), rel=TOLERANCE)


def test_it_is_met_on_a_noisy_machine_with_the_rounding_left_to_choose(net, made):
    """2 % of noise in each time. Few widths, so that multiples of 16 would miss half of these goals."""
    for seed, part in enumerate([0.8, 0.7, 0.6, 0.5] * 3):
        found = find(net, Amount(part, True), Clock(smooth, noise=0.02, seed=seed), made)
        assert smooth(made(**found.options).net) == pytest.approx(part * smooth(net), rel=TOLERANCE)


def test_a_ratio_is_known_by_its_standard_error():
    assert not known([0.5] * 3) and known([0.5] * 4)
    assert not known([0.5, 0.52, 0.48, 0.5]) and known([0.5, 0.52, 0.48] * 3)


def test_a_steep_fall_within_one_percent_of_the_share(net, made):
    """Its two ends are far off, and only in between lies what is asked for."""

    def pruned(share):
        return share

    def seconds(share):
        return 1.0 if share is net else 0.9 - 0.5 * min(1.0, max(0.0, (share - 0.501) / 0.01))

    turns = Turns(net, seconds)
    share = search(turns, pruned, Amount(0.6, True))
    assert seconds(share) == pytest.approx(0.6, rel=TOLERANCE)


def test_a_share_that_was_missed_on_either_side_is_told():
    base = [1e-3] * 3
    assert not missed(Amount(0.9, True), 0.9e-3, base, [0.89e-3]) and not missed(ms(2e-3), 1e-3, base)
    assert missed(Amount(0.9, True), 0.8e-3, base, [0.89e-3]) and missed(Amount(0.9, True), 0.97e-3, base)
    assert missed(ms(0.8e-3), 0.7e-3, base) and missed(ms(0.8e-3), 0.9e-3, base)


def test_nothing_goes_where_the_original_is_fast_enough(net, made):
    found = find(net, ms(2 * smooth(net)), Clock(smooth), made)
    assert found.options == {"channels": 0.0, "round": 1} and found.given_back == 0 and not found.notices


def test_a_latency_out_of_reach(net, made):
    least = smooth(made(channels=MOST, round=1).net)
    with pytest.raises(UsageError) as raised:
        find(net, ms(0.9 * least), Clock(smooth, noise=0.0), made)
    assert str(raised.value) == (
        "error: pruning comes down to {:.4g} ms, not to {:.4g}; the original takes {:.4g}\n"
        "hint: ask for less, remove blocks too, or lower --min-keep"
    ).format(1e3 * least, 0.9e3 * least, 1e3 * smooth(net))
    with pytest.raises(UsageError, match="or lower --min-keep or --round$"):
        find(net, ms(0.9 * least), Clock(smooth, noise=0.0), made, rounding=8)


def test_widths_are_rounded_where_the_runtime_computes_groups(net, made):
    goal = 0.6 * (1e-3 + 2e-9 * macs(net, 16))
    found = find(net, ms(goal), Clock(lambda any_net: 1e-3 + 2e-9 * macs(any_net, 16), noise=0.01), made)
    pruned = made(**found.options)
    assert found.options["round"] in (8, 16)
    assert 1e-3 + 2e-9 * macs(pruned.net, 16) <= goal * (1 + TOLERANCE)
    fine = find(net, ms(0.6 * smooth(net)), Clock(smooth, noise=0.0), made)
    assert fine.options["round"] == 1
    fixed = find(net, ms(goal), Clock(lambda any_net: 1e-3 + 2e-9 * macs(any_net, 16), noise=0.01), made, rounding=4)
    assert fixed.options["round"] == 4


def test_a_rounding_whose_steps_miss_the_goal_is_given_up(net, made):
    """Multiples of 16 save a tenth, but with them nothing lies within 5 % of the goal; with finer widths something."""

    def in_groups(any_net):
        widths = [x.shape.c for x in any_net.layers if x.type == "convolutional"][:-1]  # but the head's
        return smooth(any_net) * (0.9 if all(width % 16 == 0 for width in widths) else 1.0)

    goal, steps = 0.55 * in_groups(net), [step / 50.0 for step in range(50)]
    nearest = [min(abs(in_groups(made(channels=x, round=y).net) / goal - 1) for x in steps) for y in (1, 16)]
    assert nearest[0] < TOLERANCE / 2 < TOLERANCE < nearest[1]
    found = find(net, ms(goal), Clock(in_groups, noise=0.0), made)
    assert found.options["round"] < 16 and not found.notices
    assert in_groups(made(**found.options).net) == pytest.approx(goal, rel=TOLERANCE)


def test_a_rounding_that_cannot_reach_the_goal_is_given_up(net):
    """That of 16 is as slow with any share; that of 8 falls from 1 to 0.1."""
    times = {1: lambda share: 1 - share, 16: lambda share: 0.9, 8: lambda share: 1 - 0.9 * share}
    turns = Turns(net, lambda any_net: 1.0 if any_net is net else times[any_net[0]](any_net[1]))
    goal = Amount(0.5, True)
    turns.take(0.5, (1, 0.5))
    step, share, over = rounded(turns, lambda *any_net: any_net, goal, 0.5, [16, 8])
    assert step == 8 and share == pytest.approx(0.5 / 0.9, rel=0.02) and over == pytest.approx(1, abs=CLOSE)
    turns.forget()
    turns.take(0.5, (1, 0.5))
    assert rounded(turns, lambda *any_net: any_net, goal, 0.5, [16]) == (1, 0.5, 1.0)


def test_what_may_be_given_back():
    assert spare(1.0) == spare(1.015) == FREE and spare(0.8) == 1.25 and spare(1.04) == 1.0


def test_what_lies_between_coarse_steps_and_the_goal_is_given_back(net, made):
    def in_groups(any_net):
        return 1e-3 + 2e-9 * macs(any_net, 16)

    goal = 0.8 * in_groups(net)
    found = find(net, ms(goal), Clock(in_groups, noise=0.0), made, rounding=16)
    whole, pruned = made(channels=found.share, round=16), made(**found.options)
    assert in_groups(whole.net) < goal * (1 - TOLERANCE)
    assert found.given_back > 0 and in_groups(whole.net) < in_groups(pruned.net) <= 1.01 * goal


def test_channels_that_cost_no_time_are_given_back(net, made):
    """Here only the layers at the full size take time."""

    def early(any_net):
        large = [x for x in any_net.layers if x.type == "convolutional" and x.shape.w == 16]
        return 1e-3 + 2e-9 * sum(x.op.macs(x) for x in large)

    found = find(net, ms(0.7 * early(net)), Clock(early, noise=0.0), made)
    whole, pruned = made(channels=found.share, round=1), made(**found.options)
    assert whole.net.layers[5].shape.c < 64 and pruned.net.layers[5].shape.c == 64
    assert found.given_back > 0 and pruned.net.layers[1].shape.c == whole.net.layers[1].shape.c
    assert early(pruned.net) == pytest.approx(early(whole.net), rel=0.01)
    assert found.seconds == early(pruned.net) and not found.notices


def test_savings_are_operations_of_each_width(net, made):
    """Against what giving back each width alone costs."""
    found = made(channels=0.4)
    groups = savings(net, found)
    every = {layer: places for group in groups for layer, places in group.items()}
    removed = {layer: set(places) for layer, places in found.plan.removed_channels.items()}
    for layer, places in found.plan.constants.items():
        removed.setdefault(layer, set()).update(places)
    assert {layer: set(places) for layer, places in every.items()} == removed
    costs = []
    for group in groups:
        only = {layer: places for layer, places in every.items() if layer not in group}
        costs.append(macs(made(channels=1 - 1e-12, only=only).net))
    assert len(costs) >= 3 and costs == sorted(costs)


def test_a_latency_that_was_missed_is_told(net, made):
    """The clock runs slow at the end, when the result is measured afresh."""
    clock = Clock(smooth, noise=0.0)
    calls = find(net, ms(0.6 * smooth(net)), clock, made) and clock.calls
    late = Clock(lambda any_net: smooth(any_net) * (2.0 if late.calls > calls - 2 * AFRESH else 1.0), noise=0.0)
    found = find(net, ms(0.6 * smooth(net)), late, made)
    assert found.seconds > 1.1 * smooth(net)
    assert str(found.notices[0]) == (
        "warning: {:.4g} ms were asked for, {:.4g} ms were measured in the end\n"
        "hint: the original took from {:.4g} to {:.4g} ms meanwhile; measure on a quiet machine"
    ).format(600 * smooth(net), 1e3 * found.seconds, 1e3 * smooth(net), 2e3 * smooth(net))


def test_combinations_meet_a_latency(net, made):
    """One that is too slow counts as worse than any that is not; one that was fast enough by chance alone, too."""
    goal = 0.6 * smooth(net)
    plain = made(**find(net, ms(goal), Clock(smooth, noise=0.0), made).options)
    evaluate = knob_search.meet_latency(
        ms(goal), plain.net, Turns(net, Clock(smooth, noise=0.0)), made, lambda pruned: pruned.preflight["damage"]
    )
    options = {"scope": "layer", "round": 4}
    fine, slow = evaluate(options, 0.8), evaluate(options, 1.25)
    assert fine.seconds == smooth(made(**fine.options).net) < goal and fine.loss < 1
    assert slow.seconds > goal and slow.loss == pytest.approx(slow.seconds / goal)
    hasty = Clock(lambda any_net: smooth(any_net) * (0.5 if hasty.calls == 2 else 1.0), noise=0.0)
    turns = Turns(net, hasty)
    share = knob_search.meet_latency(Amount(0.6, True), plain.net, turns, made, lambda pruned: 0.0)(options, 1.25)
    assert turns.timed == 3 and share.loss == pytest.approx(slow.loss)
