"""Nets whose sizes or weights OpenCV's importer gets wrong: what is told, and what OpenCV really does."""

import numpy as np
import pytest

import need
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.opencv_ import OpenCVRunner
from darkprune.darknet.weights import Header
from darkprune.errors import Unsupported, VerifyError
from darkprune.graph.build import build, load
from darkprune.graph.net import heads
from darkprune.graph.save import save
from darkprune.verify import test_batch as picture
from small_nets import cfg, conv, parse, route, section, shortcut, write

AVERAGE = section("avgpool")
GATE = conv(4, size=1, activation="logistic", bn=None)
REGION = section("region", anchors="1,2", classes=1, coords=4, softmax=1)
YOLO = dict(mask="0", anchors="1,2", num=1, classes=1)


def connected(output):
    return section("connected", output=output, activation="leaky")


REFUSED = {
    "a map that [connected] reads, read again": conv(4) + connected(3) + route(0) + conv(5),
    "the same, by [connected] over a pool": conv(4)
    + connected(3)
    + route(0)
    + section("maxpool", size=2, stride=2)
    + connected(2),
    "back to a larger map": conv(4) + conv(6, stride=2) + route(0) + connected(3),
    "back to a smaller map": conv(4)
    + conv(6, stride=2)
    + conv(4)
    + section("upsample", stride=2)
    + route(1)
    + connected(3),
    "a gate": conv(4) + AVERAGE + GATE + section("scale_channels", from_=0) + connected(3),
    "a sum on the larger map": conv(4) + conv(4, stride=2) + route(0) + conv(4) + shortcut(0) + connected(3),
    "a convolution of a list": conv(4) + connected(3) + conv(4, size=1),
    "a pool of a list": conv(4) + connected(3) + section("maxpool", size=1, stride=1),
    "an average of a list": conv(4) + connected(3) + AVERAGE,
    "an upsampled list": conv(4) + connected(3) + section("upsample", stride=2),
    "a reorganised list": conv(4) + connected(4) + section("reorg", stride=1),
    "a block of a list": conv(4) + connected(4) + route(-1, groups=2, group_id=1) + connected(2),
    "a list beside a map": conv(4) + AVERAGE + connected(4) + route(1, 2),
    "a list added to a map": conv(4) + AVERAGE + connected(4) + shortcut(1),
    "a list times a map": conv(4) + AVERAGE + connected(4) + section("sam", from_=1),
    "a gated list": conv(4) + AVERAGE + connected(4) + route(1) + section("scale_channels", from_=2) + conv(2, size=1),
    "a head over a list": conv(4) + connected(6) + section("yolo", **YOLO),
    "an adjusting [crop]": conv(4) + section("crop", crop_width=5, crop_height=6) + conv(4),
    "a [crop] of a larger map": conv(4)
    + conv(4, stride=2)
    + route(0)
    + section("crop", crop_width=5, crop_height=6, noadjust=1),
    "two [region]": conv(6) + REGION + "num=1\n" + route(0) + conv(6, size=1) + REGION + "num=1\n",
    "[region] without num": conv(6) + REGION,
    "[yolo] without num": conv(6) + section("yolo", mask="0", anchors="1,2", classes=1),
    "[yolo] without classes": conv(25) + section("yolo", mask="0", anchors="1,2", num=1),
}

READ = {
    "[connected] after [connected]": conv(4) + connected(3) + route(-2) + connected(2),
    "a route to the map before": conv(4) + conv(6) + route(0) + connected(3),
    "a [crop] that does not adjust": conv(4) + section("crop", crop_width=5, crop_height=6, noadjust=1) + conv(4),
    "alpha of a sum": conv(6) + conv(4) + shortcut(0, alpha=0.5) + conv(3),
    "a sum of lists": conv(4) + connected(4) + connected(4) + shortcut(1),
    "a product of lists": conv(4) + connected(4) + connected(4) + section("sam", from_=1) + connected(2),
    "lists joined": conv(4) + connected(4) + section("dropout") + connected(3) + route(-1, -2) + connected(2),
    "a list that gates": conv(4) + AVERAGE + connected(4) + section("scale_channels", from_=0) + conv(3),
    "softmax of a list": conv(4) + connected(4) + section("softmax"),
}


