"""Unstructured pruning against a naive sort, byte by byte; and the command `sparsify`."""

import gzip
import json

import numpy as np
import pytest

import need
from darkprune.cli.main import main
from darkprune.cli.sparsify import NO_SPEED
from darkprune.darknet.weights import Header
from darkprune.errors import UsageError, WeightsError
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.prune import weight_sparsity
from darkprune.prune.weight_sparsity import sparsify
from small_nets import cfg, conv, section, shortcut

NET = cfg(
    conv(8),
    conv(8, groups=8),  # depthwise
    shortcut(-2, weights_type="per_channel", weights_normalization="relu"),
    section("deconvolutional", filters=4, size=2, stride=2, activation="leaky"),
    section("maxpool", size=4, stride=4),
    section("local", filters=3, size=3, pad=1, activation="linear"),
    section("connected", output=10, activation="leaky", batch_normalize=1),
    section("gru", output=4),
    width=8,
    height=8,
)
PRUNED = [0, 1, 3, 5, 6, 7]
OLD = Header(1001, 0, 0, 3, False)  # matrices of connected layers stand transposed


def write(folder, text=NET, header=None, values=None, crlf=False):
    """The paths of a pair of random weights; `values` makes them of a shape."""
    paths = [str(folder / name) for name in ("net.cfg", "net.weights")]
    with open(paths[0], "wb") as stream:
        stream.write(text.replace("\n", "\r\n").encode("ascii") if crlf else text.encode("ascii"))
    net, random = load(paths[0]), np.random.RandomState(3)
    values = values or (lambda random, shape: random.randn(*shape))
    for layer, spec in net.specs():
        made = values(random, spec.shape)
        layer.set_param(spec.name, np.abs(made) if spec.name.endswith("variance") else made)
    net.loaded = len(net.layers)
    net.header = header or net.header
    save(net, str(folder / "made"))
    (folder / "made.weights").rename(paths[1])
    return paths


def weights_of(net, layers=PRUNED):
    """(layer, name of an array) of all weights, in the order of the file."""
    return [(i, s.name) for i in layers for s in net.layers[i].op.parameters(net.layers[i]) if "weights" in s.name]


def naive(net, sparsity, groups):
    """(layer, name) -> array, by a stable sort of each group's magnitudes."""
    found = {}
    for group in groups:
        arrays = [net.layers[index].array(name) for index, name in group]
        flat = np.concatenate([array.ravel() for array in arrays])
        flat[np.argsort(np.abs(flat), kind="mergesort")[: int(round(sparsity * flat.size))]] = 0
        parts = np.split(flat, np.cumsum([array.size for array in arrays])[:-1])
        found.update((key, part.reshape(array.shape)) for key, part, array in zip(group, parts, arrays))
    return found


def ties(random, shape):
    """Few magnitudes, zeros of both signs among them."""
    return random.randint(-2, 3, shape) * np.float32(0.25) * random.choice([-1, 1], shape)


