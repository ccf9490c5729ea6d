"""OpenCV and the real Darknet on the same small pair: each is the judge of the other."""

import os
import shutil
import sys
import tempfile
import types

import numpy as np
import pytest

import need
from darkprune.backends import darknet_
from darkprune.backends.darknet_ import DarknetRunner, layer_table
from darkprune.backends.opencv_ import OpenCVRunner, layer_outputs, one_line
from darkprune.errors import MissingDependency, Unsupported, VerifyError

NET = "[net]\nbatch=1\nwidth=16\nheight=12\nchannels=3\n"
CONV = "[convolutional]\nfilters={}\nsize={}\nstride=1\npad=1\ngroups={}\nbatch_normalize={}\nactivation={}\n"
YOLO = "[yolo]\nmask=0,1\nanchors=10,13, 16,30, 33,23\nclasses=3\nnum=3\n"
DETECTOR = (  # text of each layer, and (filters, channels of a filter, size, batch norm) of a convolution
    (CONV.format(8, 3, 1, 1, "leaky"), (8, 3, 3, 1)),
    ("[maxpool]\nsize=2\nstride=2\n", None),
    (CONV.format(8, 3, 1, 1, "leaky"), (8, 8, 3, 1)),
    ("[shortcut]\nfrom=-2\nactivation=leaky\n", None),
    (CONV.format(12, 1, 1, 1, "linear"), (12, 8, 1, 1)),
    ("[dropout]\nprobability=.5\n", None),
    ("[upsample]\nstride=2\n", None),
    ("[route]\nlayers=-1,-7\n", None),
    (CONV.format(8, 3, 4, 1, "leaky"), (8, 5, 3, 1)),
    ("[route]\nlayers=-1\n", None),
    (CONV.format(16, 1, 1, 0, "linear"), (16, 8, 1, 0)),
    (YOLO, None),
)
CLASSIFIER = (
    (CONV.format(6, 3, 1, 0, "leaky"), (6, 3, 3, 0)),
    ("[avgpool]\n", None),
    ("[softmax]\ngroups=1\n", None),
    ("[cost]\ntype=sse\n", None),
)
DETECTOR_FLOATS = (8 * 27 + 32) + (8 * 72 + 32) + (12 * 8 + 48) + (8 * 45 + 32) + (16 * 8 + 16)


def write_pair(folder, layers, stem="net"):
    """A pair with seeded weights: paths of cfg and weights."""
    random = np.random.RandomState(7)
    arrays = [np.array([0, 2, 5], "<i4").tobytes(), np.array([0], "<u8").tobytes()]
    for _, shape in layers:
        if shape is None:
            continue
        filters, channels, size, normalized = shape
        values = [random.randn(filters) * 0.5]  # biases
        if normalized:  # scales, means, variances
            values += [random.randn(filters), random.randn(filters), random.rand(filters) + 0.5]
        values.append(random.randn(filters * channels * size * size) / np.sqrt(channels * size * size))
        arrays += [value.astype("<f4").tobytes() for value in values]
    cfg, weights = folder / (stem + ".cfg"), folder / (stem + ".weights")
    cfg.write_bytes((NET + "".join(text for text, _ in layers)).encode("ascii"))
    weights.write_bytes(b"".join(arrays))
    return str(cfg), str(weights)


def images(count=2):
    return np.random.RandomState(3).rand(count, 3, 12, 16).astype(np.float32)


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path, DETECTOR)


