"""What is taken from another pair, and what starts afresh."""

import numpy as np
import pytest

import need
from darkprune.darknet.weights import NEW_HEADER
from darkprune.edit import cut, set_classes
from darkprune.errors import UsageError, WeightsError
from darkprune.graph.build import build, load
from darkprune.graph.save import save, save_part
from darkprune.train.partial_weights import Fate, adopt, describe, read_source
from darkprune.train.random_weights import start
from small_nets import cfg, conv, detector, parse, section, shortcut


def made(text, seed=1):
    return start(build(parse(text)), seed)


def same(first, second, index):
    names = [spec.name for spec in first.layers[index].op.parameters(first.layers[index])]
    return all(np.array_equal(first.layers[index].array(n), second.layers[index].array(n)) for n in names)


CLASSES = "layer 1 cut: 9 of its 24 rows are new, those of classes"


def test_other_classes_keep_the_rows_of_boxes_and_objectness():
    source, net = made(detector(classes=5), 1), made(detector(classes=3), 2)
    got = adopt(net, source, 2)
    assert got.layers == [
        Fate(0, "convolutional", "taken", ""),
        Fate(1, "convolutional", "cut", "9 of its 24 rows are new, those of classes"),
    ]
    assert describe(got.layers) == ["layer 0 taken", CLASSES]
    assert got.net.header == NEW_HEADER and same(got.net, source, 0)
    for name in ("weights", "biases"):
        mine, theirs, fresh = [n.layers[1].array(name) for n in (got.net, source, net)]
        for anchor in range(3):
            np.testing.assert_array_equal(mine[8 * anchor :][:5], theirs[10 * anchor :][:5])
            np.testing.assert_array_equal(mine[8 * anchor + 5 :][:3], fresh[8 * anchor + 5 :][:3])
    assert same(net, start(net, 2), 1)  # what was given is as it was


def test_weights_alone_are_of_the_same_cfg_with_other_classes(tmp_path):
    source, net = made(detector(classes=5), 1), made(detector(classes=3), 2)
    save(source, str(tmp_path / "five"))
    found = read_source(net, str(tmp_path / "five.weights"))
    assert found.layers[2]["classes"] == 5
    assert describe(adopt(net, found, 2).layers) == ["layer 0 taken", CLASSES]
    again = adopt(net, read_source(net, str(tmp_path / "five.weights"), str(tmp_path / "five.cfg")), 2)
    assert all(same(again.net, adopt(net, source, 2).net, index) for index in range(2))


def test_the_first_layers_of_another_net(tmp_path):
    body = conv(8), conv(8, 1), conv(8), shortcut(-3)
    source, net = made(cfg(*body, conv(7, 1, bn=None)), 1), made(cfg(*body, conv(9, 1, bn=None)), 2)
    path = save_part(cut(source, 3), str(tmp_path / "net"))
    for found in (read_source(net, path), source):
        got = adopt(net, found, 2)
        assert all(same(got.net, source, index) for index in range(3)) and same(got.net, net, 4)
    assert describe(adopt(net, read_source(net, path), 2).layers) == [
        "layers 0 to 2 taken",
        "layer 4 fresh: the weights end with layer 3",
    ]
    assert describe(adopt(net, source, 2).layers)[1] == "layer 4 fresh: its arrays have other shapes"


def test_layers_behind_one_of_another_type_start_afresh():
    source = made(cfg(conv(8), conv(8), section("maxpool", size=2, stride=2), conv(8)))
    net = made(cfg(conv(8), conv(6), section("upsample", stride=2), conv(8)))
    assert describe(adopt(net, source, 2).layers) == [
        "layer 0 taken",
        "layer 1 fresh: its arrays have other shapes",
        "layer 3 fresh: the nets differ from layer 2 on",
    ]


def test_nothing_that_fits():
    with pytest.raises(UsageError) as caught:
        adopt(made(cfg(conv(8))), made(cfg(conv(4))), 1)
    assert str(caught.value) == (
        "net.cfg:1: error: no layer of net.cfg fits the net\n    1 | [net]\n      | ^^^^^\n"
        "hint: give weights of the same layers, or train without --partial"
    )


def test_weights_that_fit_no_number_of_classes(tmp_path):
    save(made(cfg(conv(5))), str(tmp_path / "other"))
    with pytest.raises(WeightsError) as caught:
        read_source(made(detector()), str(tmp_path / "other.weights"))
    assert str(caught.value) == (
        "{}: error: the file ends at byte 640 inside layer 0 [convolutional]: the cfg needs 1876 bytes\n"
        "hint: use the cfg the weights were trained with, or copy the file again"
    ).format(tmp_path / "other.weights")


def test_yolo_fastest_for_three_classes():
    prefix = str(need.shared() / "models" / "yolo-fastest-1.1" / "yolo-fastest-1.1")
    coco = load(prefix + ".cfg", prefix + ".weights")
    net = set_classes(load(prefix + ".cfg"), 3)
    got = adopt(net, read_source(net, prefix + ".weights"), 1)
    assert describe(got.layers) == [
        "layers 0 to 119 taken",
        "layer 120 cut: 9 of its 24 rows are new, those of classes",
        "layers 125 to 128 taken",
        "layer 129 cut: 9 of its 24 rows are new, those of classes",
    ]
    assert same(got.net, coco, 128) and got.net.layers[129].array("weights").shape == (24, 120, 1, 1)
