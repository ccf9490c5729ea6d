"""COCO's AP on cases worked out by hand, and the results file."""

import json
import math

import numpy as np
import pytest

import need
from darkprune.errors import MissingDependency
from darkprune.evaluate import coco

SIZE = (100, 50)
NOTHING = coco.Boxes(np.zeros(0, int), np.zeros(0), np.zeros((0, 4)))


def boxes(*entries):
    """From (class, score, (left, top, width, height))."""
    classes, scores, where = zip(*entries)
    return coco.Boxes(np.array(classes), np.array(scores), np.array(where, float))


def test_thresholds():
    """An IoU of 0.62 is enough at 0.5, 0.55 and 0.6, of ten thresholds."""
    need.coco_library()
    truths = [boxes((0, 1, (10, 10, 50, 20)), (2, 1, (0, 0, 10, 10)))]
    result = coco.evaluate([SIZE], truths, [boxes((0, 0.9, (10, 10, 31, 20)), (1, 0.8, (0, 0, 5, 5)))], 3)
    assert result.per_class[0] == (pytest.approx(1), pytest.approx(0.3))
    assert result.per_class[1] is None  # no truths: does not count
    assert result.per_class[2] == (0, 0)  # not found
    assert (result.ap50, result.ap) == (pytest.approx(0.5), pytest.approx(0.15))


def test_a_second_detection_takes_the_truth_that_is_free():
    """Unlike Darknet, where both would belong to the first truth: test_detection.py."""
    need.coco_library()
    truths = [boxes((0, 1, (10, 10, 20, 20)), (0, 1, (10, 13, 20, 20)))]
    found = [boxes((0, 0.9, (10, 10, 20, 20)), (0, 0.8, (10, 11, 20, 20)))]
    assert coco.evaluate([SIZE], truths, found, 1).ap50 == pytest.approx(1)


def test_nothing():
    need.coco_library()
    one = boxes((0, 1, (10, 10, 20, 20)))
    assert coco.evaluate([SIZE], [one], [NOTHING], 1) == (0, 0, [(0, 0)])
    empty = coco.evaluate([SIZE], [NOTHING], [one], 1)
    assert math.isnan(empty.ap50) and empty.per_class == [None]


def test_arguments_are_left_alone():
    """The library adds to what it is given."""
    need.coco_library()
    found = boxes((0, 0.9, (10, 10, 20, 20)))
    before = [array.copy() for array in found]
    coco.evaluate([SIZE], [found], [found], 1)
    assert all((a == b).all() for a, b in zip(before, found))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    with pytest.raises(MissingDependency):
        coco.evaluate([SIZE], [NOTHING], [NOTHING], 1)


def test_image_ids():
    assert coco.image_ids(["a/000000000139.jpg", "b/COCO_val2014_000000000285.jpg"]) == [139, 285]
    assert coco.image_ids(["a/1.jpg", "b/1.jpg"]) == [1, 2]  # twice the same
    assert coco.image_ids(["a/7.jpg", "b/dog.jpg"]) == [1, 2]


def test_category_ids():
    assert coco.category_ids(3, None) == [1, 2, 3]
    assert coco.category_ids(3, "coco") == [1, 2, 3]
    theirs = coco.category_ids(80, "coco")
    # person, bicycle, stop sign behind the first gap, toothbrush
    assert (theirs[0], theirs[1], theirs[11], theirs[79], len(set(theirs))) == (1, 2, 13, 90, 80)


def test_results_json():
    entries = coco.results([5], [boxes((1, 0.12345678, (1.234, 2, 3.999, 4)))], [10, 20])
    assert coco.results_json(entries) == (
        b'[{"image_id": 5, "category_id": 20, "bbox": [1.23, 2.0, 4.0, 4.0], "score": 0.123457}]\n'
    )
    assert json.loads(coco.results_json([]).decode("ascii")) == []
