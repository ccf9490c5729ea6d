"""`darkprune export`: the file, what it says about itself, who reads it, and what is said of bad input."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import need
from bad_input import Cases, snapshot
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.onnx_file import all_decoded
from darkprune.cli.main import main
from darkprune.detect.decode import decode
from darkprune.detect.nms import suppress
from darkprune.graph.build import load
from darkprune.graph.key import pair_key
from darkprune.graph.net import heads
from darkprune.graph.save import save
from darkprune.verify import test_batch as picture
from small_nets import cfg, conv, route, section, shortcut, write

BOXES = {"anchors": "4,5, 6,9, 12,8", "classes": 3, "num": 3, "scale_x_y": 1.05}
NET = cfg(
    conv(8, stride=2),
    conv(8, 3, "mish"),
    shortcut(-2),
    conv(24, 1, "linear", None),
    section("yolo", mask="1,2", **BOXES),
    route(-3),
    section("upsample", stride=2),
    conv(8, 1, "linear", None),
    section("yolo", mask="0", **BOXES),
    width=32,
    height=16,
).replace("filters=24", "filters=16")
EXPORT = ["export", "net.cfg", "net.weights", "-o", "net.onnx"]
case = Cases()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder with net.cfg and net.weights, which the tests of bad input call good."""
    monkeypatch.chdir(str(tmp_path))
    write(tmp_path, NET)
    return tmp_path


def export(capsys, *more):
    need.onnx(), need.onnxruntime()
    assert main(EXPORT + list(more)) == 0
    return capsys.readouterr()


def test_what_it_says(folder, capsys):
    out, err = export(capsys)
    lines = out.splitlines()
    assert err == "" and lines[:3] == [
        "input   data  1 x 3 x 16 x 32",
        "output  L003_convolutional  1 x 16 x 8 x 16",
        "output  L007_convolutional  1 x 8 x 16 x 32",
    ]
    assert lines[3].startswith("ONNX Runtime ") and " agrees with numpy: largest error " in lines[3]
    assert lines[4] == "wrote net.onnx, {:,} bytes".format(os.path.getsize("net.onnx")) and len(lines) == 5


def test_the_same_input_gives_the_same_bytes(folder, capsys):
    export(capsys)
    data = (folder / "net.onnx").read_bytes()
    export(capsys, "--overwrite")
    assert (folder / "net.onnx").read_bytes() == data


