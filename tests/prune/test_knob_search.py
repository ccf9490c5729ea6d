"""The search over several knobs: what it is of, where it begins, that it finds what is better, and what it needs."""

import pytest

import need
import small_nets
from darkprune.errors import MissingDependency, UsageError
from darkprune.evaluate.cost import cost
from darkprune.prune import knob_search
from darkprune.prune.knob_search import FACTORS, Outcome, meet_cost, search, space_of
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, shortcut

NET = cfg(conv(16), conv(16), shortcut(-2), conv(24), conv(16), HEAD)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return small_nets.net(tmp_path_factory.mktemp("pair"), NET, dead=0.0)


def test_the_space(net):
    space = space_of(net, None, None, False, {(3,): 0.1, (4,): 0.4, (0, 1): 0.4})
    assert space.blocks == (0, 1) and space.widths == [[0, 1], [3], [4]] and not space.operations
    assert space.start == [1.0, FACTORS[1], 1.0]  # what loses least is to lose more
    fixed = space_of(net, 0, 4, True, {})
    assert fixed.blocks == (0, 0) and fixed.rounds == (4,) and fixed.start == [1.0, 1.0, 1.0] and fixed.operations


def test_what_is_better_is_found_and_the_same_each_time(net):
    need.optuna()
    space = space_of(net, 0, 1, False, {})

    def evaluate(options, operations):  # best where layer 3 loses much and layer 4 little
        return Outcome(options, abs(options["factors"][3] - 1.8) + abs(options["factors"][4] - 0.2), None)

    first = Outcome({"channels": 0.5}, 1.7, None)
    best, number = search(space, first, evaluate, 30, 0)
    assert number > 0 and best.loss < 1.0 and best.options["factors"][0] == best.options["factors"][1]
    assert search(space, first, evaluate, 30, 0) == (best, number)
    assert search(space, first._replace(loss=-1.0), evaluate, 3, 0) == (first._replace(loss=-1.0), 0)


def test_each_combination_meets_the_cost(net):
    def made(**options):
        return prune(net, force=True, **options)

    goal = 0.5 * cost(net).parameters
    evaluate = meet_cost("parameters", goal, made, lambda pruned: pruned.preflight["damage"])
    for options in ({"round": 4}, {"scope": "layer", "factors": {3: 1.5, 4: 0.5}}, {"blocks": 1}):
        outcome = evaluate(options, 1.0)
        again = made(**outcome.options)
        assert cost(again.net).parameters <= goal and outcome.loss == again.preflight["damage"]
    assert evaluate({"blocks": 7}, 1.0) is None and meet_cost("bytes", 1.0, made, len)({}, 1.0) is None


def test_without_optuna(net, monkeypatch):
    monkeypatch.setattr(knob_search, "LIBRARY", "darkprune_has_no_such_module")
    with pytest.raises(MissingDependency) as raised:
        search(space_of(net, None, None, False, {}), Outcome({}, 1.0, None), len, 3, 0)
    assert str(raised.value) == (
        "error: --search needs Optuna, which does not import: No module named 'darkprune_has_no_such_module'\n"
        "hint: pip install 'darkprune[search]'"
    )


def test_too_few_trials(net):
    with pytest.raises(UsageError) as raised:
        search(space_of(net, None, None, False, {}), Outcome({}, 1.0, None), len, 0, 0)
    assert str(raised.value) == "error: --search 0 is too few\nhint: 50 combinations are a good beginning"
