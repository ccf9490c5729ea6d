"""tools/voc_to_darknet.py: what it makes of XML files, and what it refuses."""

import os

import numpy as np
import pytest

import need
import tool
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_detection

convert = tool.load("voc_to_darknet")


def thing(name, *edges, **more):
    tags = "".join("<{0}>{1}</{0}>".format(*pair) for pair in sorted(more.items()))
    box = "".join("<{0}>{1}</{0}>".format(*pair) for pair in zip(("xmin", "ymin", "xmax", "ymax"), edges))
    return "<object>\n<name> {} </name>{}<bndbox>{}</bndbox></object>\n".format(name, tags, box)


def annotation(*things, **size):
    width, height = size.get("width", 200), size.get("height", 100)
    text = "<annotation><size><width>{}</width><height>{}</height></size>\n{}</annotation>\n"
    return text.format(width, height, "".join(things))


class Voc:
    """A VOC folder that is filled by and by."""

    def __init__(self, root):
        self.root = root
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / name).mkdir(parents=True)

    def add(self, name, text, suffix=".jpg"):
        data = text if isinstance(text, bytes) else text.encode("utf-8")
        (self.root / "Annotations" / (name + ".xml")).write_bytes(data)
        (self.root / "JPEGImages" / (name + suffix)).write_bytes(b"image " + name.encode("ascii"))

    def list(self, name, text):
        (self.root / "ImageSets" / "Main" / (name + ".txt")).write_text(text)


@pytest.fixture
def voc(tmp_path, monkeypatch):
    """A good folder VOC in the current folder: 1 and 2 in train, 3 in val."""
    monkeypatch.chdir(str(tmp_path))
    made = Voc(tmp_path / "VOC")
    made.add("1", annotation(thing("dog", 51, 11, 151, 61), thing("cat", 1, 1, 200, 100)))
    made.add("2", annotation(thing("cat", 5, 5, 9, 9, difficult=1), "<object_like/>"), ".PNG")
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    made.add("3", annotation(thing("dog", 0, 0, 50, 50).replace("</object>", part + "</object>")))
    made.list("train", "1 \r\n2\n")
    made.list("val", "3\n")
    made.list("dog_train", "1  1\n2 -1\n")
    return made


def run(capsys, *arguments):
    status = convert.main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys, *arguments):
    before = sorted(os.listdir("."))
    status, out, err = run(capsys, *(arguments or ("VOC", "-o", "out")))
    assert (status, out) == (2, "")
    assert sorted(os.listdir(".")) == before
    return err


def test_the_whole_set(voc, tmp_path, capsys):
    status, out, err = run(capsys, "VOC", "-o", "out")
    assert (status, err) == (0, "")
    assert out == (
        "objects  train  val\ncat          1    0\ndog          1    1\nimages       2    1\n"
        "difficult objects left out: 1\nboxes cut off at the left or top: 1\n"
        "train = train.txt\nvalid = val.txt\nwrote out/out.data; Darknet takes it when started in out\n"
    )
    root = tmp_path / "out"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == sorted(
        ["out.data", "out.names", "train.txt", "val.txt", "backup", "obj"]
        + ["obj/1.jpg", "obj/1.txt", "obj/2.PNG", "obj/2.txt", "obj/3.jpg", "obj/3.txt"]
    )
    assert (root / "out.names").read_text() == "cat\ndog\n"
    assert (root / "out.data").read_text() == (
        "classes = 2\ntrain = train.txt\nvalid = val.txt\nnames = out.names\nbackup = backup\n"
    )
    assert (root / "train.txt").read_text() == "obj/1.jpg\nobj/2.PNG\n"
    # by hand: (51 + 151) / 2 - 1 = 100 of 200, (11 + 61) / 2 - 1 = 35 of 100, 100 of 200, 50 of 100
    first, second = (root / "obj" / "1.txt").read_text().splitlines()
    assert first == "1 0.500000 0.350000 0.500000 0.500000"
    assert second == "0 0.497500 0.495000 0.995000 0.990000"
    assert (root / "obj" / "2.txt").read_text() == ""
    # xmin = 0: the edge at -1 is cut off, 0 to 49 remain
    assert (root / "obj" / "3.txt").read_text() == "1 0.122500 0.245000 0.245000 0.490000\n"
    assert os.readlink(str(root / "obj" / "1.jpg")) == "../../VOC/JPEGImages/1.jpg"
    assert (root / "obj" / "1.jpg").read_bytes() == b"image 1"
    assert sorted(os.listdir(".")) == ["VOC", "out"]


