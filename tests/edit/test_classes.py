"""Another number of classes: which rows stay, what the new ones hold, and the nets where that is not clear."""

import hashlib

import numpy as np
import pytest

import need
import small_nets
from darkprune import verify
from darkprune.backends.darknet_ import DarknetRunner
from darkprune.backends.opencv_ import OpenCVRunner
from darkprune.edit import set_classes
from darkprune.errors import GraphError, UsageError
from darkprune.graph.build import load
from edit_checks import changes, pair, random_pair, same_weights, written
from small_nets import cfg, conv, route, section, shortcut

LINEAR = {"activation": "linear", "bn": None}


def yolo(classes, **more):
    return section("yolo", mask="0,1,2", anchors="1,2,3,4,5,6", classes=classes, num=3, **more)


def head(classes, entries=5, **more):
    return conv(3 * (classes + entries), 1, **dict(LINEAR, **more))


def refusal(net, count=2):
    with pytest.raises((GraphError, UsageError)) as caught:
        set_classes(net, count)
    return str(caught.value).replace(net.document.path, "net.cfg")


def cause(text):
    return text.split("cannot change: ")[1].split("\n")[0]


# ---- detectors


@pytest.mark.parametrize("count", [1, 2, 4, 80])
def test_rows_of_boxes_stay_and_rows_of_classes_are_new(tmp_path, count):
    net = pair(tmp_path)
    after = written(set_classes(net, count), tmp_path)
    filters = "filters={}".format(3 * (count + 5))
    assert changes(tmp_path) == [
        ("filters=24", filters),
        ("classes=3", "classes={}".format(count)),
        ("filters=24", filters),
        ("  classes = 3", "  classes = {}".format(count)),
    ]
    for index in (5, 11):
        for name in ("biases", "weights"):
            old = net.layers[index].array(name).reshape(3, 8, -1)
            new = after.layers[index].array(name).reshape(3, 5 + count, -1)
            assert np.array_equal(old[:, :5], new[:, :5])
            assert (new[:, 5:] == 0).all() if name == "biases" else (new[:, 5:] != 0).all()
    for old, new in zip(net.layers, after.layers):
        if old.index not in (5, 11):
            assert all(np.array_equal(p.value, new.params[name].value) for name, p in old.params.items())


def test_boxes_are_computed_as_before(tmp_path):
    net = pair(tmp_path)
    after = set_classes(net, 7)
    for index in (5, 11):
        for name in ("weights", "biases"):
            old, new = net.layers[index].array(name), after.layers[index].array(name)
            rest = old.shape[1:]
            assert np.array_equal(old.reshape((3, 8) + rest)[:, :5], new.reshape((3, 12) + rest)[:, :5])
    for old, new in zip(small_nets.raw_heads(net), small_nets.raw_heads(after)):
        shape = old.shape[-2:]
        # a matrix product of more rows may add up in another order
        np.testing.assert_allclose(
            old.reshape((3, 8) + shape)[:, :5], new.reshape((3, 12) + shape)[:, :5], rtol=1e-5, atol=1e-6
        )


def test_the_same_number_changes_nothing(tmp_path):
    new = set_classes(pair(tmp_path), 3)
    written(new, tmp_path)
    assert changes(tmp_path) == [] and same_weights(tmp_path)
    assert new.notices[-1].message == "the net has 3 classes already"


def test_a_head_with_this_number_stays(tmp_path):
    net = pair(tmp_path, cfg(conv(8), head(3), yolo(3), route(0), head(2), yolo(2)))
    after = written(set_classes(net, 2), tmp_path)
    assert changes(tmp_path) == [("filters=24", "filters=21"), ("classes=3", "classes=2")]
    assert np.array_equal(net.layers[4].array("weights"), after.layers[4].array("weights"))


def test_the_notice(tmp_path):
    notices = [str(notice).replace(str(tmp_path) + "/", "") for notice in set_classes(pair(tmp_path), 2).notices[-2:]]
    assert notices[0] == (
        "net.cfg:42: warning: 6 of the 21 rows of layer 5 are new and untrained, those of the classes of layer 6; "
        "15 rows of boxes and objectness are kept\n"
        "   42 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n"
        "hint: train the net before it is used; its .names and .data must list the new classes"
    )
    assert "of layer 11 are new" in notices[1]


def test_new_weights_are_those_of_darknet_and_the_same_on_every_machine(tmp_path):
    net = pair(tmp_path, cfg(conv(64), head(1), yolo(1)))
    weights = set_classes(net, 400).layers[1].array("weights").reshape(3, 405, 64)[:, 5:]
    deviation = np.sqrt(2.0 / 64)
    assert abs(weights.std() / deviation - 1) < 0.02 and abs(weights.mean()) < 0.01 * deviation
    assert 4 < np.abs(weights).max() / deviation < 6
    digest = hashlib.sha256(np.ascontiguousarray(weights, "<f4").tobytes()).hexdigest()
    assert digest == "c2ce7e636f85b8b2b2ea3690885e2d29bdd0e241bcc62f5be2a0c0052436ec49"


