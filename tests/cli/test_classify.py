"""`darkprune classify`: against what the real Darknets say of the same image, and bad input."""

import json
import subprocess

import numpy as np
import pytest

import need
from bad_input import Cases
from darkprune.cli.main import main
from darkprune.detect.classifier import best
from small_nets import cfg, conv, make_weights, section, write

BODY = [conv(8, stride=2), section("maxpool", size=2, stride=2), conv(10, size=1, activation="linear", bn=None)]
END = [section("avgpool"), section("softmax", groups=1)]
SIZE = {"width": 24, "height": 16}
CLASSIFY = ["classify", "net.cfg", "net.weights", "a.png", "--runner", "numpy"]

# What `classifier predict` of AlexeyAB's Darknet (commit 59596d7, CPU, no OpenCV) prints for the net and picture below.
ALEXEYAB = [(5, 0.708333), (2, 0.121496), (7, 0.081559), (8, 0.030881)]

case = Cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    cv2 = need.opencv()
    monkeypatch.chdir(tmp_path)
    write(tmp_path, cfg(*(BODY + END), **SIZE), dead=0.0)
    pixels = np.random.RandomState(5).randint(0, 256, (9, 14, 3)).astype(np.uint8)
    cv2.imwrite("a.png", cv2.resize(pixels, (70, 45), interpolation=cv2.INTER_NEAREST))
    (tmp_path / "ten.txt").write_text("".join("name {}\n".format(n) for n in range(10)))
    (tmp_path / "ten.data").write_text("classes = 10\nnames = ten.txt\ntop = 3\n")
    return tmp_path


def printed(argv, capsys, status=0):
    assert main(argv) == status
    return capsys.readouterr()


def pairs(text):
    """(name, score) of each line behind the line of the time."""
    rows = [line.rpartition(": ") for line in text.splitlines()[1:]]
    return [(name, float(score)) for name, _, score in rows]


@pytest.mark.parametrize("runner", ["numpy", "torch", "onnxruntime", "opencv", "darknet"])
def test_every_runner_says_what_alexeyabs_darknet_says(folder, runner, capsys):
    need.runner(runner)
    text = printed(CLASSIFY[:4] + ["--runner", runner, "--top", "4"], capsys).out
    assert text.startswith("a.png: Predicted in ")
    for (name, score), (number, expected) in zip(pairs(text), ALEXEYAB):
        assert name == str(number) and abs(score - expected) < 1e-5


@pytest.mark.parametrize(
    "end", [[section("avgpool"), section("softmax"), section("cost")], [section("avgpool")], [section("softmax")]]
)
def test_other_ends(folder, end, capsys):
    text = cfg(*(BODY + end), **SIZE)
    write(folder, text, dead=0.0)
    found = json.loads(printed(CLASSIFY + ["--json", "--top", "1000"], capsys).out)["images"][0]["classes"]
    scores = [one["confidence"] for one in found]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == (10 if "avgpool" in text else 10 * 4 * 6)
    assert "softmax" not in text or abs(sum(scores) - 1) < 1e-3