@pytest.mark.parametrize("batch, sizes", [("1", [1]), ("3", [3]), ("dynamic", [1, 2, 5])])
def test_batches(folder, capsys, batch, sizes):
    found = json.loads(export(capsys, "--batch", batch, "--json").out)
    first = "N" if batch == "dynamic" else int(batch)
    assert found["batch"] == batch and found["inputs"] == {"data": [first, 3, 16, 32]}
    assert found["outputs"]["L007_convolutional"] == [first, 8, 16, 32] and found["agreement"]["ok"] is True
    net, runtime = load("net.cfg", "net.weights"), need.onnxruntime()
    session = runtime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    for size in sizes:
        images = np.concatenate([picture(net, seed=seed) for seed in range(size)])
        expected = NumpyRunner(net).infer(images, heads(net))
        for y, wanted in zip(session.run(None, {"data": images}), (expected[3], expected[7])):
            assert y.shape == wanted.shape and np.abs(y - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_metadata(folder, capsys):
    (folder / "net.names").write_text("cat\ndog\nbird\n")
    assert export(capsys).err == "using net.names\n"
    model = need.onnx().load("net.onnx")
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert model.producer_name == "darkprune" and model.opset_import[0].version == 13 and model.ir_version == 7
    assert said["darkprune.pair"] == pair_key(load("net.cfg", "net.weights"))
    assert (said["darkprune.dialect"], said["darkprune.preprocessing"]) == ("alexeyab", "stretch")
    assert json.loads(said["darkprune.names"]) == ["cat", "dog", "bird"]
    assert json.loads(said["darkprune.input"]) == {
        "name": "data",
        "width": 32,
        "height": 16,
        "channels": 3,
        "values": "RGB, 0..1",
    }
    assert json.loads(said["darkprune.heads"])[1] == {
        "output": "L007_convolutional",
        "layer": 8,
        "type": "yolo",
        "classes": 3,
        "num": 3,
        "mask": [0],
        "anchors": [4, 5, 6, 9, 12, 8],
        "scale_x_y": 1.05,
    }


def test_tensors_are_called_after_layers(folder, capsys):
    export(capsys)
    nodes = need.onnx().load("net.onnx").graph.node
    assert [(node.op_type, node.output[0]) for node in nodes] == [
        ("Conv", "L000_convolutional_before"),
        ("LeakyRelu", "L000_convolutional"),
        ("Conv", "L001_convolutional_before"),
        ("Softplus", "L001_convolutional_mish_softplus"),
        ("Tanh", "L001_convolutional_mish_tanh"),
        ("Mul", "L001_convolutional"),
        ("Add", "L002_shortcut"),
        ("Conv", "L003_convolutional"),
        ("Resize", "L006_upsample"),
        ("Conv", "L007_convolutional"),
    ]
    assert all(node.name == node.output[0] for node in nodes)


def test_another_size(folder, capsys):
    found = json.loads(export(capsys, "--width", "64", "--height", "64", "--json").out)
    assert found["inputs"] == {"data": [1, 3, 64, 64]} and found["agreement"]["ok"] is True


def test_a_classifier(folder, capsys):
    text = cfg(conv(8), section("avgpool"), conv(3, 1, "linear", None), section("softmax"), section("cost"))
    write(folder, text)
    (folder / "some.names").write_text("cat\ndog\nbird\n")
    found = json.loads(export(capsys, "--names", "some.names", "--json").out)
    assert found["outputs"] == {"L003_softmax": [1, 3, 1, 1]}
    said = {entry.key: entry.value for entry in need.onnx().load("net.onnx").metadata_props}
    assert said["darkprune.preprocessing"] == "centre" and said["darkprune.heads"] == "[]"
    assert json.loads(said["darkprune.names"]) == ["cat", "dog", "bird"]


def test_without_onnxruntime_it_is_written_and_that_is_said(folder, capsys, monkeypatch):
    need.onnx()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(EXPORT) == 0
    assert capsys.readouterr().out.splitlines()[3] == (
        "not compared with numpy: onnxruntime cannot be imported: import of onnxruntime halted; None in sys.modules "
        "(pip install onnxruntime)"
    )


def test_a_model_that_differs_is_a_failed_check(folder, capsys, monkeypatch):
    need.onnx(), need.onnxruntime()
    from darkprune.backends import onnx_activations

    monkeypatch.setitem(onnx_activations.FUNCTIONS, "mish", lambda f, x: f.Relu(x))
    assert main(EXPORT) == 1
    assert " DIFFERS from numpy: largest error " in capsys.readouterr().out


# ---- decoded heads and wider convolutions


def test_decoded_heads(folder, capsys):
    out, err = export(capsys, "--decode", "--batch", "dynamic")
    lines = out.splitlines()
    assert err == "" and lines[1:3] == ["output  boxes  N x 768 x 4", "output  scores  N x 768 x 3"]
    assert " agrees with numpy: largest error " in lines[3]
    net, images = load("net.cfg", "net.weights"), np.concatenate([picture(load("net.cfg"), seed=i) for i in range(2)])
    found = decode(net, NumpyRunner(net).infer(images, heads(net)), 0.3)
    session = need.onnxruntime().InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"data": images})
    for expected, mine, confidences in zip(found, boxes, scores):
        likely = (confidences > 0.3).any(axis=1)
        assert likely.any()
        expected = expected.select((expected.scores > 0).any(axis=1))
        np.testing.assert_allclose(mine[likely], expected.boxes, rtol=1e-5, atol=1e-5)
        kept = np.where(confidences[likely] > 0.3, confidences[likely], 0)
        np.testing.assert_allclose(kept, expected.scores, rtol=1e-5, atol=1e-5)
    said = {entry.key: entry.value for entry in need.onnx().load("net.onnx").metadata_props}
    assert sorted(json.loads(said["darkprune.decoded"])) == ["boxes", "scores"]


