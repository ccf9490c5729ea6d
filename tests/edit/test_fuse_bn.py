"""Batch norm folded: the same numbers as before in numpy and in the real readers, each with its own formula."""

import numpy as np
import pytest

import need
import small_nets
from darkprune import verify
from darkprune.backends.darknet_ import DarknetRunner
from darkprune.backends.opencv_ import OpenCVRunner
from darkprune.darknet.dialect_epsilon import DIALECTS
from darkprune.edit import fuse_batch_norm
from darkprune.errors import GraphError, Unsupported, UsageError
from darkprune.graph.build import load
from edit_checks import DETECTOR, changes, pair, random_pair, same_weights, written
from small_nets import cfg, conv, section

GROUPED = cfg(
    conv(8), conv(8, groups=8), conv(12, groups=4, stride=2), conv(6, 1, "linear"), small_nets.HEAD
)  # a depthwise one too
CONNECTED = cfg(conv(8, stride=4), section("connected", output=6, activation="leaky", batch_normalize=1))
SHARED = cfg(conv(8), conv(8), conv(8, share_index=1), small_nets.HEAD)
KINDS = {"detector": DETECTOR, "grouped": GROUPED, "connected": CONNECTED}
ALL = sorted(DIALECTS)


def tiny_variances(net):
    """Variances near 0, where the readers' formulas differ most."""
    for layer in net.layers:
        if "variance" in layer.params and layer.has("weights"):
            count = layer.array("variance").size
            layer.set_param("variance", np.geomspace(1e-7, 1.0, count))
            layer.set_param("scales", np.sqrt(np.geomspace(1e-7, 1.0, count)))
    return net


def refusal(net, dialect="alexeyab"):
    with pytest.raises((GraphError, Unsupported, UsageError)) as caught:
        written(fuse_batch_norm(net, dialect), None)
    return str(caught.value).replace(net.document.path, "net.cfg")


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_folded_net_computes_the_same(tmp_path, kind, dialect):
    net = tiny_variances(pair(tmp_path, KINDS[kind], dialect=dialect))
    after = written(fuse_batch_norm(net, dialect), tmp_path, dialect=dialect)
    assert small_nets.distance(net, after) < 1e-4
    assert not any(layer.op.batch_norm(layer) for layer in after.layers)
    assert all(list(layer.params) in ([], ["biases", "weights"]) for layer in after.layers)
    norms = KINDS[kind].count("batch_normalize=1")
    assert changes(tmp_path) == [("batch_normalize=1", "batch_normalize=0")] * norms
    assert after.count_parameters() == net.count_parameters() - 3 * sum(
        layer.shape.c for layer in net.layers if layer.op.batch_norm(layer)
    )


@pytest.mark.parametrize("dialect", ALL)
def test_the_formula_is_that_of_the_dialect(tmp_path, dialect):
    net = tiny_variances(pair(tmp_path, cfg(conv(8)), dialect=dialect))
    distances = {d: small_nets.distance(net, fuse_batch_norm(net, d)) for d in ALL}
    assert distances.pop(dialect) < 1e-5 < 1e-3 < min(distances.values())


def test_one_filter_by_hand(tmp_path):
    net = pair(tmp_path, cfg(conv(2, 1)))
    for name, values in (("biases", [1, 2]), ("scales", [3, 0]), ("mean", [4, 5]), ("variance", [0.25, 0.5])):
        net.layers[0].set_param(name, np.array(values))
    net.layers[0].set_param("weights", np.arange(6.0).reshape(2, 3, 1, 1))
    after = fuse_batch_norm(net, "pjreddie").layers[0]
    factor = 3 / (0.5 + 1e-6)
    assert np.allclose(after.array("biases"), [1 - 4 * factor, 2], rtol=1e-7)
    assert np.allclose(after.array("weights").ravel(), [0, factor, 2 * factor, 0, 0, 0], rtol=1e-7)


@pytest.mark.parametrize("dialect", ["opencv", "pjreddie"])
def test_the_real_reader_computes_the_same(tmp_path, dialect):
    need.opencv() if dialect == "opencv" else need.libdarknet()
    runner = OpenCVRunner if dialect == "opencv" else DarknetRunner
    written(tiny_variances(pair(tmp_path, DETECTOR)), tmp_path, "before", dialect)
    net = load(str(tmp_path / "before.cfg"), str(tmp_path / "before.weights"), dialect)
    written(fuse_batch_norm(net, dialect), tmp_path, "after", dialect)
    batch, found = verify.test_batch(net), []
    for name in ("before", "after"):
        with runner(str(tmp_path / (name + ".cfg")), str(tmp_path / (name + ".weights"))) as real:
            found.append(real.infer(batch, [5, 11]))
    for index in (5, 11):
        scale = np.abs(found[0][index]).max()
        assert scale > 0 and np.abs(found[0][index] - found[1][index]).max() < 1e-4 * scale


