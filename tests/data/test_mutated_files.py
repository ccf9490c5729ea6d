"""Files spoilt at random: a result or a UsageError, and nothing else."""

import os
import re

import numpy as np
import pytest

import tool
from darkprune.data import image_list, labels, names
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_classification, read_detection
from darkprune.data.problems import Problems
from darkprune.errors import UsageError

CASES = 150
WORDS = [b"", b"\0", b"\xff\xfe", b"=", b"\r", b"\n\n", b"-1", b"1e999", b"nan", b"\xc3", b"99999999999", b"<", b"]"]
WORDS.append(b"9" * 5000)

GOOD = {
    "x.data": b"classes = 2\ntrain = list.txt\nvalid = list.txt\nnames = x.names\nlabels = x.names\ntop = 1\n",
    "x.names": b"cat\ndog\n",
    "list.txt": b"dog1.jpg\ncat2.jpg\n",
    "dog1.txt": b"1 0.5 0.5 0.25 0.25\n0 0.5 0.5 0.25 0.25\n",
}
XML = (
    b'<?xml version="1.0"?>\n<annotation><size><width>64</width><height>48</height></size>\n'
    b"<object><name>dog</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>\n"
    b"</annotation>\n"
)
JSON = (
    b'{"images": [{"id": 1, "file_name": "dog1.jpg", "width": 64, "height": 48}],\n"categories": [{"id": 3, '
    b'"name": "dog"}],\n"annotations": [{"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30.5, 40]}]}\n'
)


def spoilt(data, random):
    """The bytes with 1 to 3 pieces cut out, repeated, or replaced by a hostile word."""
    for _ in range(random.randint(1, 4)):
        start, length = random.randint(len(data) + 1), random.randint(1, 12)
        piece = data[start : start + length] * random.randint(2, 4) if random.rand() < 0.3 else b""
        piece = WORDS[random.randint(len(WORDS))] if random.rand() < 0.6 else piece
        data = data[:start] + piece + data[start + length :]
    return data


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    for name, data in GOOD.items():
        (tmp_path / name).write_bytes(data)
    for name in ("dog1.jpg", "cat2.jpg"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def attempt(function, *arguments):
    """1 where there is a result, 0 where there is an error with a text; anything else is raised."""
    try:
        function(*arguments)
    except UsageError as error:
        assert str(error)
        return 0
    return 1


def everything(problems):
    data = DataFile.read("x.data")
    read_detection(data, "train", problems)
    read_classification(data, "valid", problems)
    return data.classes, data.top, data.text("backup")


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_data_set(folder, name):
    random = np.random.RandomState(sorted(GOOD).index(name))
    for _ in range(CASES):
        (folder / name).write_bytes(spoilt(GOOD[name], random))
        attempt(everything, Problems())
        attempt(everything, None)
        for read in (DataFile.read, names.read, image_list.read, lambda path: labels.read(path, 2)):
            attempt(read, name)


def test_voc(folder, capsys):
    convert, random = tool.load("voc_to_darknet"), np.random.RandomState(8)
    results = [0, 0]
    for _ in range(CASES):
        words = [b"", b"0", b"-7", b"1e999", b"nan", b"x", b"<a/>", b"9" * 5000, b"<!-- -->", b"&lt;"]
        spots = list(re.finditer(rb"\d+|dog|<size>|</size>|<name>", XML))
        spot = spots[random.randint(len(spots))]
        mild = XML[: spot.start()] + words[random.randint(len(words))] + XML[spot.end() :]
        (folder / "1.xml").write_bytes(mild if random.rand() < 0.7 else spoilt(XML, random))
        problems = Problems()
        results[attempt(convert.read_xml, "1.xml")] += 1
        attempt(convert.read_annotation, "1.xml", problems)
        assert all(str(notice) for notice in problems.shown)
    assert min(results) > CASES // 10


def test_coco(folder, capsys):
    convert, random = tool.load("coco_to_darknet"), np.random.RandomState(9)
    seen = set()
    for _ in range(CASES):
        (folder / "1.json").write_bytes(spoilt(JSON, random))
        status = convert.main(["--train", "1.json", ".", "-o", "out"])
        seen.add(status)
        out, err = capsys.readouterr()
        assert (status == 2) == ("error: " in err), err
        if status == 0:
            os.rename("out", "out{}".format(len(os.listdir("."))))
    assert seen == {0, 2}
