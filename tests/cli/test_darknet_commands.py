"""Darknet's commands, typed with `darkprune` in front: those of AlexeyAB's README for test and map do what they did."""

import io
import json
import re
import sys

import numpy as np
import pytest

import need
import small_nets
from bad_input import snapshot
from darkprune.cli.arguments import knows
from darkprune.cli.darknet_commands import VERBS, commands
from darkprune.cli.main import main, parser
from darkprune.errors import UsageError

NET = small_nets.cfg(
    small_nets.conv(8, activation="linear", stride=4),
    small_nets.conv(24, size=1, activation="linear", bn=None),
    small_nets.section("yolo", mask="0,1,2", anchors="4,5, 6,9, 12,8", classes=3, num=3),
    width=32,
    height=32,
)
TEST = "detector test cfg/coco.data cfg/yolov4.cfg yolov4.weights "
MAP = "detector map data/obj.data yolo-obj.cfg backup/yolo-obj_7000.weights "
TIME = re.compile(r"Predicted in [\d.]+ milli-seconds")


@pytest.fixture
def darknet(tmp_path, monkeypatch):
    """The current folder, laid out as Darknet's README has it, with a tiny net in place of YOLOv4."""
    cv2 = need.opencv()
    monkeypatch.chdir(str(tmp_path))
    for name in ("cfg", "data", "backup"):
        (tmp_path / name).mkdir()
    small_nets.write(tmp_path, NET, dead=0.0)
    text, weights = (tmp_path / "net.cfg").read_bytes(), (tmp_path / "net.weights").read_bytes()
    for name in ("cfg/yolov4.cfg", "yolov4.cfg", "yolo-obj.cfg"):
        (tmp_path / name).write_bytes(text)
    for name in ("yolov4.weights", "backup/yolo-obj_7000.weights", "yolo-obj_8000.weights"):
        (tmp_path / name).write_bytes(weights)
    data = "classes= 3\ntrain  = data/train.txt\nvalid  = data/train.txt\nnames = data/three.names\nbackup = backup/\n"
    for name in ("cfg/coco.data", "data/obj.data"):
        (tmp_path / name).write_text(data)
    (tmp_path / "data" / "three.names").write_text("cat\ndog\nemu\n")
    random = np.random.RandomState(1)
    for name, label in (("dog.jpg", None), ("data/a.jpg", "0 .5 .5 .2 .4\n1 .3 .4 .4 .2\n"), ("data/b.jpg", None)):
        assert cv2.imwrite(name, random.randint(0, 256, (40, 60, 3)).astype(np.uint8))
        if label:
            (tmp_path / name.replace(".jpg", ".txt")).write_text(label)
    for name in ("data/train.txt", "data/new_train.txt"):
        (tmp_path / name).write_text("data/a.jpg\ndata/b.jpg\n")
    return tmp_path


@pytest.fixture
def stdin(monkeypatch):
    """What comes by stdin: a file's text, or lines that are typed at a prompt."""

    def give(text, terminal=False):
        stream = io.StringIO(text)
        stream.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", stream)

    give("")
    return give


def output(line, capsys, status=0):
    assert main(line.split()) == status
    out, err = capsys.readouterr()
    return TIME.sub("Predicted in N milli-seconds", out), err


def detected(images, capsys, more="--thresh 0.25"):
    """What darkprune's own command prints."""
    line = "detect cfg/yolov4.cfg yolov4.weights --data cfg/coco.data {} {}".format(images, more)
    return output(line, capsys)[0]


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---- README of AlexeyAB's fork, "How to use on the command line"


def test_image_whose_path_is_asked_for(darknet, stdin, capsys):
    stdin("dog.jpg\n", terminal=True)
    out, err = output(TEST + "-thresh 0.25", capsys)
    assert out == "Enter Image Path: " + detected("dog.jpg", capsys) + "Enter Image Path: "
    assert err.startswith(
        "darkprune detect --thresh=0.25 --overwrite --output=predictions.jpg cfg/coco.data cfg/yolov4.cfg "
        "yolov4.weights\nrunner: "
    )
    assert err.count("darkprune detect") == 1 and "predictions.jpg" in names(darknet)


