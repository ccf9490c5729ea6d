"""Weights files that hold a value that is none."""

import numpy as np
import pytest

from bad_input import VERIFY, Cases, changed, write_plan

case = Cases()


@case(
    """\
bad.weights: error: negative variance -1.0 at byte 136 (layer 0, filter 5)
hint: the file is damaged or belongs to another cfg
"""
)
def variance_negative(folder):
    changed(folder, 8 * 3 + 5, -1.0)
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.5"]


@case(
    """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_nan(folder):
    changed(folder, 300, np.nan)
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.2"]


@case(
    """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_nan_dry_run(folder):
    return weight_nan(folder) + ["--dry-run"]


@case(
    """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_nan_scored(folder):
    return weight_nan(folder) + ["--score", "l2"]


@case(
    """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_nan_where_too_much_would_go(folder):
    return weight_nan(folder) + ["--channels", "0.95"]


@case(
    """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_nan_overwriting(folder):
    for suffix in (".cfg", ".weights", ".plan.json"):
        (folder / ("out" + suffix)).write_text("older")
    return weight_nan(folder) + ["--overwrite"]


@case(
    """\
bad.weights: error: value inf at byte 6736 (float 1679)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_infinite(folder):
    changed(folder, -1, np.inf)
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.2"]


@case(
    """\
bad.weights: error: value -inf at byte 1140 (float 280)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_infinite_that_is_absorbed(folder):
    changed(folder, slice(280, 280 + 576), -np.inf)
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.2"]


@case(
    """\
bad.weights: error: value nan at byte 52 (float 8)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def gamma_nan(folder):
    changed(folder, 8, np.nan)
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.2"]


@case(
    """\
bad.weights: error: value inf at byte 56 (float 9)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def gamma_infinite(folder):
    changed(folder, 9, np.inf)
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--blocks", "1"]


@case(
    """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_nan_inspected(folder):
    changed(folder, 300, np.nan)
    return ["inspect", "good.cfg", "bad.weights"]


@case(
    """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_nan_verified(folder):
    changed(folder, 300, np.nan)
    return ["verify", "good.cfg", "bad.weights", "--runners", "numpy,darknet"]


@case(
    """\
bad.weights: error: value nan at byte 1220 (float 300)
hint: training diverged or the file is damaged; use an earlier backup
"""
)
def weight_nan_in_the_second_pair(folder):
    changed(folder, 300, np.nan)
    write_plan(folder)
    return VERIFY + ["good.cfg", "bad.weights", "--plan", "plan.json"]


def test_no_case_is_lost():
    assert len(case) >= 13


@pytest.mark.parametrize("name", sorted(case))
def test_values(name, folder, capsys):
    case.check(name, folder, capsys)


@pytest.mark.parametrize("name", ["weight_nan_overwriting"])
def test_the_program_itself(name, folder):
    case.check_program(name, folder)
