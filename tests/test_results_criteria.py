"""The measured criteria: the page is what the rows say, and every step is commands that exist."""

import sys

import numpy as np
import pytest

import need
import tool
from darkprune.cli.main import parser
from darkprune.prune.criteria import CRITERIA

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


@pytest.fixture
def tools(monkeypatch):
    """(results_criteria_page, results_criteria_steps, results)"""
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    return [tool.load(name) for name in ("results_criteria_page", "results_criteria_steps", "results")]


def row(criterion, after, seed=0, net="vgg", share=50, before=0.1):
    names = ("seed", "net", "criterion", "share", "parameters", "zeros", "bflops", "before", "after", "command")
    values = (seed, net, criterion, share, 1000, 10, 0.5, before, after, "darkprune train --epochs 2")
    return {name: str(value) for name, value in zip(names, values)}


def test_the_page_is_made_of_the_rows(tools):
    page, _, results = tools
    for part, text in page.PARTS.items():
        assert results.read(part, "results_criteria.py") == text()


def test_every_row_is_of_a_step_and_holds_its_commands(tools):
    page, plan, _ = tools
    seen = set()
    for found in page.rows():
        key = found["net"], found["criterion"], int(found["share"])
        steps = {step[:3]: step for step in plan.steps_of(int(found["seed"]))}
        said = ["darkprune " + " ".join(command) for command in steps[key].commands]
        assert found["command"] == " && ".join(said)
        seen.add((found["seed"],) + key)
    assert len(seen) == len(page.rows())


def test_all_criteria_and_shares_are_there_and_each_step_is_commands(tools):
    _, plan, _ = tools
    steps = plan.steps_of(1)
    asked = {(net, name, share) for net in plan.NETS for name in CRITERIA for share in (30, 50, 70)}
    assert asked <= {step[:3] for step in steps}
    assert len({step[:3] for step in steps}) == len(steps)
    for step in steps:
        for command in step.commands:
            parser(command[0]).parse_args(command[1:])
        pruned, tuned = step.commands[-2:] if len(step.commands) > 1 else (None, step.commands[0])
        assert plan.files(step.tuned)[1].startswith(tuned[tuned.index("-o") + 1])
        if step.pruned:
            assert pruned[pruned.index("-o") + 1] == step.pruned
            assert tuple(tuned[1:3]) == plan.files(step.pruned)
        written = [command[command.index("-o") + 1] for command in step.commands]
        assert all(out.startswith(plan.folder_of(step)) for out in written)
    assert len({plan.folder_of(step) for step in steps}) == len(steps)


def test_rounds_end_at_the_published_size(tools):
    _, plan, _ = tools
    (step,) = [step for step in plan.claims(0) if "rounds" in step.criterion]
    left = [c[c.index("--target-parameters") + 1] for c in step.commands if c[0] == "prune"]
    shares = [float(share.rstrip("%")) / 100 for share in left]
    assert len(shares) == 6 and np.prod(shares) == pytest.approx(1 / 2.59, 1e-4)


def test_the_best_are_those_of_the_first_seed_without_the_control(tools, monkeypatch):
    page, plan, _ = tools
    values = dict.fromkeys(list(CRITERIA) + [plan.PARALLEL], 0.5)
    values.update(l1=0.8, l2=0.9, random=0.95, entropy=0.7)
    rows = [row(name, v, 0, net, share) for name, v in values.items() for net in plan.NETS for share in plan.SHARES]
    rows += [row("l1", 0.99, 1, net, share) for net in plan.NETS for share in plan.SHARES]
    monkeypatch.setattr(page, "rows", lambda: rows)
    assert page.best(3) == ["l2", "l1", "entropy"]
    monkeypatch.setattr(page, "rows", lambda: rows[1:])
    assert page.best(3) == []


def test_a_gain_counts_where_it_is_beyond_the_spread(tools, monkeypatch):
    page, _, _ = tools
    rows = [row("random", 0.5, seed) for seed in (1, 2, 3)]
    rows += [row("l1", 0.5 + gain, seed) for seed, gain in ((1, 0.010), (2, 0.011), (3, 0.012))]
    rows += [row("l2", 0.5 + gain, seed) for seed, gain in ((1, 0.010), (2, -0.011), (3, 0.012))]
    rows += [row("lamp", 0.5 - gain, seed) for seed, gain in ((1, 0.010), (2, 0.011), (3, 0.012))]
    rows += [row(name, 0.9, 0) for name in ("l1", "l2", "random")]  # which chose them, and does not count
    monkeypatch.setattr(page, "rows", lambda: rows)
    assert page.gains().splitlines()[2:] == [
        "| vgg | 50 % | l1 | +1.00, +1.10, +1.20 | +1.10 | 0.25 | yes |",
        "| vgg | 50 % | l2 | +1.00, -1.10, +1.20 | +0.37 | 3.17 | no |",
        "| vgg | 50 % | lamp | -1.00, -1.10, -1.20 | -1.10 | 0.25 | worse |",
        "",
        "These are 3 intervals of 95 %: 0.2 of them would be beyond the spread if nothing were.",
    ]
    monkeypatch.setattr(page, "rows", lambda: [found for found in rows if found["seed"] != "3"])
    assert page.gains() == "Fewer than three seeds were measured yet.\n"


def test_the_grid_is_that_of_the_first_seed(tools, monkeypatch):
    page, _, _ = tools
    rows = [row("none", 0.9, 0, share=0, before=""), row("l1", 0.8), row("none", 0.88, 1, share=0, before="")]
    rows += [row("l1", 0.6, 1), row("none", 0.9, 0, "resnet", 0), row("entropy", 0.85, 0, "resnet", share=55)]
    monkeypatch.setattr(page, "rows", lambda: rows)
    assert "**vgg**, unpruned: 90.00\n" in page.grid() and "| l1 |  |  | 10.00 | 80.00 |  |  |" in page.grid()
    (line,) = page.claims().splitlines()[2:]
    assert line.endswith("-4.13 | resnet | 0 % |  | 100 % | 90.00 | 10.00 | 85.00 | 2 | -5.00 |")


def test_every_claim_is_of_a_step(tools):
    page, plan, _ = tools
    assert {key for _, _, key in page.CLAIMS} <= {step[:3] for step in plan.steps_of(0)}