@pytest.mark.parametrize("header", [None, OLD], ids=["new", "transposed"])
@pytest.mark.parametrize("values", [None, ties], ids=["drawn", "ties"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_naive_sort_finds_the_same(tmp_path, scope, values, header, monkeypatch):
    monkeypatch.setattr(weight_sparsity, "_PIECE", 100)
    net = load(*write(tmp_path, header=header, values=values))
    every = weights_of(net)
    assert len(every) == 5 + 6  # six matrices of the gru
    groups = [every] if scope == "global" else [[key for key in every if key[0] == index] for index in PRUNED]
    for sparsity in (0.1, 0.55, 0.9):
        made, wanted = sparsify(net, sparsity, scope), naive(net, sparsity, groups)
        for layer, spec in net.specs():
            array = made.net.layers[layer.index].array(spec.name)
            np.testing.assert_array_equal(array, wanted.get((layer.index, spec.name), layer.array(spec.name)))
        assert [row.layer for row in made.rows] == PRUNED
        for row in made.rows:
            arrays = [made.net.layers[i].array(name) for i, name in every if i == row.layer]
            old = [net.layers[i].array(name) for i, name in every if i == row.layer]
            assert row.zeros == sum(int((array == 0).sum()) for array in arrays)
            assert row.before == sum(int((array == 0).sum()) for array in old)
            assert row.weights == sum(array.size for array in arrays)
            gone = np.concatenate([np.abs(b[(a == 0) & (b != 0)]) for a, b in zip(arrays, old)])
            assert row.threshold >= gone.max() if gone.size else row.threshold >= 0
        asked = sum(int(round(sparsity * sum(wanted[key].size for key in group))) for group in groups)
        zeros_before = sum(row.before for row in made.rows)
        assert sum(row.zeros for row in made.rows) == max(asked, zeros_before) or scope == "layer"


def test_nothing_else_changes_in_the_files(tmp_path, capsys):
    pair = write(tmp_path, header=Header(0, 2, 0, 1234567, True), crlf=True)
    argv = ["sparsify"] + pair + ["-o", str(tmp_path / "out"), "--sparsity", "0.7", "--skip", "0,6", "--json"]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    assert (tmp_path / "out.cfg").read_bytes() == (tmp_path / "net.cfg").read_bytes()
    old, new = [(tmp_path / name).read_bytes() for name in ("net.weights", "out.weights")]
    assert len(old) == len(new) == report["bytes"] and old[:20] == new[:20]
    floats = [np.frombuffer(data[20:], "<u4") for data in (old, new)]
    changed = np.flatnonzero(floats[0] != floats[1])
    net, position, free = load(*pair), 0, np.zeros(floats[0].size, bool)
    keys = weights_of(net, [1, 3, 5, 7])
    for layer, spec in net.specs():
        count = int(np.prod(spec.shape))
        free[position : position + count] = (layer.index, spec.name) in keys
        position += count
    assert free[changed].all() and not floats[1][changed].any()
    assert len(changed) == int(round(0.7 * free.sum())) == report["zeros"] and report["weights"] == free.sum()
    assert [row["layer"] for row in report["layers"]] == [1, 3, 5, 7]
    for key, data in (("gzip_bytes_before", old), ("gzip_bytes", new)):
        assert abs(report[key] - len(gzip.compress(data, 6))) < 32  # of which a header has a time
    masks = sum(-(-row["weights"] // 8) for row in report["layers"])
    assert report["mask_bytes"] == len(old) - 4 * report["zeros"] + masks
    assert report["note"] == NO_SPEED


def test_what_the_command_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    write(tmp_path, cfg(conv(8, size=1, bn=None), conv(4, size=1, bn=None)), values=lambda r, s: np.full(s, len(s)))
    assert main(["sparsify", "net.cfg", "net.weights", "-o", "out", "--sparsity", "0.5"]) == 0
    out, err = capsys.readouterr()
    sizes = [len((tmp_path / name).read_bytes()) for name in ("net.weights", "out.weights")]
    assert sizes == [292, 292]
    assert out.split("\n")[:6] == [
        "layer                 weights  zeros before  zeros             up to",
        "    0  convolutional       24             0     24  100.0%  4.000000",
        "    1  convolutional       32             0      4   12.5%  4.000000",
        "",
        "50.00% of 56 weights are zeros, 41.18% of all 68 parameters",
        "weights file                                   bytes",
    ]
    assert out.endswith(
        "a bit for each weight and those that are left    187   64.0%\n" + NO_SPEED + "\nwrote out.cfg out.weights\n"
    )
    assert err == (
        "net.cfg:5: warning: all weights of layer 0 are zeros now: it passes on nothing of what it reads\n"
        "    5 | [convolutional]\n"
        "      | ^^^^^^^^^^^^^^^\n"
        "hint: use --scope layer, a smaller --sparsity, or --skip 0\n"
    )


def test_zeros_that_are_there_count(tmp_path):
    net = load(*write(tmp_path, values=ties))
    made = sparsify(net, 0.01)
    assert sum(row.zeros for row in made.rows) == sum(row.before for row in made.rows) > 0
    assert [notice.message.split(":")[0] for notice in made.notices] == ["nothing changes"]
    once = sparsify(net, 0.8).net
    for layer, spec in sparsify(once, 0.8).net.specs():
        np.testing.assert_array_equal(layer.array(spec.name), once.layers[layer.index].array(spec.name))


def test_binary_convolutions_keep_their_weights(tmp_path):
    """The sign of 0 is that of a negative number there."""
    net = load(*write(tmp_path, cfg(conv(4, xnor=1), conv(4, binary=1), conv(4))))
    assert [row.layer for row in sparsify(net, 0.5).rows] == [2]


ARGUMENTS = ["sparsify", "net.cfg", "net.weights", "-o", "out", "--sparsity"]


@pytest.mark.parametrize(
    "more, said",
    [
        (["0"], "error: sparsity 0 is no share of the weights\nhint: use a number such as 0.8"),
        (["1"], "error: sparsity 1 is no share of the weights\nhint: use a number such as 0.8"),
        (["nan"], "error: sparsity nan is no share of the weights\nhint: use a number such as 0.8"),
        (["0.5", "--skip", "1,8"], "error: --skip names 8, which is no layer of this net\nhint: use numbers of 0 to 7"),
        (["0.5", "--skip", "x"], "error: --skip names x, which is no layer of this net\nhint: use numbers of 0 to 7"),
        (
            ["0.5", "--skip", "0,1,3,5,6,7"],
            "net.cfg:1: error: no layer has weights that may become zero\n    1 | [net]\n      | ^^^^^\n"
            "hint: skip fewer layers, or give a net with convolutions or connected layers",
        ),
        (
            ["0.5", "-o", "net", "--overwrite"],
            "net.weights: error: the output would replace the input net.weights\n"
            "hint: choose another name; inputs are never overwritten",
        ),
    ],
)
def test_what_it_refuses(tmp_path, monkeypatch, capsys, more, said):
    monkeypatch.chdir(str(tmp_path))
    write(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(ARGUMENTS + more) == 2
    assert capsys.readouterr().err == said + "\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_value_that_is_not_finite(tmp_path):
    pair = write(tmp_path)
    data = np.fromfile(pair[1], np.uint8)
    data[20 + 4 * 50 :][:4] = np.array([np.nan], "<f4").view(np.uint8)
    data.tofile(pair[1])
    with pytest.raises(WeightsError, match="value nan at byte 220"):
        sparsify(load(*pair), 0.5)


def test_an_unknown_scope(tmp_path):
    with pytest.raises(UsageError) as raised:
        sparsify(load(*write(tmp_path)), 0.5, "filter")
    assert str(raised.value) == "error: unknown scope 'filter'\nhint: use one of global, layer"


def test_a_trained_detector_in_opencv(tmp_path, capsys):
    """OpenCV reads the new pair, computes what numpy does, and something else than before."""
    cv2, folder = need.opencv(), need.shared() / "models" / "yolo-fastest-1.1"
    pair = [str(folder / ("yolo-fastest-1.1" + suffix)) for suffix in (".cfg", ".weights")]
    out = [str(tmp_path / ("out" + suffix)) for suffix in (".cfg", ".weights")]
    assert main(["sparsify"] + pair + ["-o", out[0][:-4], "--sparsity", "0.5", "--scope", "layer"]) == 0
    assert main(["verify"] + out + ["--runners", "numpy,opencv"]) == 0
    image, heads = np.random.RandomState(0).rand(1, 3, 320, 320).astype(np.float32), []
    for files in (pair, out):
        net = cv2.dnn.readNetFromDarknet(*files)
        net.setInput(image)
        heads.append(net.forward())
    assert heads[0].shape == heads[1].shape and np.abs(heads[0] - heads[1]).max() > 0.01
