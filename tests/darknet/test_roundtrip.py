"""What is read and not edited is written back bit for bit: every real cfg at hand, and weights of every header."""

import struct

import numpy as np
import pytest

import need
from darkprune.darknet import cfg as cfg_text
from darkprune.darknet.weights import WeightsFile, parse_header
from darkprune.errors import WeightsError
from darkprune.graph.attach_weights import attach
from darkprune.graph.build import build, load
from darkprune.graph.write import cfg_bytes, file_arrays

PLAIN = b"""\
[net]
width=8
height=6
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[connected]
output=5
activation=leaky
[connected]
output=2
batch_normalize=1
activation=linear
"""
COUNTS = [4 * 4 + 4 * 3 * 9, 0, 5 + 5 * 4 * 4 * 3, 2 + 2 * 5 + 3 * 2]


def shared_cfgs():
    shared = need.shared_path()
    return sorted((shared / "cfgs").rglob("*.cfg")) + sorted((shared / "models").rglob("*.cfg"))


def debian_cfgs():
    return sorted(need.DEBIAN_CFGS.glob("*.cfg"))


def cases():
    marked = [(path, "alexeyab") for path in shared_cfgs()] + [(path, "pjreddie") for path in debian_cfgs()]
    return [pytest.param(path, dialect, id="{}-{}".format(path.name, dialect)) for path, dialect in marked]


def test_the_real_cfgs_are_there():
    need.shared()
    need.debian_cfgs()
    assert len(shared_cfgs()) >= 69 and len(debian_cfgs()) == 45


@pytest.mark.parametrize("path, dialect", cases())
def test_real_cfg(path, dialect):
    data = path.read_bytes()
    document = cfg_text.read(str(path))
    assert document.to_bytes() == data
    assert cfg_bytes(build(document, dialect)) == normalised(data)


def normalised(data):
    """The bytes with LF line ends, no byte-order mark and an ended last line."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    data = data.replace(b"\r\n", b"\n")
    return data if data.endswith(b"\n") else data + b"\n"


MANGLED = {
    "crlf": PLAIN.replace(b"\n", b"\r\n"),
    "bom": b"\xef\xbb\xbf" + PLAIN,
    "bom and crlf": b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r\n"),
    "no final newline": PLAIN.rstrip(b"\n"),
    "spaced": PLAIN.replace(b"=", b" =\t").replace(b"[", b"\n  [ ").replace(b"]", b" ] "),
    "commented": b"# head\n\n" + PLAIN.replace(b"[max", b"; why\n#stride=4\n[max") + b"\n# tail \xe9\n",
    "a line without a value": PLAIN + b"groups=\nnothing\n",
}


@pytest.mark.parametrize("name", sorted(MANGLED))
def test_spelling_survives(name):
    data = MANGLED[name]
    document = cfg_text.parse(data)
    assert document.to_bytes() == data
    net = build(document)
    assert [layer.op.names[0] for layer in net.layers] == ["convolutional", "maxpool", "connected", "connected"]
    assert cfg_bytes(net) == normalised(data)


# ---- weights


@pytest.mark.parametrize("name", ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_real_pair(name):
    stem = need.shared() / "models" / "yolo-fastest-1.1" / name
    net = load(str(stem) + ".cfg", str(stem) + ".weights")
    data = (stem.parent / (name + ".weights")).read_bytes()
    assert net.loaded == len(net.layers) and net.weights_bytes() == len(data)
    assert written(net) == data
    assert parse_header(data, name).to_bytes() == data[:20]


def written(net):
    """The net's header and arrays as they would stand in a file."""
    parts = [array.astype("<f4").tobytes() for layer in net.layers for array in file_arrays(net, layer)]
    return net.header.to_bytes() + b"".join(parts)


def pair(tmp_path, header, values):
    """The net of PLAIN over a weights file of that header and those floats."""
    path = tmp_path / "any.weights"
    path.write_bytes(header + values.astype("<f4").tobytes())
    net = build(cfg_text.parse(PLAIN))
    return net, path


def values_for(count):
    """Distinct floats, of which any layer's variance may be made: none is negative."""
    return np.arange(count, dtype=np.float32) + 0.5


NARROW = struct.pack("<iiiI", 0, 1, 0, 7)
WIDE = struct.pack("<iiiQ", 0, 2, 5, 2**40 + 3)
TRANSPOSED = struct.pack("<iiiI", 1001, 0, 0, 9)


@pytest.mark.parametrize("header, size", [(NARROW, 16), (WIDE, 20), (TRANSPOSED, 16)])
def test_headers(tmp_path, header, size):
    values = values_for(sum(COUNTS))
    net, path = pair(tmp_path, header, values)
    attach(net, WeightsFile(str(path)))
    assert net.header.size == size and net.header.seen in (7, 9, 2**40 + 3)
    assert net.weights_bytes() == path.stat().st_size
    assert written(net) == path.read_bytes()


def test_a_transposed_file_holds_matrices_the_other_way_round(tmp_path):
    values = values_for(sum(COUNTS))
    straight, path = pair(tmp_path, NARROW, values)
    attach(straight, WeightsFile(str(path)))
    turned, path = pair(tmp_path, TRANSPOSED, values)
    attach(turned, WeightsFile(str(path)))
    first, last = turned.layers[0], turned.layers[3]
    np.testing.assert_array_equal(first.array("weights"), straight.layers[0].array("weights"))
    start = sum(COUNTS[:3]) + 2
    matrix = values[start : start + 10]
    np.testing.assert_array_equal(last.array("weights"), matrix.reshape(5, 2).T)
    np.testing.assert_array_equal(straight.layers[3].array("weights"), matrix.reshape(2, 5))
    np.testing.assert_array_equal(last.array("scales"), values[start + 10 : start + 12])


@pytest.mark.parametrize("covered, loaded", [(1, 2), (3, 3)])
def test_a_partial_file(tmp_path, covered, loaded):
    net, path = pair(tmp_path, WIDE, values_for(sum(COUNTS[:covered])))
    with pytest.raises(WeightsError) as caught:
        attach(net, WeightsFile(str(path)))
    assert caught.value.message == "the file ends with layer {} of 4: a partial file (.conv.{})".format(
        covered - 1, loaded
    )
    attach(net, WeightsFile(str(path)), partial=True)
    assert net.partial and net.loaded == loaded  # layers without parameters belong to the prefix
    assert net.weights_bytes() == path.stat().st_size
    assert written(net) == path.read_bytes()
    assert not net.layers[3].params


def test_a_file_cut_inside_a_layer_is_refused(tmp_path):
    net, path = pair(tmp_path, WIDE, values_for(sum(COUNTS) - 1))
    for partial in (False, True):
        with pytest.raises(WeightsError) as caught:
            attach(net, WeightsFile(str(path)), partial)
        assert "inside layer 3 [connected]: the cfg needs {} bytes".format(20 + 4 * sum(COUNTS)) in caught.value.message


def test_bytes_behind_the_last_layer_are_refused(tmp_path):
    net, path = pair(tmp_path, WIDE, values_for(sum(COUNTS) + 2))
    with pytest.raises(WeightsError) as caught:
        attach(net, WeightsFile(str(path)))
    assert caught.value.message.startswith("8 bytes are left at byte {}".format(20 + 4 * sum(COUNTS)))
