"""Images to ranges: against what numpy sees, in every runner, in any order, interrupted and taken up again."""

import os

import numpy as np
import pytest

import need
import small_nets
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.registry import open_runner
from darkprune.detect.preprocess import load_image
from darkprune.errors import CalibrationError, DarkpruneError, OutputError, Unsupported, UsageError
from darkprune.graph.build import load
from darkprune.quant import calibrate as module
from darkprune.quant import checkpoint
from darkprune.quant.calibrate import calibrate, preprocessing_of
from darkprune.quant.entropy import threshold
from darkprune.quant.histogram import count_in_numpy
from darkprune.quant.observe import measured_tensors
from darkprune.quant.range_methods import METHODS, Method
from darkprune.quant.ranges import Range
from darkprune.quant.tensors import ranged_tensors
from small_nets import HEAD, conv, route, section, shortcut

POOL = section("maxpool", size=2, stride=2)
NET = small_nets.cfg(
    conv(8), POOL, conv(8, activation="relu"), conv(8), shortcut(-2), section("upsample", stride=2), route(-1, 0), HEAD
)
MISH = small_nets.cfg(conv(8, activation="mish"), conv(8, activation="swish"), shortcut(-2, "leaky"), HEAD)
COUNT = 5


@pytest.fixture
def images(tmp_path):
    """Pictures that differ in brightness."""
    cv2 = need.opencv()
    (tmp_path / "images").mkdir()
    paths = []
    for number in range(COUNT):
        pixels = np.random.RandomState(number).randint(0, 60 + 45 * number, (20, 30, 3)).astype(np.uint8)
        paths.append(str(tmp_path / "images" / "{}.png".format(number)))
        assert cv2.imwrite(paths[-1], pixels)
    return paths


def measured(folder, images, text=NET, runner="numpy", method="max", **options):
    paths = small_nets.write(folder, text)
    net = load(*paths)
    with open_runner(runner, *paths) as opened:
        return calibrate(opened, net, images, Method.parse(method), **options)


def seen(folder, images, text=NET):
    """The values of each tensor that numpy sees, by name; what activations read is not among them."""
    net = load(*small_nets.write(folder, text))
    batch = np.concatenate([load_image(path, 16, 16) for path in images])
    found = NumpyRunner(net).infer(batch)
    found[-1] = batch
    return {x.name: found[x.layer].astype(np.float64) for x in ranged_tensors(net) if not x.before}


def test_max_is_what_numpy_sees(tmp_path, images):
    made, expected = measured(tmp_path, images, preprocessing="stretch"), seen(tmp_path, images)
    pooled = {"L001_maxpool": "L000_convolutional", "L005_upsample": "L004_shortcut"}
    for name, values in expected.items():
        values = expected[pooled.get(name, name)]
        low, high = min(values.min(), 0), max(values.max(), 0)
        assert made.ranges.tensors[name] == Range(low, high, max(-low, high)), name
    assert made.notices == [] and made.resumed == 0


def test_entropy_is_that_of_an_exact_histogram(tmp_path, images):
    made = measured(tmp_path, images, method="entropy", preprocessing="stretch")
    for name, values in seen(tmp_path, images).items():
        if name in made.histograms:
            amax = np.abs(values).max()
            exact = np.cumsum(np.histogram(np.abs(values), 2048, (0, amax))[0])
            assert made.histograms[name].count == values.size
            assert made.histograms[name].amax == amax
            found = made.histograms[name].magnitudes(2048)
            below = np.cumsum(found)  # what our finer bins blur is less than one bin
            assert (below[1:-1] >= exact[:-2] - 1e-6).all() and (below[1:-1] <= exact[2:] + 1e-6).all()
            assert made.ranges.tensors[name].amax == pytest.approx(threshold(found, amax), rel=1e-12)


def test_what_is_written_down(tmp_path, images):
    ranges = measured(tmp_path, images, method="percentile:99.9").ranges
    assert (ranges.width, ranges.height, ranges.channels, ranges.images) == (16, 16, 3, COUNT)
    assert (ranges.method, ranges.dialect) == ({"name": "percentile", "percent": 99.9}, "alexeyab")
    net = load(*small_nets.write(tmp_path, NET))
    ranges.require(net)
    assert list(ranges.tensors) == [tensor.name for tensor in ranged_tensors(net)]
    assert ranges.keep_float == [] and len(ranges.images_sha256) == 64


