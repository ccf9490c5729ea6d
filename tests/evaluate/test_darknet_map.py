"""Darknet's map on cases small enough to work out by hand; the judge's own numbers are in test_eval_judged.py."""

import numpy as np
import pytest

import need
from darkprune.errors import UsageError
from darkprune.evaluate import coco
from darkprune.evaluate.darknet_map import (
    DetectionMap,
    average_precision,
    darknet_lines,
    darknet_order,
    ious,
    precision_recall_f1,
    total,
)

A = (0.25, 0.25, 0.25, 0.25)
B = (0.75, 0.75, 0.25, 0.25)
NEAR_A = (0.25, 0.3125, 0.25, 0.25)  # 3/4 of A's height in common: 0.75 / 1.25 = 0.6
HALF_A = (0.25, 0.25, 0.25, 0.125)  # IoU exactly 1/2
NOWHERE = (0.75, 0.25, 0.25, 0.25)


def add(judge, detections, truths, difficult=()):
    """One image; detections are (class, score, box), each a box of its own; truths (class, box)."""
    scores = np.zeros((len(detections), judge.classes))
    for row, (label, score, _) in enumerate(detections):
        scores[row, label] = score
    boxes = [np.array([one[-1] for one in what], float).reshape(-1, 4) for what in (detections, truths, difficult)]
    labels = [np.array([one[0] for one in what], np.int64) for what in (truths, difficult)]
    judge.add(scores, boxes[0], labels[0], boxes[1], labels[1], boxes[2])


def judged(detections, truths, difficult=(), classes=1, points=0, **options):
    judge = DetectionMap(classes, **options)
    add(judge, detections, truths, difficult)
    return judge.result(points)


@pytest.mark.parametrize(
    "points, expected",
    [
        # By score: right, wrong (A again), wrong, right. Precision 1, 1/2, 1/3, 1/2 at recall 1/2, 1/2, 1/2, 1.
        (0, 0.5 * 1 + 0.5 * 0.5),
        (11, (6 * 1 + 5 * 0.5) / 11),  # recalls 0, .1 ... .5 find precision 1
        (101, (51 * 1 + 50 * 0.5) / 101),
    ],
)
def test_points(points, expected):
    found = [(0, 0.9, A), (0, 0.8, NEAR_A), (0, 0.7, NOWHERE), (0, 0.6, B)]
    result = judged(found, [(0, A), (0, B)], points=points)
    assert result.map == pytest.approx(expected, abs=1e-12)
    one = result.classes[0]
    assert (one.truths, one.detections, one.tp, one.fp) == (2, 4, 2, 2)
    assert result.average_iou == pytest.approx((1 + 1) / 4)  # wrong ones count as 0
    assert precision_recall_f1(result) == [0.5, 1, pytest.approx(2 / 3)]


def test_points_that_make_no_sense():
    with pytest.raises(UsageError) as caught:
        judged([], [], points=1)
    assert str(caught.value) == "error: 1 recall points\nhint: use 0 for the area under the curve, 11 or 101"


def test_precision_is_counted_in_the_order_of_the_boxes():
    """The first box of A takes it, though it is below the confidence; the one above it is then wrong."""
    result = judged([(0, 0.1, A), (0, 0.9, NEAR_A)], [(0, A)])
    assert (total(result, "tp"), total(result, "fp")) == (0, 1)
    assert result.map == 1.0  # the average precision goes by score
    assert judged([(0, 0.9, NEAR_A), (0, 0.1, A)], [(0, A)]).average_iou == pytest.approx(0.6)


def test_confidence():
    result = judged([(0, 0.25, A), (0, 0.5, B)], [(0, A), (0, B)])
    assert (total(result, "tp"), total(result, "fp")) == (1, 0)  # not above .25
    assert precision_recall_f1(result)[1] == 0.5
    assert total(judged([(0, 0.25, A)], [(0, A)], confidence=0.2), "tp") == 1


