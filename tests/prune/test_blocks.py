"""Removing shortcut blocks: alone and before channels, whatever the branch is made of."""

import numpy as np
import pytest

import small_nets
from darkprune import verify
from darkprune.errors import UsageError
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.prune.absorb import Absorption
from darkprune.prune.apply_plan import apply_plan
from darkprune.prune.blocks import find_blocks
from darkprune.prune.pipeline import prune
from small_nets import HEAD, cfg, conv, route, section, shortcut

HEAD3 = conv(5, activation="linear", bn=None)
DROP = section("dropout", probability=0.5)


def block(filters, *branch, **more):
    """A branch, and the shortcut that adds it to what was there before."""
    return "".join(branch) + shortcut(-1 - len(branch), **more)


TWO = cfg(
    conv(16), block(16, conv(8, 1), conv(16)), block(16, conv(8, 1), conv(16)), conv(24, stride=2),
    block(24, conv(12, 1), conv(24)), HEAD3,
)  # fmt: skip
BRANCHES = {
    "one convolution": block(16, conv(16)),
    "two convolutions": block(16, conv(8, 1), conv(16)),
    "three convolutions": block(16, conv(8, 1), conv(8), conv(16, 1)),
    "dropout": block(16, conv(8, 1), DROP, conv(16), DROP),
    "depthwise": block(16, conv(24, 1), conv(24, groups=24), conv(16, 1, "linear")),
    "a route inside": block(16, conv(8, 1), conv(8), route(-1, -2), conv(16, 1)),
    "pooling": block(16, section("maxpool", size=3, stride=1), conv(16, 1)),
}


def checks(net, pruned):
    return verify.compare_surgery(net, pruned.net, pruned.plan, verify.test_batch(net))


def with_gamma(net, layer, value):
    net.layers[layer].set_param("scales", np.full(net.layers[layer].shape.c, value))


@pytest.mark.parametrize("mode", ["exact", "none"])
@pytest.mark.parametrize("head", [HEAD, HEAD3], ids=["1x1 head", "padded head"])
@pytest.mark.parametrize("name", sorted(BRANCHES))
def test_a_block_goes(name, head, mode, tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), BRANCHES[name], conv(8), head))
    count = BRANCHES[name].count("[")
    pruned = prune(net, blocks=1, absorb=mode)
    assert pruned.plan.removed_blocks == [{"shortcut": count, "layers": list(range(1, count + 1))}]
    assert [layer.type for layer in pruned.net.layers] == ["convolutional"] * 3
    assert all(check.ok for check in checks(net, pruned)) and len(checks(net, pruned)) == 3
    wide = pruned.net.layers[0]["filters"]
    assert wide == (17 if mode == "exact" else 16)  # the reader is padded: what the branch emitted needs a constant
    assert small_nets.distance(net, pruned.net) > 1e-3


@pytest.mark.parametrize("mode", ["exact", "none"])
def test_against_a_net_silenced_by_hand(mode, tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), block(16, conv(8, 1), conv(16)), HEAD3))
    pruned = prune(net, blocks=1, absorb=mode)
    with_gamma(net, 2, 0)
    if mode == "none":
        net.layers[2].set_param("biases", np.zeros(16))
    assert small_nets.distance(net, pruned.net) < 1e-5


def test_fails_without_the_absorption(tmp_path, monkeypatch):
    monkeypatch.setattr(Absorption, "_add", lambda *_: None)
    for text in (cfg(conv(16), block(16, conv(16)), conv(8, 1), HEAD), cfg(conv(16), block(16, conv(16)), HEAD3)):
        net = small_nets.net(tmp_path, text)
        assert not all(check.ok for check in checks(net, prune(net, blocks=1)))


def test_a_reader_without_padding_needs_no_constant(tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), block(16, conv(16)), conv(8, 1), HEAD))
    pruned = prune(net, blocks=1)
    assert pruned.plan.constants == {} and pruned.net.layers[0]["filters"] == 16
    assert all(check.ok for check in checks(net, pruned))


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("share", [None, 0.4])
@pytest.mark.parametrize("mode", ["exact", "none"])
def test_blocks_then_channels(blocks, share, mode, tmp_path):
    net = small_nets.net(tmp_path, TWO, dead=0.3)
    pruned = prune(net, blocks=blocks, channels=share, absorb=mode, force=True)
    assert len(pruned.plan.removed_blocks) == blocks
    assert len(pruned.net.layers) == 12 - 3 * blocks
    assert bool(pruned.plan.removed_channels) == (share is not None)
    assert all(check.ok for check in checks(net, pruned))
    save(pruned.net, str(tmp_path / "out"), plan=pruned.plan)
    again = load(str(tmp_path / "out.cfg"), str(tmp_path / "out.weights"))
    np.testing.assert_array_equal(small_nets.raw_heads(again)[0], small_nets.raw_heads(pruned.net)[0])
    save(apply_plan(net, pruned.plan), str(tmp_path / "twin"), plan=pruned.plan)
    for suffix in (".cfg", ".weights"):
        assert (tmp_path / ("twin" + suffix)).read_bytes() == (tmp_path / ("out" + suffix)).read_bytes()


