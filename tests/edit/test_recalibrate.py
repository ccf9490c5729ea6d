"""Batch-norm statistics estimated anew: the formula, what stays as it is, and how little the way there matters."""

import errno

import numpy as np
import pytest

import need
import small_nets
from darkprune.backends import chunked
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.opencv_ import OpenCVRunner
from darkprune.edit import fuse_batch_norm, resize
from darkprune.edit.recalibrate import recalibrate
from darkprune.errors import GraphError, OutputError, Unsupported, UsageError
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.prune.pipeline import prune
from edit_checks import DETECTOR, pair, random_pair, same_weights, written
from small_nets import cfg, conv, section

LINEAR = cfg(
    conv(8, activation="linear", stride=2),
    conv(8, activation="linear", groups=8),
    conv(6, 1, activation="linear"),
    section("batchnorm"),
    section("connected", output=5, activation="linear", batch_normalize=1),
    small_nets.section("connected", output=3, activation="linear"),
)
NORMS = [0, 1, 2, 3, 4]


def images(net, count=12, seed=3):
    """float32 [count,C,H,W] of the net's input, of different brightness and contrast."""
    shape, random = net.input.shape, np.random.RandomState(seed)
    light = random.uniform(0, 0.6, (count, shape.c, 1, 1))
    noise = random.uniform(0, 1, (count, shape.c, shape.h, shape.w)) * random.uniform(0.1, 0.4, (count, 1, 1, 1))
    return (light + noise).astype(np.float32)


def split(batch, size):
    return [batch[i : i + size] for i in range(0, len(batch), size)]


def recalibrated(net, batch, chunk=5, **more):
    return recalibrate(net, split(batch, chunk), len(batch), **more)


def standard(net):
    """The net with gamma 1 and beta 0 everywhere, and statistics that fit nothing."""
    random = np.random.RandomState(1)
    for layer in net.layers:
        if layer.has("variance"):
            size = layer.array("mean").size
            layer.set_param("scales", np.ones(size))
            layer.set_param("biases", np.zeros(size))
            layer.set_param("mean", random.randn(size))
            layer.set_param("variance", random.uniform(0.1, 9, size))
    return net


def test_every_batch_norm_then_gives_mean_0_and_variance_1(tmp_path):
    net = standard(pair(tmp_path, LINEAR))
    batch = images(net)
    made = recalibrated(net, batch)
    assert made[1:] == (12, 5, 8 + 8 + 6 + 6 + 5, 0)
    outputs = NumpyRunner(written(made.net, tmp_path)).infer(batch, NORMS)
    for index in NORMS:
        variance = made.net.layers[index].array("variance")
        assert abs(outputs[index].mean(axis=(0, 2, 3), dtype=np.float64)).max() < 1e-5
        found = outputs[index].astype(np.float64).transpose(1, 0, 2, 3).reshape(variance.size, -1).var(axis=1, ddof=1)
        np.testing.assert_allclose(found, variance / (variance + 1e-5), rtol=1e-4)


def test_opencv_gives_mean_0_and_variance_1_too(tmp_path):
    need.opencv()
    net = standard(pair(tmp_path, cfg(*[conv(8, activation="linear")] * 4), dialect="opencv"))
    batch = images(net)
    written(recalibrated(net, batch).net, tmp_path, dialect="opencv")
    with OpenCVRunner(str(tmp_path / "out.cfg"), str(tmp_path / "out.weights")) as runner:
        for index, output in runner.infer(batch).items():
            assert abs(output.mean(axis=(0, 2, 3), dtype=np.float64)).max() < 1e-4, index
            np.testing.assert_allclose(output.var(axis=(0, 2, 3), dtype=np.float64), 1, rtol=2e-3)