def assert_like(first, second):
    """That the counts are those of nearly the same values."""
    assert list(first) == list(second)
    for name, found in first.items():
        other = second[name]
        tolerance = 2e-3 * found.amax
        np.testing.assert_allclose([other.low, other.high], [found.low, found.high], rtol=0, atol=tolerance)
        for share in (0.1, 0.5, 0.9):
            assert other.quantile(share) == pytest.approx(found.quantile(share), abs=tolerance)


@pytest.mark.parametrize("runner", ["torch", "onnxruntime", "opencv", "darknet"])
def test_runners_agree(tmp_path, images, runner):
    need.runner(runner)
    first, second = measured(tmp_path, images), measured(tmp_path, images, runner=runner)
    assert list(first.ranges.tensors) == list(second.ranges.tensors)
    assert_like(first.histograms, second.histograms)


@pytest.mark.parametrize("runner", ["torch", "onnxruntime"])
def test_runners_agree_on_what_activations_read(tmp_path, images, runner):
    need.runner(runner)
    first = measured(tmp_path, images, MISH)
    assert [x.name for x in measured_tensors(load(*small_nets.write(tmp_path, MISH)))] == [
        "data",
        "L000_convolutional_before",
        "L000_convolutional",
        "L001_convolutional_before",
        "L001_convolutional",
        "L002_shortcut",  # what its leaky reads is derived
        "L003_convolutional",
    ]
    assert "L002_shortcut_before" in first.ranges.tensors
    assert_like(first.histograms, measured(tmp_path, images, MISH, runner).histograms)


@pytest.mark.parametrize("runner, method", [("numpy", name) for name in METHODS] + [("onnxruntime", "entropy")])
def test_the_order_of_the_images_and_the_batches_make_no_difference(tmp_path, images, runner, method, monkeypatch):
    need.runner(runner)
    first = measured(tmp_path, images, MISH, runner, method).ranges.to_bytes()
    monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    assert measured(tmp_path, images[::-1], MISH, runner, method).ranges.to_bytes() == first
    assert measured(tmp_path, images[:-1], MISH, runner, method).ranges.to_bytes() != first


def test_histograms_in_numpy_are_those_of_opencv(tmp_path, images, monkeypatch):
    first = measured(tmp_path, images).histograms
    monkeypatch.setattr(module, "counter", lambda: count_in_numpy)
    second = measured(tmp_path, images).histograms
    for name, found in first.items():
        np.testing.assert_array_equal(found.counts, second[name].counts)


# ---- interrupted


class Interrupted(Exception):
    pass


def stopping(after):
    """A progress that ends the calibration behind that many images."""

    def progress(items):
        for number, item in enumerate(items, 1):
            if number == after:
                raise Interrupted
            yield item

    return progress