def test_our_reader_reads_it_from_anywhere(voc, tmp_path, monkeypatch, capsys):
    run(capsys, "VOC", "-o", "out", "--difficult", "keep")
    os.rename("out", "moved")
    for folder, path in (("/", str(tmp_path / "moved" / "out.data")), (str(tmp_path / "moved"), "out.data")):
        monkeypatch.chdir(folder)
        found = read_detection(DataFile.read(path), "train")
        assert [truth.classes.tolist() for truth in found.truths] == [[1, 0], [0]]


def test_options(voc, tmp_path, capsys):
    (tmp_path / "wanted").write_text("dog\ncow\ncat\n")
    options = ["--names", "wanted", "--copy", "--prefix", "data/out/", "--train", "val", "--valid", "train"]
    assert run(capsys, "VOC", "-o", "out", *options)[0] == 0
    root = tmp_path / "out"
    assert (root / "out.data").read_text() == (
        "classes = 3\ntrain = data/out/val.txt\nvalid = data/out/train.txt\n"
        "names = data/out/out.names\nbackup = data/out/backup\n"
    )
    assert (root / "out.names").read_text() == "dog\ncow\ncat\n"
    assert (root / "val.txt").read_text() == "data/out/obj/3.jpg\n"
    assert [line[0] for line in (root / "obj" / "1.txt").read_text().splitlines()] == ["0", "2"]
    assert not (root / "obj" / "1.jpg").is_symlink()
    assert run(capsys, "VOC", "-o", "on", "--prefix", "/raw")[2].startswith(
        "/raw/obj/1.jpg: warning: Darknet may look for the labels elsewhere: the path holds images, JPEGImages or raw\n"
        "hint: rename that, or take another --prefix\n  ... and on 2 more lines\n"
    )


def test_difficult_objects_in_a_list_of_their_own(voc, tmp_path, capsys):
    assert run(capsys, "VOC", "-o", "out", "--difficult", "list", "--valid", "train")[0] == 0
    root = tmp_path / "out"
    assert "\ndifficult = difficult_train.txt\n" in (root / "out.data").read_text()
    assert (root / "difficult_train.txt").read_text() == "obj/difficult_1.jpg\nobj/difficult_2.PNG\n"
    assert (root / "obj" / "difficult_1.txt").read_text() == ""
    # (5 + 9) / 2 - 1 = 6, of 200 and of 100; 4 wide and high
    assert (root / "obj" / "difficult_2.txt").read_text() == "0 0.030000 0.060000 0.020000 0.040000\n"
    assert (root / "obj" / "2.txt").read_text() == ""


def test_folders_are_joined(voc, tmp_path, capsys):
    other = Voc(tmp_path / "more")
    other.add("7", annotation(thing("ant", 1, 1, 9, 9)))
    other.list("train", "7\n")
    assert run(capsys, "VOC", "more", "-o", "out")[0] == 0
    assert (tmp_path / "out" / "train.txt").read_text() == "obj/1.jpg\nobj/2.PNG\nobj/7.jpg\n"
    assert (tmp_path / "out" / "out.names").read_text() == "ant\ncat\ndog\n"
    other.add("1", annotation())
    other.list("val", "1\n")
    assert refused(capsys, "VOC", "more", "-o", "on") == (
        "more/JPEGImages/1.jpg: error: two folders have an image 1.jpg\nhint: convert them one by one\n"
    )


