"""The commands and snippets of docs/onnx.md, run as they stand there, in OpenCV 4 and 5 where they use it."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import need
from darkprune.cli.main import main

PAGE = (need.ROOT / "docs" / "onnx.md").read_text(encoding="utf-8")
COMMANDS = re.search(r"```sh\n(.*?)```", PAGE, re.S).group(1).splitlines()
SNIPPETS = dict(re.findall(r"^## ([^\n]*)\n+```python\n(.*?)```", PAGE, re.S | re.M))
FOUND = ["bicycle", "car", "dog"]  # what Yolo-Fastest sees, whoever asks; also a truck, but not always


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the page's commands write."""
    need.onnx(), need.onnxruntime(), need.opencv()
    place = tmp_path_factory.mktemp("page")
    models = need.shared() / "models" / "yolo-fastest-1.1"
    for suffix in (".cfg", ".weights"):
        shutil.copy(str(models / ("yolo-fastest-1.1" + suffix)), str(place / ("model" + suffix)))
    shutil.copy(str(need.debian_images() / "dog.jpg"), str(place / "image.jpg"))
    shutil.copy(str(need.debian_images() / "coco.names"), str(place / "model.names"))
    before = os.getcwd()
    os.chdir(str(place))
    try:
        for command in COMMANDS:
            words = command.split()
            assert words[:2] == ["darkprune", "export"] and main(words[1:]) == 0
    finally:
        os.chdir(before)
    return place


def run(snippet, folder, path=""):
    """What the snippet prints, with `path` before other folders of modules."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(path), str(need.ROOT)]))
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        env=environment,
        cwd=str(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_every_snippet_is_run_here():
    assert sorted(SNIPPETS) == ["ONNX Runtime", "OpenCV 4 and 5", "Raw heads"] and PAGE.count("```") == 8


@pytest.mark.parametrize("version", ["4", "5"])
def test_onnx_runtime_and_opencv_find_the_same(folder, version):
    path = need.opencv5() if version == "5" else ""
    assert run("import cv2; print(cv2.__version__)", folder, path)[0][0].startswith(version + ".")
    first = run(SNIPPETS["ONNX Runtime"], folder)
    second = run(SNIPPETS["OpenCV 4 and 5"], folder, path)
    assert len(first) == len(second)
    assert [word for word in FOUND if word in [row[0] for row in first]] == FOUND
    for a, b in zip(first, second):
        assert a[:-5] == b[:-5]
        assert all(abs(float(x) - float(y)) <= 1 for x, y in zip(a[-5:], b[-5:]))


def test_raw_heads(folder):
    text = " ".join(word for line in run(SNIPPETS["Raw heads"], folder) for word in line)
    assert re.match(r"\(\d+, 4\) \[0\.\d+", text)
