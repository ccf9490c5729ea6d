"""Options out of range, and arguments that contradict each other."""

import pytest

from bad_input import GOOD, PRUNE, VERIFY, Cases, write_plan
from darkprune.cli.main import main

case = Cases()


@case(
    """\
error: --plan already says what goes
hint: leave out --channels
"""
)
def plan_beside_channels(folder):
    return write_plan(folder) + ["--channels", "0.2"]


@case(
    """\
error: channels must be at least 0 and below 1
hint: 0.6 removes 60 % of the filters
"""
)
def channels_above_1(folder):
    return PRUNE + ["--channels", "1.5"]


@case(
    """\
error: channels must be at least 0 and below 1
hint: 0.6 removes 60 % of the filters
"""
)
def channels_negative(folder):
    return PRUNE + ["--channels=-1"]


@case(
    """\
error: channels must be at least 0 and below 1
hint: 0.6 removes 60 % of the filters
"""
)
def channels_nan(folder):
    return PRUNE + ["--channels", "nan"]


@case(
    """\
error: nothing to prune was asked for
hint: give --channels 0.5, --blocks 4, or both
"""
)
def neither_channels_nor_blocks(folder):
    return PRUNE


@case(
    """\
error: round must be at least 1
hint: 1 rounds nothing, 8 keeps multiples of 8
"""
)
def round_0(folder):
    return PRUNE + ["--channels", "0.2", "--round", "0"]


@case(
    """\
error: round must be at most 1024
hint: 8 keeps multiples of 8
"""
)
def round_huge(folder):
    return PRUNE + ["--blocks", "1", "--round", "1000000000"]


@case(
    """\
error: 4 shortcut blocks were asked for, 1 of 1 can go
hint: ask for fewer
"""
)
def blocks_too_many(folder):
    return PRUNE + ["--blocks", "4"]


@case(
    """\
error: blocks must not be negative
hint: give the number of shortcut blocks to remove
"""
)
def blocks_negative(folder):
    return PRUNE + ["--blocks=-1"]


@case(
    """\
error: min-keep must be a number of at least 0
hint: give a fraction below 1, or a count
"""
)
def min_keep_negative(folder):
    return PRUNE + ["--channels", "0.2", "--min-keep=-1"]


@case(
    """\
error: min-keep must be a number of at least 0
hint: give a fraction below 1, or a count
"""
)
def min_keep_infinite(folder):
    return PRUNE + ["--channels", "0.2", "--min-keep", "inf"]


@case(
    """\
error: pruning would remove 94% of the signal (layer 0: 69%, layer 1: 69%, layer 2: 69%)
hint: prune less, use --scope layer, train for sparsity first, or --force
"""
)
def pruned_to_death(folder):
    return PRUNE + ["--channels", "0.9"]


@case(
    """\
error: unknown runner tensorflow
hint: use numpy, torch, onnxruntime, opencv, darknet, tensorrt
"""
)
def runner_unknown(folder):
    return VERIFY + ["--runners", "numpy,tensorflow"]


@case(
    """\
error: --runners names no runner
hint: use numpy, torch, onnxruntime, opencv, darknet, tensorrt
"""
)
def runner_none(folder):
    return VERIFY + ["--runners", ","]


@case(
    """\
error: one pair and one runner leave nothing to compare
hint: add --runners numpy,opencv
"""
)
def nothing_to_compare(folder):
    return VERIFY + ["--runners", "numpy,numpy"]


@case(
    """\
error: a second pair and its plan belong together
hint: CFG WEIGHTS CFG2 WEIGHTS2 --plan PLAN
"""
)
def second_pair_without_a_plan(folder):
    return VERIFY + ["good.cfg", "good.weights"]


@case(
    """\
lonely.cfg: error: found no weights for it
hint: looked for lonely.weights, lonely_best.weights, lonely_final.weights, lonely_last.weights
"""
)
def second_cfg_without_weights(folder):
    (folder / "lonely.cfg").write_text(GOOD)
    return VERIFY + ["lonely.cfg", "--plan", "plan.json"]


@case(
    """\
error: a second pair and its plan belong together
hint: CFG WEIGHTS CFG2 WEIGHTS2 --plan PLAN
"""
)
def plan_without_a_second_pair(folder):
    return VERIFY + ["--plan", "plan.json"]


@case(
    """\
error: -o/--output must be given
hint: see darkprune prune --help
"""
)
def no_output(folder):
    return ["prune", "good.cfg", "good.weights", "--channels", "0.5"]


@case(
    """\
error: --channels: invalid float value: 'half'
hint: see darkprune prune --help
"""
)
def channels_that_are_no_number(folder):
    return PRUNE + ["--channels", "half"]


@case(
    """\
error: CFG and WEIGHTS are missing
hint: use darkprune inspect CFG WEIGHTS
"""
)
def no_files(folder):
    return ["inspect"]


def test_no_case_is_lost():
    assert len(case) >= 20


@pytest.mark.parametrize("name", sorted(case))
def test_arguments(name, folder, capsys):
    case.check(name, folder, capsys)


def test_the_good_pair_is_good(folder, capsys):
    assert main(PRUNE + ["--channels", "0.2"]) == 0
    assert main(["inspect", "out.cfg", "out.weights"]) == 0
    assert main(VERIFY + ["out.cfg", "out.weights", "--plan", "out.plan.json"]) == 0
    assert main(["prune", "good.cfg", "good.weights", "-o", "again", "--plan", "out.plan.json"]) == 0
    capsys.readouterr()
