"""Boxes from raw outputs, against the real Darknets.

The raw values are the image itself: a convolution whose kernels are 1 in the middle of their own channel passes every
second pixel to the head. The original Darknet runs here; AlexeyAB's said once what it finds, in alexeyab_boxes.json,
written by its commit 59596d7 and tests/darknet_boxes.py.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import need
from darkprune.detect.decode import decode
from darkprune.detect.nms import suppress
from darkprune.detect.preprocess import prepare
from darkprune.errors import GraphError, Unsupported
from darkprune.graph.build import build, load
from head_cases import ANCHORS, BOTH, CASES, CELLS, FORK, YOLO, case
from small_nets import cfg, conv, parse, section


def darknets(name, folder, library, *more):
    """[[box, scores], ...] of a real Darknet."""
    _, threshold, how = case(name, folder)
    classes = load(str(folder / "net.cfg")).layers[-1]["classes"]
    script = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "darknet_boxes.py")
    argv = [sys.executable, script, str(library), "net.cfg", "net.weights", "image.npy"]
    argv += [str(number) for number in (classes, threshold) + how] + ["out.json"] + [str(word) for word in more]
    done = subprocess.run(argv, cwd=str(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    return json.loads((folder / "out.json").read_text())


def ours(name, folder, dialect):
    """The same of our own functions."""
    raw, threshold, (nms, _, _) = case(name, folder)
    net = load(str(folder / "net.cfg"), str(folder / "net.weights"), dialect)
    (found,) = decode(net, {0: raw[None]}, threshold)
    head = net.layers[-1]
    scores = suppress(found.boxes, found.scores, nms, head.op.suppression(head))
    return [[box.tolist(), row.tolist()] for box, row in zip(found.boxes, scores) if row.any()]


def assert_same(found, expected, size=(1, 1)):
    assert len(found) == len(expected) > 3

    def table(rows):
        numbers = np.array([box + scores for box, scores in rows])
        return numbers[np.lexsort(np.round(numbers, 4).T)]

    expected = table(expected) / np.concatenate([size, size, np.ones(len(expected[0][1]))])
    np.testing.assert_allclose(table(found), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_original_darknet_finds_the_same_boxes(tmp_path, monkeypatch, name):
    library = need.libdarknet()
    monkeypatch.chdir(tmp_path)
    size = (2, 2) if name.startswith("detection") else (1, 1)  # Darknet gives those boxes in pixels
    assert_same(ours(name, tmp_path, "pjreddie"), darknets(name, tmp_path, library), size)


@pytest.mark.parametrize("name", BOTH + sorted(FORK))
def test_alexeyabs_darknet_found_the_same_boxes(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with open(str(need.ROOT / "tests" / "data" / "alexeyab_boxes.json")) as stream:
        expected = json.load(stream)[name]
    size = (2, 2) if name.startswith("detection") else (1, 1)
    assert_same(ours(name, tmp_path, "alexeyab"), expected, size)


@pytest.mark.parametrize("columns, rows", [(37, 53), (100, 9), (7, 50), (12, 8)])
def test_the_original_darknet_leads_boxes_back_from_a_letterbox_alike(tmp_path, columns, rows):
    library = need.libdarknet()
    expected = darknets("yolo", tmp_path, library, columns, rows)
    raw, threshold, _ = case("yolo", tmp_path)
    (found,) = decode(load(str(tmp_path / "net.cfg")), {0: raw[None]}, threshold)
    _, fit = prepare(np.zeros((rows, columns, 3), np.uint8), 12, 8, letterbox=True)
    boxes = fit.relative(found.boxes)
    assert_same([[a.tolist(), b.tolist()] for a, b in zip(boxes, found.scores) if b.any()], expected)
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
    np.testing.assert_allclose(fit.pixels(found.boxes), corners * (columns, rows, columns, rows), rtol=1e-12)


def test_every_kind_of_suppression_leaves_other_boxes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw, threshold, _ = case("suppressed", tmp_path)
    left = []
    for kind in ("default", "greedynms", "diounms"):
        text = (tmp_path / "net.cfg").read_text() + "nms_kind={}\nbeta_nms=0.2\n".format(kind)
        net = build(parse(text))
        (found,) = decode(net, {0: raw[None]}, threshold)
        head = net.layers[-1]
        left.append((suppress(found.boxes, found.scores, 0.3, head.op.suppression(head)) > 0).tolist())
    assert left[0] != left[1] != left[2] != left[0]


# ---- what no Darknet says


def net_of(head, channels):
    return build(parse(cfg(conv(channels, size=1, activation="linear", bn=None), head, width=4, height=4)))


def test_huge_and_broken_values():
    net = net_of(section("yolo", **YOLO), 24)
    raw = np.full((1, 24, 4, 4), -9, np.float32)
    raw[0, 4] = 300.0  # objectness 1
    raw[0, 5] = 300.0
    raw[0, 0, 0] = np.nan
    raw[0, 2, 1] = 1e4  # a width beyond float64
    raw[0, 2, 2] = 88.8  # beyond float32
    (found,) = decode(net, {0: raw}, 0.25)
    assert len(found.boxes) == 8 and np.isfinite(found.boxes).all() and (found.objectness == 1).all()
    assert suppress(found.boxes, found.scores, 0.45).any()


def test_nothing_found():
    net = net_of(section("yolo", **YOLO), 24)
    (first, second) = decode(net, {0: np.full((2, 24, 4, 4), -9, np.float32)}, 0.25)
    for found in (first, second):
        assert found.boxes.shape == (0, 4) and found.objectness.shape == (0,) and found.scores.shape == (0, 3)
        assert suppress(found.boxes, found.scores, 0.45).shape == (0, 3)


@pytest.mark.parametrize(
    "head, channels, text",
    [
        (
            section("yolo", mask="0,7", anchors=ANCHORS, num=5, classes=3),
            16,
            "net.cfg:17: error: mask names an anchor that num=5 does not count\n"
            "   17 | mask=0,7\n      |      ^^^\nhint: use 0 to 4, or correct num",
        ),
        (
            section("region", coords=5, **dict((k, v) for k, v in CELLS.items() if k != "coords")),
            27,
            "net.cfg:17: error: boxes of [region] with coords=5 cannot be decoded\n"
            "   17 | coords=5\n      |        ^\nhint: use Darknet",
        ),
    ],
)
def test_what_cannot_be_decoded(head, channels, text):
    net = net_of(head, channels)
    with pytest.raises(Unsupported) as caught:
        decode(net, {0: np.zeros((1, channels, 4, 4), np.float32)}, 0.25)
    assert str(caught.value).replace(str(caught.value.where.line), "17") == text


def test_heads_of_different_classes():
    body = conv(24, size=1, activation="linear", bn=None) + section("yolo", **YOLO)
    more = section("route", layers="-2") + conv(21, size=1, activation="linear", bn=None)
    net = build(parse(cfg(body, more, section("yolo", **dict(YOLO, classes=2)), width=4, height=4)))
    with pytest.raises(GraphError) as caught:
        decode(net, {}, 0.25)
    assert "error: layer 4 has 2 classes, layer 1 has 3\n" in str(caught.value)
    assert str(caught.value).endswith("hint: all heads of a net need the same classes")


@pytest.mark.parametrize(
    "tree, cause", [(b"a -1\nb 1\nc 0\n", "a parent that does not stand before"), (b"a -1\n", "1 class")]
)
def test_trees_that_make_no_sense(tmp_path, monkeypatch, tree, cause):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "five.tree").write_bytes(tree)
    net = net_of(section("region", tree="five.tree", **CELLS), 24)
    with pytest.raises(Unsupported) as caught:
        decode(net, {0: np.ones((1, 24, 4, 4), np.float32)}, 0.25)
    assert cause in str(caught.value)
