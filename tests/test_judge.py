"""The masked original as files: when it is a reference, that real readers agree with it, and that it finds faults."""

import json

import numpy as np
import pytest

import need
import small_nets
from darkprune import verify
from darkprune.cli.main import main
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.judge import compare_masked
from darkprune.ops.route import Route
from darkprune.prune.blocks import find_blocks
from darkprune.prune.masked import maskable, masked
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, route, section, shortcut

HEAD3 = conv(5, activation="linear", bn=None)  # a padded head


def se(activation="leaky"):
    """Squeeze and excitation; its gate is a logistic filter."""
    gate = section("avgpool") + conv(4, 1, "relu") + conv(16, 1, "logistic", bn=0)
    return conv(16, 1, activation) + gate + section("scale_channels", from_=-4)


NETS = {
    "plain": cfg(conv(16), conv(16, stride=2), conv(16, 1), HEAD3),
    "shortcut": cfg(conv(16), conv(8, 1), conv(16, activation="linear"), shortcut(-3), conv(16), HEAD3),
    "shortcut with leaky": cfg(conv(16), conv(8, 1), conv(16), shortcut(-3, "leaky"), conv(16), HEAD3),
    "grouped route": cfg(conv(16), route(-1, groups=2, group_id=1), conv(8), route(-1, -2), HEAD3),
    "pooling": cfg(conv(16), section("maxpool", size=3, stride=1), route(-1, -2), conv(16, 1), HEAD),
    "depthwise": cfg(conv(16, 1), conv(16, groups=16), conv(16, 1), HEAD),
    "squeeze and excitation": cfg(conv(16), se(), conv(8), HEAD),
    "connected": cfg(conv(16), section("connected", output=8, activation="leaky"), section("connected", output=4)),
    "logistic head": cfg(conv(16), conv(16), conv(5, 1, "logistic")),
    "activation layer": cfg(conv(16, activation="linear"), section("activation", activation="elu"), conv(16), HEAD),
    "batchnorm layer": cfg(conv(16, bn=0, activation="linear"), section("batchnorm"), conv(16), HEAD),
    "weighted shortcut": cfg(
        conv(16), conv(16), shortcut(-2, weights_type="per_channel", weights_normalization="softmax"), HEAD3
    ),
}

LOUD = {
    "logistic": (cfg(conv(16, activation="logistic"), HEAD3), 1),
    "logistic, through layers": (cfg(conv(16, activation="logistic"), section("maxpool", size=2), route(-1), HEAD), 3),
    "activation layer": (cfg(conv(16), section("activation", activation="logistic"), HEAD), 2),
    "shortcut with logistic": (cfg(conv(16), conv(16), shortcut(-2, "logistic"), HEAD), 3),
    "gate that is read elsewhere": (cfg(conv(16), se(), HEAD, route(4), conv(8), HEAD), 8),
    "gate of a loud layer": (cfg(conv(16), se("logistic"), HEAD), 3),
}


def made(folder, text, **more):
    """The net, and what is left of it without half of its filters, both from files."""
    net = small_nets.net(folder, text, dead=0.3)
    pruned = prune(net, **dict({"channels": 0.5, "scope": "layer", "score": "l2", "force": True}, **more))
    save(pruned.net, str(folder / "pruned"), overwrite=True, plan=pruned.plan)
    return net, load(str(folder / "pruned.cfg"), str(folder / "pruned.weights")), pruned.plan


def asked(net, pruned, plan, runner="opencv"):
    return compare_masked(net, pruned, plan, [runner], verify.test_batch(net))


# ---- the masked original


def test_masked_filters_are_zeros_and_nothing_else_changes(tmp_path):
    net, _, plan = made(tmp_path, NETS["batchnorm layer"], absorb="none")
    gone, found = plan.removed_channels, masked(net, plan)
    assert sorted(gone) == [0, 2]
    zeros = {(0, "weights"): 0, (0, "biases"): 0, (2, "scales"): 2, (2, "biases"): 2}
    zeros.update({(1, "scales"): 0, (1, "biases"): 0})  # the [batchnorm] behind layer 0
    for layer, twin in zip(net.layers, found.layers):
        for name in layer.params:
            expected = layer.array(name).copy()
            if (layer.index, name) in zeros:
                expected[gone[zeros[layer.index, name]]] = 0
                assert not np.array_equal(expected, layer.array(name))
            np.testing.assert_array_equal(twin.array(name), expected)