def test_a_path_that_is_mistyped_at_the_prompt_is_asked_for_again(darknet, stdin, capsys):
    stdin("dgo.jpg\n\ndog.jpg\n", terminal=True)
    out, err = output(TEST, capsys, status=2)
    assert out.startswith("Enter Image Path: " * 3 + "dog.jpg: Predicted in N milli-seconds.\n")
    assert "dgo.jpg: error: " in err


def test_output_of_coordinates(darknet, stdin, capsys):
    out, err = output("detector test cfg/coco.data yolov4.cfg yolov4.weights -ext_output dog.jpg", capsys)
    assert out == detected("dog.jpg", capsys, "--ext-output") and "(left_x: " in out
    assert re.search(r"^(cat|dog|emu): \d+%\t", out, re.MULTILINE)


def test_it_draws_predictions(darknet, stdin, capsys):
    cv2 = need.opencv()
    (darknet / "predictions.jpg").write_bytes(b"of the last image")
    output(TEST + "dog.jpg", capsys)
    drawn, image = cv2.imread("predictions.jpg"), cv2.imread("dog.jpg")
    assert drawn.shape == image.shape and np.abs(drawn.astype(int) - image).max() > 100


def test_the_short_form_on_gpu_0(darknet, stdin, capsys):
    stdin("dog.jpg\n")
    out, err = output("detect cfg/yolov4.cfg yolov4.weights -i 0 -thresh 0.25", capsys)
    assert out == detected("dog.jpg", capsys)  # with the names of cfg/coco.data, as in Darknet
    assert err.startswith("warning: -i 0 is left out\nhint: darkprune has nothing like it here\n")


def test_the_short_form_from_another_folder(darknet, stdin, capsys, monkeypatch):
    """As in Debian, whose /usr/share/darknet/cfg/coco.data names its list in full."""
    text = (darknet / "cfg" / "coco.data").read_text()
    (darknet / "cfg" / "coco.data").write_text(text.replace("= data/three", "= {}/data/three".format(darknet)))
    expected = detected("dog.jpg", capsys)
    monkeypatch.chdir(str(darknet / "backup"))
    out, err = output("detect ../cfg/yolov4.cfg ../yolov4.weights ../dog.jpg", capsys)
    assert out == expected.replace("dog.jpg:", "../dog.jpg:") and "names: {}".format(darknet) in err


def test_a_list_of_images_into_json(darknet, stdin, capsys):
    stdin((darknet / "data" / "train.txt").read_text())
    out, err = output(TEST + "-ext_output -dont_show -out result.json", capsys)
    assert out == detected("data/a.jpg data/b.jpg", capsys, "--ext-output")
    assert "yolov4.weights (2 paths of images from stdin)\n" in err
    frames = json.loads((darknet / "result.json").read_text())
    assert [(f["frame_id"], f["filename"]) for f in frames] == [(1, "data/a.jpg"), (2, "data/b.jpg")]
    assert sorted(frames[0]["objects"][0]) == ["class_id", "confidence", "name", "relative_coordinates"]
    stdin("data/b.jpg\n")
    output(TEST + "-dont_show -out result.json", capsys)  # Darknet writes over what is there
    assert [f["filename"] for f in json.loads((darknet / "result.json").read_text())] == ["data/b.jpg"]


def test_a_list_of_images_into_text(darknet, stdin, capsys):
    stdin((darknet / "data" / "train.txt").read_text().replace("\n", "\r\n"))
    out, _ = output(TEST + "-dont_show -ext_output", capsys)
    assert out == detected("data/a.jpg data/b.jpg", capsys, "--ext-output")


def test_a_list_by_another_name_is_still_a_list(darknet, stdin, capsys):
    (darknet / "all").write_text("data/a.jpg\ndata/b.jpg\n")
    assert output(TEST + "all", capsys)[0] == detected("data/a.jpg data/b.jpg", capsys)


def test_labels_of_new_images(darknet, stdin, capsys):
    stdin((darknet / "data" / "new_train.txt").read_text())
    output(TEST + "-thresh 0.25 -dont_show -save_labels", capsys)
    for name in "ab":
        lines = (darknet / "data" / (name + ".txt")).read_text().splitlines()
        assert lines and all(re.match(r"[012]( -?\d+\.\d{4}){4}$", line) for line in lines)


