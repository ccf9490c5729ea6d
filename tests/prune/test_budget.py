"""Budgets of prune: met by the smallest share, told in the plan, and refused where they cannot be met or are unclear;
and what lets a plan be made of chosen channels, or of more from one width than from another."""

import json

import numpy as np
import pytest

import need
import small_nets
from darkprune.cli.main import main
from darkprune.evaluate.cost import cost
from darkprune.graph.build import load
from darkprune.prune import candidate_times
from darkprune.prune.budget import GRID, MOST, Amount, last, parse_amount
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, shortcut

NET = cfg(conv(24), conv(24), shortcut(-2), conv(16), conv(24), HEAD)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return small_nets.write(tmp_path_factory.mktemp("pair"), NET, dead=0.0)


@pytest.fixture(scope="module")
def net(pair):
    return load(*pair)


@pytest.fixture
def told(pair, tmp_path, capsys):
    """The exit status of prune with these options, and what it printed, without the folders' names."""

    def run(*options):
        status = main(["prune"] + pair + ["-o", str(tmp_path / "out")] + list(options))
        out, err = capsys.readouterr()
        return status, out.replace(str(tmp_path), "."), err.replace(str(tmp_path), ".")

    return run


@pytest.mark.parametrize("edge", [-1, 0, 1, 57, 197, 198])
def test_bisection_finds_the_last_share(edge):
    seen = []

    def holds(value):
        seen.append(value)
        return value <= edge / float(GRID)

    assert last(holds) == (None if edge < 0 else edge / float(GRID))
    assert len(seen) <= 9 and max(seen) <= MOST


def test_amounts():
    assert [parse_amount(text) for text in ("30 %", "30%", "1.5e6")] == [
        Amount(0.3, True),
        Amount(0.3, True),
        Amount(1.5e6, False),
    ]
    for text in ("0", "-1", "100%", "nan", "inf", "many"):
        with pytest.raises(ValueError):
            parse_amount(text)


@pytest.mark.parametrize(
    "option, asked, field, goal",
    [
        ("parameters", "40%", "parameters", lambda before: 0.4 * before.parameters),
        ("parameters", "5000", "parameters", lambda before: 5000),
        ("bflops", "50 %", "bflops", lambda before: 0.5 * before.bflops),
        ("bytes", "9000", "weights_bytes", lambda before: 9000),
    ],
)
def test_the_smallest_share_that_meets_a_budget(told, net, tmp_path, option, asked, field, goal):
    status, out, _ = told("--target-" + option, asked, "--force", "--min-keep", "2")
    written = load(str(tmp_path / "out.cfg"), str(tmp_path / "out.weights"))
    options = json.loads((tmp_path / "out.plan.json").read_text())["options"]
    share, most = options["channels"], goal(cost(net))
    assert status == 0 and options["budget"] == {"option": "--target-" + option, "asked": asked, "share": share}
    assert "--target-{} {}: {:.1%} of the filters\n".format(option, asked, share) in out
    assert getattr(cost(written), field) <= most
    less = prune(net, channels=share - 1.0 / GRID, min_keep=2, force=True).net
    assert getattr(cost(less), field) > most
    again = prune(net, channels=share, min_keep=2, force=True).net
    assert small_nets.distance(again, written) == 0


def test_a_plan_with_a_budget_is_carried_out_again(told, pair, tmp_path, capsys):
    told("--target-parameters", "60%", "--force")
    plan = str(tmp_path / "out.plan.json")
    assert main(["prune"] + pair + ["-o", str(tmp_path / "again"), "--plan", plan]) == 0
    again = [str(tmp_path / "again.cfg"), str(tmp_path / "again.weights")]
    assert main(["verify"] + pair + again + ["--plan", plan]) == 0
    capsys.readouterr()
    assert (tmp_path / "again.weights").read_bytes() == (tmp_path / "out.weights").read_bytes()


def test_a_budget_that_is_met_takes_nothing(told, net, tmp_path):
    assert told("--target-bytes", "10000000")[0] == 0
    assert load(str(tmp_path / "out.cfg"), str(tmp_path / "out.weights")).count_parameters() == net.count_parameters()