def test_a_detection_belongs_to_the_truth_that_it_overlaps_most():
    """Both boxes fit A and NEAR_A; the second truth is not found, since Darknet looks for no free one."""
    result = judged([(0, 0.9, A), (0, 0.8, A)], [(0, NEAR_A), (0, A)])
    assert result.map == 0.5 and (total(result, "tp"), total(result, "fp")) == (1, 1)


def test_iou_must_be_above_the_threshold():
    assert ious(np.array([HALF_A]), np.array([A]))[0, 0] == 0.5
    assert judged([(0, 0.9, HALF_A)], [(0, A)]).map == 0.0
    assert judged([(0, 0.9, HALF_A)], [(0, A)], iou_threshold=0.49).map == 1.0
    assert judged([(0, 0.9, NEAR_A)], [(0, A)], iou_threshold=0.61).map == 0.0


def test_classes():
    """Class 1 has a detection where a 0 stands; class 2 has only a truth; 3 only a detection; 4 nothing."""
    found = [(0, 0.9, A), (1, 0.8, A), (1, 0.7, B), (3, 0.6, B)]
    result = judged(found, [(0, A), (1, B), (2, B)], classes=5)
    assert [one.ap for one in result.classes] == [1, 0.5, 0, 0, 0]
    assert result.map == pytest.approx(1.5 / 5)
    assert [(one.tp, one.fp) for one in result.classes] == [(1, 0), (1, 1), (0, 0), (0, 1), (0, 0)]


def test_one_box_of_several_classes():
    judge = DetectionMap(2)
    labels, boxes = np.array([1]), np.array([A])
    judge.add(np.array([[0.9, 0.4]]), np.array([A]), labels, boxes)
    assert [(one.ap, one.tp, one.fp) for one in judge.result().classes] == [(0, 0, 1), (1, 1, 0)]


def test_difficult_objects_excuse_detections():
    """Out of the average precision, but wrong above the confidence all the same, as in Darknet."""
    found = [(0, 0.9, B), (0, 0.8, A)]
    assert judged(found, [(0, A)]).map == 0.5
    result = judged(found, [(0, A)], [(0, B)])
    assert (result.map, total(result, "detections")) == (1.0, 1)
    assert (total(result, "tp"), total(result, "fp")) == (1, 1)
    assert judged(found, [(0, A)], [(1, B)], classes=2).classes[0].ap == 0.5  # of another class


def test_images_are_apart():
    """A box in the second image finds nothing of the first; scores are ranked over both."""
    judge = DetectionMap(1)
    add(judge, [(0, 0.6, A)], [(0, A)])
    add(judge, [(0, 0.9, A)], [(0, B)])
    add(judge, [], [])
    result = judge.result()
    assert result.map == pytest.approx(0.5 * 0.5)  # right at rank 2: precision 1/2 at recall 1/2
    assert (total(result, "tp"), total(result, "fp"), total(result, "truths")) == (1, 1, 2)


def test_equal_scores_keep_their_order():
    judge = DetectionMap(1)
    for box in (A, NOWHERE, B):
        add(judge, [(0, 0.5, box)], [(0, A)])
    # right, wrong, wrong; 3 truths
    assert judge.result().map == pytest.approx(1 / 3)


def test_nothing():
    result = DetectionMap(2).result(101)
    assert (result.map, result.average_iou) == (0.0, 0.0)
    assert np.isnan(precision_recall_f1(result)).all()
    assert judged([(0, 0.9, A)], []).map == 0.0 and judged([], [(0, A)]).map == 0.0


def test_boxes_without_bounds_overlap_nothing():
    wild = [(0.5, 0.5, np.inf, 0.5), (np.nan, 0.5, 1, 1), (0.5, 0.5, np.inf, 0), (0.5, 0.5, 1e38, 1e38)]
    assert ious(np.array(wild), np.array([A, B])).max() == 0


def test_order_of_boxes():
    """Sorted by class 0, then by class 1: so class 1 decides, and class 0 only between equals."""
    scores = np.array([[0.1, 0.0], [0.3, 0.5], [0.9, 0.0], [0.3, 0.5], [0.0, 0.7], [0.4, 0.5]])
    assert darknet_order(scores).tolist() == [4, 5, 1, 3, 2, 0]
    assert darknet_order(np.zeros((0, 2))).tolist() == []


