"""The measured blood cells: the page is what the rows say, and every step is a command that exists."""

import shlex
import sys
from itertools import zip_longest

import numpy as np
import pytest

import need
import tool
from darkprune.cli.main import parser

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


@pytest.fixture
def tools(monkeypatch):
    """(results_bccd_page, results_bccd_steps, results)"""
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    return [tool.load(name) for name in ("results_bccd_page", "results_bccd_steps", "results")]


def test_the_page_is_made_of_the_rows(tools):
    page, _, results = tools
    for part, text in page.PARTS.items():
        assert results.read(part, "results_bccd.py") == text()


def test_every_row_is_of_a_step_and_has_its_resamples(tools):
    page, plan, _ = tools
    draws = page.draws()
    for row in page.rows():
        steps = plan.steps_of(int(row["seed"]))
        assert row["step"] in steps and row["command"].startswith("darkprune ")
        assert draws[row["seed"], row["step"]].shape == (200,)
        assert abs(np.mean(draws[row["seed"], row["step"]]) - float(row["ap50"])) < 0.015
    assert len(draws) == len({(row["seed"], row["step"]) for row in page.rows()}) == len(page.rows())


def test_every_row_was_made_by_the_commands_of_its_step(tools):
    page, plan, _ = tools
    for row in page.rows():
        said = [shlex.split(command)[1:] for command in row["command"].split(" && ")]
        step = plan.steps_of(int(row["seed"]))[row["step"]]
        for ours, theirs in zip_longest(step.commands, said):  # by meaning: of an option given twice the last counts
            assert parser(ours[0]).parse_args(ours[1:]) == parser(theirs[0]).parse_args(theirs[1:]), row["step"]


def test_steps_come_after_what_they_need_and_are_commands(tools):
    _, plan, _ = tools
    steps = plan.steps_of(0)
    names, files = list(steps), {step.weights for step in steps.values()}
    for place, (name, step) in enumerate(steps.items()):
        assert all(names.index(needed) < place for needed in step.needs), name
        for command in step.commands:
            arguments = parser(command[0]).parse_args(command[1:])
            made = str(getattr(arguments, "weights", ""))
            assert made not in files or made in [steps[needed].weights for needed in step.needs], name
    assert set(sum(plan.TIMED_TOGETHER, ())) <= set(names)
    assert not any("," in name for name in names)  # --only has commas between names


def test_differences_are_paired_with_the_same_seed(tools, monkeypatch):
    page, _, _ = tools
    rows = [
        {"seed": seed, "step": step, "ap50": ap, "map": ap, "bflops": "1", "zero_gammas": "0", "parameters": "10"}
        for seed, step, ap in (("0", "baseline", "0.9"), ("1", "baseline", "0.8"), ("1", "60", "0.79"))
    ]
    rows = [dict(row, bytes="4000") for row in rows]
    draws = {(row["seed"], row["step"]): np.full(200, float(row["ap50"])) for row in rows}
    monkeypatch.setattr(page, "rows", lambda: rows)
    monkeypatch.setattr(page, "draws", lambda: draws)
    assert page.accuracy().splitlines()[2:] == [
        "| baseline | 2 | 85.00 |  | 85.00 | 10 | 4 KB | 1.000 | 0 % |",
        "| 60 | 1 | 79.00 | -1.00 (-1.00 to -1.00) | 79.00 | 10 | 4 KB | 1.000 | 0 % |",
    ]


def test_what_each_step_is_compared_with(tools):
    _, plan, _ = tools
    assert {name: plan.baseline_of(name) for name in plan.steps_of(0) if "320" in name} == {
        "baseline at 320 x 256": "baseline",
        "baseline at 320 x 256 trained on": "baseline",
        "sparse at 320 x 256": "baseline at 320 x 256 trained on",
        "80 at 320 x 256": "baseline at 320 x 256 trained on",
        "80 at 320 x 256 fine-tuned": "baseline at 320 x 256 trained on",
    }


def test_times_are_compared_within_their_run(tools, monkeypatch):
    page, plan, _ = tools
    small, large = plan.TIMED_TOGETHER
    steps = [(small[0], 12), (small[1], 6), (large[0], 30), (large[1], 6)]
    rows = [dict(step=step, runner="opencv", ms=str(ms), threads="1", machine="M") for step, ms in steps]
    monkeypatch.setattr(page, "read", lambda path: rows)
    cells = [line.split(" | ") for line in page.speed().splitlines()[2:6]]
    assert {row[0].strip("| "): row[2] for row in cells} == {
        small[0]: "1.00",
        small[1]: "2.00",
        large[0]: "1.00",
        large[1]: "5.00",
    }


def test_the_readme_tells_the_rows_of_the_most_accurate_net(tools):
    page, plan, _ = tools
    told = " ".join((need.ROOT / "README.md").read_text().split())

    def mean(step, column):
        return np.mean([float(row[column]) for row in page.rows() if row["step"] == step])

    fine, ms = "80" + plan.AT_SIZE + " fine-tuned", {}
    for row in page.read(page.SPEED):
        ms[row["step"], row["runner"]] = float(row["ms"])
    faster = [ms[plan.BEST, runner] / ms["80" + plan.AT_SIZE, runner] for runner in ("opencv", "darknet")]
    assert "has AP50 {:.1f} on the 72 test images".format(100 * mean(plan.BEST, "ap50")) in told
    smaller = mean(plan.BEST, "bytes") / mean(fine, "bytes")
    assert "it has {:.1f} with weights {:.0f} times smaller".format(100 * mean(fine, "ap50"), smaller) in told
    assert "is {:.1f} times as fast in OpenCV and {:.1f} times in Darknet".format(*faster) in told
