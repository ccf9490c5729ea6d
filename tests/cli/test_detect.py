"""`darkprune detect`: what it prints, draws and writes, and what it says of bad input."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import need
from bad_input import Cases, snapshot
from darkprune.cli.main import main
from small_nets import cfg, conv, detector, section, write

NET = detector()
DETECT = ["detect", "net.cfg", "net.weights", "a.png", "--runner", "numpy", "--thresh", "0.2"]

# What AlexeyAB's Darknet (commit 59596d7, CPU, no OpenCV) prints for `detector test` of Yolo-Fastest 1.1 with
# -ext_output on Debian's dog.jpg, behind the line of the time.
DOG = """\
person: 33%	(left_x:   63   top_y:   73   width:   48   height:   46)
bicycle: 29%	(left_x:   80   top_y:  176   width:  368   height:  316)
cat: 55%	(left_x:  112   top_y:  213   width:  258   height:  304)
dog: 65%	(left_x:  122   top_y:  222   width:  244   height:  295)
bicycle: 55%	(left_x:  245   top_y:  187   width:  342   height:  233)
car: 37%	(left_x:  452   top_y:   78   width:  151   height:   86)
car: 88%	(left_x:  454   top_y:   78   width:  230   height:  102)
car: 44%	(left_x:  690   top_y:  116   width:   39   height:   38)
"""

case = Cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    cv2 = need.opencv()
    monkeypatch.chdir(tmp_path)
    write(tmp_path, NET, dead=0.0)
    random = np.random.RandomState(1)
    for name in ("a.png", "b.png"):
        cv2.imwrite(name, random.randint(0, 256, (40, 60, 3)).astype(np.uint8))
    (tmp_path / "three.data").write_text("classes = 3\nnames = three.txt\n")
    (tmp_path / "three.txt").write_text("cat\ndog\nélan\n", "utf-8")
    return tmp_path


def output(argv, capsys, status=0):
    assert main(argv) == status
    return capsys.readouterr()


def objects(argv, capsys):
    images = json.loads(output(argv + ["--json"], capsys).out)["images"]
    return [image["objects"] for image in images]


def numbers(line):
    """The name of a line of Darknet's, and its numbers."""
    name, _, rest = line.partition(":")
    return name, [int("".join(c for c in word if c.isdigit())) for word in rest.split() if any(map(str.isdigit, word))]


@pytest.mark.parametrize("runner", ["numpy", "torch", "onnxruntime", "opencv", "darknet"])
def test_every_runner_prints_what_alexeyabs_darknet_prints(runner, capsys):
    need.runner(runner)
    stem = str(need.shared() / "models" / "yolo-fastest-1.1" / "yolo-fastest-1.1")
    picture = str(need.debian_images() / "dog.jpg")
    argv = ["detect", stem + ".cfg", stem + ".weights", picture, "--runner", runner, "--ext-output"]
    first, _, rest = output(argv, capsys).out.partition("\n")
    assert first.startswith(picture + ": Predicted in ") and first.endswith(" milli-seconds.")
    lines = rest.splitlines()
    assert len(lines) == len(DOG.splitlines())
    for found, expected in zip(lines, DOG.splitlines()):
        assert numbers(found)[0] == numbers(expected)[0]
        assert np.abs(np.subtract(numbers(found)[1], numbers(expected)[1])).max() <= 1
        assert len(found) == len(expected) and found.count("\t") == 1


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """Yolo-Fastest 1.1 XL without 10 % of its filters, those of the smallest weights.

    It was never trained for sparsity. Without the filters of the smallest gammas it finds a car at best.
    """
    stem = str(need.shared() / "models" / "yolo-fastest-1.1" / "yolo-fastest-1.1-xl")
    prefix = str(tmp_path_factory.mktemp("pruned") / "net")
    argv = [stem + ".cfg", stem + ".weights", "-o", prefix, "--channels", "0.1", "--score", "l2"]
    assert main(["prune"] + argv) == 0
    return [prefix + ".cfg", prefix + ".weights"]


@pytest.mark.parametrize("runner", ["numpy", "torch", "onnxruntime", "opencv", "darknet"])
def test_a_pruned_net_finds_dog_bicycle_and_car(pruned, runner, capsys):
    need.runner(runner)
    names = str(need.debian_images() / "coco.names")
    argv = ["detect"] + pruned + [str(need.debian_images() / "dog.jpg"), "--names", names, "--runner", runner]
    assert {"dog", "bicycle", "car"} <= {one["name"] for one in objects(argv, capsys)[0]}