@pytest.fixture
def temp(tmp_path, monkeypatch):
    """The folder of temporary files, which must be empty when the test has ended."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(str(folder)) == []


@pytest.fixture
def cv2():
    return need.opencv()


@pytest.fixture
def libdarknet(temp):
    return need.libdarknet()


def test_activation_belongs_to_the_layer_before_it_whatever_its_number():
    new = ("conv_0", "bn_0", "leaky_1", "conv_1", "relu_2", "shortcut_2", "leaky_3", "conv_3", "bn_3")
    old = ("conv_0", "bn_0", "relu_0", "conv_1", "relu_1", "shortcut_2", "relu_2", "conv_3", "bn_3")
    assert layer_outputs(new) == {0: "leaky_1", 1: "relu_2", 2: "leaky_3", 3: "bn_3"}
    assert layer_outputs(old) == {0: "relu_0", 1: "relu_1", 2: "relu_2", 3: "bn_3"}


def test_heads_have_no_output_and_crop_ends_in_its_scaling():
    names = ("crop_0", "adjust_crop_1", "conv_1", "permute_2", "yolo_2", "identity_3", "permute_4", "detection_out")
    assert layer_outputs(names) == {0: "adjust_crop_1", 1: "conv_1", 3: "identity_3"}


def test_one_line_keeps_the_cause_of_an_opencv_error():
    text = "OpenCV(4.12.0) /build/dnn/src/darknet_io.cpp:250: error: (-212:Parsing error) Bad\n thing in function 'f'\n"
    assert one_line(Exception(text)) == "Parsing error: Bad thing in function 'f'"


def test_both_readers_agree_on_every_layer(cv2, libdarknet, pair):
    with OpenCVRunner(*pair) as runner:
        seen = runner.infer(images())
    with DarknetRunner(*pair) as runner:
        real = runner.infer(images())
    assert sorted(seen) == list(range(11))  # all but the head
    assert sorted(real) == list(range(12))
    for layer in seen:
        assert seen[layer].dtype == real[layer].dtype == np.float32
        assert seen[layer].shape == real[layer].shape
        assert np.abs(seen[layer] - real[layer]).max() < 1e-3, layer
        assert np.abs(real[layer]).max() > 0.1, layer  # agreement on zeros would prove nothing
    assert real[11].shape == (2, 16, 12, 16)
    raw = seen[10][:, 4]  # objectness of the first anchor: Darknet's head activates it
    assert np.abs(real[11][:, 4] - 1 / (1 + np.exp(-raw))).max() < 1e-4


@pytest.mark.parametrize("runner_class", [OpenCVRunner, DarknetRunner])
def test_each_image_of_a_batch_gets_its_own_output(cv2, libdarknet, pair, runner_class):
    batch = images(3)
    with runner_class(*pair) as runner:
        together = runner.infer(batch, [10, 3])
        alone = [runner.infer(batch[i : i + 1], [10, 3]) for i in range(3)]
    assert sorted(together) == [3, 10]
    for layer in together:
        assert together[layer].shape[0] == 3
        for i in range(3):
            np.testing.assert_allclose(together[layer][i], alone[i][layer][0], atol=1e-5)
    assert np.abs(together[10][0] - together[10][1]).max() > 1e-3


def test_output_of_a_classifier_is_the_layer_before_cost(cv2, libdarknet, tmp_path):
    pair = write_pair(tmp_path, CLASSIFIER)
    with DarknetRunner(*pair) as runner:
        real = runner.infer(images())
        with pytest.raises(Unsupported) as caught:
            runner.infer(images(), [3])
    assert str(caught.value) == pair[0] + ": error: the real Darknet gives no output of layer 3"
    with OpenCVRunner(*pair) as runner:
        seen = runner.infer(images(), [1, 2])
    assert sorted(real) == [0, 1, 2]
    assert real[2].shape == seen[2].shape == (2, 6, 1, 1)
    np.testing.assert_allclose(real[2].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(seen[1], real[1], atol=1e-5)
    np.testing.assert_allclose(seen[2], real[2], atol=1e-5)


def test_layer_table(libdarknet, pair):
    rows = layer_table(pair[0]).splitlines()
    assert "    1 max          2 x 2 / 2    16 x  12 x   8   ->     8 x   6 x   8" in rows
    assert "   11 yolo" in rows
    assert "Loading weights" in layer_table(*pair)


@pytest.mark.parametrize("name", [b"lat\xe9", "n\u00e9t".encode("utf-8")])
def test_opencv_reads_a_path_in_any_encoding(cv2, pair, tmp_path, name):
    folder = os.fsdecode(os.path.join(os.fsencode(str(tmp_path)), name))
    os.mkdir(folder)
    moved = [shutil.copy(path, folder) for path in pair]
    with OpenCVRunner(*pair) as runner:
        expected = runner.infer(images())
    with OpenCVRunner(*moved) as runner:
        found = runner.infer(images())
    assert sorted(found) == sorted(expected)
    for layer in expected:
        np.testing.assert_array_equal(found[layer], expected[layer])


def test_opencv_and_a_cfg_that_is_not_there(cv2, pair, tmp_path):
    missing = str(tmp_path) + os.fsdecode(b"/\xe9.cfg")
    with pytest.raises(VerifyError) as caught:
        OpenCVRunner(missing, pair[1]).open()
    text = "{}: error: cannot read the file: No such file or directory\nhint: check the path"
    assert str(caught.value) == text.format(missing)


def test_opencv_refuses_a_cfg(cv2, tmp_path):
    _, weights = write_pair(tmp_path, DETECTOR)
    cfg, _ = write_pair(tmp_path, (("[foo]\n", None),), "bad")
    with pytest.raises(VerifyError) as caught:
        OpenCVRunner(cfg, weights).open()
    expected = "{}: error: OpenCV refuses the pair: Parsing error: Unknown layer type: foo".format(cfg)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_opencv_cannot_run_a_net(cv2, tmp_path, capfd):
    head = CONV.format(16, 1, 1, 0, "linear"), (16, 3, 1, 0)
    with OpenCVRunner(*write_pair(tmp_path, (head, (YOLO, None)))) as runner:
        with pytest.raises(VerifyError) as caught:
            runner.infer(np.zeros((1, 4, 12, 16), np.float32))
        with pytest.raises(Unsupported) as no_tensor:
            runner.infer(images(), [1])
    assert caught.value.message.startswith("OpenCV cannot run the net: ")
    assert "\n" not in caught.value.message
    assert no_tensor.value.message == "OpenCV has no tensor that is the output of layer 1"
    if hasattr(cv2.utils, "logging"):  # 4.1 cannot be told to be quiet
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "text, message",
    [
        ("[net]\r\nwidth=8\r\n", "First section must be [net] or [network]"),
        (NET + "[foo]\n" + CONV.format(8, 3, 1, 1, "leaky"), "layer 0: Type not recognized: [foo]"),
        (
            NET + "[softmax]\n" + CONV.format(8, 3, 1, 1, "relu"),
            "layer 1: Layer before convolutional layer must output image",
        ),
        (NET + CONV.format(17, 1, 1, 0, "linear") + YOLO, "Assertion `l.outputs == params.inputs' failed."),
    ],
)
def test_darknet_refuses_a_cfg(libdarknet, tmp_path, text, message):
    _, weights = write_pair(tmp_path, DETECTOR)
    cfg = tmp_path / "bad.cfg"
    cfg.write_bytes(text.encode("ascii"))
    with pytest.raises(VerifyError) as caught:
        DarknetRunner(str(cfg), weights).open()
    assert caught.value.message == "the real Darknet refuses the pair: {} (SIGABRT)".format(message)
    assert caught.value.hint == ("this Darknet needs LF line ends and no byte order mark" if "\r" in text else None)


def test_darknet_without_a_cfg(libdarknet, tmp_path):
    missing = str(tmp_path / "none.cfg")
    with pytest.raises(VerifyError) as caught:  # Darknet itself ends with status 0 here
        layer_table(missing)
    assert caught.value.message == (
        "the real Darknet refuses the pair: Couldn't open file: {} (exit status 0)".format(missing)
    )


@pytest.mark.parametrize(
    "runner_class, reader, cure",
    [
        (OpenCVRunner, "OpenCV {}", ", the file was cut, or this OpenCV is too old for the cfg (4.2 and older"),
        (DarknetRunner, "the real Darknet", ", or the file was cut"),
    ],
)
def test_weights_that_are_too_short(cv2, libdarknet, pair, runner_class, reader, cure):
    cfg, weights = pair
    assert os.path.getsize(weights) == 20 + 4 * DETECTOR_FLOATS
    os.truncate(weights, 16 + 4 * DETECTOR_FLOATS)
    with pytest.raises(VerifyError) as caught:
        runner_class(cfg, weights).open()
    reader = reader.format(cv2.__version__)
    counts = "reads {} floats for this cfg, the file holds {}".format(DETECTOR_FLOATS, DETECTOR_FLOATS - 1)
    assert caught.value.message == reader + " " + counts
    assert caught.value.where.path == weights
    assert caught.value.hint.startswith("these weights belong to another cfg" + cure)


def test_darknet_takes_only_images_of_the_size_in_the_cfg(libdarknet, pair):
    with DarknetRunner(*pair) as runner:
        with pytest.raises(VerifyError) as caught:
            runner.infer(np.zeros((1, 3, 16, 12), np.float32))
    assert caught.value.message == (
        "the real Darknet cannot run the batch: the net takes images of 3x12x16 (channels, height, width), "
        "the batch has 3x16x12"
    )


def test_darknet_that_does_not_end(libdarknet, pair):
    with pytest.raises(VerifyError) as caught:
        layer_table(pair[0], timeout=0.001)
    assert caught.value.message == "the real Darknet did not finish within 0.001 s"


def test_no_opencv(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependency) as caught:
        OpenCVRunner(*pair).open()
    assert caught.value.message.startswith("OpenCV cannot be imported: ")
    assert caught.value.hint == 'pip install "opencv-python>=4.1,<5"'


def test_opencv_5(pair, monkeypatch):
    fake = types.ModuleType("cv2")
    fake.dnn = types.ModuleType("cv2.dnn")
    fake.__version__ = "5.0.0"
    monkeypatch.setitem(sys.modules, "cv2", fake)
    with pytest.raises(MissingDependency) as caught:
        OpenCVRunner(*pair).open()
    assert str(caught.value) == (
        "error: OpenCV 5.0.0 cannot read Darknet files: OpenCV 5 removed the Darknet importer\n"
        'hint: pip install "opencv-python>=4.1,<5"'
    )


def test_no_darknet(pair, monkeypatch):
    monkeypatch.delenv(darknet_.VARIABLE, raising=False)
    monkeypatch.setattr(darknet_.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(darknet_, "_DEBIAN", os.devnull + "/none")
    with pytest.raises(MissingDependency) as caught:
        DarknetRunner(*pair).open()
    assert str(caught.value) == (
        "error: the real Darknet (libdarknet.so) is not installed\n"
        "hint: apt-get install darknet, or set DARKPRUNE_LIBDARKNET to the path of libdarknet.so"
    )


def test_variable_that_names_no_library(pair, temp, monkeypatch):
    monkeypatch.setenv(darknet_.VARIABLE, pair[0] + ".so")
    with pytest.raises(MissingDependency) as caught:
        DarknetRunner(*pair).open()
    assert caught.value.message == "DARKPRUNE_LIBDARKNET names no file: {}.so".format(pair[0])
    monkeypatch.setenv(darknet_.VARIABLE, pair[0])  # a file, but no library
    with pytest.raises(MissingDependency) as caught:
        DarknetRunner(*pair).open()
    assert caught.value.message.startswith("the real Darknet cannot be used: the library cannot be loaded: ")