def test_with_exact_the_masked_filters_keep_their_beta(tmp_path):
    net, _, plan = made(tmp_path, NETS["plain"])
    twin, gone = masked(net, plan).layers[0], plan.removed_channels[0] + plan.constants[0]
    assert (twin.array("scales")[gone] == 0).all() and plan.constants[0]
    np.testing.assert_array_equal(twin.array("biases"), net.layers[0].array("biases"))


@pytest.mark.parametrize("mode", ["none", "exact"])
@pytest.mark.parametrize("name", sorted(NETS))
def test_its_heads_are_those_of_the_pruned_net(name, mode, tmp_path):
    net, pruned, plan = made(tmp_path, NETS[name], absorb=mode)
    assert plan.removed_channels and maskable(net, plan) is None
    assert small_nets.distance(masked(net, plan), pruned) < 1e-4
    assert small_nets.distance(net, pruned) > 1e-3


@pytest.mark.parametrize("name", sorted(LOUD))
def test_loud_channels_have_no_masked_original(name, tmp_path):
    text, where = LOUD[name]
    net, pruned, plan = made(tmp_path, text, absorb="none")
    why = maskable(net, plan)
    assert why == "removed channels would not be 0 where layer {} [convolutional] meets them".format(where)
    assert small_nets.distance(masked(net, plan), pruned) > 1e-3
    assert asked(net, pruned, plan) == ([], [("opencv", why)])


def test_bias_mode_has_no_masked_original(tmp_path):
    net, _, plan = made(tmp_path, NETS["plain"], absorb="bias")
    assert maskable(net, plan) == "constants folded into biases are wrong at the borders"


@pytest.mark.parametrize("mode", ["none", "exact"])
def test_blocks_are_masked_by_the_end_of_their_branch(mode, tmp_path):
    net, pruned, plan = made(tmp_path, NETS["shortcut"], blocks=1, absorb=mode)
    assert len(plan.removed_blocks) == 1 and plan.removed_channels and maskable(net, plan) is None
    assert (masked(net, plan).layers[2].array("scales") == 0).all()
    assert small_nets.distance(masked(net, plan), pruned) < 1e-4


def test_a_forced_block_has_no_masked_original(tmp_path):
    net = small_nets.net(tmp_path, NETS["shortcut with leaky"])
    assert len(find_blocks(net)) == 1
    plan = prune(net, blocks=1, absorb="none", force=True).plan
    assert maskable(net, plan) == "layer 3 was taken out although it is more than a sum"


# ---- in the readers

OPENCV = ["plain", "shortcut", "grouped route", "pooling", "depthwise", "squeeze and excitation"]
CASES = [("opencv", name) for name in OPENCV + ["shortcut with leaky"]]
CASES += [("darknet", name) for name in ("plain", "shortcut", "shortcut with leaky", "pooling", "connected")]


@pytest.mark.parametrize("mode", ["none", "exact"])
@pytest.mark.parametrize("runner,name", CASES)
def test_readers_agree(runner, name, mode, tmp_path):
    {"opencv": need.opencv, "darknet": need.libdarknet}[runner]()
    net, pruned, plan = made(tmp_path, NETS[name], absorb=mode)
    assert plan.removed_channels
    checks, not_judged = asked(net, pruned, plan, runner)
    assert not_judged == [] and len(checks) == 1
    assert (checks[0].name, checks[0].runner, checks[0].ok) == ("masked", runner, True)
    assert checks[0].max_error < 1e-4


@pytest.mark.parametrize("runner", ["opencv", "darknet"])
def test_a_wrong_plan_is_found(runner, tmp_path):
    {"opencv": need.opencv, "darknet": need.libdarknet}[runner]()
    net, pruned, plan = made(tmp_path, NETS["shortcut"], absorb="none")
    plan.removed_channels[4] = sorted((k + 1) % 16 for k in plan.removed_channels[4])
    checks = asked(net, pruned, plan, runner).checks
    assert [check.ok for check in checks] == [False] and checks[0].max_error > 1e-2


