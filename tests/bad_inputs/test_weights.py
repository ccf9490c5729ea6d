"""Weights files that are not what the cfg needs."""

import pytest

from bad_input import GOOD, Cases, good_bytes

case = Cases()


def inspect(folder, data, name="bad.weights"):
    (folder / name).write_bytes(data)
    return ["inspect", "good.cfg", name]


@case(
    """\
bad.weights: error: the file ends at byte 1220 inside layer 1 [convolutional]: the cfg needs 6740 bytes
hint: use the cfg the weights were trained with, or copy the file again
"""
)
def weights_truncated(folder):
    return inspect(folder, good_bytes(folder)[: 20 + 4 * 300])


@case(
    """\
bad.weights: error: 64 bytes are left at byte 6740: the cfg needs 6740 bytes, the file has 6804
hint: use the cfg the weights were trained with, or copy the file again
"""
)
def weights_longer(folder):
    return inspect(folder, good_bytes(folder) + bytes(64))


@case(
    """\
bad.weights: error: the file is empty
hint: copy or download the file again
"""
)
def weights_empty(folder):
    return inspect(folder, b"")


@case(
    """\
bad.weights: error: the file ends inside its header, at byte 18
hint: copy or download the file again
"""
)
def weights_end_inside_the_header(folder):
    return inspect(folder, good_bytes(folder)[:18])


@case(
    """\
bad.weights: error: 1 byte behind the last whole float, at byte 6736
hint: the file was cut or is not a Darknet weights file; copy it again
"""
)
def weights_ragged(folder):
    return inspect(folder, good_bytes(folder)[:-3])


@case(
    """\
bad.weights: error: 1 byte behind the last whole float, at byte 6740
hint: the file was cut or is not a Darknet weights file; copy it again
"""
)
def weights_one_byte_too_long(folder):
    return inspect(folder, good_bytes(folder) + b"\n")


@case(
    """\
good.weights: error: the file ends at byte 6740 inside layer 4 [convolutional]: the cfg needs 15056 bytes
hint: the size fits this cfg with classes=3: use the cfg the weights were trained with
"""
)
def weights_of_other_classes(folder):
    (folder / "coco.cfg").write_text(GOOD.replace("filters=24", "filters=255").replace("classes=3", "classes=80"))
    return ["prune", "coco.cfg", "good.weights", "-o", "out", "--channels", "0.5"]


@case(
    """\
good.conv.1: error: the file ends with layer 0 of 6: a partial file (.conv.1)
hint: give the full weights; only inspect --partial takes a part of them
"""
)
def weights_partial(folder):
    (folder / "good.conv.1").write_bytes(good_bytes(folder)[: 20 + 4 * 248])
    return ["prune", "good.cfg", "good.conv.1", "-o", "out", "--channels", "0.5"]


@case(
    """\
good.conv.1: error: the file ends with layer 0 of 6: a partial file (.conv.1)
hint: give the full weights; only inspect --partial takes a part of them
"""
)
def weights_partial_inspected(folder):
    (folder / "good.conv.1").write_bytes(good_bytes(folder)[: 20 + 4 * 248])
    return ["inspect", "good.cfg", "good.conv.1"]


@case(
    """\
bad.weights: error: the file ends at byte 1008 inside layer 0 [convolutional]: the cfg needs 6740 bytes
hint: use the cfg the weights were trained with, or copy the file again
"""
)
def weights_cut_inside_a_layer_though_partial(folder):
    return inspect(folder, good_bytes(folder)[: 20 + 4 * 247]) + ["--partial"]


@case(
    """\
bad.cfg: error: this is not a cfg: it holds binary data at byte 0
hint: the order is CFG WEIGHTS; are they swapped?
"""
)
def weights_named_as_a_cfg(folder):
    (folder / "bad.cfg").write_bytes(good_bytes(folder))
    return ["inspect", "bad.cfg"]


@case(
    """\
bad.weights: error: this is a text file, not weights
hint: the order is CFG WEIGHTS; are they swapped?
"""
)
def weights_that_are_a_cfg(folder):
    return inspect(folder, (folder / "good.cfg").read_bytes())


@case(
    """\
bad.weights: error: this is a Git LFS pointer, not the weights
hint: run: git lfs pull
"""
)
def weights_that_are_a_git_lfs_pointer(folder):
    return inspect(folder, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 248007048\n")


@case(
    """\
bad.weights: error: this is a web page, not weights
hint: download the file itself, not the page that offers it
"""
)
def weights_that_are_a_web_page(folder):
    return inspect(folder, b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>")


@case(
    """\
bad.weights: error: this is no Darknet weights file: something else stands in its header
hint: give the .weights that Darknet wrote
"""
)
def weights_that_are_something_else(folder):
    return inspect(folder, b"solid ball\nfacet normal 1 0 0\nouter loop\n")


@case(
    """\
absent.weights: error: cannot read the weights: No such file or directory
hint: check the path
"""
)
def weights_absent(folder):
    return ["inspect", "good.cfg", "absent.weights"]


@case(
    """\
numload.cfg:32: error: numload cuts the arrays of this layer short in a way only one reader knows
   32 | numload=8
      |         ^
hint: remove the option, or save the weights without it
"""
)
def weights_of_numload(folder):
    (folder / "numload.cfg").write_text(GOOD.replace("filters=24", "filters=24\nnumload=8"))
    return ["inspect", "numload.cfg", "good.weights", "--dialect", "pjreddie"]


def test_no_case_is_lost():
    assert len(case) >= 17


@pytest.mark.parametrize("name", sorted(case))
def test_weights(name, folder, capsys):
    case.check(name, folder, capsys)


@pytest.mark.parametrize("name", ["weights_truncated", "weights_named_as_a_cfg"])
def test_the_program_itself(name, folder):
    case.check_program(name, folder)