@pytest.fixture
def often(monkeypatch):
    """A checkpoint behind every image."""
    monkeypatch.setattr(module, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(module, "SECONDS", 0.0)


def test_taken_up_again(tmp_path, images, often):
    path = str(tmp_path / "out.json.checkpoint")
    expected = measured(tmp_path, images, method="entropy").ranges.to_bytes()
    with pytest.raises(Interrupted):
        measured(tmp_path, images, method="entropy", resume=path, progress=stopping(3))
    assert os.path.exists(path)
    shown = []
    made = measured(tmp_path, images, method="entropy", resume=path, progress=lambda x: shown.append(len(x)) or x)
    assert made.ranges.to_bytes() == expected
    assert (made.resumed, shown) == (3, [2])
    assert not os.path.exists(path)


@pytest.mark.parametrize("change", ["images", "weights", "runner", "damage", "cut"])
def test_a_checkpoint_of_something_else_is_not_taken(tmp_path, images, often, change):
    path = str(tmp_path / "out.json.checkpoint")
    with pytest.raises(Interrupted):
        measured(tmp_path, images, resume=path, progress=stopping(3))
    with open(path, "rb") as stream:
        data = stream.read()
    runner = "numpy"
    if change == "images":
        images = images[:3] + images[:2]
    if change == "weights":
        small_nets.make_weights.make(str(tmp_path / "net.cfg"), str(tmp_path / "net.weights"), seed=8, dead=0.5)
    if change == "runner":
        runner = "opencv"
    if change == "damage":
        data = data[:-1] + bytes([data[-1] ^ 1])
    if change == "cut":
        data = data[:-8]
    with open(path, "wb") as stream:
        stream.write(data)
    net = load(str(tmp_path / "net.cfg"), str(tmp_path / "net.weights"))
    with open_runner(runner, str(tmp_path / "net.cfg"), str(tmp_path / "net.weights")) as opened:
        made = calibrate(opened, net, images, Method("max"), resume=path)
    assert made.resumed == 0 and made.ranges.images == len(images)


def test_a_file_that_is_no_checkpoint_stays(tmp_path, images, often):
    path = tmp_path / "out.json.checkpoint"
    path.write_bytes(b"my notes")
    with pytest.raises(OutputError) as caught:
        measured(tmp_path, images, resume=str(path))
    assert str(caught.value) == (
        "{}: error: this is no checkpoint of a calibration, but one is to be written here\n"
        "hint: move it away, or choose another output".format(path)
    )
    assert path.read_bytes() == b"my notes"


def test_no_room_for_a_checkpoint(tmp_path, images, often, monkeypatch):
    def full(*_, **__):
        raise OutputError("cannot write the file: No space left on device")

    monkeypatch.setattr(checkpoint, "write_file", full)
    with pytest.raises(OutputError):
        measured(tmp_path, images, resume=str(tmp_path / "out.json.checkpoint"))
    assert not (tmp_path / "out.json.checkpoint").exists()


# ---- what cannot be calibrated


def error(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        measured(*arguments, **options)
    return str(caught.value)


def test_no_images(tmp_path):
    assert error(UsageError, tmp_path, []) == (
        "error: no images to calibrate with\nhint: give some that show what the net will see"
    )


def test_images_that_cannot_be_read(tmp_path, images):
    with open(images[3], "wb") as stream:
        stream.write(b"no image")
    assert error(UsageError, tmp_path, images) == (
        "{}: error: cannot read the image\nhint: give a JPEG, PNG or BMP file".format(images[3])
    )
    os.remove(images[1])
    assert error(UsageError, tmp_path, images) == (
        "{}: error: cannot read the image: No such file or directory\nhint: check the path".format(images[1])
    )


def test_values_that_are_not_finite(tmp_path, images):
    paths = small_nets.write(tmp_path, NET)
    net = load(*paths)
    net.layers[2].set_param("scales", np.full(8, 3e38))
    dark = images[2]
    with pytest.raises(CalibrationError) as caught:
        calibrate(NumpyRunner(net), net, [dark], Method("max"))
    assert str(caught.value) == (
        "{}:15: error: L002_convolutional has values that are not finite for the image {}\n"
        "   15 | [convolutional]\n      | ^^^^^^^^^^^^^^^\n"
        "hint: the weights are damaged, or those of another cfg".format(paths[0], dark)
    )


def test_a_tensor_of_zeros_is_told(tmp_path, images):
    paths = small_nets.write(tmp_path, NET)
    net = load(*paths)
    for name in ("scales", "biases"):
        net.layers[2].set_param(name, np.zeros(8))
    made = calibrate(NumpyRunner(net), net, images, Method("entropy"))
    assert made.ranges.tensors["L002_convolutional"] == Range(0.0, 0.0, 0.0)
    assert [str(notice) for notice in made.notices] == [
        "{}:15: warning: L002_convolutional is 0 everywhere on these images: it gets scale 1\n"
        "   15 | [convolutional]\n      | ^^^^^^^^^^^^^^^".format(paths[0])
    ]


@pytest.mark.parametrize("runner", ["opencv"])
def test_a_runner_that_shows_too_little(tmp_path, images, runner):
    need.runner(runner)
    text = small_nets.cfg(conv(8, activation="logistic"), HEAD)
    assert error(Unsupported, tmp_path, images, text, runner) == (
        "{}:6: error: the runner {} does not show what the logistic of layer <0 convolutional> reads\n"
        "    6 | activation=logistic\n      |            ^^^^^^^^\n"
        "hint: use --runner onnxruntime, torch or numpy".format(tmp_path / "net.cfg", runner)
    )


def test_a_net_without_images(tmp_path, images):
    text = small_nets.cfg(section("connected", output=4), width=0, height=0, channels=0, inputs=12)
    with pytest.raises(DarkpruneError) as caught:
        measured(tmp_path, images, text)
    assert "flat values, not an image" in str(caught.value)


def test_preprocessing_is_that_of_inference(tmp_path):
    head = conv(24, 1, "linear", None)
    yolo = head + section("yolo", mask="0,1,2", anchors="1,2, 3,4, 5,6", classes=3, num=3)
    detector = load(*small_nets.write(tmp_path, small_nets.cfg(yolo), "detector"))
    boxed = load(*small_nets.write(tmp_path, small_nets.cfg(yolo, letter_box=1), "boxed"))
    classifier = load(*small_nets.write(tmp_path, small_nets.cfg(head, section("avgpool")), "classifier"))
    assert [preprocessing_of(net) for net in (detector, boxed, classifier)] == ["stretch", "letterbox", "centre"]
    assert preprocessing_of(detector, True) == preprocessing_of(classifier, True) == "letterbox"
