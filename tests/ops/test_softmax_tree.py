"""The tree of a hierarchical softmax: numpy's numbers are those of the real Darknet."""

import pytest

import need
import small_nets
from darkprune import verify
from darkprune.backends.darknet_ import DarknetRunner
from darkprune.errors import Unsupported
from darkprune.graph.build import load
from small_nets import cfg, conv, section

TREE = "a -1\nb -1\nc 0\nd 0\ne 0\nf 1\ng 3\n"


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "classes.tree"
    path.write_text(TREE)
    return section("softmax", tree=path, temperature=2)


def agrees(folder, text):
    """Whether Darknet's heads are numpy's."""
    cfg_path, weights = small_nets.write(folder, text)
    net = load(cfg_path, weights, "pjreddie")
    checks = verify.compare_reader(net, DarknetRunner(cfg_path, weights), verify.test_batch(net))
    return [(check.ok, check.max_error < 1e-5) for check in checks] == [(True, True)]


def test_a_softmax_tree_normalises_the_children_of_each_parent(tmp_path, tree):
    need.libdarknet()
    body = [conv(7, activation="linear", bn=None), section("avgpool")]
    assert agrees(tmp_path, cfg(*body + [tree, section("cost")]))
    found = small_nets.raw_heads(load(str(tmp_path / "net.cfg"), str(tmp_path / "net.weights")))[0].ravel()
    assert [round(float(found[a:b].sum()), 5) for a, b in ((0, 2), (2, 5), (5, 6), (6, 7))] == [1, 1, 1, 1]


def test_a_softmax_tree_that_does_not_fit(tmp_path, tree):
    net = small_nets.net(tmp_path, cfg(conv(8), section("avgpool"), tree))
    with pytest.raises(Unsupported) as caught:
        small_nets.raw_heads(net)
    assert caught.value.message == "the softmax tree has 7 classes, the layer 8"
    (tmp_path / "classes.tree").unlink()
    with pytest.raises(Unsupported) as caught:
        small_nets.raw_heads(net)
    assert caught.value.message == "the softmax tree cannot be read: No such file or directory"
