"""The pruned net equals the silenced original, for every way that channels meet each other.

Two judges: `verify`, layer by layer; and the original with gamma (and for --absorb none beta) set to 0 by hand, whose
heads know nothing of channel labels.
"""

import numpy as np
import pytest

import small_nets
from darkprune import verify
from darkprune.graph.channels import Channels
from darkprune.graph.key import pair_key
from darkprune.graph.save import save
from darkprune.prune.absorb import Absorption
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, route, section, shortcut

HEAD3 = conv(5, activation="linear", bn=None)  # a padded head
POOL = section("maxpool", size=2, stride=1)
SE = section("avgpool") + conv(4, 1, "relu") + conv(16, 1, "logistic", bn=0) + section("scale_channels", from_=-4)
SPP = (
    section("maxpool", size=3, stride=1)
    + route(-2)
    + section("maxpool", size=5, stride=1)
    + route(-4)
    + section("maxpool", size=9, stride=1)
    + route(-1, -3, -5, -6)
)

NETS = {
    "plain chain, padded readers": cfg(conv(16), conv(16), conv(16), HEAD3),
    "strided padded readers": cfg(conv(16), conv(16, stride=2), HEAD3),
    "1x1 chain": cfg(conv(16), conv(16, 1), conv(16, 1), HEAD),
    "1x1 with padding": cfg(conv(16), conv(16, 1, pad=0, padding=1), HEAD),
    "unpadded 3x3": cfg(conv(16), conv(16, pad=0), HEAD),
    "shortcut": cfg(conv(16), conv(8, 1), conv(16), shortcut(-3), conv(16), HEAD),
    "two shortcuts, one group": cfg(
        conv(16), conv(8, 1), conv(16), shortcut(-3), conv(8, 1), conv(16), shortcut(-3), HEAD3
    ),
    "two shortcut groups": cfg(
        conv(16), conv(16), shortcut(-2), conv(24, stride=2), conv(12, 1), conv(24), shortcut(-3), HEAD3
    ),
    "shortcut with two sources": cfg(conv(16), conv(16, 1), conv(16, 1), shortcut("-2,-3"), HEAD3),
    "shortcut with relu": cfg(conv(16, activation="relu"), conv(16, activation="linear"), shortcut(-2, "relu"), HEAD3),
    "weighted shortcut": cfg(
        conv(16), conv(16), shortcut(-2, weights_type="per_channel", weights_normalization="relu"), HEAD3
    ),
    "route": cfg(conv(16), conv(8), route(-2), conv(12), route(-1, 1, 0), conv(16), HEAD3),
    "route read twice": cfg(conv(16), conv(8), route(-1, -2), conv(8), route(-1, 2), HEAD3),
    "grouped route": cfg(
        conv(16), route(-1, groups=2, group_id=1), conv(8), conv(8), route(-1, -2), route(-1, 0), HEAD3
    ),
    "route of a sum and its part": cfg(
        conv(16), conv(16, 1), shortcut(-2), conv(8), route(1), conv(8, 1), route(-1, 3), HEAD3
    ),
    "upsample": cfg(conv(16, stride=2), section("upsample", stride=2), conv(16), HEAD3),
    "upsample with a scale": cfg(conv(16, stride=2), section("upsample", stride=2, scale=0.5), HEAD3),
    "upsample with a scale, 1x1 reader": cfg(conv(16, stride=2), section("upsample", stride=2, scale=0.5), HEAD),
    "upsample that sums cells": cfg(conv(16), section("upsample", stride=-2), HEAD),
    "maxpool 2/1": cfg(conv(16), POOL, conv(16), HEAD3),
    "maxpool 2/2": cfg(conv(16), section("maxpool", size=2, stride=2), conv(16), HEAD3),
    "spp": cfg(conv(16), SPP, conv(16, 1), HEAD3),
    "dropout in a branch": cfg(
        conv(16), conv(8, 1), section("dropout", probability=0.5), conv(16), section("dropout", probability=0.5),
        shortcut(-5), HEAD3,
    ),
    "depthwise": cfg(conv(16, 1), conv(16, groups=16), conv(16, 1), HEAD),
    "depthwise, inverted residual": cfg(
        conv(8), conv(16, 1), conv(16, groups=16), conv(8, 1, "linear"), shortcut(-4), HEAD3
    ),
    "grouped convolution": cfg(conv(16), conv(16, 1, groups=4), conv(16, 1), HEAD),
    "grouped convolution beside a padded reader": cfg(
        conv(16), conv(16, 1, groups=4), route(0), conv(8), route(-1, 1), HEAD3
    ),
    "squeeze and excitation": cfg(conv(8), conv(16), SE, conv(8), HEAD),
    "no batch norm": cfg(conv(16), conv(16, bn=0), conv(16), HEAD),
    "connected": cfg(
        conv(16, stride=2), section("maxpool", size=2, stride=2), section("connected", output=12, activation="leaky"),
        section("connected", output=4, activation="linear"),
    ),
    "connected with batch norm": cfg(
        conv(16), section("connected", output=12, batch_normalize=1, activation="relu"),
        section("connected", output=4, activation="linear"),
    ),
}  # fmt: skip
for name in ("leaky", "relu", "mish", "swish", "linear", "logistic", "tanh", "elu"):
    NETS["activation " + name] = cfg(conv(16, activation=name), conv(16, activation=name), conv(16, 1, name), HEAD3)

