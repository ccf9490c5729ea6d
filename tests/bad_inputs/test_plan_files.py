"""Plan files that are malformed."""

import pytest

from bad_input import PRUNE, Cases, write_plan

case = Cases()


@case(
    """\
absent.json: error: cannot read the plan: No such file or directory
hint: check the path
"""
)
def plan_absent(folder):
    return PRUNE + ["--plan", "absent.json"]


@case(
    """\
plan.json:3: error: this is no plan, as it is no JSON
    3 |  "pair": nonsense
      |          ^
hint: give the .plan.json of the pruned pair, as darkprune wrote it
"""
)
def plan_that_is_no_json(folder):
    return write_plan(folder, data=b'{\n "format": "darkprune plan 1",\n "pair": nonsense\n}\n')


@case(
    """\
good.weights: error: this is no plan, as it is no JSON
hint: give the .plan.json of the pruned pair, as darkprune wrote it
"""
)
def plan_that_is_binary(folder):
    return PRUNE + ["--plan", "good.weights"]


@case(
    """\
plan.json: error: this is no plan, as it is no JSON
hint: give the .plan.json of the pruned pair, as darkprune wrote it
"""
)
def plan_nested_deeply(folder):
    return write_plan(folder, data=b"[" * 100000)


@case(
    """\
plan.json: error: this is no plan of this version
hint: its "format" must be "darkprune plan 1"
"""
)
def plan_of_another_version(folder):
    return write_plan(folder, lambda p: p.update(format="darkprune plan 2"))


@case(
    """\
plan.json: error: this is no plan of this version
hint: its "format" must be "darkprune plan 1"
"""
)
def plan_of_another_kind(folder):
    return write_plan(folder, data=b"[]")


@case(
    """\
plan.json: error: "pair" is missing or no string
hint: make the plan again
"""
)
def plan_without_a_pair(folder):
    return write_plan(folder, lambda p: p.pop("pair"))


@case(
    """\
plan.json: error: "removed_channels" is missing or no object
hint: make the plan again
"""
)
def plan_with_a_list_for_an_object(folder):
    return write_plan(folder, lambda p: p.update(removed_channels=[1, 2]))


@case(
    """\
plan.json: error: "removed_channels" holds no list of channels for layer 0
hint: make the plan again
"""
)
def plan_with_a_word_for_a_channel(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"0": ["first"]}))


@case(
    """\
plan.json: error: "constants" holds no list of channels for layer 0
hint: make the plan again
"""
)
def plan_with_a_negative_channel(folder):
    return write_plan(folder, lambda p: p["constants"].update({"0": [-1]}))


@case(
    """\
plan.json: error: "removed_channels" holds no list of channels for layer 99999999999999999...
hint: make the plan again
"""
)
def plan_with_a_layer_of_5000_digits(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"9" * 5000: [0]}))


@case(
    """\
plan.json: error: an entry of "removed_blocks" is malformed
hint: make the plan again
"""
)
def plan_with_a_malformed_block(folder):
    return write_plan(folder, lambda p: p["removed_blocks"].append({"shortcut": 3, "layers": [3]}))


@case(
    """\
plan.json: error: "absorb" is none of exact, bias, none in "options"
hint: make the plan again
"""
)
def plan_with_an_unknown_absorb_mode(folder):
    return write_plan(folder, lambda p: p["options"].update(absorb="magic"))


@case(
    """\
plan.json: error: "round" is no number from 1 to 1024 in "options"
hint: make the plan again
"""
)
def plan_with_a_word_for_the_rounding(folder):
    return write_plan(folder, lambda p: p["options"].update(round="8"))


@case(
    """\
plan.json: error: "round" is no number from 1 to 1024 in "options"
hint: make the plan again
"""
)
def plan_with_a_huge_rounding(folder):
    return write_plan(folder, lambda p: p["options"].update(round=2**31))


def test_no_case_is_lost():
    assert len(case) >= 13


@pytest.mark.parametrize("name", sorted(case))
def test_plan_files(name, folder, capsys):
    case.check(name, folder, capsys)