def test_anchors(darknet, stdin, capsys):
    (darknet / "anchors.txt").write_text("those of the last run")
    out, err = output("detector calc_anchors data/obj.data -num_of_clusters 2 -width 100 -height 100", capsys)
    assert out.endswith("anchors =  20, 40,  40, 20\n")
    assert (darknet / "anchors.txt").read_text().strip() == "20, 40,  40, 20"
    assert "data/b.txt: warning: no label file for data/b.jpg\n" in err  # Darknet goes on, too


@pytest.mark.parametrize("more, iou", [("", "50"), ("-iou_thresh 0.75", "75"), ("-points 101 -thresh .3", "50")])
def test_map(darknet, stdin, capsys, more, iou):
    out, err = output(MAP + more, capsys)
    assert " mean average precision (mAP@0.{}) = ".format(iou) in out
    assert err.startswith("darkprune eval ") and "class_id = 2, name = emu, ap = " in out
    assert (" for conf_thresh = {}, ".format("0.30" if ".3" in more else "0.25") in out) is True
    assert ("101 Recall-points" in out) == ("101" in more)


def test_detection_with_ones_own_model(darknet, stdin, capsys):
    out, _ = output("detector test data/obj.data yolo-obj.cfg yolo-obj_8000.weights dog.jpg", capsys)
    assert out == detected("dog.jpg", capsys)


# ---- a classifier


def test_a_classifier(darknet, stdin, capsys):
    text = small_nets.cfg(
        small_nets.conv(3, size=1, activation="linear", bn=None),
        small_nets.section("avgpool"),
        small_nets.section("softmax"),
    )
    small_nets.write(darknet, text, "resnet50")
    (darknet / "data" / "list.txt").write_text("data/a.jpg\n")
    (darknet / "data" / "labels.list").write_text("a.jpg\nb.jpg\nc.jpg\n")
    data = "classes=3\nlabels=data/labels.list\nnames=data/three.names\nvalid=data/list.txt\ntop=2\n"
    (darknet / "cfg" / "imagenet1k.data").write_text(data)
    (darknet / "cfg" / "coco.data").unlink()
    line = "classifier predict cfg/imagenet1k.data resnet50.cfg resnet50.weights data/a.jpg"
    out, _ = output(line, capsys)
    assert re.match(r"data/a.jpg: Predicted in N milli-seconds.\n((cat|dog|emu): 0\.\d{6}\n){2}$", out)
    assert output(line + " -t 1", capsys)[0] == "".join(out.splitlines(True)[:2])
    assert output("classify resnet50.cfg resnet50.weights data/a.jpg -t 2", capsys)[0] == out
    stdin("data/a.jpg\n")
    assert output("classifier predict cfg/imagenet1k.data resnet50.cfg resnet50.weights", capsys)[0] == out
    out, err = output("classifier valid cfg/imagenet1k.data resnet50.cfg resnet50.weights", capsys)
    assert re.search(r"top 1: [01]\.000000, top 5: 1\.000000", out)


# ---- what the same commands came to in AlexeyAB's Darknet (commit 59596d7, CPU)


def test_map_of_twelve_images_is_alexeyabs(tmp_path, monkeypatch, capsys):
    need.runner("opencv")
    monkeypatch.chdir(str(tmp_path))
    shared = need.shared()
    images = sorted(str(path) for path in (shared / "datasets" / "coco128" / "images" / "val2017").glob("*.jpg"))[:12]
    stem = str(shared / "models" / "yolo-fastest-1.1" / "yolo-fastest-1.1")
    (tmp_path / "valid.txt").write_text("\n".join(images))
    (tmp_path / "obj.data").write_text(
        "classes=80\nvalid=valid.txt\nnames={}\n".format(shared / "datasets" / "coco128" / "coco.names")
    )
    line = "detector map obj.data {0}.cfg {0}.weights -iou_thresh 0.75 -points 101".format(stem)
    out, _ = output(line, capsys)
    numbers = re.search(
        r" for conf_thresh = 0.25, TP = (\d+), FP = (\d+), FN = (\d+), average IoU = ([\d.]+) % \n", out
    )
    assert [int(number) for number in numbers.groups()[:3]] == [13, 58, 82]
    assert float(numbers.group(4)) == pytest.approx(14.84, abs=0.02)
    found = re.search(r" mean average precision \(mAP@0.75\) = ([\d.]+), or ", out)
    assert float(found.group(1)) == pytest.approx(0.035333, abs=1e-4)


