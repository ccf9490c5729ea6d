"""Ranges as a file: written, read, and refused where they are malformed or another pair's."""

import json

import numpy as np
import pytest

import small_nets
from darkprune.edit import resize
from darkprune.errors import CalibrationError
from darkprune.quant.ranges import Range, Ranges
from darkprune.quant.tensors import ranged_tensors
from small_nets import HEAD, conv

TEXT = small_nets.cfg(conv(8), conv(6, activation="relu"), HEAD)


@pytest.fixture
def ranges(tmp_path):
    made = Ranges(small_nets.net(tmp_path, TEXT))
    made.method = {"name": "entropy", "levels": 128}
    made.images, made.images_sha256 = 3, "00ff"
    made.keep_float = [0, 2]
    made.adjustments.factors[0] = np.array([1.0, 0.1])
    made.adjustments.biases[1] = np.array([-1e-30, 2.5])
    made.adjustments.rounding[1] = "abcd"
    for tensor in ranged_tensors(small_nets.net(tmp_path, TEXT)):
        made.tensors[tensor.name] = Range(-0.1, 1 / 3, 0.5)
    return made


def test_a_file_holds_all_of_it(tmp_path, ranges):
    path = tmp_path / "ranges.json"
    path.write_bytes(ranges.to_bytes())
    found = Ranges.read(str(path))
    assert found.to_bytes() == ranges.to_bytes()
    assert found.tensors == ranges.tensors
    assert list(found.adjustments.biases[1]) == [-1e-30, 2.5]
    assert found.where.path == str(path)


def test_only_table_activations_have_a_range_before_them(ranges):
    assert list(ranges.tensors) == [
        "data",
        "L000_convolutional_before",
        "L000_convolutional",
        "L001_convolutional",
        "L002_convolutional",
    ]


def test_another_pair_is_refused(tmp_path, ranges):
    other = small_nets.net(tmp_path, TEXT, "other", seed=8)
    with pytest.raises(CalibrationError) as caught:
        ranges.require(other)
    assert "the ranges are those of another pair" in caught.value.message
    assert caught.value.hint == "calibrate this pair; every change of the weights needs new ranges"


def test_another_dialect_is_refused(tmp_path, ranges):
    with pytest.raises(CalibrationError) as caught:
        ranges.require(small_nets.net(tmp_path, TEXT, dialect="pjreddie"))
    assert caught.value.message == "the ranges were measured in the dialect alexeyab, the pair was read in pjreddie"
    assert caught.value.hint == "give --dialect alexeyab, or calibrate again"


def test_another_size_is_refused(tmp_path, ranges):
    with pytest.raises(CalibrationError) as caught:
        ranges.require(resize(small_nets.net(tmp_path, TEXT), 32, 16))
    assert caught.value.message == "the ranges were measured at 16 x 16 x 3, the net runs at 32 x 16 x 3"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: f.update(format="other"), "these are no ranges of this version"),
        (lambda f: f.pop("pair"), '"pair" is missing or malformed'),
        (lambda f: f.update(width=True), '"width" is missing or malformed'),
        (lambda f: f.update(preprocessing="crop"), '"preprocessing" is none of stretch, letterbox, centre'),
        (lambda f: f.update(keep_float=[-1]), '"keep_float" is no list of layers'),
        (lambda f: f["tensors"].update(data={"low": 0, "high": 1}), "data has no low, high and amax"),
        (lambda f: f["tensors"].update(data={"low": 0, "high": 1e308, "amax": 1}), "data has no low, high and amax"),
        (lambda f: f["tensors"].update(data={"low": 0, "high": 10**400, "amax": 1}), "data has no low, high and amax"),
        (
            lambda f: f["tensors"].update(data={"low": 0.5, "high": 1, "amax": 1}),
            "the range of data does not hold 0: 0.5 to 1, amax 1",
        ),
        (lambda f: f.update(images=-5), '"images" is no number of images'),
        (lambda f: f["adjustments"].update(biases={"\u00b2": [1]}), '"biases" is malformed for layer \u00b2'),
        (lambda f: f["adjustments"].update(biases={"x": [1]}), '"biases" is malformed for layer x'),
        (lambda f: f["adjustments"].update(factors={"1": [None]}), '"factors" is malformed for layer 1'),
        (lambda f: f["adjustments"].update(rounding=[]), '"rounding" is malformed'),
    ],
)
def test_malformed_ranges_are_refused(tmp_path, ranges, change, message):
    fields = json.loads(ranges.to_bytes().decode("ascii"))
    change(fields)
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(CalibrationError) as caught:
        Ranges.read(str(path))
    assert caught.value.message == message
    assert caught.value.where.path == str(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100000, "\xff"])
def test_what_is_no_json_is_refused(tmp_path, text):
    path = tmp_path / "ranges.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CalibrationError) as caught:
        Ranges.read(str(path))
    assert caught.value.message == "these are no ranges, as the file is no JSON"
    assert caught.value.hint == "give the file that darkprune calibrate wrote"


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(CalibrationError) as caught:
        Ranges.read(str(tmp_path / "none.json"))
    assert caught.value.message == "cannot read the ranges: No such file or directory"
