"""Objects in a picture, against what AlexeyAB's Darknet finds in it."""

import numpy as np
import pytest

import need
from darkprune.backends.model import Model
from darkprune.detect.decode import decode
from darkprune.detect.detector import Detector
from darkprune.detect.nms import suppress
from darkprune.detect.preprocess import prepare, read_image
from darkprune.errors import UsageError
from small_nets import cfg, conv, detector, section, write

# `darknet detector test coco.data yolo-fastest-1.1.cfg yolo-fastest-1.1.weights dog.jpg -ext_output -out` of AlexeyAB's
# Darknet (commit 59596d7, CPU, no OpenCV): class, confidence, and left, top, width, height by -ext_output.
DOG = [
    (2, 0.883129, (454, 78, 230, 102)),
    (16, 0.649255, (122, 222, 244, 295)),
    (15, 0.548226, (112, 213, 258, 304)),
    (1, 0.546469, (245, 187, 342, 233)),
    (2, 0.438686, (690, 116, 39, 38)),
    (2, 0.374783, (452, 78, 151, 86)),
    (0, 0.328620, (63, 73, 48, 46)),
    (1, 0.286073, (80, 176, 368, 316)),
]
NET = detector()


def dog():
    return read_image(str(need.debian_images() / "dog.jpg"))


def assert_like(found, expected):
    """The same objects in the same order; boxes within a pixel, confidences within 1 %."""
    assert [d.class_id for d in found] == [class_id for class_id, _, _ in expected]
    for detection, (_, confidence, box) in zip(found, expected):
        assert abs(detection.confidence - confidence) < 0.01
        assert np.abs(np.subtract(detection.box, box)).max() < 1.5  # half a pixel of it is AlexeyAB's rounding


@pytest.mark.parametrize("runner", ["numpy", "opencv", "darknet"])
def test_every_runner_finds_what_alexeyabs_darknet_finds(runner):
    need.opencv()
    if runner == "darknet":
        need.libdarknet()
    stem = str(need.shared() / "models" / "yolo-fastest-1.1" / "yolo-fastest-1.1")
    with Model(stem + ".cfg", stem + ".weights", runner) as model:
        detector = Detector(model)
        assert_like(detector.detect([dog()])[0], DOG)
        assert detector.seconds > 0 and detector.classes == 80


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    paths = write(tmp_path_factory.mktemp("small"), NET, dead=0.0)
    with Model(paths[0], paths[1], "numpy") as model:
        yield model


def pictures():
    random = np.random.RandomState(1)
    return [random.randint(0, 256, (rows, columns, 3)).astype(np.uint8) for rows, columns in ((20, 30), (50, 40))]


def test_a_batch_gives_what_single_images_give(small):
    detector = Detector(small, threshold=0.2)
    found = detector.detect(pictures())
    assert [len(one) > 0 for one in found] == [True, True]
    for one, picture in zip(found, pictures()):
        for a, b in zip(one, detector.detect([picture])[0]):
            assert a.class_id == b.class_id
            np.testing.assert_allclose(a.box + (a.confidence,), b.box + (b.confidence,), rtol=1e-4, atol=1e-4)
    assert detector.detect([]) == []


def test_the_surest_come_first_and_are_above_the_threshold(small):
    confidences = [d.confidence for d in Detector(small, threshold=0.3, nms=0).detect(pictures())[0]]
    assert confidences == sorted(confidences, reverse=True) and confidences[-1] > 0.3
    assert len(confidences) < len(Detector(small, threshold=0.2, nms=0).detect(pictures())[0])


def test_nms_only_takes_away(small):
    counts = []
    everything = set(Detector(small, threshold=0.1, nms=0).detect(pictures())[0])
    for nms in (0.9, 0.5, 0.1):
        found = set(Detector(small, threshold=0.1, nms=nms).detect(pictures())[0])
        assert found <= everything
        counts.append(len(found))
    assert counts[0] > counts[1] > counts[2] > 0


@pytest.mark.parametrize("name", ["threshold", "nms"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_bounds(small, name, value):
    word, usual = {"threshold": ("thresh", "0.25"), "nms": ("nms", "0.45")}[name]
    with pytest.raises(UsageError) as caught:
        Detector(small, **{name: value})
    assert str(caught.value) == "error: {} must be from 0 to 1\nhint: Darknet's is {}".format(word, usual)


def test_letter_box_of_the_cfg_counts(tmp_path):
    text = NET.replace("height=32\n", "height=32\nletter_box=1\n")
    paths = write(tmp_path, text, dead=0.0)
    with Model(paths[0], paths[1], "numpy", dialect="opencv") as model:
        assert Detector(model).letterbox is True


def test_distances_for_suppression_are_those_in_the_image(tmp_path):
    text = NET.replace("num=3\n", "num=3\nnms_kind=diounms\nbeta_nms=0.4\n")
    paths = write(tmp_path, text, dead=0.0)
    picture = np.random.RandomState(3).randint(0, 256, (30, 150, 3)).astype(np.uint8)
    with Model(paths[0], paths[1], "numpy") as model:
        detector = Detector(model, threshold=0.1, nms=0.3, letterbox=True)
        values, fit = prepare(picture, 32, 32, letterbox=True)
        (found,) = decode(model.net, model.raw_heads(values[None]), 0.1)
        head = model.net.layers[-1]
        counts = [
            np.count_nonzero(suppress(boxes, found.scores, 0.3, head.op.suppression(head)))
            for boxes in (fit.relative(found.boxes), found.boxes)
        ]
        assert len(detector.detect([picture])[0]) == counts[0] != counts[1]


def test_a_net_without_a_head(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, cfg(conv(8), section("avgpool"), section("softmax")))
    with Model("net.cfg", "net.weights", "numpy") as model:
        with pytest.raises(UsageError) as caught:
            Detector(model)
    assert str(caught.value) == (
        "net.cfg: error: the net has no detection head such as [yolo]\n"
        "hint: darkprune classify takes nets that name whole images"
    )