# Nets of which nothing may be absorbed, because no channel that goes emits anything a reader must be told of.
UNTOLD = {"squeeze and excitation"}


def made(tmp_path, name, **more):
    """The net, and what pruning half of its filters gives: more than the dead ones, so that the result differs."""
    net = small_nets.net(tmp_path, NETS[name], dead=0.3)
    options = dict({"channels": 0.5, "scope": "layer", "force": True}, **more)
    return net, prune(net, **options)


def verified(net, pruned):
    return verify.compare_surgery(net, pruned.net, pruned.plan, verify.test_batch(net))


def silenced(net, plan, beta=False):
    """The net with gamma = 0, and with `beta` beta = 0, on every filter that the plan removes or makes constant."""
    reference = net.copy()
    for lists in (plan.removed_channels, plan.constants):
        for index, channels in lists.items():
            layer = reference.layers[index]
            for key in ["scales", "biases"] if beta else ["scales"]:
                values = layer.array(key).copy()
                values[channels] = 0
                layer.set_param(key, values)
    return reference


@pytest.mark.parametrize("mode", ["exact", "none"])
@pytest.mark.parametrize("name", sorted(NETS))
def test_equals_the_silenced_original(name, mode, tmp_path):
    net, pruned = made(tmp_path, name, absorb=mode)
    assert pruned.plan.removed_channels
    checks = verified(net, pruned)
    assert len(checks) == len(net.layers) and [check for check in checks if not check.ok] == []
    act0 = mode == "exact" or not ("logistic" in name or "excitation" in name)
    if act0:  # a filter with gamma = beta = 0 emits 0 only where act(0) = 0
        assert small_nets.distance(silenced(net, pruned.plan, beta=mode == "none"), pruned.net) < 1e-4
    assert small_nets.distance(net, pruned.net) > 1e-3  # the equality above is not that of two unpruned nets


@pytest.mark.parametrize("name", sorted(set(NETS) - UNTOLD))
def test_fails_without_the_absorption(name, tmp_path, monkeypatch):
    monkeypatch.setattr(Absorption, "_add", lambda *_: None)
    net, pruned = made(tmp_path, name)
    assert pruned.plan.removed_channels
    assert not all(check.ok for check in verified(net, pruned))


@pytest.mark.parametrize("name", ["plain chain, padded readers", "1x1 chain", "upsample"])
def test_fails_where_another_channel_went(name, tmp_path):
    net, pruned = made(tmp_path, name, absorb="none")
    lists = pruned.plan.removed_channels
    index = min(lists)
    width = net.layers[index].shape.c
    lists[index] = sorted((k + 1) % width for k in lists[index])
    assert not all(check.ok for check in verified(net, pruned))


def test_bias_mode_reports_the_distance_only(tmp_path):
    net, pruned = made(tmp_path, "plain chain, padded readers", absorb="bias")
    checks = verified(net, pruned)
    assert all(check.ok and check.tolerance == float("inf") for check in checks)
    assert max(check.max_error for check in checks) > 1e-3  # the borders are wrong
    assert not pruned.plan.constants
    exact = made(tmp_path, "plain chain, padded readers")[1]
    assert sum(len(v) for v in exact.plan.constants.values()) == 3  # one for each padded reader
    none = made(tmp_path, "plain chain, padded readers", absorb="none")[1]
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    reference = small_nets.raw_heads(silenced(net, pruned.plan))[0][inside]
    wrong = [np.abs(reference - small_nets.raw_heads(p.net)[0][inside]).max() for p in (pruned, none)]
    assert wrong[0] < 1e-4 * np.abs(reference).max() < wrong[1]  # where no border is near, biases say it all