def test_heads_of_one_shape_get_different_noise(tmp_path):
    net = set_classes(pair(tmp_path, cfg(conv(8), head(3), yolo(3), route(0), head(3), yolo(3))), 9)
    a, b = [net.layers[index].array("weights").reshape(3, 14, 8)[:, 5:] for index in (1, 4)]
    assert not np.array_equal(a, b)


def test_a_head_with_batch_norm(tmp_path):
    after = set_classes(pair(tmp_path, cfg(conv(8), head(3, bn=1), yolo(3))), 6).layers[1]
    for name, value in (("scales", 1), ("variance", 1), ("mean", 0), ("biases", 0)):
        assert (after.array(name).reshape(3, 11)[:, 5:] == value).all()


def test_gaussian_yolo_and_region(tmp_path):
    boxes = {"mask": "0,1,2", "anchors": "1,2,3,4,5,6", "classes": 3, "num": 3}
    region = section("region", anchors="1,2,3,4,5,6", classes=3, num=3, coords=4, softmax=1)
    for name, last, entries in (("g", section("Gaussian_yolo", **boxes), 9), ("r", region, 5)):
        net = random_pair(tmp_path, cfg(conv(8), head(3, entries), last), name)
        after = written(set_classes(net, 2), tmp_path, "out" + name)
        assert after.layers[1]["filters"] == 3 * (2 + entries) and after.layers[2]["classes"] == 2
        old = net.layers[1].array("weights").reshape(3, entries + 3, -1)
        new = after.layers[1].array("weights").reshape(3, entries + 2, -1)
        assert np.array_equal(old[:, :entries], new[:, :entries])


def test_through_layers_that_pass_channels(tmp_path):
    passing = section("upsample", stride=2) + route(-1) + section("dropout", probability=0.5)
    net = pair(tmp_path, cfg(conv(8), head(3), passing, yolo(3)))
    after = written(set_classes(net, 2), tmp_path)
    assert after.layers[5].shape.c == 21 and len(changes(tmp_path)) == 2


# ---- classifiers


def test_a_convolution_that_classifies(tmp_path):
    net = pair(tmp_path, cfg(conv(8), conv(10, 1, **LINEAR), section("avgpool"), section("softmax")))
    new = set_classes(net, 4)
    after = written(new, tmp_path)
    assert changes(tmp_path) == [("filters=10", "filters=4")]
    assert after.layers[3].shape.outputs == 4 and not after.layers[1].array("biases").any()
    assert new.notices[-1].message.endswith("those of the classes of layer 3; none is kept")


def test_a_connected_layer_that_classifies(tmp_path):
    text = cfg(conv(8, stride=4), section("connected", output=10, activation="linear"), section("softmax"))
    flat_header = np.array([0, 1001, 0, 7], "<i4").tobytes()  # matrices are transposed, the counter has 4 bytes
    net = pair(tmp_path, text, header=flat_header)
    after = written(set_classes(net, 12), tmp_path)
    assert changes(tmp_path) == [("output=10", "output=12")]
    assert after.header == net.header and after.header.transposed
    weights = after.layers[1].array("weights")
    assert weights.shape == (12, 128) and 0.8 < weights.std() / np.sqrt(2.0 / 128) < 1.2
    assert np.array_equal(set_classes(net, 12).layers[1].array("weights"), weights)


# ---- in the real readers


@pytest.mark.parametrize("dialect", ["opencv", "pjreddie"])
def test_the_new_pair_in_the_real_reader(tmp_path, dialect):
    need.opencv() if dialect == "opencv" else need.libdarknet()
    region = section("region", anchors="1,2,3,4,5,6", classes=3, num=3, coords=4, softmax=1)
    for name, text in (("y", cfg(conv(8), head(3), yolo(3))), ("r", cfg(conv(8), head(3), region))):
        written(set_classes(pair(tmp_path, text, name, dialect), 5), tmp_path, "out" + name, dialect)
        paths = [str(tmp_path / ("out" + name + suffix)) for suffix in (".cfg", ".weights")]
        runner = (OpenCVRunner if dialect == "opencv" else DarknetRunner)(*paths)
        net = load(paths[0], paths[1], dialect)
        checks = verify.compare_reader(net, runner, verify.test_batch(net))
        assert [check.ok for check in checks] == [True]


# ---- refusals


def test_a_number_that_is_none(tmp_path):
    net = pair(tmp_path)
    assert refusal(net, 0) == "error: no head has 0 classes\nhint: use 1..1048576"
    assert refusal(net, 1 << 40) == "error: no head has 1099511627776 classes\nhint: use 1..1048576"


def test_too_many_for_darknet_allocates_nothing(tmp_path):
    net = pair(tmp_path, cfg(conv(1024, stride=16), head(3), yolo(3)))
    assert refusal(net, 1 << 20).startswith("net.cfg:14: error: layer 1 [convolutional] would hold 3221240832 values;")


