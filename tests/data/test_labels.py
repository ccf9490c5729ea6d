"""Label files: where they are found, what they say, and what is wrong with them."""

import numpy as np
import pytest

import need
from darkprune.data import labels
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_detection
from darkprune.data.problems import Problems
from darkprune.errors import UsageError


def error(function, *arguments):
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    return str(caught.value)


def read(folder, data, classes=3, problems=None):
    path = folder / "x.txt"
    path.write_bytes(data)
    return labels.read(str(path), classes, problems)


@pytest.mark.parametrize(
    "image, expected",
    [
        # as replace_image_to_label of AlexeyAB's utils.c gives them
        ("/d/images/train2017/1.jpg", ["/d/labels/train2017/1.txt", "/d/images/train2017/1.txt"]),
        ("/d/VOC2007/JPEGImages/1.jpeg", ["/d/VOC2007/labels/1.txt", "/d/VOC2007/JPEGImages/1.txt"]),
        ("data/obj/1.png", ["data/obj/1.txt"]),
        # in the original Darknet every "images" counts, and AlexeyAB's leaves this one alone
        ("images/1.JPG", ["images/1.txt", "labels/1.txt"]),
        ("/images/JPEGImages/1.jpg", ["/images/labels/1.txt", "/labels/labels/1.txt", "/images/JPEGImages/1.txt"]),
        ("raw/my.images/1.bmp", ["raw/my.images/1.txt", "labels/my.labels/1.txt", "labels/my.images/1.txt"]),
    ],
)
def test_where_labels_are_looked_for(image, expected):
    assert labels.candidates(image) == expected