def test_wrong_labels_are_found(tmp_path, monkeypatch):
    """Labels that surgery and verify share: a grouped route that passes the labels of the block it does not read."""
    need.opencv()

    def parts(self, layer, arrays):
        groups = max(1, layer["groups"])
        return [np.split(array, groups)[(layer["group_id"] + 1) % groups] for array in arrays]

    monkeypatch.setattr(Route, "_parts", parts)
    net, pruned, plan = made(tmp_path, NETS["grouped route"], absorb="none")
    checks = asked(net, pruned, plan).checks
    assert [check.ok for check in checks] == [False]


def test_a_reader_that_misreads_the_original_is_not_asked(tmp_path):
    net, pruned, plan = made(tmp_path, NETS["grouped route"], absorb="none")
    why = "the original Darknet ignores groups of [route]: misread weights from here on"
    assert asked(net, pruned, plan, "darknet") == ([], [("darknet", why)])


def test_a_plan_made_in_an_arithmetic_that_the_reader_has_not_is_not_judged(tmp_path):
    """OpenCV multiplies the channels by alpha to which nothing is added; in Darknet they emit another constant."""
    need.libdarknet()
    text = cfg(conv(4), conv(12, bn=None), shortcut(0, alpha=2), section("connected", output=3, activation="linear"))
    net = small_nets.net(tmp_path, text, dialect="opencv")
    result = prune(net, channels=0.5, score="l2", force=True)
    assert max(result.plan.removed_channels[1]) >= 4
    save(result.net, str(tmp_path / "pruned"), plan=result.plan)
    pruned = load(str(tmp_path / "pruned.cfg"), str(tmp_path / "pruned.weights"), "opencv")
    why = "the plan was made in another arithmetic: OpenCV DNN multiplies channels by alpha to which nothing is added"
    assert asked(net, pruned, result.plan, "darknet") == ([], [("darknet", why)])


def test_a_reader_that_fails_on_the_pruned_pair_alone_is_a_failure(tmp_path):
    need.opencv()
    net, pruned, plan = made(tmp_path, NETS["plain"], absorb="none")
    data = (tmp_path / "pruned.weights").read_bytes()
    (tmp_path / "pruned.weights").write_bytes(data[:-4])
    (check,) = asked(net, pruned, plan).checks
    assert check.name.startswith("load (OpenCV") and not check.ok


# ---- the command


def verified(folder, text, capsys, status, *more, **options):
    """What `verify` prints of a pair that was pruned."""
    made(folder, text, **options)
    names = ["net.cfg", "net.weights", "pruned.cfg", "pruned.weights", "pruned.plan.json"]
    paths = [str(folder / name) for name in names]
    assert main(["verify"] + paths[:4] + ["--plan", paths[4], "--runners", "numpy,opencv"] + list(more)) == status
    return capsys.readouterr().out


def test_verify_asks_the_judge(tmp_path, capsys):
    need.opencv()
    out = verified(tmp_path, NETS["shortcut"], capsys, 0, absorb="none")
    assert "\nok   masked in opencv: 1 of 1 layers, largest error " in out
    found = json.loads(verified(tmp_path, NETS["shortcut"], capsys, 0, "--json", absorb="exact"))
    assert [c["name"] for c in found["checks"] if c["runner"] == "opencv"] == ["masked", "reader"]
    assert found["not_judged"] == []


def test_verify_does_not_call_biases_right(tmp_path, capsys):
    need.opencv()
    out = verified(tmp_path, NETS["shortcut"], capsys, 0, absorb="bias")
    assert out.startswith(
        "--   surgery in numpy: measured, not judged: constants folded into biases are wrong at the borders"
    )
    assert "ok   surgery" not in out and "\nok   reader in opencv: 1 of 1 layers, largest error " in out


def test_a_runner_named_twice_runs_once(tmp_path, capsys):
    need.opencv()
    out = verified(tmp_path, NETS["shortcut"], capsys, 0, "--runners", "opencv, numpy,opencv", absorb="exact")
    assert "ok   reader in opencv: 1 of 1 layers, largest error " in out


def test_verify_says_why_it_does_not_judge(tmp_path, capsys):
    need.opencv()
    out = verified(tmp_path, LOUD["logistic"][0], capsys, 0, absorb="none")
    why = "removed channels would not be 0 where layer 1 [convolutional] meets them"
    assert "\n--   masked in opencv: not judged: {}\nall checks passed\n".format(why) in out
    found = json.loads(verified(tmp_path, LOUD["logistic"][0], capsys, 0, "--json", absorb="none"))
    assert found["not_judged"] == [{"runner": "opencv", "reason": why}] and found["ok"] is True