def test_without_lists_all_is_train(voc, tmp_path, capsys):
    os.rename("VOC/ImageSets", "VOC/unused")
    assert run(capsys, "VOC", "-o", "out")[0] == 0
    assert (tmp_path / "out" / "out.data").read_text().splitlines()[:3] == [
        "classes = 2", "train = train.txt", "names = out.names",
    ]  # fmt: skip
    assert (tmp_path / "out" / "train.txt").read_text() == "obj/1.jpg\nobj/2.PNG\nobj/3.jpg\n"


BOMB = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aaaaaa"><!ENTITY b "&a;&a;&a;">]>\n<annotation>&b;</annotation>'


@pytest.mark.parametrize(
    "text, expected",
    [
        (BOMB, "1.xml:2: error: the XML has a document type\nhint: take <!DOCTYPE> out\n"),
        ("<a>\n<b></a>", "1.xml:2: error: this is no well-formed XML: mismatched tag\nhint: mend the file\n"),
        ("", "1.xml:1: error: this is no well-formed XML: no element found\nhint: mend the file\n"),
        (
            '<?xml version="1.0" encoding="gb2312"?><a/>',
            "1.xml: error: the XML cannot be read: multi-byte encodings are not supported\nhint: save it as UTF-8\n",
        ),
        (
            "<a>\n<size><width>0</width><height>9</height></size></a>",
            "1.xml:2: error: the annotation has no size of the image\nhint: write the image's <width> and <height>\n",
        ),
        (
            annotation("<object><name>x</name></object>"),
            "1.xml:2: error: this object has no name or no box\n"
            "hint: it needs <name> and <bndbox> with <xmin>, <ymin>, <xmax>, <ymax>\n",
        ),
        (
            annotation(thing("x", 1, 1, "nan", 9)),
            "1.xml:2: error: this object has no name or no box\n"
            "hint: it needs <name> and <bndbox> with <xmin>, <ymin>, <xmax>, <ymax>\n",
        ),
        (
            annotation(thing("x", 7, 1, 7, 9)),
            "1.xml:2: error: the box 7, 1 to 7, 9 has no area\nhint: take the object out\n",
        ),
        (
            annotation(thing("x", 7, 1, 201, 9)),
            "1.xml:2: error: the box 7, 1 to 201, 9 leaves the image of 200 x 100\nhint: mend the box, or the size\n",
        ),
    ],
)
def test_bad_annotations(voc, capsys, text, expected):
    voc.add("1", text)
    err = refused(capsys)
    assert err.startswith("VOC/Annotations/" + expected)
    assert "\nerror: 1 problem in the data: " in err
    assert err.endswith("\nhint: mend the files, or go on without them by --ignore-problems\n")
    assert run(capsys, "VOC", "-o", "out", "--ignore-problems")[0] == 0
    kept = 1 if "annotation" in err.split("\n")[-3] else 2  # an image that is not known to be empty goes
    assert len(read_detection(DataFile.read("out/out.data"), "train").images) == kept


def test_what_is_missing(voc, tmp_path, capsys):
    voc.list("train", "1\n2\n\n4\n../1\n")
    os.remove("VOC/Annotations/2.xml")
    (tmp_path / "wanted").write_text("dog\n")
    assert refused(capsys, "VOC", "-o", "out", "--names", "wanted") == (
        "VOC/ImageSets/Main/train.txt:2: error: VOC/Annotations/2.xml does not exist\nhint: take the line out\n"
        "VOC/ImageSets/Main/train.txt:4: error: no image 4 in VOC/JPEGImages\n"
        "hint: take the line out, or add the image\n"
        "VOC/ImageSets/Main/train.txt:5: error: no image ../1 in VOC/JPEGImages\n"
        "hint: take the line out, or add the image\n"
        "VOC/Annotations/1.xml:4: error: cat is not in wanted\nhint: add it there, or leave such objects out\n"
        "error: 4 problems in the data: missing annotation (1), missing image (2), unknown class (1)\n"
        "hint: mend the files, or go on without them by --ignore-problems\n"
    )
    status, out, _ = run(capsys, "VOC", "-o", "out", "--names", "wanted", "--ignore-problems")
    assert status == 0 and "images       1    1" in out


