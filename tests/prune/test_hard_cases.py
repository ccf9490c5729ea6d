"""Cases that once went wrong: blocks beside blocks, outputs, shared arrays, products, forced sums, refusals."""

import numpy as np
import pytest

import small_nets
from darkprune import verify
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.cli.main import main
from darkprune.errors import GraphError, PlanError, UsageError
from darkprune.graph.build import load
from darkprune.graph.channels import Overreach
from darkprune.graph.save import save
from darkprune.prune.apply_plan import apply_plan
from darkprune.prune.blocks import find_blocks
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, route, section, shortcut

HEAD3 = conv(6, activation="linear", bn=None)
B = conv(8, 1) + conv(16) + shortcut(-3)
UPSAMPLE = section("upsample", stride=2)


def exact(net, pruned):
    found = verify.compare_surgery(net, pruned.net, pruned.plan, verify.test_batch(net))
    return all(check.ok for check in found)


@pytest.mark.parametrize("blocks", [2, 3, 5])
@pytest.mark.parametrize("mode", ["exact", "none"])
def test_adjacent_blocks_and_channels_verify(blocks, mode, tmp_path):
    b24 = conv(12, 1) + conv(24) + shortcut(-3)
    text = cfg(
        conv(16), B * 4, conv(24, stride=2), b24 * 3, HEAD3, route(-2), conv(8, 1), UPSAMPLE, route(-1, 12), conv(16),
        HEAD,
    )  # fmt: skip
    net = small_nets.net(tmp_path, text)
    pruned = prune(net, blocks=blocks, channels=0.5, absorb=mode, force=True)
    assert len(pruned.plan.removed_blocks) == blocks and exact(net, pruned)


def scored_blocks(net, scores):
    """Sets the gammas of each block's convolutions to its score."""
    for block, score in zip(find_blocks(net), scores):
        for layer in block.branch:
            layer.set_param("scales", np.full(layer.shape.c, score))


def test_a_stuck_block_stays_and_the_others_are_not_blamed(tmp_path):
    text = cfg(conv(16), B * 3, conv(16), B, conv(16, 3, groups=16), HEAD)
    net = small_nets.net(tmp_path, text, dead=0)
    scored_blocks(net, (0.4, 0.5, 0.2, 0.1))  # the last is the weakest, and a padded depthwise layer reads it
    pruned = prune(net, blocks=2)
    assert [entry["shortcut"] for entry in pruned.plan.removed_blocks] == [3, 9]
    assert [entry["block"] for entry in pruned.plan.kept if "block" in entry] == [13]
    assert exact(net, pruned)


@pytest.mark.parametrize("tail", ["", section("avgpool"), conv(6) + B.replace("filters=16", "filters=6")])
def test_what_leaves_the_net_is_never_shifted(tail, tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), B, tail))
    try:
        pruned = prune(net, blocks=1)
    except UsageError as error:
        assert "output of the net" in str(error)
        return
    silenced = verify.Silenced(net, pruned.plan)
    numbers = verify.numbering(net, pruned.net, pruned.plan)
    batch = verify.test_batch(net)
    expected, found = NumpyRunner(*silenced.reference("exact")).infer(batch), NumpyRunner(pruned.net).infer(batch)
    last = pruned.net.layers[-1].index
    assert np.abs(expected[numbers[last]] - found[last]).max() < 1e-4 * np.abs(found[last]).max()


@pytest.mark.parametrize("options", [{"share_index": 1}, {"flipped": 1}, {"xnor": 1}])
def test_a_reader_whose_arrays_are_not_edited_keeps_its_block(options, tmp_path):
    text = cfg(conv(16, 1), conv(16, 1), conv(8, 1), conv(16), shortcut(-3), conv(16, 1, **options), HEAD)
    net = small_nets.net(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        prune(net, blocks=1)
    assert "layer 5" in str(caught.value) or "layer 1" in str(caught.value)


def test_a_product_of_constants_is_kept_where_it_cannot_be_carried(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), conv(16), section("sam", from_=-2), conv(16), HEAD))
    assert exact(net, prune(net, channels=0.5, force=True))


def test_the_damage_of_blocks_is_predicted(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), B * 6, conv(16), HEAD), dead=0)
    one, six = prune(net, blocks=1), prune(net, blocks=6)
    assert 0.05 < one.preflight["damage"] < six.preflight["damage"]
    assert any("never trained for sparsity" in notice.message for notice in six.notices)