def told(net):
    return [notice.message for notice in net.notices if notice.reader == "opencv"]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_opencv_cannot_run_is_told(name, tmp_path):
    need.opencv()
    paths = write(tmp_path, cfg(REFUSED[name], width=8, height=8))
    net = load(paths[0], paths[1], "opencv")
    assert len(told(net)) == 1
    with pytest.raises(VerifyError):
        with OpenCVRunner(*paths) as runner:
            runner.infer(picture(net))


@pytest.mark.parametrize("name", sorted(READ))
def test_what_opencv_runs_is_not_told(name, tmp_path):
    need.opencv()
    paths = write(tmp_path, cfg(READ[name], width=8, height=8))
    net = load(paths[0], paths[1], "opencv")
    assert told(net) == []
    batch, layers = picture(net), heads(net)
    expected = NumpyRunner(net).infer(batch, layers)
    with OpenCVRunner(*paths) as runner:
        found = runner.infer(batch, layers)
    for index in layers:
        np.testing.assert_allclose(found[index].ravel(), expected[index].ravel(), atol=1e-5)


def test_the_messages():
    misread = "OpenCV DNN reckons with an input of 4 x 4 x 4 here, not of 8 x 8 x 4: misread weights"
    for name, message in (
        ("back to a larger map", misread),
        ("an average of a list", "OpenCV DNN refuses this layer: behind [connected] it has a plain list, no map"),
        ("[region] without num", "OpenCV DNN needs the option num"),
        ("two [region]", "OpenCV DNN refuses a second [region]"),
    ):
        assert told(build(parse(cfg(REFUSED[name], width=8, height=8)))) == [message]


def test_a_transposed_file(tmp_path):
    need.opencv()
    paths = write(tmp_path, cfg(conv(4) + connected(3)))
    net = load(*paths)
    net.header = Header(1001, 0, 0, 64, False)
    save(net, str(tmp_path / "old"))
    old = [str(tmp_path / ("old" + suffix)) for suffix in (".cfg", ".weights")]
    assert [(notice.reader, notice.message) for notice in load(*old).notices] == [
        ("opencv", "OpenCV DNN refuses weights with a version above 1000"),
        ("alexeyab", "AlexeyAB's Darknet takes 8 bytes for `seen`, these weights have 4: misread"),
    ]
    with pytest.raises(VerifyError):
        OpenCVRunner(*old).open()


def test_numpy_does_not_go_on_behind_a_head(tmp_path):
    paths = write(tmp_path, cfg(conv(6) + section("yolo", **YOLO) + conv(4)))
    net = load(*paths)
    batch = picture(net)
    assert sorted(NumpyRunner(net).infer(batch, [1])) == [1]
    with pytest.raises(Unsupported) as caught:
        NumpyRunner(net).infer(batch)
    assert str(caught.value) == (
        "error: layer 2: the numpy backend cannot run what reads the head of layer 1: "
        "each reader has other numbers there\n"
        "hint: read the layer before the head"
    )


def test_alpha_of_a_wider_map_as_opencv_multiplies_it(tmp_path):
    need.opencv()
    paths = write(tmp_path, cfg(conv(4) + conv(6) + shortcut(0, alpha=0.5)))
    net = load(paths[0], paths[1], "opencv")
    batch = picture(net)
    with OpenCVRunner(*paths) as runner:
        np.testing.assert_allclose(runner.infer(batch, [2])[2], NumpyRunner(net).infer(batch)[2], atol=1e-5)


def test_an_adjusting_crop_without_weights_behind_it(tmp_path):
    need.opencv()
    paths = write(tmp_path, cfg(conv(4) + section("crop", crop_width=5, crop_height=6)))
    net = load(paths[0], paths[1], "opencv")
    batch = picture(net)
    with OpenCVRunner(*paths) as runner:
        np.testing.assert_allclose(runner.infer(batch, [1])[1], NumpyRunner(net).infer(batch)[1], atol=1e-5)