def test_other_refusals(voc, tmp_path, capsys):
    assert refused(capsys, "VOC", "-o", "out", "--valid", "test") == (
        "error: there is no list test\nhint: the lists are train, val\n"
    )
    assert refused(capsys, ".", "-o", "out") == (
        ".: error: this folder has no Annotations/*.xml\nhint: name a folder such as VOC2007\n"
    )
    assert refused(capsys, "VOC", "-o", "no/out") == (
        "no: error: this folder does not exist\nhint: make it first, or write elsewhere\n"
    )
    assert refused(capsys, "VOC", "-o", ".") == (
        ".: error: this names no new folder\nhint: name one, such as data/bccd\n"
    )
    assert refused(capsys, "VOC", "-o", "VOC", "--overwrite") == (
        "VOC: error: the output would replace the input {}\n"
        "hint: choose another name; inputs are never overwritten\n".format(os.path.realpath("VOC"))
    )
    (tmp_path / "wanted").write_text("dog\ndog\n")
    assert refused(capsys, "VOC", "-o", "out", "--names", "wanted") == (
        "error: --names has dog twice\nhint: name every class once\n"
    )


def test_an_existing_folder(voc, tmp_path, capsys):
    assert run(capsys, "VOC", "-o", "out")[0] == 0
    assert refused(capsys) == "out: error: this folder exists\nhint: --overwrite replaces it\n"
    (tmp_path / "out" / "obj" / "1.txt").write_text("changed")
    assert run(capsys, "VOC", "-o", "out", "--overwrite")[0] == 0
    assert (tmp_path / "out" / "obj" / "1.txt").read_text() != "changed"
    (tmp_path / "out" / "backup" / "mine.weights").write_text("trained for days")
    assert refused(capsys, "VOC", "-o", "out", "--overwrite") == (
        "out: error: this folder also holds backup/mine.weights, which the new one would not\n"
        "hint: move that away, or choose another name\n"
    )
    assert (tmp_path / "out" / "backup" / "mine.weights").read_text() == "trained for days"
    (tmp_path / "file").write_text("x")
    assert refused(capsys, "VOC", "-o", "file", "--overwrite") == (
        "file: error: something that is no folder stands here\nhint: choose another name\n"
    )


def test_nothing_is_left_where_writing_fails(voc, tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    assert refused(capsys) == (
        "out/obj/1.jpg: error: cannot be written: Operation not permitted\nhint: give --copy\n"
    )
    assert run(capsys, "VOC", "-o", "out", "--copy")[0] == 0
    rename, done = os.rename, []

    def once(source, target):
        done.append(target)
        rename(source, target) if len(done) != 2 else refuse()

    monkeypatch.setattr(os, "rename", once)
    before = (tmp_path / "out" / "obj" / "1.txt").read_text()
    assert refused(capsys, "VOC", "-o", "out", "--copy", "--overwrite") == (
        "out: error: cannot be written: Operation not permitted\nhint: check the folder and the space on the disk\n"
    )
    assert len(done) == 3 and (tmp_path / "out" / "obj" / "1.txt").read_text() == before


def test_bccd(tmp_path, capsys):
    """The shared set: two boxes without area are found; the rest is what Darknet's formula gives."""
    root, out = str(need.shared() / "datasets" / "bccd"), str(tmp_path / "bccd")
    status, _, err = run(capsys, root, "-o", out)
    assert status == 2 and "error: 2 problems in the data: box without area (2)\n" in err
    assert run(capsys, root, "-o", out, "--ignore-problems")[0] == 0
    data = DataFile.read(os.path.join(out, "bccd.data"))
    sizes = {"train": 205, "valid": 87}
    for split, images in sizes.items():
        found = read_detection(data, split)
        assert len(found.images) == images and found.names == ["Platelets", "RBC", "WBC"]
    # the first object of BloodImage_00001: 68, 315, 286, 480 of 640 x 480
    truth = read_detection(data, "train").truths[0]
    expected = [((68 + 286) / 2.0 - 1) / 640, ((315 + 480) / 2.0 - 1) / 480, 218 / 640.0, 165 / 480.0]
    assert truth.classes[0] == 2
    np.testing.assert_allclose(truth.boxes[0], expected, atol=5e-7)
