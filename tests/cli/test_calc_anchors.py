"""The command `calc-anchors` end to end."""

import json

import pytest

from darkprune.cli.main import main

COMMAND = ["calc-anchors", "set.data", "--num-of-clusters", "2", "--width", "100", "--height", "200"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with set.data: two images with boxes of 10 x 20 and 50 x 50 percent."""
    monkeypatch.chdir(str(tmp_path))
    (tmp_path / "set.data").write_text("train = train.txt\nnames = set.names\n")
    (tmp_path / "set.names").write_text("a\nb\nc\n")
    (tmp_path / "old.txt").write_text("10,10")
    (tmp_path / "train.txt").write_text("1.jpg\n2.jpg\n")
    for name, text in (("1", "0 .5 .5 .1 .2\n2 .5 .5 .5 .5\n"), ("2", "2 .5 .5 .1 .2\n")):
        (tmp_path / (name + ".jpg")).write_bytes(b"x")
        (tmp_path / (name + ".txt")).write_text(text)
    return tmp_path


def run(capsys, argv, status=0):
    assert main(argv) == status
    return capsys.readouterr()


def test_what_it_prints_and_writes(folder, capsys):
    out, err = run(capsys, COMMAND)
    assert err == ""
    assert out == (
        "num_of_clusters = 2, width = 100, height = 200\nread labels from 2 images: 3 boxes\n"
        "counters_per_class = 1, 0, 2\navg IoU = 100.00 %\nSaving anchors to the file: anchors.txt\n"
        "anchors =  10, 40,  50,100\n"
    )
    assert (folder / "anchors.txt").read_text() == " 10, 40,  50,100\n"


def test_darknets_spelling_and_json(folder, capsys):
    argv = "calc_anchors set.data -num_of_clusters 1 -width 13 -height 13 --json -o out.txt".split()
    found = json.loads(run(capsys, argv).out)
    assert found["anchors"] == [[1.3, 2.6]]
    # two boxes fit; the third, 6.5 x 6.5, holds the anchor
    assert found["avg_iou"] == pytest.approx((2 + 1.3 * 2.6 / 6.5**2) / 3)
    assert {key: found[key] for key in ("boxes", "images", "counters_per_class", "file", "warnings")} == {
        "boxes": 3, "images": 2, "counters_per_class": [1, 0, 2], "file": "out.txt", "warnings": [],
    }  # fmt: skip
    assert (folder / "out.txt").read_text() == "1.3000,2.6000\n"


def test_problems_stop_it_unless_told_otherwise(folder, capsys):
    (folder / "2.txt").write_text("3 .5 .5 .1 .2\n1 .5 .5 0 .2\n")
    out, err = run(capsys, COMMAND, 2)
    assert (out, (folder / "anchors.txt").exists()) == ("", False)
    problems = (
        "2.txt:1: {0}: class 3, but the classes are 0 to 2\n    1 | 3 .5 .5 .1 .2\n"
        "hint: mend the label, or classes= in the .data file\n"
        "2.txt:2: {0}: this box has no area\n    2 | 1 .5 .5 0 .2\nhint: take the line out\n"
        "{0}: 2 problems in the data: class out of range (1), box without area (1)\n"
    )
    hint = "hint: mend the files, or go on without them by --ignore-problems\n"
    assert err == problems.format("error") + hint
    out, err = run(capsys, COMMAND + ["--ignore-problems"])
    assert "2 images: 2 boxes\n" in out
    assert err == problems.format("warning")


@pytest.mark.parametrize(
    "change, more, expected",
    [
        (
            None,
            ["--num-of-clusters", "3"],
            "error: 3 clusters of 2 different boxes\nhint: ask for at least 1 and no more than there are boxes\n",
        ),
        (None, ["--width", "0"], "error: --width must be 1 to 65536\nhint: as in --width 416\n"),
        (None, ["--seed", "-1"], "error: --seed must be 0 to 4294967295\nhint: as in --seed 1\n"),
        (
            None,
            ["--split", "valid"],
            "set.data: error: this file has no valid = ...\nhint: add a line valid = FILE\n",
        ),
        (None, ["-o", "old.txt"], "old.txt: error: this file exists\nhint: --overwrite replaces it\n"),
        (
            None,
            ["-o", "set.names", "--overwrite"],
            "set.names: error: the output would replace the input set.names\n"
            "hint: choose another name; inputs are never overwritten\n",
        ),
        (
            None,
            ["-o", "set.data", "--overwrite"],
            "set.data: error: the output would replace the input set.data\n"
            "hint: choose another name; inputs are never overwritten\n",
        ),
        (
            lambda folder: [(folder / name).write_text("") for name in ("1.txt", "2.txt")],
            [],
            "set.data: error: the images of train have no boxes\nhint: label them first\n",
        ),
    ],
)
def test_refusals(folder, capsys, change, more, expected):
    if change:
        change(folder)
    out, err = run(capsys, COMMAND + more, 2)
    assert (out, err) == ("", expected)
    assert not (folder / "anchors.txt").exists()