def test_json(folder, capsys):
    found = json.loads(output(DETECT + ["b.png", "--json"], capsys).out)
    assert list(found) == ["images"] and [image["file"] for image in found["images"]] == ["a.png", "b.png"]
    for image in found["images"]:
        assert list(image) == ["file", "objects"] and image["objects"]
        for one in image["objects"]:
            assert list(one) == ["class", "name", "confidence", "box"] and len(one["box"]) == 4
            assert one["name"] == str(one["class"]) and 0.2 < one["confidence"] <= 1


def test_names_from_each_place(folder, capsys):
    def shown(*more):
        return {one["name"] for one in objects(DETECT + list(more), capsys)[0]} - {"0", "1", "2"}

    assert shown() == set()
    assert shown("--names", "three.txt") and shown("--names", "three.txt") <= {"cat", "dog", "élan"}
    assert shown("--names", "three.txt") == shown("--data", "three.data")
    (folder / "other.names").write_text("a\nb\n")
    assert shown() == set()  # two names for three classes: they belong to something else
    (folder / "other.names").write_text("a\nb\nc\n")
    assert shown() and shown() <= {"a", "b", "c"}
    (folder / "net.names").write_text("x\ny\nz\n")
    assert shown() and shown() <= {"x", "y", "z"}


def test_folders_and_lists(folder, capsys):
    (folder / "list.txt").write_text("b.png\na.png\n")
    both = objects(DETECT[:3] + ["."] + DETECT[4:], capsys)
    assert both == objects(DETECT + ["b.png"], capsys)
    assert both[::-1] == objects(DETECT[:3] + ["list.txt"] + DETECT[4:], capsys)


def test_the_runner_that_was_chosen_is_said(folder, capsys, monkeypatch):
    argv = ["detect", "net.cfg", "net.weights", "a.png", "--thresh", "0.2"]
    need.runner("onnxruntime")
    assert output(argv, capsys).err == "runner: onnxruntime\n"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    captured = output(argv, capsys)
    assert captured.err == "runner: opencv\n" and captured.out.startswith("a.png: Predicted in ")
    (folder / "net.cfg").write_text(NET.replace("activation=linear\n", "", 1))  # OpenCV misreads it
    assert output(argv, capsys).err in ("runner: torch\n", "runner: numpy\n")
    (folder / "net.cfg").write_text(NET.replace("activation=linear", "activation=elu", 1))  # OpenCV refuses it
    for more in ([], ["--width", "64"]):
        assert output(argv + more, capsys).err in ("runner: torch\n", "runner: numpy\n")


def test_classes_that_darknet_does_not_show(folder, capsys):
    assert {one["class"] for one in objects(DETECT, capsys)[0]} == {0, 1, 2}
    (folder / "net.names").write_text("dont_show\nb\ndont_show 2\n")
    assert {one["class"] for one in objects(DETECT, capsys)[0]} == {1}


def test_size_threshold_and_suppression_count(folder, capsys):
    usual = objects(DETECT, capsys)
    assert usual != objects(DETECT + ["--width", "64", "--height", "64"], capsys)
    assert usual != objects(DETECT + ["-letter_box"], capsys)
    assert len(usual[0]) > len(objects(DETECT + ["--thresh", "0.4"], capsys)[0])
    assert len(usual[0]) < len(objects(DETECT + ["-nms", "0"], capsys)[0])


# ---- files


def test_pictures(folder, capsys):
    cv2 = need.opencv()
    os.mkdir("sub")
    os.rename("b.png", "sub/a.png")
    output(DETECT + ["sub/a.png", "-o", "out/new"], capsys)
    assert sorted(os.listdir("out/new")) == ["a-2.png", "a.png"]
    for source, drawn in (("a.png", "a.png"), ("sub/a.png", "a-2.png")):
        before, after = cv2.imread(source), cv2.imread("out/new/" + drawn)
        assert before.shape == after.shape and (before != after).any()
    output(DETECT + ["-o", "predictions.jpg"], capsys)
    assert cv2.imread("predictions.jpg").shape == (40, 60, 3)
    output(DETECT + ["-o", "predictions.jpg", "--overwrite"], capsys)


def test_darknets_json(folder, capsys):
    found = objects(DETECT + ["b.png", "--out", "r.json", "--names", "three.txt"], capsys)
    frames = json.loads((folder / "r.json").read_text("utf-8"))
    assert [(frame["frame_id"], frame["filename"]) for frame in frames] == [(1, "a.png"), (2, "b.png")]
    for frame, mine in zip(frames, found):
        assert len(frame["objects"]) == len(mine)
        for one, other in zip(frame["objects"], mine):
            assert (one["class_id"], one["name"]) == (other["class"], other["name"])
            assert abs(one["confidence"] - other["confidence"]) < 1e-5
            place = one["relative_coordinates"]
            box = [place["center_x"] - place["width"] / 2, place["center_y"] - place["height"] / 2]
            box = np.array(box + [place["width"], place["height"]]) * (60, 40, 60, 40)
            np.testing.assert_allclose(box, other["box"], atol=1e-3)
    raw = (folder / "r.json").read_text("utf-8")
    assert raw.startswith('[\n{\n "frame_id":1, \n "filename":"a.png", \n "objects": [ \n  {"class_id":')
    assert ' ] \n}, \n{\n "frame_id":2' in raw and raw.endswith("}\n ] \n}\n]")