def test_against_coco_where_the_rules_meet():
    """Where truths lie far apart and each is found at most once, both rules at 101 points say the same."""
    need.coco_library()
    random = np.random.RandomState(5)
    judge, truths, found, sizes = DetectionMap(3), [], [], []
    for _ in range(40):
        cells = random.permutation(16)
        boxes = np.stack([cells % 4 * 0.25 + 0.125, cells // 4 * 0.25 + 0.125], 1)
        boxes = np.concatenate([boxes, np.full((16, 2), 0.2)], 1)
        labels, scores = random.randint(3, size=16), random.rand(16)
        real, seen = slice(0, 7), slice(3, 12)  # 3 are missed, 5 are invented
        table = np.zeros((9, 3))
        table[np.arange(9), labels[seen]] = scores[seen]
        judge.add(table, boxes[seen], labels[real], boxes[real])
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], 1) * 100
        truths.append(coco.Boxes(labels[real], scores[real], corners[real]))
        found.append(coco.Boxes(labels[seen], scores[seen], corners[seen]))
        sizes.append((100, 100))
    ours, theirs = judge.result(101), coco.evaluate(sizes, truths, found, 3)
    assert ours.map == pytest.approx(theirs.ap50, abs=1e-9) and 0.2 < ours.map < 0.8
    for one, pair in zip(ours.classes, theirs.per_class):
        assert one.ap == pytest.approx(pair[0], abs=1e-9)


def test_average_precision_by_steps():
    """Every point of the curve taken one by one, as Darknet's loops do, gives the same."""
    random = np.random.RandomState(7)
    for _ in range(50):
        truths = random.randint(1, 12)
        matches = np.where(random.rand(30) < 0.5, random.randint(truths, size=30), -1)
        for points in (0, 11, 101):
            assert average_precision(matches, truths, points) == pytest.approx(_by_steps(matches, truths, points))


def test_recall_points_are_multiples():
    """3 * (1 / 10) is more than 3 / 10, as in a Darknet that is compiled with -Ofast; and in COCO's 101 points."""
    matches = np.array([0, 1, 2, -1])  # precision 1 up to a recall of 3 in 10
    assert average_precision(matches, 10, 11) == pytest.approx(3 / 11)
    assert average_precision(np.array([0]), 2, 11) == pytest.approx(6 / 11)


def _by_steps(matches, truths, points):
    curve, taken, right = [], set(), 0
    for rank, match in enumerate(matches, 1):
        if match >= 0 and match not in taken:
            taken.add(match)
            right += 1
        curve.append((right / truths, right / rank))
    if points:
        recalls = [point * (1 / (points - 1)) for point in range(points)]
        return sum(max([p for r, p in curve if r >= recall] or [0]) for recall in recalls) / points
    area, last, best = 0.0, curve[-1][0], 0.0
    for recall, precision in reversed(curve):
        area, last, best = area + (last - recall) * best, recall, max(best, precision)
    return area + last * best


def test_text():
    found = [(0, 0.9, A), (0, 0.8, NOWHERE), (0, 0.6, B), (1, 0.1, A)]
    expected = (
        "\n detections_count = 4, unique_truth_count = 2  \n"
        "class_id = 0, name = a person, ap = 83.33%   \t (TP = 2, FP = 1) \n"
        "class_id = 1, name = dog, ap = 0.00%   \t (TP = 0, FP = 0) \n"
        "\n for conf_thresh = 0.25, precision = 0.67, recall = 1.00, F1-score = 0.80 \n"
        " for conf_thresh = 0.25, TP = 2, FP = 1, FN = 0, average IoU = 66.67 % \n"
        "\n IoU threshold = 50 %, used {} \n"
        " mean average precision (mAP@0.50) = 0.416667, or 41.67 % \n"
    )
    result = judged(found, [(0, A), (0, B)], classes=2)
    assert darknet_lines(result, ["a person", "dog"]) == expected.format("Area-Under-Curve for each unique Recall")
    result = result._replace(points=11)
    assert darknet_lines(result, ["a person", "dog"]) == expected.format("11 Recall-points")