def test_the_weakest_block_goes_first(tmp_path):
    net = small_nets.net(tmp_path, TWO, dead=0)
    assert [b.shortcut.index for b in find_blocks(net)] == [3, 6, 10]
    for layer in (4, 5):
        with_gamma(net, layer, 0.01)
    assert prune(net, blocks=1).plan.removed_blocks == [{"shortcut": 6, "layers": [4, 5, 6]}]
    with_gamma(net, 8, 5.0)
    with_gamma(net, 9, 0.001)
    assert prune(net, blocks=1, block_rank="mean").plan.removed_blocks[0]["shortcut"] == 6
    assert prune(net, blocks=1, block_rank="last").plan.removed_blocks[0]["shortcut"] == 10


@pytest.mark.parametrize(
    "end, why",
    [
        (block(16, conv(16), activation="leaky"), "its activation is leaky"),
        (block(16, conv(16), weights_type="per_feature", weights_normalization="relu"), "it is weighted"),
    ],
)
def test_other_shortcuts_need_force(end, why, tmp_path):
    net = small_nets.net(tmp_path, cfg(conv(16), end, HEAD))
    with pytest.raises(UsageError) as caught:
        prune(net, blocks=1)
    assert caught.value.message == "1 shortcut blocks were asked for, 0 of 1 can go"
    assert caught.value.hint == "layer 2: " + why
    pruned = prune(net, blocks=1, absorb="none", force=True)
    assert [layer.type for layer in pruned.net.layers] == ["convolutional"] * 2
    assert ["block 2 was forced although " + why] == [notice.message for notice in pruned.notices]


NO_BLOCKS = {
    "a branch without channels of its own": cfg(conv(16), section("maxpool", size=3, stride=1), shortcut(-2), HEAD),
    "a branch that adds the trunk itself": cfg(conv(16), conv(16), shortcut(-2), DROP, shortcut(0), HEAD),
    "a branch read elsewhere": cfg(conv(16), conv(16), shortcut(-2), HEAD, route(1), HEAD),
    "a branch that reads more than the trunk": cfg(conv(16), conv(16), route(0, 1), conv(16), shortcut(1), HEAD),
    "a branch over other layers": cfg(conv(16), conv(4), route(0), conv(16), shortcut(0), HEAD),
}


@pytest.mark.parametrize("name", sorted(NO_BLOCKS))
def test_no_block(name, tmp_path):
    net = small_nets.net(tmp_path, NO_BLOCKS[name])
    last = [layer for layer in net.layers if layer.type == "shortcut"][-1]
    assert last.index not in [found.shortcut.index for found in find_blocks(net)]


def test_a_trunk_without_batch_norm_gets_a_constant(tmp_path):
    """The filter that is added has no weights, so it emits its bias and nothing else."""
    net = small_nets.net(tmp_path, cfg(conv(16), conv(16, bn=0), block(16, conv(16)), HEAD3))
    for absorb in ("exact", "none"):
        pruned = prune(net, blocks=1, absorb=absorb)
        assert all(check.ok for check in checks(net, pruned))
        assert pruned.net.layers[1].shape.c == (17 if absorb == "exact" else 16)


@pytest.mark.parametrize(
    "between",
    [section("batchnorm"), route(-1, -1), conv(16, groups=16)],
    ids=["batchnorm", "a tensor twice", "depthwise"],
)
def test_a_trunk_that_cannot_grow_by_one_channel(between, tmp_path):
    width = 32 if "route" in between else 16
    net = small_nets.net(tmp_path, cfg(conv(16), between, conv(width), shortcut(-2), HEAD3))
    try:
        pruned = prune(net, blocks=1)
    except UsageError as error:
        assert "its trunk cannot get a constant channel" in error.hint
    else:
        assert all(check.ok for check in checks(net, pruned))


def test_a_block_whose_depthwise_layer_tied_the_trunk(tmp_path):
    """What a block tied is free once it is gone; `verify` must see that too."""
    text = cfg(conv(12), conv(6, 1), conv(12, 1, groups=6), shortcut(-3), conv(16), HEAD)
    net = small_nets.net(tmp_path, text, dead=0)
    weak = np.ones(12)
    weak[[3, 8]] = 0.01
    net.layers[0].set_param("scales", weak)
    pruned = prune(net, blocks=1, channels=2 / 28.0, absorb="none")
    assert pruned.plan.removed_blocks and pruned.plan.removed_channels == {0: [3, 8]}
    assert all(check.ok for check in checks(net, pruned))