@pytest.mark.parametrize("dialect", ["alexeyab", "pjreddie"])
def test_only_means_and_variances_change(tmp_path, dialect):
    net = pair(tmp_path, DETECTOR, dialect=dialect)
    new = written(recalibrated(net, images(net)).net, tmp_path, dialect=dialect)
    assert (tmp_path / "out.cfg").read_bytes() == (tmp_path / "net.cfg").read_bytes()
    changed = {
        (layer.index, name)
        for layer, after in zip(net.layers, new.layers)
        for name in layer.params
        if not np.array_equal(layer.array(name), after.array(name))
    }
    norms = [layer.index for layer in net.layers if layer.has("variance")]
    assert changed == {(index, name) for index in norms for name in ("mean", "variance")}
    assert new.header == net.header


def test_the_size_of_batches_makes_no_difference(tmp_path, monkeypatch):
    net = pair(tmp_path, DETECTOR)
    batch = images(net)
    save(recalibrated(net, batch, 5).net, str(tmp_path / "out"))
    save(recalibrated(net, batch, 1).net, str(tmp_path / "single"))
    monkeypatch.setattr(chunked, "LIMIT", 1000)  # bytes: nearly every map goes to a file
    save(recalibrated(net, batch, 12).net, str(tmp_path / "filed"))
    assert same_weights(tmp_path, "out.weights", "single.weights")
    assert same_weights(tmp_path, "out.weights", "filed.weights")
    assert not same_weights(tmp_path, "out.weights", "net.weights")


@pytest.mark.parametrize("limit", [0, chunked.LIMIT])
def test_torch_gives_the_same_to_rounding(tmp_path, monkeypatch, limit):
    need.torch()
    monkeypatch.setattr(chunked, "LIMIT", limit)
    net = pair(tmp_path, DETECTOR)
    batch = images(net)
    expected, found = recalibrated(net, batch), recalibrated(net, batch, runner="torch")
    assert found[1:] == expected[1:]
    for layer, other in zip(expected.net.layers, found.net.layers):
        for name in layer.params:
            np.testing.assert_allclose(other.array(name), layer.array(name), rtol=1e-4, atol=1e-5)


def test_runners_that_take_no_statistics(tmp_path):
    net = pair(tmp_path, DETECTOR)
    assert refusal(UsageError, net, images(net), runner="opencv") == (
        "error: no statistics are taken in the runner opencv\nhint: use numpy, torch"
    )


def test_constant_channels_that_pruning_leaves_keep_their_statistics(tmp_path):
    net = pair(tmp_path, cfg(conv(16), conv(16), small_nets.shortcut(-2), conv(16), small_nets.HEAD))
    pruned = prune(net, channels=0.5, min_keep=1, force=True).net
    constants = [
        (layer.index, np.flatnonzero(~layer.array("weights").any(axis=(1, 2, 3))))
        for layer in pruned.layers
        if layer.has("variance")
    ]
    assert sum(rows.size for _, rows in constants) >= 2
    made = recalibrated(pruned, images(net))
    assert made.kept >= sum(rows.size for _, rows in constants)
    for index, rows in constants:
        np.testing.assert_array_equal(made.net.layers[index].array("mean")[rows], 0)
        np.testing.assert_array_equal(made.net.layers[index].array("variance")[rows], 1)


def test_statistics_that_were_lost_come_back(tmp_path):
    """A trained detector: what training averaged over all of COCO is found again on a few of its images."""
    cv2 = need.opencv()
    folder = need.shared()
    files = sorted(str(path) for path in (folder / "datasets/coco128/images/train2017").glob("*.jpg"))[:24]
    prefix = str(folder / "models/yolo-fastest-1.1/yolo-fastest-1.1")
    net = load(prefix + ".cfg", prefix + ".weights")
    blank = net.copy()
    for layer in blank.layers:
        if layer.has("variance"):
            layer.set_param("mean", np.zeros(layer.array("mean").shape))
            layer.set_param("variance", np.ones(layer.array("mean").shape))
    small = resize(blank, 160, 160)
    batch = np.stack([cv2.resize(cv2.imread(path), (160, 160))[:, :, ::-1] for path in files])
    batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / 255
    made = recalibrated(blank, batch, 8, size=small)
    assert made.net.config["width"] == 320
    shifts, ratios = [], []
    for layer, new in zip(net.layers, made.net.layers):
        if layer.has("variance"):
            variance = layer.array("variance") + 1e-5
            shifts.append(np.abs(new.array("mean") - layer.array("mean")) / np.sqrt(variance))
            ratios.append((new.array("variance") + 1e-5) / variance)
    assert np.median(np.concatenate(shifts)) < 0.05
    assert 0.9 < np.median(np.concatenate(ratios)) < 1.1


