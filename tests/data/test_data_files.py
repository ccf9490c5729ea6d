"""`.data` and `.names` files: read as Darknet reads them, and what is wrong with them."""

import os

import pytest

import need
from darkprune.data import names
from darkprune.data.data_file import DataFile
from darkprune.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder; set/ below it holds x.data, made by `write`."""
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(str(tmp_path))
    return tmp_path


def write(folder, text, name="set/x.data"):
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    (folder / name).write_bytes(data)
    return name


def error(function, *arguments):
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    return str(caught.value)


def test_a_file_is_read_as_darknet_reads_it(folder):
    data = DataFile.read(write(folder, "\n# a\n;b\nclasses= 80 \r\n  tr ain = a b.txt\ntop=5#x\nbackup =\nvalid=v=1\n"))
    assert (data.classes, data.top) == (80, 5)
    assert (data.text("train"), data.text("backup"), data.text("valid"), data.text("names")) == (
        "a b.txt", None, "v=1", None,
    )  # fmt: skip
    assert data.notices == []
    assert data.place("valid").line == 8


def test_debians_own_data_file(folder):
    data = DataFile.read(str(need.debian_cfgs() / "coco.data"))
    assert data.classes == 80 and data.text("valid") == "coco_testdev"
    assert data.read_names()[79] == "toothbrush"


def test_the_first_of_a_repeated_key_counts(folder):
    data = DataFile.read(write(folder, "valid=a\nvalid=a\nvalid = b\n"))
    assert data.text("valid") == "a"
    assert [str(notice) for notice in data.notices] == [
        "set/x.data:3: warning: valid is set again; line 1 counts, as in Darknet\n    3 | valid = b"
    ]


def test_paths_start_at_the_working_directory_or_else_at_the_file(folder):
    text = "train=both\nvalid=beside\nnames=with blank\nlabels=sub\\win\ntest=squeezed name\n"
    data = DataFile.read(write(folder, text))
    for name in ("both", "set/both", "set/beside", "set/with blank", "squeezedname", "squeezed name"):
        (folder / name).write_text("x")
    (folder / "set" / "sub").mkdir()
    (folder / "set" / "sub" / "win").write_text("x")
    assert data.find("train") == "both"
    assert data.find("valid") == "set/beside"
    assert data.find("names") == "set/with blank"
    assert data.find("labels") == "set/sub/win"
    assert data.find("test") == "squeezedname"  # Darknet drops blanks
    assert data.find("difficult") is None


def test_what_is_wrong_with_a_data_file(folder):
    hint = "relative paths start at the working directory, or else at the .data file"
    data = DataFile.read(write(folder, "classes=x\nvalid=nowhere.txt\ntop=0\n"))
    assert error(data.find, "valid") == (
        "set/x.data:2: error: valid names nowhere.txt, which does not exist\n    2 | valid=nowhere.txt\nhint: " + hint
    )
    assert error(data.require, "names", "labels") == (
        "set/x.data: error: this file has no names or labels = ...\nhint: add a line names = FILE"
    )
    assert error(lambda: data.classes) == (
        "set/x.data:1: error: classes must be a number from 1 to 1048576, not x\n    1 | classes=x\n"
        "hint: write it as in classes = 1"
    )
    assert error(DataFile.read, write(folder, "classes 80\n")) == (
        "set/x.data:1: error: this line has no =\n    1 | classes 80\nhint: a .data file has lines such as classes = 80"
    )
    assert error(DataFile.read, "no.data") == (
        "no.data: error: the .data file cannot be read: No such file or directory\nhint: check the path"
    )
    assert error(DataFile.read, "set") == (
        "set: error: the .data file cannot be read: this is a folder\nhint: name a text file"
    )
    assert error(DataFile.read, write(folder, "classes=1".encode("utf-16"))) == (
        "set/x.data: error: the .data file is no plain text\nhint: save it as UTF-8; PowerShell's > does not"
    )
    assert error(DataFile.read, write(folder, b"a=" + 5000 * b"x")) == (
        "set/x.data:1: error: this line has 5002 bytes, more than 4096\nhint: check that this is the .data file"
    )
    assert error(DataFile.read, write(folder, b"#" * (1 << 20) + b"#")) == (
        "set/x.data: error: the .data file is longer than 1 MB\nhint: check the path"
    )


def test_a_pipe_is_refused_before_it_blocks(folder):
    os.mkfifo("pipe")
    assert error(DataFile.read, "pipe") == (
        "pipe: error: the .data file cannot be read: this is no regular file\nhint: name a text file"
    )


def test_names(folder):
    path = write(folder, b"\xef\xbb\xbftraffic light \r\n\xc3\xa9t\xc3\xa9\r\n\r\n\n", "set/x.names")
    assert names.read(path) == names.read(path, 2) == ["traffic light", "\u00e9t\u00e9"]
    assert error(names.read, path, 3) == (
        "set/x.names: error: 2 names, but 3 classes\n"
        "hint: name every class once, or mend classes= in the .data file or the cfg"
    )
    assert error(names.read, write(folder, "a\n\nb\n", "set/x.names")) == (
        "set/x.names:2: error: class 1 has no name: this line is blank\n"
        "hint: write one name a line, or take the blank line out"
    )
    assert error(names.read, write(folder, "\n\n", "set/x.names")) == (
        "set/x.names: error: this file has no class names\nhint: write one name a line"
    )


def test_names_of_a_data_file_must_be_as_many_as_its_classes(folder):
    write(folder, "a\nb\n", "set/x.names")
    assert DataFile.read(write(folder, "names=x.names\n")).read_names() == ["a", "b"]
    assert DataFile.read(write(folder, "labels=x.names\nclasses=2")).read_names() == ["a", "b"]
    assert error(DataFile.read(write(folder, "names=x.names\nclasses=3")).read_names).startswith(
        "set/x.names: error: 2 names, but 3 classes\n"
    )
