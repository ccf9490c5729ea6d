"""Lists and folders of images, and the classes that paths of images name."""

import pytest

import need
from darkprune.data import image_list
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_classification
from darkprune.data.problems import Problems
from darkprune.errors import UsageError

HINT = "hint: relative paths start at the working directory, or else at the list"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a.jpg, set/b.JPG, set/sub/c d.png and set/notes.txt."""
    monkeypatch.chdir(str(tmp_path))
    (tmp_path / "set" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "set/b.JPG", "set/sub/c d.png", "set/notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(folder, text, name="set/list.txt"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return name


def error(function, *arguments):
    with pytest.raises(UsageError) as caught:
        function(*arguments)
    return str(caught.value)


def test_a_list(folder):
    path = write(folder, b"\xef\xbb\xbfa.jpg\r\n\r\n  b.JPG \nsub\\c d.png\n\n")
    assert image_list.read(path) == ["a.jpg", "set/b.JPG", "set/sub/c d.png"]
    assert [(x.written, x.line) for x in image_list.read_images(path)] == [
        ("a.jpg", 1), ("b.JPG", 3), ("sub\\c d.png", 4),
    ]  # fmt: skip


def test_names_that_are_no_utf8_are_kept(folder):
    path = write(folder, b"\xff.jpg\n")
    found = Problems()
    assert "none of the images in this list exists" in error(image_list.read, path, found)
    name = found.shown[0].where.text
    (folder / name).write_bytes(b"x")
    assert image_list.read(path) == [name]


def test_a_folder_and_a_single_image(folder):
    assert image_list.read("set") == ["set/b.JPG"]
    assert image_list.read("set/b.JPG") == ["set/b.JPG"]
    (folder / "empty").mkdir()
    assert error(image_list.read, "empty") == (
        "empty: error: no images in this folder\nhint: images end in .jpg .jpeg .png .bmp .ppm .tif .tiff .webp"
    )


def test_what_is_wrong_with_a_list(folder):
    assert error(image_list.read, write(folder, "\r\n\n")) == (
        "set/list.txt: error: this list names no images\nhint: write one path a line"
    )
    assert error(image_list.read, "none.txt") == (
        "none.txt: error: the list of images cannot be read: No such file or directory\nhint: check the path"
    )
    path = write(folder, "a.jpg\n\nno.jpg\nsub\n")
    assert error(image_list.read, path) == (
        "set/list.txt:3: error: this image does not exist\n    3 | no.jpg\n" + HINT + "\n"
        "set/list.txt:4: error: this is a folder, not an image\n    4 | sub\n" + HINT + "\n"
        "error: 2 problems in the data: missing image (2)\n"
        "hint: mend the files"
    )
    found = Problems()
    assert image_list.read(path, found) == ["a.jpg"]
    assert found.counts == {"missing image": 2}


def test_of_many_problems_the_first_are_shown(folder):
    path = write(folder, "a.jpg\n" + "".join("{}.jpg\n".format(n) for n in range(1000)))
    text = error(image_list.read, path)
    assert text.count("does not exist") == 10 and "9.jpg" in text and "10.jpg" not in text
    assert text.endswith(
        "\nerror: 1000 problems in the data: missing image (1000); the first 10 are shown\n"
        "hint: mend the files"
    )
    found = Problems()
    image_list.read(path, found)
    assert len(found.settle(ignore=True)) == 11
    assert str(found.settle(ignore=True)[-1]) == (
        "warning: 1000 problems in the data: missing image (1000); the first 10 are shown"
    )
    assert Problems().settle() == []


def classifier(folder, names, labels, listed):
    for line in listed.split():
        (folder / "set" / line).write_bytes(b"x")
    write(folder, labels, "set/x.labels")
    write(folder, names, "set/x.names")
    write(folder, listed)
    write(folder, "valid=list.txt\nlabels=x.labels\nnames=x.names\n", "set/x.data")
    return DataFile.read("set/x.data")


def test_the_class_is_the_label_in_the_path(folder):
    # the folder of the list is named "set", which is a label too: it stands in no line
    data = classifier(folder, "frog\nsetter\nsheep\n", "n01\nset\nn03\n", "n03_1.jpg\n1_n01.png\n")
    found = read_classification(data)
    assert found.images == ["set/n03_1.jpg", "set/1_n01.png"]
    assert (found.classes, found.names) == ([2, 0], ["frog", "setter", "sheep"])


def test_paths_that_name_no_class_or_several(folder):
    data = classifier(folder, "a\nb\n", "dog\nhotdog\n", "dog1.jpg\nhotdog1.jpg\ncat.jpg\n")
    assert error(read_classification, data) == (
        "set/list.txt:2: error: 2 labels occur in this path: dog, hotdog\n    2 | hotdog1.jpg\n"
        "hint: rename the image or its folder, or the labels\n"
        "set/list.txt:3: error: no label occurs in this path\n    3 | cat.jpg\n"
        "hint: the class is the line of the labels file that occurs in the path\n"
        "error: 2 problems in the data: image with several classes (1), image without a class (1)\n"
        "hint: mend the files, or go on without them by --ignore-problems"
    )
    found = read_classification(data, problems=Problems())
    assert (found.images, found.classes) == (["set/dog1.jpg", "set/hotdog1.jpg"], [0, 0])


def test_a_classifiers_names_may_be_more_than_its_classes(folder):
    """As in Darknet's imagenet1k.data, whose lists have the names of 21842 classes."""
    classifier(folder, "frog\nbird\nmore\n", "n01\nn02\nn03\n", "n02_n03.jpg\n")
    write(folder, "valid=list.txt\nlabels=x.labels\nnames=x.names\nclasses=2\n", "set/x.data")
    data = DataFile.read("set/x.data")
    found = read_classification(data)
    assert (found.classes, found.names) == ([1], ["frog", "bird"])
    with pytest.raises(UsageError) as caught:
        data.read_names()
    assert str(caught.value).startswith("set/x.names: error: 3 names, but 2 classes\n")
    write(folder, "valid=list.txt\nlabels=x.labels\nnames=x.names\nclasses=4\n", "set/x.data")
    assert error(read_classification, DataFile.read("set/x.data")).startswith(
        "set/x.labels: error: 3 names, but 4 classes\n"
    )


def test_debians_own_data_of_imagenet():
    data = DataFile.read(str(need.debian_cfgs() / "imagenet1k.data"))
    words = data.read_names("labels", surplus=True)
    assert (data.classes, data.top, len(words), words[0]) == (1000, 5, 1000, "n02119789")
    assert data.read_names(surplus=True)[0] == "kit fox"
