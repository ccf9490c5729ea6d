"""Drawn objects: where colour appears, and what never happens to an image."""

import numpy as np
import pytest

import need
from darkprune.detect.detector import Detection
from darkprune.detect.draw import colour, draw

NAMES = ["cat", "a very long name of a class, much longer than any picture is wide, so that it has to shrink", "日本"]


def image(width=320, height=240):
    return np.full((height, width, 3), 128, np.uint8)


def changed(found, names=NAMES, pixels=None):
    """bool [H, W]: the pixels that drawing changed."""
    need.opencv()
    pixels = image() if pixels is None else pixels
    before = pixels.copy()
    drawn = draw(pixels, found, names)
    assert (pixels == before).all(), "the image itself was drawn into"
    assert drawn.dtype == np.uint8 and drawn.shape == pixels.shape
    return (drawn != pixels).any(axis=2)


def test_a_box_and_its_label():
    marks = changed([Detection(0, 0.87, (100.0, 100.0, 80.0, 60.0))])
    ys, xs = np.nonzero(marks)
    assert xs.min() == 100 and abs(xs.max() - 179) <= 1 and abs(ys.max() - 159) <= 1
    assert marks[100:160, 100].all() and marks[100, 100:180].all() and not marks[115:145, 115:165].any()
    assert 70 < ys.min() < 95 and marks[ys.min() : 100, 101:130].all()  # the label above


@pytest.mark.parametrize(
    "box",
    [
        (-50.0, -40.0, 1000.0, 900.0),
        (300.0, 2.0, 15.0, 15.0),
        (0.0, 230.0, 30.0, 30.0),
        (315.5, 238.5, 0.2, 0.2),
        (-90.0, -90.0, 20.0, 20.0),
        (1e9, 1e9, 1e9, 1e9),
    ],
)
@pytest.mark.parametrize("class_id", [0, 1, 2])
def test_labels_stay_inside_and_are_always_there(box, class_id):
    marks = changed([Detection(class_id, 0.5, box)])
    rows = marks.sum(axis=1)
    assert (rows > 25).sum() >= 5  # a label is a filled rectangle
    assert changed([Detection(class_id, 0.5, box)], pixels=image(12, 9)).any()


def test_labels_of_boxes_that_meet_do_not_hide_each_other():
    need.opencv()
    boxes = [(100.0, 100.0, 80.0, 60.0), (102.0, 101.0, 80.0, 60.0)]
    drawn = draw(image(), [Detection(n, 0.9 - n / 10, box) for n, box in enumerate(boxes)], ["cat", "dog"])
    for class_id in (0, 1):
        assert (drawn == colour(class_id)).all(axis=2).sum() > 500


def test_classes_of_one_box_share_its_label():
    one = [Detection(0, 0.9, (50.0, 100.0, 60.0, 60.0))]
    both = one + [Detection(1, 0.4, one[0].box)]
    names = ["cat", "dog"]
    top = [np.nonzero(changed(found, names)[:100].any(axis=0))[0] for found in (one, both)]
    assert len(top[1]) > 1.5 * len(top[0])


def test_lines_grow_with_the_image():
    thin, thick = (
        changed([Detection(0, 0.9, (20.0, 90.0, 100.0, 100.0))], pixels=image(*size))
        for size in ((200, 200), (3000, 2000))
    )
    assert thin[140, 20:40].sum() < 4 <= thick[140, 20:40].sum()


def test_nothing_found_changes_nothing():
    assert not changed([]).any()


def test_neighbouring_classes_have_distinct_bright_colours():
    colours = np.array([colour(n) for n in range(80)], int)
    steps = np.abs(np.diff(colours, axis=0)).sum(axis=1)
    assert steps.min() > 100 and (colours.max(axis=1) == 255).all()


def test_of_very_many_boxes_only_the_surest_have_labels():
    """A net that finds thousands would else stop a camera for minutes."""
    lower = Detection(0, 0.1, (200.0, 100.0, 80.0, 60.0))
    for others, labelled in ((99, True), (100, False)):
        many = [Detection(1, 0.9 - n / 1000, (1.0 + n / 10, 200.0, 20.0, 20.0)) for n in range(others)]
        marks = changed([lower] + many, ["cat", "dog"])
        assert marks[100:160, 200].all()  # the box in any case
        assert marks[80:98, 201:230].any() == labelled