def test_fatal_damage_still_needs_force(told, tmp_path):
    status, _, err = told("--target-parameters", "4%")
    assert status == 2 and "error: pruning would remove" in err and "or --force\n" in err
    assert not (tmp_path / "out.cfg").exists()


@pytest.mark.parametrize(
    "options, text",
    [
        (
            ["--target-parameters", "100", "--min-keep", "4"],
            "error: pruning comes down to {least:g} parameters, not to 100\n"
            "hint: ask for less, remove blocks too, or lower --min-keep\n",
        ),
        (
            ["--target-bytes", "many"],
            "error: --target-bytes many is no amount above 0\n"
            "hint: use a number such as 1e6, or a share of the original's such as 30%\n",
        ),
        (
            ["--target-bytes", "1", "--max-drop", "1", "--channels", "0.5"],
            "error: --target-bytes and --max-drop and --channels all say how far to prune\nhint: give one of them\n",
        ),
        (
            ["--target-bytes", "1", "--plan", "net.plan.json"],
            "error: --plan already says what goes\nhint: leave out --target-bytes\n",
        ),
        (
            ["--channels", "0.5", "--search", "9"],
            "error: --search needs a budget\nhint: give one of --target-parameters, --target-bflops, --target-bytes, "
            "--target-latency, --max-drop\n",
        ),
        (
            ["--target-bytes", "9000", "--threads", "2"],
            "error: --threads does nothing without --target-latency\nhint: leave it out\n",
        ),
        (
            ["--target-bytes", "9000", "--search", "0"],
            "error: --search 0 is too few\nhint: 50 combinations are a good beginning\n",
        ),
        (
            ["--target-bytes", "9000", "--sensitivity", "s.csv"],
            "error: --sensitivity needs --search\nhint: --search 50 tries 50 combinations\n",
        ),
        (
            ["--max-drop", "1"],
            "error: --max-drop measures accuracy\nhint: give --data F.data\n",
        ),
        (
            ["--max-drop", "-1", "--data", "f.data"],
            "error: --max-drop -1 is no number of points\nhint: use 0 to 100: 1.5\n",
        ),
        (
            ["--target-latency", "opencv"],
            "error: --target-latency opencv is no runner with milliseconds or a share below 100%\n"
            "hint: use one of numpy, torch, onnxruntime, opencv, darknet, such as opencv:12.5 or opencv:40%\n",
        ),
        (
            ["--target-latency", "numpy:140%", "--search", "9"],
            "error: --target-latency numpy:140% is no runner with milliseconds or a share below 100%\n"
            "hint: use one of numpy, torch, onnxruntime, opencv, darknet, such as opencv:12.5 or opencv:40%\n",
        ),
        (
            ["--target-latency", "numpy:5", "--threads", "0"],
            "error: --threads 0 is too few\nhint: use 1 or more\n",
        ),
    ],
)
def test_budgets_that_are_refused(told, net, tmp_path, options, text):
    least = prune(net, channels=MOST, min_keep=4, force=True).net.count_parameters()
    assert told(*options) == (2, "", text.format(least=least))
    assert not (tmp_path / "out.cfg").exists()


def test_a_share_of_the_latency(told, net, tmp_path, monkeypatch):
    """Of times that follow the operations; the machine becomes slower all the time."""
    calls = []

    class Timer:
        def __init__(self, original, runner, threads):
            assert (runner, threads) == ("numpy", 1)

        def __call__(self, any_net):
            calls.append(any_net)
            return (1e-3 + any_net.bflops()) * (1 + len(calls) / 400.0)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(candidate_times, "ProcessTimer", Timer)
    status, out, err = told("--target-latency", "numpy:60%", "--threads", "1", "--force")
    assert (status, "warning: " in err and "ms were" in err) == (0, False)
    made = load(str(tmp_path / "out.cfg"), str(tmp_path / "out.weights"))
    assert 1e-3 + made.bflops() == pytest.approx(0.6 * (1e-3 + net.bflops()), rel=candidate_times.TOLERANCE)
    budget = json.loads((tmp_path / "out.plan.json").read_text())["options"]["budget"]
    assert budget["asked"] == "numpy:60%" and budget["ms"] < 0.7 * budget["original_ms"]