def test_a_second_time_changes_nothing(tmp_path):
    once = written(fuse_batch_norm(pair(tmp_path), "opencv"), tmp_path, "once")
    again = fuse_batch_norm(once, "alexeyab")
    assert again.notices[-1].message == "no layer has a batch norm that could be folded"
    written(again, tmp_path, "again")
    assert changes(tmp_path, "once.cfg", "again.cfg") == []
    assert same_weights(tmp_path, "once.weights", "again.weights")


def test_arrays_that_two_layers_share(tmp_path):
    net = pair(tmp_path, SHARED)
    after = written(fuse_batch_norm(net, "alexeyab"), tmp_path)
    assert small_nets.distance(net, after) < 1e-4
    assert [layer.text("batch_normalize") for layer in after.layers] == ["0", "0", "0", None]
    uneven = random_pair(tmp_path, cfg(conv(8), conv(8), conv(8, share_index=1, bn=None)))
    assert refusal(uneven) == (
        "net.cfg:25: error: layers 1 and 2 share arrays, and only one of them has batch norm\n"
        "   25 | share_index=1\n"
        "      |             ^\n"
        "hint: keep the batch norm of this net"
    )


def test_a_head_that_points_at_a_layer_shares_nothing(tmp_path):
    boxes = section("yolo", mask="0", anchors="1,2", classes=1, num=1, embedding_layer=0)
    net = pair(tmp_path, cfg(conv(8), conv(6, 1), boxes))
    assert not any(layer.op.batch_norm(layer) for layer in fuse_batch_norm(net, "alexeyab").layers)


def test_cross_iteration_norm_goes_too(tmp_path):
    net = pair(tmp_path, cfg(conv(8, cbn=1), small_nets.HEAD))
    after = written(fuse_batch_norm(net, "alexeyab"), tmp_path)
    assert changes(tmp_path) == [("batch_normalize=1", "batch_normalize=0"), ("cbn=1", "cbn=0")]
    assert small_nets.distance(net, after) < 1e-4


def test_what_cannot_be_folded_stays_and_is_told(tmp_path):
    net = random_pair(tmp_path, cfg(conv(8), section("batchnorm"), section("gru", output=5, batch_normalize=1)))
    new = fuse_batch_norm(net, "alexeyab")
    written(new, tmp_path)
    assert changes(tmp_path) == [("batch_normalize=1", "batch_normalize=0")]
    assert [str(n).replace(net.document.path, "net.cfg") for n in new.notices[len(net.notices) :]] == [
        "net.cfg:12: warning: layer 1 [batchnorm] keeps its batch norm: only convolutional and connected layers can "
        "fold it\n   12 | [batchnorm]\n      | ^^^^^^^^^^^",
        "net.cfg:13: warning: layer 2 [gru] keeps its batch norm: only convolutional and connected layers can "
        "fold it\n   13 | [gru]\n      | ^^^^^",
    ]


@pytest.mark.parametrize("key", ["xnor", "binary", "flipped", "dontload", "dontloadscales", "rotate", "coordconv"])
def test_arithmetic_with_which_a_factor_is_not_one_of_the_weights(tmp_path, key):
    net = random_pair(tmp_path, cfg(conv(8), conv(8, **{key: 1})))
    assert refusal(net) == (
        "net.cfg:19: error: the batch norm of layer 1 cannot be folded: {0}=1\n"
        "   19 | {0}=1\n"
        "      | {1}^\n"
        "hint: keep the batch norm of this net".format(key, " " * (len(key) + 1))
    )
    without = random_pair(tmp_path, cfg(conv(8), conv(8, bn=None, **{key: 1})))
    assert fuse_batch_norm(without, "alexeyab").layers[0].text("batch_normalize") == "0"


def test_values_that_leave_float32(tmp_path):
    net = pair(tmp_path, cfg(conv(2)))
    net.layers[0].set_param("scales", np.full(2, 1e38))
    net.layers[0].set_param("variance", np.zeros(2))
    net.layers[0].set_param("mean", np.ones(2))
    with pytest.raises(GraphError) as caught:
        written(fuse_batch_norm(net, "alexeyab"), tmp_path)
    assert str(caught.value).replace(net.document.path, "net.cfg") == (
        "net.cfg:7: error: the folded biases of layer 0 are too large for float32\n"
        "    7 | batch_normalize=1\n"
        "      |                 ^\n"
        "hint: a variance is near 0; keep the batch norm of this net"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.cfg", "net.weights"]


def test_an_unknown_dialect(tmp_path):
    text = "error: unknown dialect 'torch'\nhint: use one of alexeyab, opencv, pjreddie"
    assert refusal(pair(tmp_path), "torch") == text
