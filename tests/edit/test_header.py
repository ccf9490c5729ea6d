"""The header's counter, and a prefix as Darknet's `partial` writes it."""

import shutil
import struct
import subprocess

import pytest

import need
from darkprune.edit import cut, set_seen
from darkprune.errors import GraphError, OutputError, UsageError
from darkprune.graph.build import load
from darkprune.graph.save import save_part
from edit_checks import changes, pair, written

WIDE, NARROW = struct.pack("<iiiQ", 0, 2, 0, 1 << 40), struct.pack("<iiiI", 0, 1, 0, 77)


def refusal(edit, net, count):
    with pytest.raises((UsageError, GraphError)) as caught:
        edit(net, count)
    return str(caught.value).replace(net.document.path, "net.cfg")


@pytest.mark.parametrize(
    "header, count", [(WIDE, 0), (WIDE, 2**64 - 1), (NARROW, 0), (NARROW, 2**31 - 1)], ids=["w0", "w", "n0", "n"]
)
def test_only_the_counter_changes(tmp_path, header, count):
    net = pair(tmp_path, header=header)
    after = written(set_seen(net, count), tmp_path)
    assert after.header == net.header._replace(seen=count) and changes(tmp_path) == []
    old, new = [(tmp_path / (name + ".weights")).read_bytes() for name in ("net", "out")]
    assert new[:12] == header[:12] and new[len(header) :] == old[len(header) :] and len(new) == len(old)
    assert int.from_bytes(new[12 : len(header)], "little") == count


def test_the_same_number_gives_the_same_bytes(tmp_path):
    written(set_seen(pair(tmp_path, header=WIDE), 1 << 40), tmp_path)
    assert (tmp_path / "out.weights").read_bytes() == (tmp_path / "net.weights").read_bytes()


def test_numbers_that_do_not_fit(tmp_path):
    wide, narrow = pair(tmp_path, header=WIDE), pair(tmp_path, name="old", header=NARROW)
    text = "error: seen={} does not fit the {} bytes that this header has for it\nhint: use 0..{}"
    for net, count, size, most in (
        (wide, -1, 8, 2**64 - 1),
        (wide, 2**64, 8, 2**64 - 1),
        (narrow, 2**31, 4, 2**31 - 1),
    ):
        assert refusal(set_seen, net, count) == text.format(count, size, most)


# ---- a prefix


@pytest.mark.parametrize("count", [1, 2, 5, 7, 13])
@pytest.mark.parametrize("header", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_prefix_holds_the_first_arrays(tmp_path, header, count):
    net = pair(tmp_path, header=header)
    path = save_part(cut(net, count), str(tmp_path / "out"))
    data = (tmp_path / "out.conv.{}".format(count)).read_bytes()
    assert path == str(tmp_path / "out.conv.{}".format(count))
    whole = (tmp_path / "net.weights").read_bytes()
    floats = net.count_parameters(count)
    assert data[:12] == header[:12] and not any(data[12 : len(header)])  # 0 images seen, as Darknet writes it
    assert data[len(header) :] == whole[len(header) : len(header) + 4 * floats]
    again = load(net.document.path, path, partial=True)
    assert again.loaded >= count and again.count_parameters(again.loaded) == floats
    assert again.count_parameters(count) == floats and again.header.size == len(header)


@pytest.mark.parametrize("count", [1, 2, 5, 7, 13])
def test_darknet_writes_the_same_bytes(tmp_path, count):
    need.libdarknet()
    program = shutil.which("darknet")
    assert program, "Debian's package darknet has it"
    net = pair(tmp_path, header=WIDE)
    theirs = str(tmp_path / "theirs")
    command = [program, "partial", net.document.path, net.source.path, theirs, str(count)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    ours = save_part(cut(net, count), str(tmp_path / "out"))
    with open(theirs, "rb") as their, open(ours, "rb") as our:
        assert our.read() == their.read()


def test_a_counter_for_the_prefix(tmp_path):
    path = save_part(set_seen(cut(pair(tmp_path), 3), 12), str(tmp_path / "out"))
    with open(path, "rb") as stream:
        assert stream.read(20) == struct.pack("<iiiQ", 0, 2, 5, 12)


def test_numbers_of_layers_that_are_not_there(tmp_path):
    net = pair(tmp_path)
    for count in (0, -1, 14):
        text = "error: cannot cut behind layer {}: the net has 13 layers\nhint: use 1..13"
        assert refusal(cut, net, count) == text.format(count)


def test_a_prefix_of_a_prefix(tmp_path):
    path = save_part(cut(pair(tmp_path), 5), str(tmp_path / "out"))
    part = load(str(tmp_path / "net.cfg"), path, partial=True)
    assert refusal(cut, part, 9) == (
        "net.cfg:3: error: the net has values for 5 layers only\n"
        "    3 | [net]\n"
        "      | ^^^^^\n"
        "hint: load the full weights"
    )
    shorter = save_part(cut(part, 2), str(tmp_path / "out"))
    with open(shorter, "rb") as short, open(path, "rb") as long:
        assert long.read().startswith(short.read())


def test_a_prefix_replaces_nothing_unasked(tmp_path):
    net = cut(pair(tmp_path), 2)
    path = save_part(net, str(tmp_path / "out"))
    with pytest.raises(OutputError) as caught:
        save_part(net, str(tmp_path / "out"))
    assert str(caught.value) == path + ": error: this file exists\nhint: --overwrite replaces it"
    save_part(net, str(tmp_path / "out"), overwrite=True)
    with pytest.raises(OutputError, match="would replace the input"):
        save_part(net, str(tmp_path / "out"), overwrite=True, inputs=[path])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.cfg", "net.weights", "out.conv.2"]
