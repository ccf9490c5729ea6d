"""What heads say they train on: Darknet's defaults, in each dialect. Portable: no torch."""

import numpy as np
import pytest

from darkprune.errors import DarkpruneError
from darkprune.graph.build import build
from small_nets import cfg, conv, parse, section


def options(head, channels, dialect="alexeyab"):
    net = build(parse(cfg(conv(channels, 1, "linear", bn=None), head)), dialect)
    return net.layers[-1].op.training(net.layers[-1])


def test_defaults_of_yolo_are_those_of_each_darknet():
    head = section("yolo", anchors="4,5, 6,7", num=2, mask=1, classes=3, iou_loss="ciou", scale_x_y=1.1, max_delta=5)
    fork, old = options(head, 8), options(head, 8, "pjreddie")
    assert (fork.limit, fork.iou_normalizer, fork.iou_loss, fork.stretch, fork.max_delta) == (200, 0.75, "ciou", 1.1, 5)
    assert (old.limit, old.iou_normalizer, old.iou_loss, old.stretch) == (90, 1.0, "mse", 1.0)
    assert old.original and not fork.original and old.max_delta == float("inf")
    for one in (fork, old):
        assert (one.ignore_thresh, one.truth_thresh, one.iou_thresh, one.mask) == (0.5, 1.0, 1.0, (1,))
        assert np.array_equal(one.anchors, [[4, 5], [6, 7]])


def test_unknown_words_are_what_alexeyabs_darknet_takes_them_for():
    found = options(section("yolo", classes=3, anchors="4,5", iou_loss="xiou", iou_thresh_kind="mse"), 8)
    assert (found.iou_loss, found.iou_thresh_kind) == ("iou", "iou")


def test_classes_weigh_by_how_rare_they_are():
    found = options(section("yolo", classes=3, anchors="4,5", counters_per_class="10,0,40", max_delta=30), 8)
    assert found.multipliers == (4.0, 30.0, 1.0)


def test_gaussian_boxes_have_deviations():
    found = options(section("Gaussian_yolo", classes=3, anchors="4,5", focal_loss=1, yolo_point="left_top"), 12)
    assert (found.coordinates, found.deviations) == ((0, 2, 4, 6), (1, 3, 5, 7))
    assert found.shift == 0.5 and not found.focal_loss


def test_region_has_other_arithmetic_in_each_darknet():
    head = section("region", anchors="1,2", num=1, classes=3, coords=4, max=7, focal_loss=1)
    fork, old = options(head, 8), options(head, 8, "pjreddie")
    assert (fork.activation, fork.limit, fork.focal_loss) == ("linear", 7, True)
    assert (old.activation, old.limit, old.focal_loss) == ("logistic", 30, False)


@pytest.mark.parametrize("dialect, kind", [("alexeyab", "sse"), ("pjreddie", "L1")])
def test_costs(dialect, kind):
    assert options(section("cost", type="L1", scale=3), 8, dialect)[:4] == (kind, 1, 1.0, 3.0)
    assert options(section("softmax", temperature=2, groups=4, noloss=1), 8, dialect)[:4] == ("softmax", 4, 2.0, 0.0)


def test_other_layers_train_on_nothing():
    assert options(section("maxpool", size=2, stride=2), 8) is None


def test_a_nan_is_no_option():
    with pytest.raises(DarkpruneError) as caught:
        options(section("yolo", classes=3, anchors="4,5", ignore_thresh="nan"), 8)
    assert str(caught.value) == (
        "net.cfg:14: error: ignore_thresh is not a number\n"
        "   14 | ignore_thresh=nan\n"
        "      |               ^^^\n"
        "hint: write a number such as 0.5"
    )