def test_suppressed_boxes(folder, capsys):
    (folder / "net.cfg").write_text(NET + "nms_kind=greedynms\n")
    out, err = export(capsys, "--nms", "--thresh", "0.3", "--nms-thresh", "0.4", "--pad-channels", "16")
    lines = out.splitlines()
    assert lines[1:3] == ["output  detections  objects x 7", "output  selected  objects x 3"]
    assert " agrees with numpy: largest error " in lines[3]
    assert err.startswith("net.cfg:") and "the graph suppresses boxes by their plain IoU, not by nms_kind=gr" in err
    net = load("net.cfg", "net.weights")
    (found,) = decode(net, NumpyRunner(net).infer(picture(net), heads(net)), 0.3)
    session = need.onnxruntime().InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    (detections,) = session.run(["detections"], {"data": picture(net)})
    scores = suppress(found.boxes, found.scores, 0.4)
    rows, classes = np.nonzero(scores)
    expected = np.column_stack([classes, scores[rows, classes], found.boxes[rows]])
    order = np.lexsort((-expected[:, 1], expected[:, 0]))
    assert 0 < len(rows) < np.count_nonzero(found.scores)
    np.testing.assert_allclose(detections[:, 1:], expected[order], rtol=1e-5, atol=1e-5)
    said = {entry.key: entry.value for entry in need.onnx().load("net.onnx").metadata_props}
    assert json.loads(said["darkprune.nms"]) == {"thresh": 0.3, "nms_thresh": 0.4, "overlap": "IoU"}


def test_a_graph_that_decodes_otherwise_is_a_failed_check(folder, capsys, monkeypatch):
    need.onnx(), need.onnxruntime()
    from darkprune.backends import onnx_file

    right = onnx_file.all_decoded
    monkeypatch.setattr(onnx_file, "all_decoded", lambda *pair: [x + 1e-3 * x.max() for x in right(*pair)])
    assert main(EXPORT + ["--nms"]) == 1
    assert " DIFFERS from numpy: largest error " in capsys.readouterr().out


