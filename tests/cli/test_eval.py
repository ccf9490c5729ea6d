"""The command `eval` end to end, with a detector and a classifier whose answers are known beforehand."""

import json

import numpy as np
import pytest

import need
from darkprune.cli.main import main
from small_nets import cfg, conv, section

# One cell, one anchor: whatever the image shows, a box in its middle of half its size, with the scores below.
DETECTOR = cfg(
    section("maxpool", size=8, stride=8),
    conv(7, size=1, activation="linear", bn=None),
    section("yolo", mask="0", anchors="4,4", classes=2, num=1),
    width=8,
    height=8,
)
BIASES = [0, 0, 0, 0, 2, 2, 0]
SURE = 1 / (1 + np.exp(-2.0))
SCORES = (SURE * SURE, SURE / 2)
BOX = "0.5 0.5 0.5 0.5"
# The brightest of the channels is the class.
CLASSIFIER = cfg(conv(3, size=1, activation="linear", bn=None), section("avgpool"), section("softmax"))
EVAL = ["eval", "net.cfg", "net.weights", "--data", "set.data", "--runner", "numpy"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: a detector, and three images with labels. The first shows class 0, the second class 1."""
    cv2 = need.opencv()
    monkeypatch.chdir(str(tmp_path))
    pair(tmp_path, DETECTOR, BIASES)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number, (size, label) in enumerate([((8, 8), "0 " + BOX), ((10, 20), "1 " + BOX), ((16, 16), "")]):
        name = "image_{:03d}".format(7 * number)
        assert cv2.imwrite("images/{}.png".format(name), np.full(size + (3,), 99, np.uint8))
        (tmp_path / "labels" / (name + ".txt")).write_text(label + "\n")
    (tmp_path / "list.txt").write_text("images/image_000.png\nimages/image_007.png\nimages/image_014.png\n")
    (tmp_path / "set.names").write_text("cat\ndog\n")
    (tmp_path / "set.data").write_text("classes=2\ntrain=one.txt\nvalid=list.txt\nnames=set.names\n")
    (tmp_path / "one.txt").write_text("images/image_000.png\n")
    return tmp_path


def pair(folder, text, biases):
    """net.cfg and net.weights of one convolution 1x1 with these biases; its weights are those of the identity."""
    (folder / "net.cfg").write_text(text)
    weights = np.zeros((len(biases), 3), "<f4")
    if len(biases) == 3:
        weights = np.eye(3, dtype="<f4")
    header = np.array([0, 2, 5, 0, 0], "<i4").tobytes()
    (folder / "net.weights").write_bytes(header + np.array(biases, "<f4").tobytes() + weights.tobytes())


def output(argv, capsys, status=0):
    """What a command prints on stdout and stderr, with an exit status."""
    assert main(argv) == status
    return capsys.readouterr()


def report(argv, capsys):
    out, err = output(argv + ["--json"], capsys)
    assert err == "" and out.count("\n") == 1
    return json.loads(out, parse_constant=pytest.fail)


# ---- detectors


def test_json(folder, capsys):
    """Both classes are found in every image with equal scores, in the order of the list: class 0 is right at rank 1 of
    3, class 1 at rank 2."""
    need.coco_library()
    found = report(EVAL, capsys)
    assert (found["map"], found["ap50"], found["images"], found["truths"]) == (0.75, 0.75, 3, 2)
    assert found["ap"] == pytest.approx(0.75)  # boxes fit exactly, so at every IoU
    assert (found["tp"], found["fp"], found["fn"], found["detections"]) == (2, 4, 0, 6)
    assert found["precision"] == pytest.approx(1 / 3) and found["recall"] == 1 and found["f1"] == 0.5
    assert found["average_iou"] == pytest.approx(1 / 3)
    assert found["per_class"] == [
        {"class": 0, "name": "cat", "map": 1, "ap50": 1, "ap": pytest.approx(1), "truths": 1, "tp": 1, "fp": 2},
        {"class": 1, "name": "dog", "map": 0.5, "ap50": 0.5, "ap": pytest.approx(0.5), "truths": 1, "tp": 1, "fp": 2},
    ]
    assert (found["points"], found["iou_threshold"], found["confidence"]) == (0, 0.5, 0.25)
    assert (found["runner"], found["split"], found["width"], found["height"]) == ("numpy", "valid", 8, 8)
    assert found["warnings"] == []


def test_text(folder, capsys):
    need.coco_library()
    assert output(EVAL, capsys).out == (
        "\n detections_count = 6, unique_truth_count = 2  \n"
        "class_id = 0, name = cat, ap = 100.00%   \t (TP = 1, FP = 2) \n"
        "class_id = 1, name = dog, ap = 50.00%   \t (TP = 1, FP = 2) \n"
        "\n for conf_thresh = 0.25, precision = 0.33, recall = 1.00, F1-score = 0.50 \n"
        " for conf_thresh = 0.25, TP = 2, FP = 4, FN = 0, average IoU = 33.33 % \n"
        "\n IoU threshold = 50 %, used Area-Under-Curve for each unique Recall \n"
        " mean average precision (mAP@0.50) = 0.750000, or 75.00 % \n"
        "\n COCO: AP50 = 75.00 %, AP50-95 = 75.00 %; the mean of the 2 classes that occur\n"
    )


def test_options(folder, capsys):
    """The second image is twice as wide as high: letterboxed, the box in the middle of the input is twice as high in
    the image, so that its IoU is 1/2, which is not above 0.5."""
    argv = EVAL + ["--no-coco"]
    assert report(argv + ["--split", "train"], capsys)["map"] == 0.5
    found = report(argv + ["-points", "11", "-iou_thresh", ".75", "-thresh", ".5"], capsys)
    assert (found["points"], found["iou_threshold"], found["confidence"]) == (11, 0.75, 0.5)
    assert (found["tp"], found["fp"]) == (1, 2)  # class 1 has a score of .44
    boxed = report(argv + ["-letter_box"], capsys)
    assert [one["map"] for one in boxed["per_class"]] == [1, 0]
    assert report(argv + ["--letter-box", "--iou-thresh", "0.49"], capsys)["map"] == 0.75
    assert report(argv + ["--batch", "2"], capsys) == report(argv, capsys)
    wide = report(argv + ["--width", "16"], capsys)  # two cells; boxes half as wide, beside the middle
    assert (wide["width"], wide["height"], wide["map"], wide["detections"]) == (16, 8, 0, 12)


def test_overlapping_cells_are_suppressed(folder, capsys):
    anchored = DETECTOR.replace("anchors=4,4", "anchors=32,4")
    pair(folder, anchored, BIASES)
    argv = EVAL + ["--no-coco", "--width", "16"]
    assert report(argv, capsys)["detections"] == 6  # the two cells' boxes have an IoU of .6
    assert report(argv + ["--nms", "0.7"], capsys)["detections"] == 12
    assert report(argv + ["--nms", "0"], capsys)["detections"] == 12


@pytest.mark.parametrize("runner", ["torch", "onnxruntime", "opencv", "darknet"])
def test_runners(folder, capsys, runner):
    need.runner(runner)
    found = report(EVAL[:-1] + [runner, "--no-coco"], capsys)
    assert (found["map"], found["tp"], found["fp"], found["runner"]) == (0.75, 2, 4, runner)


def test_the_fastest_runner(folder, capsys):
    need.runner("onnxruntime")
    out, err = output(EVAL[:-2] + ["-dont_show", "--no-coco", "--json"], capsys)
    assert err == "runner: onnxruntime\n" and json.loads(out)["runner"] == "onnxruntime"


def difficult(folder, of="", lines="hard/"):
    """Makes a detection difficult that stood before the right one: in the list hard.txt of a folder."""
    data = "classes=2\ntrain=one.txt\nvalid=list.txt\nnames=set.names\ndifficult={}hard.txt\n"
    (folder / "set.data").write_text(data.format(of))
    (folder / of / "hard").mkdir(parents=True)
    (folder / of / "hard.txt").write_text("".join("{}{}.png\n".format(lines, number) for number in (1, 2, 3)))
    (folder / of / "hard" / "1.txt").write_text("1 " + BOX + "\n")


@pytest.mark.parametrize("of, lines", [("", "hard/"), ("set/", "set/hard/"), ("set/", "hard/")])
def test_difficult_objects(folder, capsys, of, lines):
    """Paths in the list start at the working directory, or at the list."""
    difficult(folder, of, lines)
    found = report(EVAL + ["--no-coco"], capsys)
    assert (found["map"], found["detections"], found["fp"]) == (1, 5, 4)


def test_a_list_of_difficult_objects_that_is_too_short(folder, capsys):
    difficult(folder)
    (folder / "hard.txt").write_text("hard/1.png\n")
    assert output(EVAL, capsys, 2).err == (
        "hard.txt: error: 1 lines, but 3 images are evaluated\n"
        "hint: the list needs one line for each image, in the same order\n"
    )


def test_without_the_coco_library(folder, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    found = report(EVAL, capsys)
    assert (found["map"], found["ap50"], found["ap"]) == (0.75, None, None)
    (warning,) = found["warnings"]
    assert warning.startswith("warning: COCO's AP needs the library faster-coco-eval: ")
    assert warning.endswith("\nhint: pip install faster-coco-eval (Python 3.10 or newer), or give --no-coco")
    assert report(EVAL + ["--no-coco"], capsys)["warnings"] == []


def test_coco_results(folder, capsys):
    found = report(EVAL + ["--no-coco", "--coco-results", "found.json"], capsys)
    assert found["files"] == ["found.json"]
    entries = json.loads((folder / "found.json").read_text())
    assert [(e["image_id"], e["category_id"]) for e in entries] == [(0, 1), (0, 2), (7, 1), (7, 2), (14, 1), (14, 2)]
    assert [e["bbox"] for e in entries[::2]] == [[2, 2, 4, 4], [5, 2.5, 10, 5], [4, 4, 8, 8]]
    assert [e["score"] for e in entries[:2]] == [round(score, 6) for score in SCORES]
    assert output(EVAL + ["--coco-results", "found.json"], capsys, 2).err == (
        "found.json: error: this file exists\nhint: --overwrite replaces it\n"
    )
    report(EVAL + ["--no-coco", "--coco-results", "found.json", "--overwrite"], capsys)
    assert "inputs are never overwritten" in output(EVAL + ["--coco-results", "net.cfg"], capsys, 2).err


@pytest.mark.parametrize(
    "path",
    "net.cfg net.weights set.data list.txt one.txt set.names hard.txt images/image_007.png labels/image_007.txt "
    "hard/1.txt".split(),
)
def test_results_replace_no_input(folder, capsys, monkeypatch, path):
    """Also those parts of the data set that are not evaluated; said before the net is opened."""
    difficult(folder)
    monkeypatch.setattr("darkprune.cli.eval.open_model", lambda _: pytest.fail("opened"))
    before = (folder / path).read_bytes()
    assert output(EVAL + ["--coco-results", path, "--overwrite"], capsys, 2).err == (
        "{0}: error: the output would replace the input {0}\n"
        "hint: choose another name; inputs are never overwritten\n".format(path)
    )
    assert (folder / path).read_bytes() == before


# ---- classifiers


@pytest.fixture
def classifier(folder):
    """Images of one bright channel in the folder's list, of which the second is named for another class."""
    cv2 = need.opencv()
    pair(folder, CLASSIFIER, [0, 0, 0])
    lines = []
    for number, name in enumerate(["red", "red", "blue", "green"]):
        pixels = np.zeros((16, 24, 3), np.uint8)
        pixels[:, :, {"red": 2, "green": 1, "blue": 0}[name if number != 1 else "green"]] = 200
        lines.append("images/{}{}.png".format(name, number))
        assert cv2.imwrite(lines[-1], pixels)
    (folder / "list.txt").write_text("\n".join(lines))
    (folder / "labels.list").write_text("red\ngreen\nblue\n")
    (folder / "set.data").write_text("classes=3\nvalid=list.txt\nlabels=labels.list\ntop=2\n")
    return folder


@pytest.mark.parametrize("runner", ["numpy", "torch", "onnxruntime", "opencv", "darknet"])
def test_classifier(classifier, capsys, runner):
    """The second image is green; of red and blue, equally dark, red comes first: so it is right among two."""
    need.runner(runner)
    found = report(EVAL[:-1] + [runner], capsys)
    assert (found["top1"], found["top5"], found["top"], found["topk"], found["images"]) == (0.75, 1, 2, 1, 4)
    assert output(EVAL, capsys).out == " top 1: 0.750000, top 5: 1.000000, top 2: 1.000000; 4 images\n"


def test_a_classifier_with_too_many_outputs_at_another_size(classifier, capsys):
    """Without [avgpool] every position has its scores."""
    text = cfg(conv(3, size=1, activation="linear", bn=None), section("softmax"), width=1, height=1)
    pair(classifier, text, [0, 0, 0])
    assert report(EVAL, capsys)["images"] == 4
    err = output(EVAL + ["--width", "2"], capsys, 2).err
    assert err.startswith("set.data:3: error: 3 class names, but layer 1 has 6 outputs\n")


def test_classifier_bad_input(classifier, capsys):
    assert output(EVAL + ["--coco-results", "x.json"], capsys, 2).err == (
        "net.cfg: error: --coco-results needs a detector, and this net has no detection head\nhint: leave it out\n"
    )
    (classifier / "labels.list").write_text("red\ngreen\n")
    (classifier / "set.data").write_text("classes=2\nvalid=list.txt\nlabels=labels.list\n")
    err = output(EVAL + ["--ignore-problems"], capsys, 2).err
    assert err.startswith("set.data:3: error: 2 class names, but layer 2 has 3 outputs\n")
    assert err.endswith("hint: give the .data file that belongs to this cfg\n")


# ---- bad input


@pytest.mark.parametrize(
    "files, expected",
    [
        (
            {"set.data": "classes=3\nvalid=list.txt\nnames=set.names\n", "set.names": "a\nb\nc\n"},
            "set.data:1: error: classes = 3, but the net has 2\n    1 | classes=3\n"
            "hint: give the .data file that belongs to this cfg (net.cfg)\n",
        ),
        (
            {"set.data": "valid=list.txt\nnames=set.names\n", "set.names": "a\nb\nc\n"},
            "set.data:2: error: 3 class names, but the net has 2 classes\n    2 | names=set.names\n"
            "hint: give the .data file that belongs to this cfg (net.cfg)\n",
        ),
        (
            {"set.names": "a\n"},
            "set.names: error: 1 names, but 2 classes\n"
            "hint: name every class once, or mend classes= in the .data file or the cfg\n",
        ),
        ({"list.txt": ""}, "list.txt: error: this list names no images\nhint: write one path a line\n"),
        (
            {"net.cfg": DETECTOR.replace("channels=3", "channels=4"), "images/image_000.png": "no image"},
            "net.cfg:4: error: the net takes 4 channels, an image has 1 or 3\n    4 | channels=4\n      |          ^\n"
            "hint: channels in [net] says what the net was made for\n",
        ),
        (
            {"images/image_007.png": "no image"},
            "images/image_007.png: error: cannot read the image\nhint: give a JPEG, PNG or BMP file\n",
        ),
        (
            {"labels/image_007.txt": "1 " + BOX + "\n2 " + BOX + "\n"},
            "labels/image_007.txt:2: error: class 2, but the classes are 0 to 1\n    2 | 2 " + BOX + "\n"
            "hint: mend the label, or classes= in the .data file\n"
            "error: 1 problem in the data: class out of range (1)\n"
            "hint: mend the files, or go on without them by --ignore-problems\n",
        ),
    ],
)
def test_bad_data(folder, capsys, files, expected):
    for name, text in files.items():
        (folder / name).write_text(text)
    if "net.cfg" in files:
        (folder / "net.weights").write_bytes((folder / "net.weights").read_bytes() + 4 * 7 * b"\0")
    assert output(EVAL + ["--no-coco"], capsys, 2).err == expected


def test_problems_that_are_ignored(folder, capsys):
    (folder / "labels" / "image_007.txt").write_text("2 " + BOX + "\n")
    found = report(EVAL + ["--no-coco", "--ignore-problems"], capsys)
    assert (found["truths"], found["map"]) == (1, 0.5)
    assert "class out of range (1)" in found["warnings"][-1]


def test_bad_options(folder, capsys):
    """All are refused before the weights are read."""
    (folder / "net.weights").write_bytes(b"short")
    for options, cause in (
        (["--points", "1"], "error: 1 recall points\nhint: use 0 for the area under the curve, 11 or 101\n"),
        (["--points", "-1"], "error: -1 recall points\nhint: use 0 for the area under the curve, 11 or 101\n"),
        (["--thresh", "1.1"], "error: --thresh 1.1 is not from 0 to 1\nhint: see darkprune eval --help\n"),
        (["--split", "names"], "error: names is none of the choices of --split\nhint: use train, valid, test\n"),
        (["--batch", "0"], "error: --batch 0 is no number of images\nhint: use 1 or more\n"),
        (["--nms", "2"], "error: --nms 2.0 is not from 0 to 1\nhint: see darkprune eval --help\n"),
        (["--split", "test"], "set.data: error: this file has no test = ...\nhint: add a line test = FILE\n"),
    ):
        assert output(EVAL + ["--no-coco"] + options, capsys, 2).err == cause


def test_the_net_is_not_run_where_the_data_is_wrong(folder, capsys, monkeypatch):
    """It is not even opened."""
    monkeypatch.setattr("darkprune.cli.eval.open_model", lambda _: pytest.fail("opened"))
    (folder / "labels" / "image_014.txt").write_text("none\n")
    output(EVAL, capsys, 2)