@pytest.mark.parametrize("options", [{"blocks": 1}, {"blocks": 1, "channels": 0.05}, {"blocks": 2, "channels": 0.5}])
def test_rounding_holds_for_a_trunk_that_grew(options, tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), B, B, conv(16), HEAD))
    pruned = prune(net, round=8, force=True, **options)
    widths = [layer.shape.c for layer in pruned.net.layers[:-1] if layer.has("scales")]
    assert [width % 8 for width in widths] == [0] * len(widths) and exact(net, pruned)


@pytest.mark.parametrize("mode", ["exact", "none"])
def test_a_leaky_block_goes_by_force(mode, tmp_path):
    text = cfg(conv(16), conv(8, 1), conv(16), shortcut(-3, "leaky"), conv(16), HEAD)
    net = small_nets.net(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        prune(net, blocks=1, absorb=mode)
    assert "its activation is leaky" in str(caught.value)
    pruned = prune(net, blocks=1, absorb=mode, force=True)
    assert any("was forced although its activation is leaky" in notice.message for notice in pruned.notices)
    assert exact(net, pruned)


def test_a_block_whose_weights_another_layer_uses_stays(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), B, conv(8, 1, share_index=1), conv(16), HEAD))
    with pytest.raises(UsageError) as caught:
        prune(net, blocks=1, force=True)
    assert "layer 4 shares its weights" in str(caught.value)


def test_recurrent_nets_are_refused_with_the_layer(tmp_path):
    text = small_nets.section("net", inputs=8, batch=1, time_steps=2) + section("rnn", output=6, hidden=4)
    with open(str(tmp_path / "r.cfg"), "w") as stream:
        stream.write(text + section("connected", output=5, activation="linear"))
    small_nets.make_weights.make(str(tmp_path / "r.cfg"), str(tmp_path / "r.weights"), calibrate=False)
    net = load(str(tmp_path / "r.cfg"), str(tmp_path / "r.weights"))
    with pytest.raises(UsageError) as caught:
        prune(net, channels=0.5)
    assert "[rnn]" in str(caught.value)


def test_edges_are_rewired_not_set(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), conv(16), conv(16), shortcut(-3), HEAD))
    with pytest.raises(GraphError) as caught:
        net.layers[3].set("from", -2)
    assert "rewire" in str(caught.value)
    net.rewire(net.layers[3], 1, net.layers[1])
    save(net, str(tmp_path / "new"))
    again = load(str(tmp_path / "new.cfg"), str(tmp_path / "new.weights"))
    assert again.layers[3].inputs[1] is again.layers[1]


