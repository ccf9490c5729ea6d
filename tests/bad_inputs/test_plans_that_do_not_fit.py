"""Plans that the pair, or the second pair, cannot have."""

import pytest

from bad_input import VERIFY, Cases, changed, write_plan

case = Cases()


@case(
    """\
plan.json: error: the plan was made for another pair (KEY, this one is KEY)
hint: give the cfg and weights it was made from, in the same dialect
"""
)
def plan_for_another_pair(folder):
    write_plan(folder)
    changed(folder, -1, 0.25, "other.weights")
    return ["prune", "good.cfg", "other.weights", "-o", "out", "--plan", "plan.json"]


@case(
    """\
plan.json: error: the plan was made for another pair (KEY, this one is KEY)
hint: give the cfg and weights it was made from, in the same dialect
"""
)
def plan_for_another_pair_to_verify(folder):
    write_plan(folder)
    changed(folder, -1, 0.25, "other.weights")
    return ["verify", "good.cfg", "other.weights", "good.cfg", "good.weights", "--plan", "plan.json"]


@case(
    """\
plan.json: error: the plan was made in the dialect alexeyab, the pair was read in pjreddie
hint: give --dialect alexeyab, or make the plan again
"""
)
def plan_in_another_dialect(folder):
    return write_plan(folder) + ["--dialect", "pjreddie"]


@case(
    """\
plan.json: error: the net has no layer 6
hint: make the plan again
"""
)
def plan_with_a_layer_too_many(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"6": [0]}))


@case(
    """\
plan.json: error: the plan names channel 9 of layer 0, which has 8
hint: make the plan again
"""
)
def plan_with_a_channel_too_many(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"0": [0, 9]}))


@case(
    """\
plan.json: error: the plan names channel 10000000000000000... of layer 0, which has 8
hint: make the plan again
"""
)
def plan_with_a_huge_channel(folder):
    write_plan(folder, lambda p: p["removed_channels"].update({"0": [10**30]}))
    return VERIFY + ["good.cfg", "good.weights", "--plan", "plan.json"]


@case(
    """\
plan.json: error: the plan removes channels of layer 3, which makes none
hint: make the plan again
"""
)
def plan_with_a_layer_without_channels(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"3": [0]}))


@case(
    """\
plan.json: error: the plan removes a channel that must stay: read by layer 5 [yolo]
hint: make the plan again
"""
)
def plan_with_a_pinned_channel(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"4": [0]}))


@case(
    """\
plan.json: error: the plan removes a part of the channel set that channel 2 of layer 1 is in
hint: channels that are tied must go together: make the plan again
"""
)
def plan_with_a_part_of_a_channel_set(folder):
    return write_plan(folder, lambda p: p.update(removed_channels={"1": [2]}))


@case(
    """\
plan.json: error: "removed_channels" names a channel of layer 0 twice
hint: make the plan again
"""
)
def plan_with_a_channel_named_twice(folder):
    return write_plan(folder, lambda p: p.update(removed_channels={"0": [2, 2]}))


@case(
    """\
plan.json: error: the plan leaves no filter in layer 0
hint: make the plan again
"""
)
def plan_that_leaves_no_filter(folder):
    return write_plan(folder, lambda p: p.update(removed_channels={"0": list(range(8))}))


@case(
    """\
plan.json: error: the plan's constants do not fit the readers of padded layers
hint: make the plan again
"""
)
def plan_without_its_constants(folder):
    return write_plan(
        folder, lambda p: p.update(removed_channels={"0": [0]}, constants={}, options={"absorb": "exact"})
    )


@case(
    """\
plan.json: error: layers [1, 3] are no shortcut block
hint: make the plan again
"""
)
def plan_with_a_block_that_is_none(folder):
    return write_plan(folder, lambda p: p.update(removed_blocks=[{"shortcut": 3, "layers": [1, 3]}]))


@case(
    """\
plan.json: error: the net has no layer 9
hint: make the plan again
"""
)
def plan_with_a_block_too_many(folder):
    return write_plan(folder, lambda p: p.update(removed_blocks=[{"shortcut": 9, "layers": [8, 9]}]))


@case(
    """\
good.cfg: error: the second pair does not have the layers that the plan leaves
hint: give the second pair and the plan that one run of prune wrote
"""
)
def plan_with_fewer_layers_than_the_second_pair(folder):
    write_plan(folder, lambda p: p.update(removed_blocks=[{"shortcut": 3, "layers": [2, 3]}]))
    return VERIFY + ["good.cfg", "good.weights", "--plan", "plan.json"]


def test_no_case_is_lost():
    assert len(case) >= 15


@pytest.mark.parametrize("name", sorted(case))
def test_plans_that_do_not_fit(name, folder, capsys):
    case.check(name, folder, capsys)


@pytest.mark.parametrize("name", ["plan_for_another_pair"])
def test_the_program_itself(name, folder):
    case.check_program(name, folder)
