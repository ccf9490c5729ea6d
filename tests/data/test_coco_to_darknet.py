"""tools/coco_to_darknet.py: what it makes of COCO's JSON, and what it refuses."""

import json
import os

import pytest

import tool
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_detection

convert = tool.load("coco_to_darknet")
TRAIN = ["--train", "train.json", "photos", "-o", "out"]


def document():
    """Two images and three objects, of which one is a crowd; the ids of the categories are not in order."""
    return {
        "images": [
            {"id": 10, "file_name": "a.jpg", "width": 200, "height": 100},
            {"id": 11, "file_name": "sub/b.jpg", "width": 100, "height": 100},
        ],
        "categories": [{"id": 90, "name": "zebra"}, {"id": 7, "name": "traffic light"}],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 90, "bbox": [50, 20, 100, 40], "iscrowd": 0,
             "segmentation": [[1, 2, 3, 4]]},
            {"id": 2, "image_id": 10, "category_id": 7, "bbox": [0, 0, 200.5, 100], "iscrowd": 0},
            {"id": 3, "image_id": 11, "category_id": 7, "bbox": [1, 1, 5, 5], "iscrowd": 1},
        ],
    }  # fmt: skip


def write(text, name="train.json"):
    with open(name, "w") as stream:
        stream.write(text if isinstance(text, str) else json.dumps(text))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with train.json and the images in photos."""
    monkeypatch.chdir(str(tmp_path))
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"x")
    write(document())
    return tmp_path


def run(capsys, *arguments):
    status = convert.main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys, *arguments):
    before = sorted(os.listdir("."))
    status, out, err = run(capsys, *(arguments or TRAIN))
    assert (status, out) == (2, "")
    assert sorted(os.listdir(".")) == before
    return err


def test_the_whole_set(folder, capsys):
    status, out, err = run(capsys, *(TRAIN + ["--valid", "train.json", "photos"]))
    assert (status, err) == (0, "")
    assert out == (
        "objects        train  valid\ntraffic light      1      1\nzebra              1      1\n"
        "images             2      2\ncrowds skipped: 2\ntrain = train.txt\nvalid = valid.txt\n"
        "wrote out/out.data; Darknet takes it when started in out\n"
    )
    root = folder / "out"
    assert (root / "out.names").read_text() == "traffic light\nzebra\n"
    assert (root / "train.txt").read_text() == "obj/train/a.jpg\nobj/train/sub/b.jpg\n"
    assert (root / "obj" / "train" / "a.txt").read_text() == (
        "1 0.500000 0.400000 0.500000 0.400000\n0 0.500000 0.500000 1.000000 1.000000\n"
    )
    assert (root / "obj" / "train" / "sub" / "b.txt").read_text() == ""
    assert os.readlink(str(root / "obj" / "train" / "sub" / "b.jpg")) == "../../../../photos/sub/b.jpg"
    found = read_detection(DataFile.read(str(root / "out.data")))
    assert [truth.classes.tolist() for truth in found.truths] == [[1, 0], []]


def test_names_choose_and_order_the_classes(folder, capsys):
    (folder / "wanted").write_text("zebra\nhorse\n")
    err = refused(capsys, *(TRAIN + ["--names", "wanted"]))
    assert err.startswith("train.json: error: annotation 2: category 7 has no class\nhint: mend or remove it\n")
    assert run(capsys, *(TRAIN + ["--names", "wanted", "--ignore-problems"]))[0] == 0
    assert (folder / "out" / "obj" / "train" / "a.txt").read_text()[0] == "0"
    assert (folder / "out" / "out.data").read_text().startswith("classes = 2\n")


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda d: d["annotations"][0].update(bbox=[50, 20, 0, 40]), "1: the box [50, 20, 0, 40] has no area"),
        (
            lambda d: d["annotations"][1].update(bbox=[150, 0, 100, 9]),
            "2: the box [150, 0, 100, 9] leaves the image of 200 x 100",
        ),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "1: bbox is not four numbers"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, 10**400]), "1: bbox is not four numbers"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), "1: bbox is not four numbers"),
        (lambda d: d["annotations"][0].pop("bbox"), "1: bbox is not four numbers"),
        (lambda d: d["annotations"][0].update(image_id=5), "1: there is no image 5"),
        (lambda d: d["annotations"][0].update(category_id=5), "1: category 5 has no class"),
    ],
)
def test_problems(folder, capsys, change, expected):
    changed = document()
    change(changed)
    write(changed)
    err = refused(capsys)
    assert err.startswith("train.json: error: annotation {}\nhint: mend or remove it\n".format(expected))
    assert "\nerror: 1 problem in the data: " in err
    assert run(capsys, *(TRAIN + ["--ignore-problems"]))[0] == 0


def test_a_missing_image(folder, capsys):
    os.remove("photos/a.jpg")
    assert refused(capsys).startswith(
        "train.json: error: image 10: photos/a.jpg does not exist\nhint: check the folder of images\n"
        "error: 1 problem in the data: missing image (1)\n"
    )
    os.remove("photos/sub/b.jpg")
    assert refused(capsys, *(TRAIN + ["--ignore-problems"])).endswith(
        "error: the list train would name no images\nhint: check the folder of images\n"
    )


INSTANCES = "hint: give an instances file, such as instances_val2017.json\n"


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda d: d.pop("images"), 'the JSON has no list "images"\n' + INSTANCES),
        (lambda d: d.update(annotations={}), 'the JSON has no list "annotations"\n' + INSTANCES),
        (lambda d: d["images"].append(7), "entry 2 of images has no integer id\nhint: mend the file\n"),
        (lambda d: d["images"][0].update(id=True), "entry 0 of images has no integer id\nhint: mend the file\n"),
        (
            lambda d: d["images"][1].update(id=10),
            "entry 1 of images (id 10) has the id of another\nhint: mend the file\n",
        ),
        (
            lambda d: d["images"][1].update(width="9"),
            "entry 1 of images (id 11) needs a width that is an integer\nhint: mend the file\n",
        ),
        (
            lambda d: d["categories"][1].update(name=None),
            "entry 1 of categories (id 7) needs a name that is text\nhint: mend the file\n",
        ),
        (
            lambda d: d["images"][0].update(width=10**400),
            "image 10: its width and height must be 1 to 1048576\nhint: mend the file\n",
        ),
        (
            lambda d: d["images"][0].update(file_name="../../etc/passwd"),
            'image 10: "../../etc/passwd" leaves the folder\nhint: write file names relative to the folder of images\n',
        ),
        (lambda d: d["images"][1].update(file_name="a.jpg"), "two images are named a.jpg\nhint: mend the file\n"),
        (lambda d: d["categories"].clear(), "there are no categories\nhint: give an instances file\n"),
    ],
)
def test_bad_documents(folder, capsys, change, expected):
    changed = document()
    change(changed)
    write(changed)
    assert refused(capsys) == "train.json: error: " + expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("{\n oops}", "train.json:2: error: this is no JSON: Expecting property name enclosed in double quotes"),
        ("[" * 200000, "train.json: error: this JSON is nested too deeply"),
        ("[]", 'train.json: error: the JSON has no list "categories"'),
    ],
)
def test_bad_json(folder, capsys, text, expected):
    write(text)
    assert refused(capsys).startswith(expected + "\nhint: ")


def test_other_refusals(folder, capsys):
    assert refused(capsys, "-o", "out") == (
        "error: there is nothing to convert\nhint: give --train JSON FOLDER, --valid JSON FOLDER, or both\n"
    )
    assert refused(capsys, "--train", "train.json", "none", "-o", "out") == (
        "none: error: this is no folder of images\nhint: give --train JSON FOLDER\n"
    )
    changed = document()
    changed["categories"].append({"id": 1, "name": "new"})
    write(changed, "valid.json")
    assert refused(capsys, *(TRAIN + ["--valid", "valid.json", "photos"])) == (
        "valid.json: error: the categories are not those of train.json\nhint: convert the files one by one\n"
    )
    assert refused(capsys, "--train", "train.json", "photos", "-o", "photos", "--overwrite").startswith(
        "photos: error: the output would replace the input "
    )
