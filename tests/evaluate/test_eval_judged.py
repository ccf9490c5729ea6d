"""Darknet's map of trained detectors, against what AlexeyAB's Darknet printed.

`darknet detector map` of AlexeyAB's Darknet (commit 59596d7, CPU, without OpenCV), on COCO128's val2017 saved as PNG,
since its JPEG decoder differs from ours in the last bit of many pixels.
"""

import pytest

import need
from darkprune.backends.model import Model
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_detection
from darkprune.evaluate.darknet_map import darknet_lines
from darkprune.evaluate.detector import evaluate_detector

# yolo-fastest-1.1, -points 0, all 128 images
ALL = """
 detections_count = 22534, unique_truth_count = 898
class_id = 0, name = person, ap = 47.38%   \t (TP = 145, FP = 221)
class_id = 27, name = tie, ap = 22.72%   \t (TP = 4, FP = 1)
class_id = 62, name = tvmonitor, ap = 47.87%   \t (TP = 5, FP = 1)
class_id = 73, name = book, ap = 1.11%   \t (TP = 1, FP = 12)
 for conf_thresh = 0.25, precision = 0.40, recall = 0.30, F1-score = 0.34
 for conf_thresh = 0.25, TP = 271, FP = 403, FN = 627, average IoU = 28.40 %
 IoU threshold = 50 %, used Area-Under-Curve for each unique Recall
"""
MAPS = {0: 0.329109, 11: 0.338300, 101: 0.330655}  # by -points

# yolo-fastest-1.1-xl, letter_box=1 in [net], -points 101 -iou_thresh 0.75 -thresh 0.1, the first 32 images
SOME = """
 detections_count = 3557, unique_truth_count = 221
class_id = 0, name = person, ap = 18.35%   \t (TP = 18, FP = 121)
class_id = 40, name = wine glass, ap = 0.42%   \t (TP = 0, FP = 8)
class_id = 56, name = chair, ap = 15.10%   \t (TP = 2, FP = 17)
class_id = 59, name = bed, ap = 86.53%   \t (TP = 2, FP = 0)
 for conf_thresh = 0.10, precision = 0.11, recall = 0.20, F1-score = 0.14
 for conf_thresh = 0.10, TP = 44, FP = 346, FN = 177, average IoU = 9.23 %
 IoU threshold = 75 %, used 101 Recall-points
 mean average precision (mAP@0.75) = 0.142325, or 14.23 %
"""


def data_set(folder, count):
    coco = need.shared() / "datasets" / "coco128"
    images = sorted((coco / "images" / "val2017").glob("*.jpg"))[:count]
    (folder / "list.txt").write_text("".join("{}\n".format(path) for path in images))
    (folder / "set.data").write_text("classes=80\nvalid=list.txt\nnames={}\n".format(coco / "coco.names"))
    return read_detection(DataFile.read(str(folder / "set.data")))


def evaluated(name, examples, **options):
    stem = str(need.shared() / "models" / "yolo-fastest-1.1" / name)
    with Model(stem + ".cfg", stem + ".weights", "numpy") as model:
        return evaluate_detector(model, examples, with_coco=False, **options)


def assert_says(text, expected):
    lines = [line.rstrip() for line in text.split("\n")]
    assert [line for line in expected.strip("\n").split("\n") if line not in lines] == []


def test_all_images(tmp_path):
    need.opencv()
    examples = data_set(tmp_path, 128)
    found = evaluated("yolo-fastest-1.1", examples)
    assert_says(darknet_lines(found.map, examples.names), ALL)
    for points, expected in MAPS.items():
        assert found.judge.result(points).map == pytest.approx(expected, abs=1e-4)  # really 1e-6


def test_letterbox_and_thresholds(tmp_path):
    need.opencv()
    examples = data_set(tmp_path, 32)
    options = {"points": 101, "iou_threshold": 0.75, "confidence": 0.1, "letterbox": True}
    found = evaluated("yolo-fastest-1.1-xl", examples, **options).map
    assert_says(darknet_lines(found, examples.names), SOME)
