"""Places where no pair can be written."""

import os

import pytest

from bad_input import PRUNE, Cases, check

case = Cases()


@case(
    """\
absent: error: this folder does not exist
hint: make it first, or write elsewhere
"""
)
def output_into_no_folder(folder):
    return ["prune", "good.cfg", "good.weights", "-o", "absent/out", "--channels", "0.2"]


@case(
    """\
good.cfg: error: this is no folder
hint: make it first, or write elsewhere
"""
)
def output_into_a_file(folder):
    return ["prune", "good.cfg", "good.weights", "-o", "good.cfg/out", "--channels", "0.2"]


@case(
    """\
./: error: this names no file
hint: give a path and a stem, as in out/pruned
"""
)
def output_without_a_name(folder):
    return ["prune", "good.cfg", "good.weights", "-o", "./", "--channels", "0.2"]


@case(
    """\
good.weights: error: the output would replace the input good.weights
hint: choose another name; inputs are never overwritten
"""
)
def output_over_the_input(folder):
    return ["prune", "good.cfg", "good.weights", "-o", "good", "--channels", "0.2", "--overwrite"]


@case(
    """\
link.weights: error: the output would replace the input good.weights
hint: choose another name; inputs are never overwritten
"""
)
def output_over_the_input_through_a_link(folder):
    os.symlink("good.weights", "link.weights")
    return ["prune", "good.cfg", "good.weights", "-o", "link", "--channels", "0.2", "--overwrite"]


@case(
    """\
./link.cfg: error: the output would replace the input good.cfg
hint: choose another name; inputs are never overwritten
"""
)
def output_over_the_input_as_a_hard_link(folder):
    os.link("good.cfg", "link.cfg")
    return ["prune", "good.cfg", "good.weights", "-o", "./link", "--channels", "0.2", "--overwrite"]


@case(
    """\
out.weights: error: this file exists
hint: --overwrite replaces it
"""
)
def output_over_a_file(folder):
    (folder / "out.weights").write_bytes(b"precious")
    return PRUNE + ["--channels", "0.2"]


@case(
    """\
out.plan.json: error: this file exists
hint: --overwrite replaces it
"""
)
def output_over_a_plan(folder):
    (folder / "out.plan.json").write_bytes(b"precious")
    return PRUNE + ["--channels", "0.2", "--dry-run"]


@case(
    """\
out.cfg: error: something that is no file stands here
hint: choose another name
"""
)
def output_over_a_folder(folder):
    (folder / "out.cfg").mkdir()
    return PRUNE + ["--channels", "0.2", "--overwrite"]


def test_no_case_is_lost():
    assert len(case) >= 9


@pytest.mark.parametrize("name", sorted(case))
def test_outputs(name, folder, capsys):
    case.check(name, folder, capsys)


def test_a_folder_without_write_permission(folder, capsys, monkeypatch):
    (folder / "locked").mkdir()
    os.chmod("locked", 0o555)
    if os.access("locked", os.W_OK):  # root may write anywhere
        monkeypatch.setattr(os, "access", lambda path, mode: os.stat(path).st_mode & 0o200 != 0)
    argv = ["prune", "good.cfg", "good.weights", "-o", "locked/out", "--channels", "0.2"]
    expected = "locked: error: you may not write to this folder\nhint: write elsewhere\n"
    check(argv, expected, folder, capsys)
    os.chmod("locked", 0o755)