def test_a_layer_that_shares_arrays_takes_those_of_its_owner(tmp_path):
    net = pair(tmp_path, cfg(conv(8), conv(8), conv(8, share_index=1), small_nets.HEAD))
    made = recalibrated(net, images(net))
    assert made.layers == 2
    assert [str(notice) for notice in made.net.notices[len(net.notices) :]] == [
        "{}:26: warning: layer 2 uses the statistics of layer 1, taken there\n".format(net.document.path)
        + "   26 | share_index=1\n      |             ^"
    ]
    assert written(made.net, tmp_path).layers[2].params == {}


# ---- refusals


def refusal(kind, net, batch, **more):
    with pytest.raises(kind) as caught:
        recalibrated(net, batch, **more)
    return str(caught.value).replace(net.document.path, "net.cfg")


def test_nets_without_statistics_or_values(tmp_path):
    net = pair(tmp_path, DETECTOR)
    assert refusal(GraphError, fuse_batch_norm(net, "alexeyab"), images(net)) == (
        "net.cfg:3: error: no layer has batch norm: there are no statistics to estimate\n    3 | [net]\n      | ^^^^^\n"
        "hint: take the pair from before its batch norm was folded"
    )
    bare = load(net.document.path)
    assert "the net has values for 0 of its 13 layers" in refusal(GraphError, bare, images(net))


def test_statistics_within_recurrent_layers(tmp_path):
    rnn = section("rnn", output=5, hidden=7, activation="tanh", batch_normalize=1)
    net = random_pair(tmp_path, cfg(conv(4), rnn))
    assert refusal(Unsupported, net, images(net)) == (
        "net.cfg:16: error: layer <1 rnn> has statistics of each time step, which only training can estimate\n"
        "   16 | batch_normalize=1\n      |                 ^\nhint: train it further instead"
    )


def test_too_few_images(tmp_path):
    net = pair(tmp_path, cfg(section("connected", output=4, activation="leaky", batch_normalize=1)))
    assert refusal(UsageError, net, images(net, 1)) == (
        "error: one image has one value per channel in layer <0 connected>\nhint: give more images"
    )
    assert refusal(UsageError, net, images(net, 0)) == (
        "error: no images to take statistics of\nhint: give some that show what the net will see"
    )
    assert recalibrated(net, images(net, 2)).channels == 4


def test_maps_that_overflow(tmp_path):
    net = pair(tmp_path, cfg(conv(4), conv(4)))
    net.layers[0].set_param("weights", net.layers[0].array("weights") * np.float32(3e37))
    net.layers[0].set_param("scales", np.full(4, 3e38))
    text = refusal(GraphError, net, images(net) * np.float32(100))
    assert "error: the maps of layer <" in text and "are not finite on these images" in text


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    net = pair(tmp_path, DETECTOR)
    monkeypatch.setattr(chunked, "LIMIT", 0)
    monkeypatch.setattr(chunked.tempfile, "TemporaryFile", full)
    monkeypatch.setattr(chunked.tempfile, "gettempdir", lambda: "/tmp")
    assert refusal(OutputError, net, images(net)) == (
        "error: cannot keep the maps of all images in /tmp: No space left on device\n"
        "hint: set TMPDIR to a folder with more room, or give fewer images"
    )