def test_an_existing_file_is_refused_before_anything_is_measured(told, tmp_path):
    (tmp_path / "out.cfg").write_text("mine")
    assert told("--target-latency", "numpy:0.001") == (
        2,
        "",
        "./out.cfg: error: this file exists\nhint: --overwrite replaces it\n",
    )


def test_max_drop_is_measured(told, net, tmp_path, monkeypatch):
    """The accuracy here falls by ten points with half of the parameters; reading data sets is tested elsewhere."""
    whole = float(net.count_parameters())
    seen = []

    class Accuracy:
        metric = "map"

        def __init__(self, data, whole_net, runner):
            seen.append((data, runner))

        def __call__(self, pruned):
            return 0.9 - 0.2 * (1 - pruned.count_parameters() / whole)

    monkeypatch.setattr("darkprune.cli.prune_budget.NetAccuracy", Accuracy)
    monkeypatch.setattr("darkprune.cli.prune_budget.DataFile.read", lambda path: path)
    status, out, _ = told("--max-drop", "2", "--data", "f.data", "--runner", "numpy", "--force")
    options = json.loads((tmp_path / "out.plan.json").read_text())["options"]
    share, budget = options["channels"], options["budget"]
    assert status == 0 and seen == [("f.data", "numpy")]
    assert Accuracy.__call__(None, prune(net, channels=share, force=True).net) == budget["accuracy"] >= 0.88
    assert Accuracy.__call__(None, prune(net, channels=share + 1.0 / GRID, force=True).net) < 0.88
    assert "; map {:.2%} of 90.00%\n".format(budget["accuracy"]) in out


# ---- chosen channels alone, and more of one width than of another


def test_only_these_channels_go(net):
    pruned = prune(net, channels=0.5, only={4: range(24)}, force=True)
    gammas = np.abs(net.layers[4].array("scales"))
    assert pruned.plan.removed_channels == {4: sorted(np.argsort(gammas)[:12].tolist())}
    assert pruned.plan.constants == {} and not any("were to go" in notice.message for notice in pruned.notices)
    some = prune(net, channels=1 - 1e-12, only={4: [2, 5, 7]}, force=True)
    assert some.plan.removed_channels == {4: [2, 5, 7]}


def test_a_tie_goes_whole_or_not_at_all(net):
    """Layers 0 and 1 are tied by a sum: what only one of them names does not go."""
    assert prune(net, channels=0.5, only={0: range(24)}, force=True).plan.removed_channels == {}
    both = prune(net, channels=0.5, only={0: range(24), 1: range(12)}, force=True).plan
    assert both.removed_channels[0] == both.removed_channels[1] and max(both.removed_channels[0]) < 12


def test_factors_shape_what_goes(net):
    plain = prune(net, channels=0.4, scope="layer", force=True)
    shaped = prune(net, channels=0.4, scope="layer", factors={3: 2.0, 4: 0.5}, force=True)
    before, after = [[len(made.plan.removed_channels.get(i, [])) for i in (3, 4)] for made in (plain, shaped)]
    assert after[0] > before[0] and after[1] < before[1]
    assert shaped.reached == pytest.approx(plain.reached, abs=0.05)


def test_the_search_never_does_worse_than_one_share(told, net, tmp_path):
    need.optuna()
    damages = []
    for more in ([], ["--search", "6"], ["--search", "6"]):
        assert told("--target-bflops", "50%", "--force", "--overwrite", *more)[0] == 0
        plan = json.loads((tmp_path / "out.plan.json").read_text())
        damages.append(plan["predicted"]["damage"])
        written = load(str(tmp_path / "out.cfg"), str(tmp_path / "out.weights"))
        assert cost(written).bflops <= 0.5 * cost(net).bflops
    assert damages[1] == damages[2] <= damages[0]
    assert plan["options"]["budget"]["trials"] == 6
