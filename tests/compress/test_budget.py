"""How far compress prunes: shares over rounds, budgets met by bisection, and what cannot be reached."""

import numpy as np
import pytest

import small_nets
from darkprune.compress.budget import options_of, share_of, target
from darkprune.compress.config import Config
from darkprune.errors import UsageError
from darkprune.evaluate.cost import cost
from darkprune.prune.budget import GRID, MOST, Amount
from darkprune.prune.pipeline import prune

LAYERS = small_nets.conv(24), small_nets.conv(24), small_nets.shortcut(-2), small_nets.conv(16), small_nets.HEAD
NET = small_nets.cfg(*LAYERS)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return small_nets.net(tmp_path_factory.mktemp("pair"), NET, dead=0.0)


@pytest.fixture
def config(tmp_path):
    def read(prune_lines, more="[finetune]\nepochs = 1\n"):
        for name in ("net.cfg", "net.weights", "set.data"):
            (tmp_path / name).write_text("")
        text = "[model]\ncfg = net.cfg\nweights = net.weights\ndata = set.data\n[output]\nfolder = out\n"
        (tmp_path / "run.ini").write_text(text + "[prune]\n" + prune_lines + "\n" + more)
        return Config.read(str(tmp_path / "run.ini"))

    return read


def never(pruned):
    raise AssertionError("nothing is to be measured")


def share(config, number, net, first=None, accurate=never, baseline=0.9):
    return share_of(config, number, net, first or net, accurate, baseline)


def test_a_share_is_reached_in_equal_rounds(config, net):
    three = config("channels = 0.784\nsteps = 3")
    assert [share(three, n, net) for n in (1, 2, 3)] == [0.4, 0.4, 0.4]  # 0.6 ** 3 = 1 - 0.784
    assert share(config("channels = 0.7"), 1, net) == 0.7


def test_rounds_come_to_the_budget_by_equal_ratios():
    assert [target(Amount(0.01, True), 1000, n, 2) for n in (1, 2)] == pytest.approx([100, 10])
    assert [target(Amount(250.0, False), 1000, n, 2) for n in (1, 2)] == pytest.approx([500, 250])
    assert target(Amount(5000.0, False), 1000, 1, 1) == 1000


@pytest.mark.parametrize(
    "line, field, goal",
    [
        ("parameters = 30 %", "parameters", lambda before: 0.3 * before.parameters),
        ("parameters = 5000", "parameters", lambda before: 5000),
        ("bflops = 50 %", "bflops", lambda before: 0.5 * before.bflops),
        ("bytes = 9000", "weights_bytes", lambda before: 9000),
    ],
)
def test_the_smallest_share_that_meets_a_budget(config, net, line, field, goal):
    asked = config(line)
    found, most = share(asked, 1, net), goal(cost(net))
    options = options_of(asked, 1)
    assert getattr(cost(prune(net, channels=found, **options).net), field) <= most
    assert getattr(cost(prune(net, channels=found - 1.0 / GRID, **options).net), field) > most


def test_a_budget_that_is_met_takes_nothing(config, net):
    assert share(config("bytes = 10000000"), 1, net) == 0.0


def test_a_budget_out_of_reach(config, net):
    asked = config("parameters = 100\nmin_keep = 4")
    with pytest.raises(UsageError) as raised:
        share(asked, 1, net)
    least = cost(prune(net, channels=MOST, **options_of(asked, 1)).net).parameters
    assert str(raised.value) == (
        "{}:8: error: pruning comes down to {} parameters, not to 100\n"
        "    8 | parameters = 100\n"
        "hint: ask for less, remove blocks too, or lower min_keep"
    ).format(asked.path, least)


def test_max_drop_takes_the_most_that_stays_accurate(config, net):
    asked, whole = config("max_drop = 2.0", ""), net.count_parameters()

    def accurate(pruned):  # falls by 10 points while half of the parameters go
        return 0.9 - 0.2 * (1 - pruned.count_parameters() / float(whole))

    found = share(asked, 1, net, accurate=accurate)
    options = options_of(asked, 1)
    assert 0 < found < 0.5
    assert accurate(prune(net, channels=found, **options).net) >= 0.88
    assert accurate(prune(net, channels=found + 1.0 / GRID, **options).net) < 0.88
    assert share(asked, 1, net, accurate=lambda pruned: 0.5) == 0.0


def test_max_drop_beside_a_share_leaves_it_alone(config, net):
    both = config("max_drop = 2.0\nchannels = 0.7\nsteps = 2"), config("channels = 0.7\nsteps = 2")
    assert share(both[0], 1, net) == share(both[1], 1, net) and options_of(both[0], 1)["force"]
    budgets = config("max_drop = 2.0\nbytes = 50 %"), config("bytes = 50 %")
    assert share(budgets[0], 1, net) == share(budgets[1], 1, net) > 0


def test_trials_that_would_destroy_the_net_are_no_reason_to_refuse(config, net):
    """Half of all shares are fatal; the small one that is enough is not, and neither needs force."""
    with pytest.raises(UsageError, match="pruning would remove"):
        prune(net, channels=MOST, min_keep=1)
    asked = config("parameters = 90 %\nmin_keep = 1", "")
    found, options = share(asked, 1, net), options_of(asked, 1)
    assert not options["force"] and 0 < found < 0.3
    assert cost(prune(net, channels=found, **options).net).parameters <= 0.9 * cost(net).parameters
    measured = config("max_drop = 2.0\nmin_keep = 1", "")
    assert options_of(measured, 1)["force"]
    assert share(measured, 1, net, accurate=lambda pruned: 0.9) == 0.99


def test_blocks_go_first_and_once(config, net):
    asked = config("blocks = 1\nchannels = 0.5\nsteps = 2")
    assert share(config("blocks = 1"), 1, net) is None
    assert [options_of(asked, n)["blocks"] for n in (1, 2)] == [1, 0]
    assert options_of(asked, 1)["force"] and not options_of(config("channels = 0.5", ""), 1)["force"]


def test_costs_fall_with_the_share(net):
    """What the bisection relies on."""
    sizes = [cost(prune(net, channels=x, force=True).net).parameters for x in np.arange(0.0, 0.9, 0.1)]
    assert sizes == sorted(sizes, reverse=True)