def test_the_original_darknet_says_the_same(tmp_path, capsys):
    need.opencv()
    path = str(need.debian_cfgs() / "tiny.cfg")
    weights = str(tmp_path / "net.weights")
    make_weights.make(path, weights, dead=0.0, dialect="pjreddie")
    data = tmp_path / "imagenet.data"
    data.write_text("classes=1000\ntop=5\nnames={}\n".format(need.debian_images() / "imagenet.shortnames.list"))
    files = [str(data), path, weights, str(need.debian_images() / "dog.jpg")]
    ran = subprocess.run(
        [str(need.darknet()), "classifier", "predict"] + files, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    expected = [line.split(": ", 1) for line in ran.stdout.decode().splitlines() if "%: " in line]
    captured = printed(["classify"] + files + ["--dialect", "pjreddie", "--runner", "opencv"], capsys)
    found = pairs(captured.out)
    assert len(expected) == len(found) == 5
    assert [name for name, _ in found] == [name for _, name in expected]
    for (_, score), (percent, _) in zip(found, expected):
        assert abs(score - float(percent.strip("% ")) / 100) < 1e-3
    assert "21842 names, but 1000 classes: the first ones count" in captured.err


def test_json_and_names(folder, capsys):
    report = json.loads(printed(CLASSIFY + ["--json", "--data", "ten.data"], capsys).out)
    assert list(report) == ["images"]
    (image,) = report["images"]
    assert list(image) == ["file", "classes", "milliseconds"] and image["milliseconds"] > 0
    assert [one["class"] for one in image["classes"]] == [number for number, _ in ALEXEYAB[:3]]
    assert [one["name"] for one in image["classes"]] == ["name {}".format(number) for number, _ in ALEXEYAB[:3]]


def test_the_whole_image_on_request(folder, capsys):
    middle, whole = (printed(CLASSIFY + more, capsys).out for more in ([], ["-letter_box"]))
    assert pairs(whole) != pairs(middle)
    assert pairs(printed(CLASSIFY + ["--dialect", "pjreddie", "--letter-box"], capsys).out) == pairs(
        printed(CLASSIFY + ["--dialect", "pjreddie"], capsys).out
    )


def test_of_equal_scores_the_earlier_class_comes_first():
    scores = np.zeros(100, np.float32)
    scores[[40, 70]] = 0.5
    assert best(scores, 4) == [(40, 0.5), (70, 0.5), (0, 0.0), (1, 0.0)]
    assert len(best(scores, 1000)) == 100


# ---- bad input


@case("error: --top 0 is no number of classes\nhint: use 1 or more\n")
def top_0(folder):
    return CLASSIFY + ["--top", "0"]


@case(
    "net.cfg: error: the net has a detection head, which names no whole image\n"
    "hint: darkprune detect takes nets that find objects\n"
)
def a_detector(folder):
    write(folder, cfg(conv(8, activation="linear"), section("yolo", mask="0", anchors="1,2", classes=3, num=1)))
    return CLASSIFY


@case(
    "two.txt: error: 2 names, but 10 classes\n"
    "hint: name every class once, or mend classes= in the .data file or the cfg\n"
)
def too_few_names(folder):
    (folder / "two.txt").write_text("cat\ndog\n")
    return CLASSIFY + ["--names", "two.txt"]


@case("b.png: error: cannot read the image: No such file or directory\nhint: check the path\n")
def missing_image(folder):
    return CLASSIFY[:3] + ["b.png"] + CLASSIFY[4:]


@case(
    "error: an image of 1 x 200000 pixels is too narrow to cut its middle out\n"
    "hint: cut it to a squarer one\n"
)
def a_strip(folder):
    need.opencv().imwrite("strip.bmp", np.zeros((200000, 1, 3), np.uint8))
    write(folder, cfg(*(BODY + END), width=64, height=64))
    return CLASSIFY[:3] + ["strip.bmp"] + CLASSIFY[4:]


@case(
    "net.cfg:1: error: the net takes 7 flat values, not an image\n"
    "    1 | [net]\n"
    "      | ^^^^^\n"
    "hint: images need a net with a width and height\n"
)
def flat_values(folder):
    write(folder, section("net", inputs=7) + section("connected", output=3, activation="linear") + section("softmax"))
    return CLASSIFY


@case(
    "net.cfg:4: error: the net takes 4 channels, an image has 1 or 3\n    4 | channels=4\n      |          ^\n"
    "hint: channels in [net] says what the net was made for\n"
)
def four_channels(folder):
    """Said before any image is read."""
    write(folder, cfg(*(BODY + END)).replace("channels=3", "channels=4"))
    (folder / CLASSIFY[3]).write_bytes(b"no image")
    return CLASSIFY


@pytest.mark.parametrize("name", list(case))
def test_bad_input(folder, name, capsys):
    case.check(name, folder, capsys)