def test_a_head_that_another_layer_reads_too(tmp_path):
    net = pair(tmp_path, cfg(conv(8), head(3), yolo(3), route(1), conv(8)))
    assert refusal(net) == (
        "net.cfg:18: error: the classes of layer 2 [yolo] cannot change: layer 1 is also read by layer 3\n"
        "   18 | [yolo]\n"
        "      | ^^^^^^\n"
        "hint: edit the cfg, and train it anew"
    )


def test_heads_whose_rows_are_not_those_of_one_layer(tmp_path):
    half = conv(12, 1, **LINEAR)
    several = cfg(conv(8), half, route(0), half, route(-1, 1), yolo(3))
    assert cause(refusal(pair(tmp_path, several))) == "its input passes layer 4 [route], which joins several"
    added = cfg(conv(8), head(3), route(0), head(3), shortcut(1), yolo(3))
    assert cause(refusal(pair(tmp_path, added))) == "its input passes layer 4 [shortcut], which joins several"
    part = cfg(conv(8), conv(48, 1, **LINEAR), route(1, groups=2, group_id=1), yolo(3))
    assert cause(refusal(pair(tmp_path, part))) == "it reads some channels of layer 1, in another order"
    mixed = cfg(conv(8), conv(6, 1, **LINEAR), section("reorg", stride=2), yolo(3))
    assert cause(refusal(pair(tmp_path, mixed))) == ("layer 2 [reorg], which it reads, has no rows for single channels")
    normal = cfg(conv(8), head(3), section("batchnorm"), yolo(3))
    assert cause(refusal(random_pair(tmp_path, normal))) == "its input passes layer 2 [batchnorm], which has arrays"
    grouped = cfg(conv(8), head(3, groups=2), yolo(3))
    assert cause(refusal(pair(tmp_path, grouped))) == "layer 1, which it reads, has groups"
    sharing = cfg(conv(8), head(3), yolo(3), route(0), head(3, share_index=1), yolo(3))
    assert cause(refusal(random_pair(tmp_path, sharing))) == "layer 1 shares its arrays"
    image = cfg(yolo(3), width=16, channels=24)
    assert cause(refusal(random_pair(tmp_path, image))) == "it reads the image"


def test_options_that_name_single_classes(tmp_path):
    net = pair(tmp_path, cfg(conv(8), head(3), yolo(3, counters_per_class="1,2,3")))
    assert refusal(net) == (
        "net.cfg:23: error: counters_per_class of layer 2 counts each class's objects\n"
        "   23 | counters_per_class=1,2,3\n"
        "      |                    ^^^^^\n"
        "hint: remove it from the cfg first"
    )
    net = pair(tmp_path, cfg(conv(8), head(3), yolo(3, map="a.map")))
    assert "error: map of layer 2 gives each class another number\n" in refusal(net)
    net = pair(tmp_path, cfg(conv(9), section("avgpool"), section("softmax", tree="a.tree")))
    assert "error: tree of layer 2 puts the classes in a tree\n" in refusal(net)


def test_nets_without_such_heads(tmp_path):
    assert refusal(pair(tmp_path, cfg(conv(8)))) == (
        "net.cfg:5: error: the net has no head whose classes could change\n"
        "    5 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n"
        "hint: use a net that ends in [yolo], [Gaussian_yolo], [region] or [softmax]"
    )
    first = cfg(conv(8), section("connected", output=52), section("softmax"))
    first += section("detection", classes=3, coords=4, num=2, side=2)
    assert refusal(pair(tmp_path, first)) == (
        "net.cfg:16: error: layer 3 [detection] has classes too, and they cannot change\n"
        "   16 | classes=3\n"
        "      |         ^\n"
        "hint: train a net with other classes anew, or remove this layer"
    )
    twice = cfg(conv(8), section("avgpool"), section("softmax"), section("softmax"))
    assert "error: the net classifies 2 times\n" in refusal(pair(tmp_path, twice))


def test_classifiers_where_a_channel_is_no_class(tmp_path):
    whole = pair(tmp_path, cfg(conv(8, stride=4), section("softmax")))
    assert cause(refusal(whole)) == "it runs over a whole map of 4 x 4"
    groups = pair(tmp_path, cfg(conv(8), section("avgpool"), section("softmax", groups=2)))
    assert cause(refusal(groups)) == "its classes are in 2 groups"
    spatial = pair(tmp_path, cfg(conv(8, stride=4), section("softmax", spatial=1)))
    assert set_classes(spatial, 5).layers[1].shape.outputs == 80


def test_a_head_that_leaves_its_classes_to_the_default(tmp_path):
    net = pair(tmp_path, cfg(conv(8), head(20), yolo(20).replace("classes=20\n", "")))
    assert refusal(net) == (
        "net.cfg:18: error: layer 2 [yolo] has no classes\n"
        "   18 | [yolo]\n"
        "      | ^^^^^^\n"
        "hint: write classes=20 into it first"
    )
