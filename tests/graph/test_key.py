"""The key of a pair: what a file means, not how it is spelled."""

import numpy as np
import pytest

import small_nets
from darkprune.errors import WeightsError
from darkprune.graph.build import load
from darkprune.graph.key import KeyJob, pair_key
from small_nets import cfg, conv, route, section, shortcut

YOLO = section("yolo", mask="0,1", anchors="10,13, 16,30, 33,23", classes=3, num=3, scale_x_y=1.05, ignore_thresh=0.7)
NET = cfg(
    conv(8), conv(8), shortcut(-2), route(-1, 0), conv(16, 1, "linear", bn=None), YOLO, batch=64, learning_rate=0.001
)

SAME = {
    "comments": lambda t: "# mine\n" + t.replace("[yolo]", "; the head\n[yolo]") + "# end\n",
    "line ends": lambda t: t.replace("\n", "\r\n"),
    "blanks": lambda t: t.replace("=", " = ").replace("[", "\n\n[") + "\n\n",
    "no last newline": lambda t: t.rstrip("\n"),
    "a training option": lambda t: t.replace("batch=64", "batch=1").replace("learning_rate=0.001", "learning_rate=1"),
    "a threshold of training": lambda t: t.replace("ignore_thresh=0.7", "ignore_thresh=0.5"),
    "a relative reference": lambda t: t.replace("from=-2", "from=0").replace("layers=-1,0", "layers=2,-3"),
    "a default written out": lambda t: t.replace("mask=", "new_coords=0\nmask="),
    "an unknown option": lambda t: t.replace("mask=", "colour=red\nmask="),
    "the order of options": lambda t: t.replace("width=16\nheight=16\n", "height=16\nwidth=16\n"),
    "a short section name": lambda t: t.replace("[convolutional]", "[conv]", 1),
}
OTHER = {
    "anchors": lambda t: t.replace("10,13", "10,14"),
    "mask": lambda t: t.replace("mask=0,1", "mask=1,2"),
    "scale_x_y": lambda t: t.replace("1.05", "1.1"),
    "width": lambda t: t.replace("width=16", "width=32"),
    "activation": lambda t: t.replace("leaky", "relu", 1),
    "activation of a shortcut": lambda t: t.replace("from=-2\nactivation=linear", "from=-2\nactivation=leaky"),
    "stride": lambda t: t.replace("stride=1", "stride=2", 1).replace("from=-2", "from=-1"),
    "an edge": lambda t: t.replace("layers=-1,0", "layers=-1,1"),
    "the order of edges": lambda t: t.replace("layers=-1,0", "layers=0,-1"),
    "a layer": lambda t: t.replace("[yolo]", "[dropout]\n[yolo]"),
}


@pytest.fixture
def pair(tmp_path):
    return small_nets.write(tmp_path, NET)


def key_of(tmp_path, text, weights):
    path = tmp_path / "other.cfg"
    path.write_bytes(text.encode())
    return pair_key(load(str(path), weights))


@pytest.mark.parametrize("name", sorted(SAME))
def test_spelling_does_not_matter(name, pair, tmp_path):
    text = SAME[name](NET)
    assert text != NET
    assert key_of(tmp_path, text, pair[1]) == pair_key(load(*pair))


@pytest.mark.parametrize("name", sorted(OTHER))
def test_meaning_does(name, pair, tmp_path):
    text = OTHER[name](NET)
    assert text != NET
    assert key_of(tmp_path, text, pair[1]) != pair_key(load(*pair))


def test_a_bit_of_a_weight_matters_and_the_header_does_not(pair, tmp_path):
    with open(pair[1], "rb") as stream:
        data = bytearray(stream.read())
    key = pair_key(load(*pair))
    path = tmp_path / "other.weights"
    data[12] ^= 1  # images seen
    path.write_bytes(bytes(data))
    assert pair_key(load(pair[0], str(path))) == key
    for position in (20, len(data) // 2 // 4 * 4, len(data) - 4):
        data[position] ^= 1
        path.write_bytes(bytes(data))
        assert pair_key(load(pair[0], str(path))) != key
        data[position] ^= 1


def test_edits_in_memory_matter(pair):
    net = load(*pair)
    key = pair_key(net)
    assert pair_key(net.copy()) == key
    biases = net.layers[0].array("biases").copy()
    net.layers[0].set_param("biases", biases)
    assert pair_key(net) == key  # the same floats, though no longer those of the file
    biases = biases.copy()
    biases[0] = np.nextafter(biases[0], np.float32(9))
    net.layers[0].set_param("biases", biases)
    assert pair_key(net) != key
    other = load(*pair)
    other.layers[0].set("activation", "mish")
    assert pair_key(other) != key


def test_in_the_background(pair, tmp_path):
    assert KeyJob(load(*pair)).result() == pair_key(load(*pair))
    with open(pair[1], "rb") as stream:
        data = bytearray(stream.read())
    data[-4:] = np.array([np.inf], "<f4").tobytes()
    path = tmp_path / "bad.weights"
    path.write_bytes(bytes(data))
    job = KeyJob(load(pair[0], str(path)))
    for _ in range(2):
        with pytest.raises(WeightsError) as caught:
            job.result()
        assert caught.value.message == "value inf at byte {} (float {})".format(len(data) - 4, len(data) // 4 - 6)