def test_dead_channels_go_without_a_trace(tmp_path):
    net = small_nets.net(tmp_path, NETS["two shortcut groups"], dead=0.5)
    pruned = prune(net, channels=0.3)
    lists = [pruned.plan.removed_channels, pruned.plan.constants]
    assert all((net.layers[i].array("scales")[ks] == 0).all() for found in lists for i, ks in found.items())
    assert pruned.plan.predicted["damage"] == 0
    assert small_nets.distance(net, pruned.net) < 1e-5
    nothing_absorbed = prune(net, channels=0.3, absorb="none")
    assert small_nets.distance(net, nothing_absorbed.net) > 1e-3  # they emitted their betas


def test_1x1_readers_need_no_constant(tmp_path):
    assert made(tmp_path, "1x1 chain")[1].plan.constants == {}
    assert made(tmp_path, "unpadded 3x3")[1].plan.constants == {}
    assert made(tmp_path, "1x1 with padding")[1].plan.constants != {}


def test_one_constant_serves_a_whole_residual_group(tmp_path):
    constants = made(tmp_path, "two shortcuts, one group")[1].plan.constants
    group = [constants[index] for index in (0, 2, 5)]
    assert len(group[0]) == 1 and group[0] == group[1] == group[2]


def test_a_reader_of_a_part_of_a_sum_gets_its_own_constant_or_keeps_the_channels(tmp_path):
    """Of the filters of a sum only the first emits the constant: who reads another one alone hears nothing of it."""
    text = cfg(conv(16), conv(16), shortcut(-2), conv(8), HEAD3, route(1), HEAD3)
    net = small_nets.net(tmp_path, text, dead=0.3)
    pruned = prune(net, channels=0.5, scope="layer")
    assert sorted(pruned.plan.removed_channels) == [3]
    reasons = [entry["reason"] for entry in pruned.plan.kept]
    assert "no channel can carry its constant to padded layer 6" in reasons
    assert all(check.ok for check in verified(net, pruned))


def test_what_squeeze_and_excitation_gates_is_kept_with_the_reason(tmp_path):
    net, pruned = made(tmp_path, "squeeze and excitation")
    assert 1 not in pruned.plan.removed_channels
    reasons = [entry["reason"] for entry in pruned.plan.kept]
    assert any(reason.startswith("layer ") and "does not pass its constant on" in reason for reason in reasons)
    without = made(tmp_path, "squeeze and excitation", absorb="none")[1]
    assert 1 in without.plan.removed_channels


def test_a_layer_without_batch_norm_is_kept_and_reported(tmp_path):
    net, pruned = made(tmp_path, "no batch norm")
    assert 1 not in pruned.plan.removed_channels
    assert {"sets": 16, "reason": "no batch-norm gamma to score"} in pruned.plan.kept
    told = [(notice.message, notice.hint) for notice in pruned.notices]
    cure = "--criterion l2 scores them by their weights"
    assert ("16 channel sets have no batch norm to score and are kept", cure) in told
    net, pruned = made(tmp_path, "no batch norm", score="l2")
    assert 1 in pruned.plan.removed_channels
    assert all(check.ok for check in verified(net, pruned))


def test_pruning_leaves_the_net_alone(tmp_path):
    net = small_nets.net(tmp_path, NETS["route"])
    key, batch = pair_key(net), small_nets.raw_heads(net)
    texts = [dict(layer.edits) for layer in net.layers]
    widths = [layer.shape for layer in net.layers]
    for mode in ("exact", "bias", "none"):
        pruned = prune(net, channels=0.5, force=True, absorb=mode)
        save(pruned.net, str(tmp_path / mode), plan=pruned.plan)
    assert pair_key(net) == key and [layer.shape for layer in net.layers] == widths
    assert [dict(layer.edits) for layer in net.layers] == texts
    np.testing.assert_array_equal(small_nets.raw_heads(net)[0], batch[0])


@pytest.mark.parametrize("name", ["two shortcut groups", "grouped route", "connected"])
def test_the_same_bytes_twice(name, tmp_path):
    found = []
    for stem in ("first", "second"):
        net, pruned = made(tmp_path, name)
        save(pruned.net, str(tmp_path / stem), plan=pruned.plan)
        found.append([(tmp_path / (stem + suffix)).read_bytes() for suffix in (".cfg", ".weights", ".plan.json")])
    assert found[0] == found[1]


def test_filters_and_labels_agree_after_surgery(tmp_path):
    net, pruned = made(tmp_path, "two shortcut groups")
    for layer in pruned.net.layers:
        if layer.type == "convolutional":
            assert layer["filters"] == layer.shape.c == layer.array("weights").shape[0]
            assert layer.array("weights").shape[1] == layer.input_shape().c
    assert Channels(pruned.net).size < Channels(net).size