def test_boxes_without_end(folder, capsys):
    """exp of what the convolution gives here exceeds float32, and float64."""
    need.onnx(), need.onnxruntime()
    net = load("net.cfg", "net.weights")
    biases = net.layers[3].array("biases").copy()
    biases[2], biases[3] = 100, 800
    net.layers[3].set_param("biases", biases)
    save(net, "huge")
    assert main(["export", "huge.cfg", "huge.weights", "-o", "huge.onnx", "--decode", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agreement"]["ok"] is True


def test_padded_channels(folder, capsys):
    plain = json.loads(export(capsys, "--json").out)
    padded = json.loads(export(capsys, "--overwrite", "--pad-channels", "16", "--json").out)
    assert padded["agreement"]["ok"] is True and padded["outputs"] == plain["outputs"]
    weights = {x.name: list(x.dims) for x in need.onnx().load("net.onnx").graph.initializer}
    assert weights["L001_convolutional_weights"] == [16, 16, 3, 3]
    assert weights["L003_convolutional_weights"] == [16, 16, 1, 1] and padded["bytes"] > plain["bytes"]


# ---- who reads it


def in_opencv(path, folder):
    """The outputs by name of net.onnx in the OpenCV of that folder, or in this Python's, and its version."""
    argv = [sys.executable, str(need.ROOT / "tools" / "onnx_opencv.py"), "net.onnx", "batch.npy", "out.npz"]
    environment = dict(os.environ, PYTHONPATH=str(path or ""))
    subprocess.run(argv, env=environment, cwd=str(folder), check=True)
    with np.load(str(folder / "out.npz")) as found:
        return {name: found[name] for name in found.files}


@pytest.mark.parametrize("version", ["4", "5"])
@pytest.mark.parametrize("options", [[], ["--pad-channels", "16"], ["--decode"], ["--decode", "--batch", "dynamic"]])
def test_opencv_reads_it(folder, capsys, version, options):
    need.opencv()
    path = need.opencv5() if version == "5" else None
    export(capsys, *options)
    net = load("net.cfg", "net.weights")
    np.save("batch.npy", picture(net))
    found = in_opencv(path, folder)
    assert str(found.pop("version")).startswith(version + ".")
    raw = NumpyRunner(net).infer(picture(net), heads(net))
    expected = {"L{:03d}_convolutional".format(index): y for index, y in raw.items()}
    if "--decode" in options:
        expected = dict(zip(("boxes", "scores"), all_decoded(net, raw)))
    assert sorted(found) == sorted(expected) and len(expected) == 2
    for name, y in expected.items():
        assert np.abs(found[name] - y).max() <= 1e-5 * np.abs(y).max()


# ---- bad input


@case(
    """\
net.onnx: error: this file exists
hint: --overwrite replaces it
"""
)
def a_file_that_exists(folder):
    (folder / "net.onnx").write_bytes(b"precious")
    return EXPORT


@case(
    """\
net.cfg: error: the output would replace the input net.cfg
hint: choose another name; inputs are never overwritten
"""
)
def output_over_the_input(folder):
    return EXPORT[:-1] + ["net.cfg", "--overwrite"]


@case(
    """\
error: --batch 0 is no number of images
hint: use 1 or more, or dynamic
"""
)
def no_images_at_once(folder):
    return EXPORT + ["--batch", "0"]


@case(
    """\
other.cfg:12: error: [lstm] cannot be run by the onnx backend
   12 | [lstm]
      | ^^^^^^
hint: use another runner
"""
)
def a_layer_that_onnx_cannot_say(folder):
    write(folder, cfg(conv(4), section("lstm", output=5)), "other")
    return ["export", "other.cfg", "other.weights", "-o", "net.onnx"]


@case(
    """\
other.cfg:1: error: the net takes 256 flat values; only nets that take images become ONNX
    1 | [net]
      | ^^^^^
hint: images need a net with a width and height
"""
)
def a_net_that_takes_no_images(folder):
    write(folder, section("net", inputs=256) + section("connected", output=5, activation="linear"), "other")
    return ["export", "other.cfg", "other.weights", "-o", "net.onnx"]


@case(
    """\
few.names: error: 2 names, but 3 classes
hint: name every class once, or mend classes= in the .data file or the cfg
"""
)
def too_few_names(folder):
    (folder / "few.names").write_text("cat\ndog\n")
    return EXPORT + ["--names", "few.names"]


def plain(folder, *sections):
    write(folder, cfg(*sections), "other")
    return ["export", "other.cfg", "other.weights", "-o", "net.onnx"]


@case(
    """\
other.cfg: error: the net has no detection head such as [yolo]
hint: darkprune classify takes nets that name whole images
"""
)
def a_classifier_to_decode(folder):
    return plain(folder, conv(4), section("avgpool"), section("softmax")) + ["--decode"]


@case(
    """\
other.cfg:16: error: a graph cannot decode a tree of classes
   16 | tree=some.tree
      |      ^^^^^^^^^
hint: export the raw heads; darkprune detect decodes them
"""
)
def a_tree_of_classes(folder):
    region = section("region", classes=3, coords=4, num=1, anchors="1,1", tree="some.tree", softmax=1)
    return plain(folder, conv(8, 1, "linear", None), region) + ["--nms"]


@case(
    """\
error: --thresh is for --nms
hint: give --nms, or leave it out
"""
)
def a_threshold_of_nothing(folder):
    return EXPORT + ["--decode", "--thresh", "0.3"]


@case(
    """\
error: --nms-thresh 0 suppresses nothing
hint: export with --decode and without --nms
"""
)
def a_suppression_of_nothing(folder):
    return EXPORT + ["--nms", "--nms-thresh", "0"]


@case(
    """\
error: --thresh 25.0 is not from 0 to 1
hint: Darknet's are 0.25 and 0.45
"""
)
def a_threshold_in_percent(folder):
    return EXPORT + ["--nms", "--thresh", "25"]


@case(
    """\
error: --pad-channels 0 is no useful multiple
hint: use 1 to 256
"""
)
def a_multiple_of_nothing(folder):
    return EXPORT + ["--pad-channels", "0"]


def test_no_case_is_lost():
    assert len(case) == 12


@pytest.mark.parametrize("name", sorted(case))
def test_bad_input(name, folder, capsys):
    need.onnx()
    case.check(name, folder, capsys)


def test_without_onnx(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    before = snapshot(folder)
    assert main(EXPORT) == 2
    assert capsys.readouterr().err == (
        "error: onnx cannot be imported: import of onnx halted; None in sys.modules\nhint: pip install onnx\n"
    )
    assert snapshot(folder) == before


def test_a_full_disk(folder, capsys, monkeypatch):
    need.onnx()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = snapshot(folder)
    assert main(EXPORT) == 2
    assert capsys.readouterr().err == (
        "net.onnx: error: cannot write: No space left on device\nhint: free some space, or write elsewhere\n"
    )
    assert snapshot(folder) == before
