"""Anchors by k-means: against the best partition found by trying all, against Darknet's figures, and repeatable."""

import itertools

import numpy as np
import pytest

import need
from darkprune.data import anchors, labels
from darkprune.data.problems import Problems
from darkprune.errors import UsageError


def overlap(one, other):
    """IoU of two centred boxes, by the book."""
    shared = min(one[0], other[0]) * min(one[1], other[1])
    return shared / (one[0] * one[1] + other[0] * other[1] - shared)


def test_the_average_is_what_hand_and_loop_give():
    assert anchors.average_iou(np.array([[2.0, 2.0], [4.0, 1.0]]), np.array([[2.0, 1.0]])) == 0.5
    random = np.random.RandomState(1)
    sizes, centres = random.rand(40, 2) + 0.1, random.rand(3, 2) + 0.1
    expected = np.mean([max(overlap(size, centre) for centre in centres) for size in sizes])
    np.testing.assert_allclose(anchors.average_iou(sizes, centres), expected, rtol=1e-12)


def test_no_partition_is_better():
    """Of 9 sizes, every partition in two with the medians as anchors."""
    sizes = np.random.RandomState(5).randint(5, 90, (9, 2)).astype(float)
    best = 0.0
    for bits in itertools.product((False, True), repeat=8):
        chosen = np.array((True,) + bits)
        if not chosen.all():
            pair = np.array([np.median(sizes[chosen], axis=0), np.median(sizes[~chosen], axis=0)])
            best = max(best, np.mean([max(overlap(size, centre) for centre in pair) for size in sizes]))
    assert anchors.average_iou(sizes, anchors.find_anchors(sizes, 2)) >= best - 1e-12


def test_clusters_that_are_there_are_found_in_order_of_area():
    random = np.random.RandomState(2)
    wanted = np.array([[10.0, 13.0], [33.0, 23.0], [59.0, 119.0], [373.0, 326.0]])
    sizes = wanted[random.randint(4, size=500)] * (1 + 0.02 * random.randn(500, 2))
    np.testing.assert_allclose(anchors.find_anchors(sizes, 4), wanted, rtol=0.01)


def test_as_many_anchors_as_boxes_fit_exactly():
    sizes = np.array([[4.0, 4.0], [1.0, 2.0], [1.0, 2.0]])
    assert anchors.find_anchors(sizes, 2).tolist() == [[1, 2], [4, 4]]


@pytest.mark.parametrize("count", [0, 3])
def test_more_anchors_than_boxes(count):
    with pytest.raises(UsageError) as caught:
        anchors.find_anchors(np.array([[4.0, 4.0], [1.0, 2.0], [1.0, 2.0]]), count)
    assert str(caught.value) == (
        "error: {} clusters of 2 different boxes\n"
        "hint: ask for at least 1 and no more than there are boxes".format(count)
    )


def test_many_boxes_are_sampled(monkeypatch):
    sizes = np.exp(np.random.RandomState(3).randn(3000, 2))
    whole = anchors.average_iou(sizes, anchors.find_anchors(sizes, 5))
    monkeypatch.setattr(anchors, "SAMPLE", 1000)
    monkeypatch.setattr(anchors, "_CHUNK", 256)
    assert abs(anchors.average_iou(sizes, anchors.find_anchors(sizes, 5)) - whole) < 0.01
    rare = np.concatenate([np.ones((3000, 2)), [[5.0, 5.0], [7.0, 1.0]]])
    assert len(anchors.find_anchors(rare, 3)) == 3


# The highest average IoU in 8 runs of `darknet detector calc_anchors` of AlexeyAB's Darknet (its centres are not
# rounded there), 416 x 416, nine clusters, on the labels of COCO128's train2017.
DARKNET_COCO128 = 0.5991


def test_coco128_is_no_worse_than_darknets():
    root = need.shared() / "datasets" / "coco128" / "images" / "train2017"
    truths = [labels.read_of_image(str(path), 80, Problems()) for path in sorted(root.iterdir())]
    sizes = 416 * np.concatenate([truth.boxes for truth in truths])[:, 2:]
    found = anchors.find_anchors(sizes, 9)
    assert anchors.average_iou(sizes, np.round(found)) > DARKNET_COCO128
    assert found.tolist() == anchors.find_anchors(sizes, 9).tolist()