def test_a_net_without_values_is_neither_pruned_nor_saved(tmp_path):
    paths = small_nets.write(tmp_path, cfg(conv(16), HEAD))
    net = load(paths[0])
    with pytest.raises(UsageError):
        prune(net, channels=0.5)
    with pytest.raises(GraphError):
        save(net, str(tmp_path / "out"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.cfg", "net.weights"]


@pytest.mark.parametrize("flags", [["--absorb", "none"], ["--round", "8"], ["--scope", "layer"], ["--blocks", "1"]])
def test_a_plan_leaves_nothing_to_choose(flags, tmp_path, capsys):
    paths = small_nets.write(tmp_path, cfg(conv(16), conv(16), HEAD))
    out = str(tmp_path / "out")
    assert main(["prune"] + paths + ["-o", out, "--channels", "0.4", "--force", "--dry-run"]) == 0
    capsys.readouterr()
    assert main(["prune"] + paths + ["-o", out, "--plan", out + ".plan.json"] + flags) == 2
    assert "leave out " + flags[0] in capsys.readouterr().err
    before = (tmp_path / "out.plan.json").read_bytes()
    assert main(["prune"] + paths + ["-o", out, "--plan", out + ".plan.json"]) == 0
    assert (tmp_path / "out.plan.json").read_bytes() == before


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_every_group_of_a_padded_convolution_gets_its_constant(groups, tmp_path):
    text = cfg(conv(32), conv(32, groups=groups), shortcut(-2), conv(16, groups=groups, activation="mish"), HEAD)
    net = small_nets.net(tmp_path, text)
    pruned = prune(net, channels=0.5)
    kept = pruned.net.layers[0].shape.c
    assert kept % groups == 0 and kept < 32 and exact(net, pruned)
    assert len(pruned.plan.constants[0]) >= groups


@pytest.mark.parametrize("mode", ["exact", "none"])
@pytest.mark.parametrize("widths, sources", [((8, 16), "-2"), ((16, 8), "-2"), ((8, 12, 16), "-2,-3"), ((16, 4), "-2")])
def test_the_suffix_of_an_uneven_sum_is_free(widths, sources, mode, tmp_path):
    text = cfg("".join(conv(n) for n in widths), shortcut(sources, "leaky"), conv(16), HEAD)
    net = small_nets.net(tmp_path, text, dead=0)
    least = min(widths)
    for layer, width in zip(net.layers, widths):
        layer.set_param("scales", np.where(np.arange(width) < least, 1, 0.01 * (1 + np.arange(width) % 2)))
    pruned = prune(net, channels=0.12, absorb=mode)
    assert pruned.plan.removed_channels and exact(net, pruned)
    assert all(min(channels) >= least for channels in pruned.plan.removed_channels.values())


def uneven_widths(folder):
    """What layer 0, the narrower addend that reads it, and the sum come to, over many ways to prune."""
    text = cfg(conv(9), conv(4, 1), conv(8), shortcut(-2), conv(16), HEAD)
    for seed in range(8):
        net = small_nets.net(folder, text, seed=seed, dead=0)
        for share in (0.1, 0.2, 0.3, 0.4, 0.5):
            pruned = prune(net, channels=share, absorb="none", force=True).net
            yield tuple(layer.shape.c for layer in pruned.layers[:3])


def test_an_uneven_sum_never_comes_to_widths_that_a_reader_misreads(tmp_path, monkeypatch):
    assert not any(narrow < wide == first for first, narrow, wide in uneven_widths(tmp_path))
    monkeypatch.setattr(Overreach, "broken", lambda self, kept: False)
    assert any(narrow < wide == first for first, narrow, wide in uneven_widths(tmp_path))


def test_the_bias_of_an_unpadded_depthwise_layer_takes_its_place_in_the_constant(tmp_path):
    text = cfg(conv(16), conv(16, 3, groups=16, bn=None, pad=0, activation="mish"), conv(16, 1), conv(8), HEAD)
    net = small_nets.net(tmp_path, text)
    pruned = prune(net, channels=0.5)
    assert pruned.net.layers[1].shape.c <= 9 and exact(net, pruned)


@pytest.mark.parametrize("size", [1, 3])
def test_filters_without_batch_norm_go_after_a_block(size, tmp_path):
    without = conv(16, size, "mish", bn=None) + conv(16, 3, bn=None) + conv(8, 1, bn=None)
    net = small_nets.net(tmp_path, cfg(conv(16), B, B, without, HEAD))
    pruned = prune(net, channels=0.3, blocks=1, score="l2", force=True)
    assert pruned.plan.removed_blocks and 7 in pruned.plan.removed_channels and exact(net, pruned)


def test_a_gate_that_multiplies_zeros_lets_them_go(tmp_path):
    """Squeeze-and-excitation over relu: a filter with beta <= 0 emits 0, whatever its gate says."""
    squeeze = section("avgpool") + conv(4, 1, "relu", bn=None) + conv(16, 1, "logistic", bn=None)
    text = cfg(conv(16), conv(16, 3, "relu"), squeeze, section("scale_channels", from_=1), conv(8), HEAD)
    net = small_nets.net(tmp_path, text)
    betas = net.layers[1].array("biases").copy()
    betas[:8], betas[8:] = -np.abs(betas[:8]), np.abs(betas[8:]) + 0.1
    net.layers[1].set_param("biases", betas)
    net.layers[1].set_param("scales", np.where(np.arange(16) % 2, 0, 1))
    pruned = prune(net, channels=0.4, force=True)
    gone = pruned.plan.removed_channels[1]
    assert gone and set(gone) <= {1, 3, 5, 7} and pruned.net.layers[4].shape.c == 16 - len(gone)
    assert any("layer 5 [scale_channels] does not pass" in entry["reason"] for entry in pruned.plan.kept)
    assert exact(net, pruned)


def test_what_cannot_go_is_not_made_up_for_by_the_rest(tmp_path):
    squeeze = section("avgpool") + conv(4, 1, "relu", bn=None) + conv(64, 1, "logistic", bn=None)
    text = cfg(conv(32), conv(64, 3, "mish"), squeeze, section("scale_channels", from_=1), conv(32), HEAD)
    net = small_nets.net(tmp_path, text, dead=0)
    pruned = prune(net, channels=0.5, force=True)
    assert 1 not in pruned.plan.removed_channels and pruned.reached < 0.3
    left = sum(pruned.net.layers[i].shape.c for i in (0, 6))
    assert 30 <= left <= 36 and exact(net, pruned)  # half of these, and constants; not half of all 128


def test_learnt_constants_go_with_what_they_gate(tmp_path):
    gated = conv(16) + section("implicit", filters=16) + section("scale_channels", from_=0)
    net = small_nets.net(tmp_path, cfg(gated, conv(8, 1), HEAD))
    pruned = prune(net, channels=0.5)
    assert pruned.net.layers[1]["filters"] == pruned.net.layers[0]["filters"] <= 8 and exact(net, pruned)
    net = small_nets.net(tmp_path, cfg(gated, conv(8, 3), HEAD))
    pruned = prune(net, channels=0.5)
    assert any("no channel can carry its constant to padded layer 3" in entry["reason"] for entry in pruned.plan.kept)
    assert exact(net, pruned)


def test_a_factor_that_meets_only_some_cells_passes_no_constant(tmp_path):
    text = cfg(conv(16), conv(16, 3, stride=2), route(0), shortcut(1, alpha=0.5), conv(8), HEAD)
    net = small_nets.net(tmp_path, text, dialect="pjreddie")
    pruned = prune(net, channels=0.5)
    assert any("layer 3 [shortcut] does not pass" in entry["reason"] for entry in pruned.plan.kept)
    assert exact(net, pruned)


def test_a_map_that_gates_every_channel_passes_zeros(tmp_path):
    """With scale_wh a filter of 0 stays 0 whatever its gate says, and what follows makes a constant of it."""
    gate = conv(1, 1, "logistic", bn=None) + section("scale_channels", from_=1, scale_wh=1)
    for behind in (section("batchnorm"), section("activation", activation="logistic")):
        net = small_nets.net(tmp_path, cfg(conv(16), conv(16, 3, "relu"), gate, behind, conv(8, 1), HEAD))
        net.layers[1].set_param("biases", -np.abs(net.layers[1].array("biases")))
        pruned = prune(net, channels=0.4, force=True)
        assert pruned.plan.removed_channels[1] and exact(net, pruned)


@pytest.mark.parametrize("gate", ["logistic", "leaky"])
@pytest.mark.parametrize("product", ["sam", "scale_channels"])
def test_both_factors_of_a_product_carry_its_constant(product, gate, tmp_path):
    squeeze = section("avgpool") if product == "scale_channels" else ""
    text = cfg(conv(16), conv(16, 3, "mish"), squeeze, conv(16, 1, gate), section(product, from_=1), conv(16), HEAD)
    net = small_nets.net(tmp_path, text)
    pruned = prune(net, channels=0.4)
    assert pruned.net.layers[1].shape.c <= 10 and 1 in pruned.plan.constants and exact(net, pruned)


@pytest.mark.parametrize("activation", ["logistic", "plse"])
def test_what_emits_no_small_constant_carries_a_larger_one(activation, tmp_path):
    block = conv(8, 1, activation) + conv(16, 3, activation) + shortcut(-3)
    net = small_nets.net(tmp_path, cfg(conv(16, 3, activation), block * 3, conv(16), HEAD))
    for blocks in (0, 1):
        pruned = prune(net, channels=0.4, blocks=blocks, force=True)
        assert pruned.net.layers[0].shape.c <= 10 and exact(net, pruned)


def test_a_constant_that_a_batch_norm_would_end_is_emitted_as_it_was_heard(tmp_path):
    """Behind mean 2, gamma -1 and a relu, a 1 is heard, and the 2 and more that a reader would rather have is not."""
    behind = section("batchnorm") + section("activation", activation="relu")
    net = small_nets.net(tmp_path, cfg(conv(16), behind, conv(16), HEAD))
    ones = np.ones(16)
    for name, value in (("scales", -ones), ("mean", 2 * ones), ("variance", ones), ("biases", 0 * ones)):
        net.layers[1].set_param(name, value)
    net.layers[0].set_param("biases", -10 * ones)  # removed filters emit -1 and leave 3 behind the relu
    net.layers[3].set_param("weights", 0.1 * np.sign(net.layers[3].array("weights")))
    pruned = prune(net, channels=0.4, force=True)
    assert pruned.plan.constants[0] and exact(net, pruned)


@pytest.mark.parametrize("act", ["linear", "mish"])
def test_a_block_that_ends_in_a_gate_goes(act, tmp_path):
    gate = section("avgpool") + conv(4, 1, "relu") + conv(16, 1, "logistic") + section("scale_channels", from_=-4)
    squeeze = gate.replace("batch_normalize=1\n", "")
    net = small_nets.net(tmp_path, cfg(conv(16), (conv(16, 3, act) + gate + shortcut(-6)) * 2, conv(16), HEAD))
    for absorb in ("exact", "none"):
        pruned = prune(net, blocks=1, channels=0.3, absorb=absorb, force=True)
        assert len(pruned.plan.removed_blocks[0]["layers"]) == 6 and exact(net, pruned)
    net = small_nets.net(tmp_path, cfg(conv(16), (conv(16, 3, act) + squeeze + shortcut(-6)) * 2, conv(16), HEAD))
    pruned = prune(net, blocks=1)  # the gate that stays has no batch norm, and yet one filter more
    assert pruned.net.layers[4].shape.c == 17 and exact(net, pruned)


def test_of_a_block_in_a_block_only_one_goes(tmp_path):
    nested = conv(16, 1) + conv(16) + shortcut(-2) + shortcut(-4)
    net = small_nets.net(tmp_path, cfg(conv(16), nested * 2, conv(16), HEAD))
    assert [block.shortcut.index for block in find_blocks(net)] == [3, 4, 7, 8]
    pruned = prune(net, blocks=2, channels=0.3, force=True)
    layers = [index for entry in pruned.plan.removed_blocks for index in entry["layers"]]
    assert len(set(layers)) == len(layers) and exact(net, pruned)
    with pytest.raises(UsageError) as caught:
        prune(net, blocks=3)
    assert "2 of 4 can go" in str(caught.value) and "a block that goes has layers of it" in str(caught.value)


@pytest.mark.parametrize(
    "sections, gone, why",
    [
        ((conv(16), route(-1, groups=2, group_id=1)), [0, 1], "the groups of route 1"),
        ((conv(16), conv(16, groups=2)), [0, 1], "the groups of layer 1"),
        ((conv(9), conv(4, 1), conv(8), shortcut(-2)), [0], "widths of shortcut 3 that AlexeyAB's Darknet misreads"),
    ],
)
def test_a_plan_that_breaks_a_rule_of_the_net_is_refused(sections, gone, why, tmp_path):
    net = small_nets.net(tmp_path, cfg(*(sections + (conv(8), HEAD))))
    plan = prune(net, channels=0.3, absorb="none", force=True).plan
    plan.removed_channels = {0: gone}
    with pytest.raises(PlanError) as caught:
        apply_plan(net, plan)
    assert why in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"scale_wh": 1}])
