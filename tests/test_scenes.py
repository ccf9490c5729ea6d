"""The scenes that the project's own detector is trained on, and the table and pictures of the demo."""

import hashlib
import json
import sys

import numpy as np
import pytest

import need
import tool
from darkprune.cli.main import main
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_detection
from darkprune.data.problems import Problems
from darkprune.detect.image_file import read_image

need.opencv()
pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")

CFG = need.ROOT / "cfg" / "scenes.cfg"
WEIGHTS = need.ROOT / "weights" / "scenes.weights"

# of the first scenes of the list test, seed 1
LABELS = "09b88f9b69f61eebaef06a66177ccacc31b0e502fb9e578140a3c28454616f32"
MEANS = [121.27, 163.29, 147.84, 122.18, 117.01, 194.98]

TABLE = """\
                     net   small     change
mAP@0.5           0.9000  0.8950    -0.0050
parameters         1,000     250  4.0x less
bytes of weights   4,020   1,020  3.9x less
BFLOPs            0.5000  0.1000  5.0x less
ms per image        4.00    2.50  1.6x less
"""


@pytest.fixture(scope="module")
def scenes():
    return tool.load("draw_scenes")


@pytest.fixture(scope="module")
def folder(scenes, tmp_path_factory):
    """A small data set of scenes."""
    out = tmp_path_factory.mktemp("drawn") / "scenes"
    assert scenes.main([str(out), "--train", "4", "--valid", "0", "--test", "12", "--seed", "1"]) == 0
    return out


def test_a_scene_depends_on_seed_list_and_number_alone(scenes):
    pixels, objects = scenes.scene(1, "train", 5, 96)
    again, same = scenes.scene(1, "train", 5, 96)
    assert pixels.tobytes() == again.tobytes() and objects == same
    for other in ((2, "train", 5), (1, "test", 5), (1, "train", 6)):
        assert scenes.scene(*(other + (96,)))[1] != objects


def test_the_scenes_behind_the_published_weights(scenes):
    """Labels to six decimals, as files hold them; pixels on the whole, since versions of OpenCV round differently."""
    text, means = "", []
    for number in range(6):
        pixels, objects = scenes.scene(1, "test", number)
        text += "".join("{} {:.6f} {:.6f} {:.6f} {:.6f}\n".format(*item) for item in objects)
        means.append(float(pixels.mean()))
    assert hashlib.sha256(text.encode("ascii")).hexdigest() == LABELS
    np.testing.assert_allclose(means, MEANS, atol=0.1)


def test_a_box_is_where_its_object_is(scenes):
    """A shape's mask reaches the edges of its box to a pixel, and no farther."""
    for number in range(40):
        random = scenes.Random(9, number)
        name, outline = scenes.SHAPES[number % len(scenes.SHAPES)]
        matrix = scenes._matrix(random, 100, 180, 0.3)
        matrix[:, 2] = 50
        shape = scenes.Shape(outline(random), matrix, 100)
        rows, columns = np.nonzero(shape.mask > 0)
        top, left = shape.at[0].start, shape.at[1].start
        edges = [columns.min() + left, rows.min() + top, columns.max() + left + 1, rows.max() + top + 1]
        np.testing.assert_allclose(edges, [shape.left, shape.top, shape.right, shape.bottom], atol=1.3, err_msg=name)


def test_a_drawn_data_set_is_read_without_problems(folder):
    problems = Problems()
    for split, count in (("train", 4), ("test", 12)):
        found = read_detection(DataFile.read(str(folder / "scenes.data")), split, problems)
        assert len(found.images) == count and len(found.names) == 8
        assert read_image(found.images[0]).shape == (200, 200, 3)
        boxes = np.concatenate([truth.boxes for truth in found.truths])
        assert (boxes[:, 2:].min() > 0.03) and len(boxes) > 2 * count
    assert not problems.settle(False)


def test_objects_come_in_all_classes_and_three_scales(scenes):
    found = [item for number in range(60) for item in scenes.scene(3, "train", number, 64)[1]]
    assert {item[0] for item in found} == set(range(8))
    sides = np.array([max(item[3:]) for item in found])
    for low, high in ((0, 0.18), (0.18, 0.32), (0.32, 1)):
        assert np.mean((sides >= low) & (sides < high)) > 0.15


@pytest.mark.parametrize(
    "options, text",
    [
        (["--size", "8"], "error: 32 to 2048 pixels, at least one image, and a seed from 0 to 4294967295\n"
         "hint: see --help\n"),
        (["--train", "0", "--valid", "0", "--test", "0"], "error: 32 to 2048 pixels, at least one image, and a seed "
         "from 0 to 4294967295\nhint: see --help\n"),
    ],
)
def test_what_cannot_be_drawn(scenes, options, text, tmp_path, capsys):
    assert scenes.main([str(tmp_path / "s")] + options) == 2
    assert capsys.readouterr().err == text
    assert not list(tmp_path.iterdir())


def test_a_folder_that_stands_is_kept(scenes, folder, capsys):
    assert scenes.main([str(folder), "--train", "1"]) == 2
    assert capsys.readouterr().err == "{}: error: this folder exists\nhint: --overwrite replaces it\n".format(folder)
    assert len(list((folder / "obj").glob("*.jpg"))) == 16


def run(capsys, *argv):
    """The JSON that a command prints."""
    assert main([str(word) for word in argv] + ["--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_demo_on_a_small_scale(folder, tmp_path, capsys):
    """The commands of tools/demo.sh but for the training, which has tests of its own."""
    need.opencv()
    data, pruned = folder / "scenes.data", tmp_path / "pruned"
    run(capsys, "prune", CFG, WEIGHTS, "-o", pruned, "--channels", "0.5", "--force")
    pairs = [CFG, WEIGHTS, str(pruned) + ".cfg", str(pruned) + ".weights"]
    found = []
    for name, pair in (("before", pairs[:2]), ("after", pairs[2:])):
        found.append(run(capsys, "eval", *pair, "--data", data, "--split", "test", "--runner", "opencv", "--no-coco"))
        (tmp_path / (name + ".json")).write_text(json.dumps(found[-1]))
    bench = run(capsys, "bench", *pairs, "--runners", "opencv", "--repeats", "1", "--threads", "1")
    (tmp_path / "bench.json").write_text(json.dumps(bench))
    picture = tmp_path / "both.png"
    words = [tmp_path / "bench.json", tmp_path / "before.json", tmp_path / "after.json"]
    words += ["--draw", picture, "--data", data, "--pairs"] + pairs
    assert tool.load("before_after").main([str(word) for word in words]) == 0
    text = capsys.readouterr().out
    assert "mAP@0.5" in text and "{:.4f}".format(found[1]["map"]) in text
    assert read_image(str(picture)).shape == (2 * 412, 4 * 400 + 2 * 12, 3)


def test_the_table():
    before = {"model": "net", "parameters": 1000, "weights_bytes": 4020, "bflops": 0.5}
    after = {"model": "small", "parameters": 250, "weights_bytes": 1020, "bflops": 0.1}
    runs = [{"model": "net", "runner": "opencv", "median_ms": 4.0}]
    runs.append({"model": "small", "runner": "opencv", "median_ms": 2.5})
    show = tool.load("before_after")
    found = show.columns({"models": [before, after], "runs": runs}, [{"map": 0.9}, {"map": 0.895}])
    assert show.lines(found) == TABLE