def test_the_first_that_exists_is_taken(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    image = str(tmp_path / "images" / "1.jpg")
    assert labels.find(image) is None
    (tmp_path / "labels" / "1.txt").write_text("")
    assert labels.find(image) == str(tmp_path / "labels" / "1.txt")
    (tmp_path / "images" / "1.txt").write_text("")
    assert labels.find(image) == str(tmp_path / "images" / "1.txt")


def test_lines_are_objects(tmp_path):
    truth = read(tmp_path, b"2 0.5 .25 1e-1 0.5\r\n\n\t0\t0.5 0.5 1 1.00009\n")
    assert truth.classes.tolist() == [2, 0] and truth.classes.dtype == np.int64
    assert truth.boxes.tolist() == [[0.5, 0.25, 0.1, 0.5], [0.5, 0.5, 1, 1.00009]]


def test_an_empty_file_has_none(tmp_path):
    truth = read(tmp_path, b"")
    assert truth.classes.shape == (0,) and truth.boxes.shape == (0, 4)


HINT = "a line is: class centre-x centre-y width height"


@pytest.mark.parametrize(
    "line, message, kind, kept",
    [
        ("3 .5 .5 .1 .1", "class 3, but the classes are 0 to 2", "class out of range", 0),
        ("-1 .5 .5 .1 .1", "class -1, but the classes are 0 to 2", "class out of range", 0),
        ("0 .5 .5 .1", "4 fields instead of 5", "label without 5 fields", 0),
        ("0 .1 .1 .2 .2 .3 .3", "7 fields instead of 5", "label without 5 fields", 0),
        ("0 .5 .5 .1 x", "one of the fields is no number", "label that is no number", 0),
        ("0.0 .5 .5 .1 .1", "one of the fields is no number", "label that is no number", 0),
        ("0 .5 .5 .1 1_0", "one of the fields is no number", "label that is no number", 0),
        ("9" * 99999 + " .5 .5 .1 .1", "one of the fields is no number", "label that is no number", 0),
        ("0 nan .5 .1 .1", "one of the fields is not finite", "label that is no number", 0),
        ("0 .5 .5 inf .1", "one of the fields is not finite", "label that is no number", 0),
        ("0 .5 .5 0 .1", "this box has no area", "box without area", 1),
        ("0 .5 .5 .1 -.1", "this box has no area", "box without area", 1),
        ("0 .95 .5 .2 .1", "the box leaves the image by 0.05 of its size", "box outside the image", 1),
        ("0 .5 .04 .1 .1", "the box leaves the image by 0.01 of its size", "box outside the image", 1),
        ("0 320 240 64 48", "the box leaves the image by 3.5e+02 of its size", "box outside the image", 1),
    ],
)
def test_what_is_wrong_with_a_line(tmp_path, line, message, kind, kept):
    data = ("0 .5 .5 .1 .1\n" + line + "\n1 .5 .5 .1 .1\n").encode("ascii")
    text = error(read, tmp_path, data)
    head = "{}:2: error: {}\n    2 | {}\nhint: ".format(tmp_path / "x.txt", message, line[:120])
    assert text.startswith(head)
    assert "\nerror: 1 problem in the data: {} (1)\nhint: mend the files".format(kind) in text
    found = Problems()
    truth = read(tmp_path, data, problems=found)
    assert truth.classes.tolist() == [0] + kept * [0] + [1] and len(truth.boxes) == 2 + kept
    assert found.counts == {kind: 1}


def test_the_whole_text_of_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    (tmp_path / "x.txt").write_text("7 .5 .5 .1 .1\n0 .5\n")
    assert error(labels.read, "x.txt", 3) == (
        "x.txt:1: error: class 7, but the classes are 0 to 2\n    1 | 7 .5 .5 .1 .1\n"
        "hint: mend the label, or classes= in the .data file\n"
        "x.txt:2: error: 2 fields instead of 5\n    2 | 0 .5\n"
        "hint: a line is: class centre-x centre-y width height\n"
        "error: 2 problems in the data: class out of range (1), label without 5 fields (1)\n"
        "hint: mend the files, or go on without them by --ignore-problems"
    )
    (tmp_path / "x.txt").write_bytes(b"\0\0")
    found = Problems()
    assert len(labels.read("x.txt", 3, found).classes) == 0
    assert str(found.shown[0]) == (
        "x.txt: warning: the label file is no plain text\nhint: save it as UTF-8; PowerShell's > does not"
    )
    assert error(labels.read_of_image, "images/y.jpg", 3) == (
        "images/y.txt: error: no label file for images/y.jpg\nhint: an image without objects has an empty label file\n"
        "error: 1 problem in the data: missing label file (1)\n"
        "hint: mend the files, or go on without them by --ignore-problems"
    )


def data_set(folder):
    (folder / "p.names").write_text("a\nb\n")
    (folder / "p.data").write_text("names = p.names\nclasses = 2\nvalid = list.txt\n")
    (folder / "list.txt").write_text("1.jpg\n2.jpg\n3.jpg\n4.jpg\n")
    for number in (1, 2, 3):
        (folder / "{}.jpg".format(number)).write_bytes(b"x")
    (folder / "1.txt").write_text("1 .5 .5 .1 .1\n")
    (folder / "2.txt").write_text("2 .5 .5 .1 .1\n")
    return DataFile.read(str(folder / "p.data"))


def test_a_set_reports_everything_at_once(tmp_path):
    data = data_set(tmp_path)
    text = error(read_detection, data)
    assert (
        "error: 3 problems in the data: missing image (1), class out of range (1), missing label file (1)\n" in text
    )
    found = Problems()
    split = read_detection(data, "valid", found)
    assert split.images == [str(tmp_path / "{}.jpg".format(n)) for n in (1, 2, 3)]
    assert [truth.classes.tolist() for truth in split.truths] == [[1], [], []]
    assert len(found) == 3


@pytest.mark.parametrize("split, objects, without", [("train2017", 929, 2), ("val2017", 898, 0)])
def test_coco128(split, objects, without):
    root = need.shared() / "datasets" / "coco128"
    images = sorted(str(path) for path in (root / "images" / split).iterdir())
    found = Problems()
    truths = [labels.read_of_image(image, 80, found) for image in images]
    assert len(truths) == 128
    assert sum(len(truth.classes) for truth in truths) == objects
    assert found.counts == ({"missing label file": without} if without else {})