def test_a_gate_of_another_shape_is_refused(options, tmp_path):
    text = cfg(conv(8), conv(8), section("scale_channels", from_=0, **options), HEAD)
    with pytest.raises(GraphError) as caught:
        small_nets.net(tmp_path, text)
    assert "must be " + ("16 x 16 x 1" if options else "1 x 1 x 8") in str(caught.value)


def test_a_filter_without_batch_norm_becomes_a_constant_with_its_set(tmp_path):
    """Only the depthwise layer, which goes too, reads what the filters without batch norm emit."""
    text = cfg(conv(16, bn=None), conv(16, 3, "mish", groups=16), conv(8), HEAD)
    net = small_nets.net(tmp_path, text)
    pruned = prune(net, channels=0.5)
    assert pruned.net.layers[0].shape.c <= 9 and pruned.plan.constants[0] == pruned.plan.constants[1]
    assert exact(net, pruned)


@pytest.mark.parametrize("behind", [route(-1, 0), section("maxpool", size=2) + route(-1, 0), shortcut(1)])
def test_the_layer_that_loses_a_constant_is_named_and_none_behind_it(behind, tmp_path):
    squeeze = section("avgpool") + conv(4, 1, "relu", bn=None) + conv(16, 1, "logistic", bn=None)
    gated = conv(16) + conv(16, 3, "mish") + squeeze + section("scale_channels", from_=1)
    net = small_nets.net(tmp_path, cfg(gated, behind, conv(16), HEAD))
    reasons = [entry["reason"] for entry in prune(net, channels=0.4, force=True).plan.kept]
    assert [why for why in reasons if "does not pass" in why] == [
        "layer 5 [scale_channels] does not pass its constant on"
    ]


def test_what_balance_keeps_is_not_made_up_for_by_the_rest(tmp_path):
    """Half of what the route splits is an output, so nothing of the 20 can go."""
    routes = conv(16) + conv(12) + route(-1, 0) + conv(20) + route(-1, groups=2, group_id=1)
    pruned = prune(small_nets.net(tmp_path, cfg(routes)), channels=0.5)
    gone = 28 - sum(pruned.net.layers[i].shape.c for i in (0, 1))
    assert pruned.net.layers[3].shape.c == 20 and 12 <= gone <= 14