def test_nothing_found_is_still_json(folder, capsys):
    assert output(DETECT + ["--thresh", "1", "--out", "r.json"], capsys).out.count("\n") == 1
    assert json.loads((folder / "r.json").read_text()) == [{"frame_id": 1, "filename": "a.png", "objects": []}]


def test_labels_stand_where_darknet_looks_for_them(folder, capsys):
    for name in ("set/JPEGImages", "set/labels"):
        os.makedirs(name)
    os.rename("b.png", "set/JPEGImages/b.png")
    output(DETECT + ["set/JPEGImages/b.png", "--save-labels"], capsys)
    for path in ("a.txt", "set/labels/b.txt"):
        rows = (folder / path).read_text().splitlines()
        assert rows and all(len(row.split()) == 5 and int(row.split()[0]) < 3 for row in rows)


def test_paths_beyond_the_locale(folder):
    (folder / "n\u00e9t").mkdir()
    for name in ("net.cfg", "net.weights"):
        os.rename(name, os.path.join("n\u00e9t", name))
    env = dict(os.environ, PYTHONPATH=str(need.ROOT), LC_ALL="C", PYTHONUTF8="0")
    argv = [sys.executable, "-m", "darkprune", "detect", b"n\xc3\xa9t/net", "a.png", "--runner", "opencv"]
    ran = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    assert ran.returncode == 0 and ran.stdout.startswith(b"a.png: Predicted in "), ran.stderr


@pytest.mark.parametrize("again", ["a.png", "./a.png", "."])
def test_an_image_that_is_named_twice_is_written_once(folder, again, capsys):
    output(DETECT + [again, "-o", "out", "--save-labels"], capsys)
    drawn = ["a.png", "b.png"] if again == "." else ["a.png"]
    assert sorted(os.listdir("out")) == drawn
    assert sorted(path.name for path in folder.glob("?.txt")) == [name[0] + ".txt" for name in drawn]
    found = json.loads(output(DETECT + [again, "--json"], capsys).out)["images"]
    assert len(found) == 1 + len(drawn)


@pytest.mark.parametrize("name", ["net.names", "other.names", "train.txt", "valid.txt", "three.txt", "three.data"])
def test_no_output_replaces_what_is_read(folder, name, capsys):
    (folder / "three.data").write_text("classes=3\ntrain=train.txt\nvalid = valid.txt\nnames=three.txt\n")
    for path in ("train.txt", "valid.txt"):
        (folder / path).write_text("a.png\n")
    more = ["--data", "three.data"]
    if name.endswith(".names"):
        more = []
        (folder / name).write_text("cat\ndog\nemu\n")
    before = snapshot(folder)
    captured = output(DETECT + more + ["--out", name, "--overwrite"], capsys, 2)
    cause = "the output would replace the input {0}".format(name)
    hint = "choose another name; inputs are never overwritten"
    assert captured.out == "" and captured.err.endswith("{}: error: {}\nhint: {}\n".format(name, cause, hint))
    assert snapshot(folder) == before


def test_no_output_replaces_the_lists_of_darknets_data_file(folder, capsys):
    (folder / "coco.data").write_text("classes=3\nvalid=valid.txt\nnames=three.txt\n")
    (folder / "valid.txt").write_text("a.png\n")
    before = snapshot(folder)
    captured = output(DETECT + ["--out", "valid.txt", "--overwrite"], capsys, 2)
    assert captured.err.startswith("names: three.txt\nvalid.txt: error: the output would replace the input valid.txt")
    assert captured.out == "" and snapshot(folder) == before


# ---- bad input


@case("none.png: error: cannot read the image: No such file or directory\nhint: check the path\n")
def missing_image(folder):
    return DETECT[:3] + ["none.png"] + DETECT[4:]


@case("a.png: error: cannot read the image: the file is empty\nhint: give a JPEG, PNG or BMP file\n")
def empty_image(folder):
    (folder / "a.png").write_bytes(b"")
    return DETECT


@case("a.png: error: cannot read the image\nhint: give a JPEG, PNG or BMP file\n")
def text_as_image(folder):
    (folder / "a.png").write_text("a picture of a dog\n" * 100)
    return DETECT


@case("list.txt: error: this list names no images\nhint: write one path a line\n")
def empty_list(folder):
    (folder / "list.txt").write_text("\n\n")
    return DETECT[:3] + ["list.txt"] + DETECT[4:]