@pytest.mark.parametrize(
    "words, expected",
    [
        ("test.mp4 -ext_output", "--ext-output --display --overwrite -- {} test.mp4"),
        ("-c 1 -dont_show", "--dont-show --overwrite -- {} usb://1"),
        ("-out_filename res.avi -i 0", "--output=res.avi --display --overwrite -- {} usb://0"),
    ],
)
def test_a_demo_is_detect_on_a_video_or_camera(words, expected, capsys):
    files = "cfg/coco.data cfg/yolov4.cfg yolov4.weights"
    found = list(commands(("detector demo {} {}".format(files, words)).split(), parser))
    assert [" ".join(argv) for argv in found] == ["detect " + expected.format(files)]


# ---- what cannot be done, and how it is said


@pytest.mark.parametrize(
    "line, text",
    [
        (
            "detector valid cfg/coco.data cfg/yolov4.cfg yolov4.weights",
            "error: darkprune has no detector valid\n"
            "hint: use: darkprune eval CFG WEIGHTS --data DATA --coco-results FILE\n",
        ),
        ("detector tset", "error: unknown detector command tset\nhint: did you mean test?\n"),
        ("detector", "error: what shall detector do?\nhint: use test, map, demo, train, calc_anchors\n"),
        ("detector -thresh 1", "error: what shall detector do?\nhint: use test, map, demo, train, calc_anchors\n"),
        ("detektor test", "error: unknown command detektor\nhint: did you mean detector?\n"),
        ("detector map obj.data -tresh 1", "error: unknown option -tresh\nhint: did you mean --thresh?\n"),
    ],
)
def test_errors(line, text, capsys):
    assert main(line.split()) == 2
    assert capsys.readouterr() == ("", text)


def test_no_image_at_all(darknet, stdin, capsys):
    _, err = output(TEST, capsys, status=2)
    assert "reading paths of images from stdin\n" in err
    assert err.endswith("error: SOURCE is missing\nhint: use darkprune detect CFG WEIGHTS SOURCE\n")


BAD_LIST = (
    "bad.txt:1: error: this image does not exist\n    1 | dog\n"
    "hint: relative paths start at the working directory, or else at the list\n"
    "error: 1 problem in the data: missing image (1)\n"
    "hint: mend the files\n"
)


@pytest.mark.parametrize(
    "line, text",
    [
        ("detect yolov4 dgo", "dgo: error: no such file\nhint: looked for dgo and dgo.cfg\n"),
        ("detect yolov4.cfg yolov5.weights", "yolov5.weights: error: no such file\nhint: check the path\n"),
        (TEST + "bad.txt", BAD_LIST),
        ("detect yolov4 bad.txt", BAD_LIST),
        ("classify yolov4 dog.jpg bad.txt --names data/three.names", BAD_LIST),
    ],
)
def test_what_is_mistyped_is_an_error_before_stdin_is_read(darknet, monkeypatch, capsys, line, text):
    monkeypatch.setattr(sys, "stdin", None)
    (darknet / "bad.txt").write_text("dog\n")
    out, err = output(line, capsys, status=2)
    assert out == "" and err.endswith(text) and "stdin" not in err


def test_a_list_of_images_without_suffixes(darknet, stdin, capsys):
    (darknet / "dog").write_bytes((darknet / "dog.jpg").read_bytes())
    (darknet / "list.txt").write_text("dog\ndata/b.jpg\n")
    assert output(TEST + "list.txt", capsys)[0] == detected("dog data/b.jpg", capsys)


def test_names_in_a_text_file_are_names_where_there_is_an_image(darknet, stdin, capsys):
    (darknet / "three.txt").write_text("cat\ndog\nemu\n")
    assert output("detect yolov4.cfg yolov4.weights three.txt dog.jpg", capsys)[0] == detected("dog.jpg", capsys)