@case("empty: error: no images in this folder\nhint: images end in .jpg .jpeg .png .bmp .ppm .tif .tiff .webp\n")
def empty_folder(folder):
    (folder / "empty").mkdir()
    return DETECT[:3] + ["empty"] + DETECT[4:]


@case(
    "net.cfg: error: the net has no detection head such as [yolo]\n"
    "hint: darkprune classify takes nets that name whole images\n"
)
def no_head(folder):
    write(folder, cfg(conv(8), section("avgpool"), section("softmax")))
    return DETECT


@case(
    "two.txt: error: 2 names, but 3 classes\n"
    "hint: name every class once, or mend classes= in the .data file or the cfg\n"
)
def too_few_names(folder):
    (folder / "two.txt").write_text("cat\ndog\n")
    return DETECT + ["--names", "two.txt"]


@case("none.names: error: the file of class names cannot be read: No such file or directory\nhint: check the path\n")
def missing_names(folder):
    return DETECT + ["--names", "none.names"]


TWICE = "{}: error: two outputs would have this name\nhint: choose another name for one\n"


@case(TWICE.format("p.jpg"))
def picture_and_json_in_one_file(folder):
    return DETECT + ["-o", "p.jpg", "--out", "p.jpg"]


@case(TWICE.format("out"))
def json_in_place_of_the_folder(folder):
    return DETECT + ["-o", "out/", "--out", "out"]


@case(TWICE.format("out"))
def json_in_place_of_a_folder_above(folder):
    return DETECT + ["-o", "out/new", "--out", "out"]


@case(TWICE.format("a.txt"))
def json_in_place_of_the_labels(folder):
    return DETECT + ["--save-labels", "--out", "a.txt"]


@case(TWICE.format("a.txt"))
def two_images_of_one_label_file(folder):
    os.rename("b.png", "a.bmp")
    return DETECT + ["a.bmp", "--save-labels"]


@case("out.gif: error: -o writes no .gif files\nhint: use .jpg, .png or .bmp\n")
def picture_of_another_format(folder):
    return DETECT + ["-o", "out.gif"]


@case("error: nms must be from 0 to 1\nhint: Darknet's is 0.45\n")
def nms_before_the_pair(folder):
    (folder / "net.cfg").write_text("[net")
    return DETECT + ["--nms", "45"]


@case("error: thresh must be from 0 to 1\nhint: Darknet's is 0.25\n")
def thresh_in_percent(folder):
    return DETECT + ["--thresh", "25"]


@case("error: nms must be from 0 to 1\nhint: Darknet's is 0.45\n")
def nms_negative(folder):
    return DETECT + ["--nms=-1"]


@case("error: -o names one file for 2 images\nhint: name a folder\n")
def one_file_for_two_images(folder):
    return DETECT + ["b.png", "-o", "out.png"]


@case(
    "./a.png: error: the output would replace the input a.png\n"
    "hint: choose another name; inputs are never overwritten\n"
)
def pictures_over_the_images(folder):
    return DETECT + ["-o", ".", "--overwrite"]


@case("three.txt: error: this file exists\nhint: --overwrite replaces it\n")
def out_exists(folder):
    return DETECT + ["--out", "three.txt"]


@case(
    "net.cfg: error: the output would replace the input net.cfg\n"
    "hint: choose another name; inputs are never overwritten\n"
)
def out_over_the_cfg(folder):
    return DETECT + ["--out", "net.cfg", "--overwrite"]


@case("a.txt: error: this file exists\nhint: --overwrite replaces it\n")
def labels_exist(folder):
    (folder / "a.txt").write_text("0 .5 .5 1 1\n")
    return DETECT + ["--save-labels"]


@case(
    "a.txt: error: the output would replace the input a.txt\n"
    "hint: choose another name; inputs are never overwritten\n"
)
def labels_over_the_list(folder):
    (folder / "a.txt").write_text("a.png\n")
    return DETECT[:3] + ["a.txt"] + DETECT[4:] + ["--save-labels", "--overwrite"]


@case(
    "net.cfg:4: error: the net takes 4 channels, an image has 1 or 3\n    4 | channels=4\n      |          ^\n"
    "hint: channels in [net] says what the net was made for\n"
)
def four_channels(folder):
    """Said before any image is read."""
    write(folder, NET.replace("channels=3", "channels=4"), dead=0.0)
    (folder / "a.png").write_bytes(b"no image")
    return DETECT


@pytest.mark.parametrize("name", list(case))
def test_bad_input(folder, name, capsys):
    case.check(name, folder, capsys)


def test_nothing_is_drawn_before_the_folder_is_known_to_be_none(folder, capsys):
    before = snapshot(folder)
    assert output(DETECT + ["-o", "net.cfg/out"], capsys, 2).out == ""
    assert snapshot(folder) == before