def test_the_validation_list_is_not_replaced(darknet, stdin, capsys):
    before = snapshot(darknet)
    out, err = output(TEST + "dog.jpg -out data/train.txt", capsys, status=2)
    assert out == "" and snapshot(darknet) == before
    assert err.endswith(
        "data/train.txt: error: the output would replace the input data/train.txt\n"
        "hint: choose another name; inputs are never overwritten\n"
    )


def test_map_obeys_the_cfgs_letter_box_alone(darknet, stdin, capsys):
    usual, _ = output(MAP, capsys)
    out, err = output(MAP + "-letter_box", capsys)
    assert out == usual
    assert err.startswith(
        "warning: --letter-box is left out: Darknet does not obey it here, but the cfg alone\n"
        "hint: darkprune's own command does\ndarkprune eval --ignore-problems "
    )


@pytest.mark.parametrize("stream", [io.TextIOWrapper(io.BytesIO(b"\xff\xd8\xff\xe0"), "utf-8"), io.StringIO("a\0b\n")])
def test_an_image_instead_of_a_list_by_stdin(darknet, monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stdin", stream)
    _, err = output(TEST, capsys, status=2)
    assert err.endswith("error: stdin is no list of images\nhint: write one path a line\n")


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["detector", "map", "--help"])
    assert caught.value.code == 0 and capsys.readouterr().out.startswith("usage: darkprune eval ")


# ---- the translation itself


def translated(line):
    return [" ".join(words) for words in commands(line.split(), parser)]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("inspect net.cfg -i 0", "inspect net.cfg -i 0"),  # no command of Darknet's
        (
            "detector test o.data o.cfg o.weights a.jpg",
            "detect --overwrite --output=predictions.jpg -- o.data o.cfg o.weights a.jpg",
        ),
        (
            "detector test o.data o.cfg o.weights a.jpg -o x.png",
            "detect --output=x.png --overwrite -- o.data o.cfg o.weights a.jpg",
        ),
        ("detector test o.data o.cfg o.weights list.txt", "detect --overwrite -- o.data o.cfg o.weights list.txt"),
        (
            "detector test -benchmark -gpus 0,1 o.data o.cfg o.weights a -hier .5",
            "detect --overwrite -- o.data o.cfg o.weights a",
        ),
        ("detect -c 0 o.cfg o.weights a.jpg -nms .4", "detect --nms=.4 -- o.cfg o.weights a.jpg"),
        ("classifier valid i.data i.cfg i.weights", "eval --ignore-problems -- i.data i.cfg i.weights"),
        (
            "classifier predict i.data i.cfg i.weights a.jpg -t 3",
            "classify --top=3 -- i.data i.cfg i.weights a.jpg",
        ),
        (
            "detector map -letter_box o.data o.cfg o.weights",
            "eval --ignore-problems -- o.data o.cfg o.weights",
        ),
        ("eval -letter_box o.data o.cfg o.weights", "eval -letter_box o.data o.cfg o.weights"),
        (
            "detector test -letter_box o.data o.cfg o.weights a.jpg",
            "detect --letter-box --overwrite --output=predictions.jpg -- o.data o.cfg o.weights a.jpg",
        ),
    ],
)
def test_translation(line, expected, capsys):
    assert translated(line) == [expected]


def test_every_verb_leads_to_a_command():
    for family in VERBS.values():
        for verb in family.values():
            known = parser(verb.command)._option_string_actions
            assert all(option.partition("=")[0] in known for option in verb.options)


def test_an_unknown_verb_is_an_error_before_anything_is_read(stdin):
    with pytest.raises(UsageError):
        commands(["classifier", "predikt"], parser)


def test_the_page_for_darknets_users_names_what_exists():
    text = (need.ROOT / "docs" / "from-darknet.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+ \w+) [^|]*\| `([\w-]+) ", text, re.MULTILINE))
    verbs = {"{} {}".format(family, verb): VERBS[family][verb].command for family in VERBS for verb in VERBS[family]}
    assert verbs.items() <= rows.items()
    for option in re.findall(
        r"(?<=[` \n])-(\w{2,})", text[text.index("Darknet's spelling") : text.index("are one option")]
    ):
        assert any(knows(parser(command), "-" + option) for command in set(verbs.values())), option
