"""TensorRT's calibration cache, read and written; what is malformed is told with its line."""

import struct

import numpy as np
import pytest

import small_nets
from darkprune.errors import DarkpruneError
from darkprune.quant.range_methods import Method
from darkprune.quant.ranges import Range
from darkprune.quant.trt_cache import Cache, cache_of, read, to_bytes, version_digits
from small_nets import HEAD, conv, section

REAL = """TRT-7103-EntropyCalibration2
input_1:0: 3c010a14
(Unnamed Layer* 82) [Shuffle]_output: 3c56713e
dead: 0
one:two: three: 3c008912
"""


def written(folder, text):
    path = folder / "net.cache"
    path.write_bytes(text.encode("utf-8"))
    return str(path)


def test_names_with_colons_and_dropped_zeros(tmp_path):
    found = read(written(tmp_path, REAL))
    assert (found.version, found.algorithm) == ("7103", "EntropyCalibration2")
    assert list(found.scales) == ["input_1:0", "(Unnamed Layer* 82) [Shuffle]_output", "dead", "one:two: three"]
    assert found.scales["input_1:0"] == np.float32(2048.5 / 2048 / 127)
    assert found.scales["dead"] == 0
    assert to_bytes(found).decode("utf-8") == REAL


def test_line_ends_of_windows(tmp_path):
    assert read(written(tmp_path, REAL.replace("\n", "\r\n"))) == read(written(tmp_path, REAL))


def test_round_trip_of_random_scales(tmp_path):
    random = np.random.RandomState(0)
    scales = {}
    for number in range(500):
        bits = int(random.randint(0, 0x7F800000))  # every float32 from 0 to the largest
        scales["L{:03d}:{}: x".format(number, number % 3)] = struct.unpack(">f", struct.pack(">I", bits))[0]
    cache = Cache("100300", "MinMaxCalibration", scales)
    path = tmp_path / "net.cache"
    path.write_bytes(to_bytes(cache))
    assert read(str(path)) == cache


def test_what_is_written_of_a_net(tmp_path):
    net = small_nets.net(tmp_path, small_nets.cfg(conv(4), section("maxpool", size=2, stride=2), HEAD))
    names = ["data", "L000_convolutional", "L001_maxpool", "L002_convolutional"]
    tensors = dict(zip(names, [Range(0.0, 1.0, 2048.5 / 2048), Range(-1.0, 9.0, 12.7), Range(0.0, 1.0, 3.0)]))
    tensors["L002_convolutional"] = Range(0.0, 0.0, 0.0)
    text = to_bytes(cache_of(net, tensors, Method("entropy"))).decode("ascii")
    assert text == (
        "TRT-8201-EntropyCalibration2\n"
        "data: 3c010a14\n"
        "L000_convolutional: 3dcccccd\n"
        "L001_maxpool: 3dcccccd\n"  # as what it reads
        "L002_convolutional: 3f800000\n"  # 1: TensorRT refuses 0
    )
    assert to_bytes(cache_of(net, tensors, Method("max"), "10.3.0")).startswith(b"TRT-100300-MinMaxCalibration\n")


def test_versions_as_headers_say_them():
    assert [version_digits(v) for v in ("7.1.3", "8.2.1", "8.6.1.6", "10.3.0", "10.13.3", "11.4.1")] == [
        "7103",
        "8201",
        "8601",
        "100300",
        "101303",
        "110401",
    ]


@pytest.mark.parametrize("version", ["8.2", "", "8.x.1", "3.0.2", "8.12.0", "123.0.0", "-1.2.3"])
def test_what_is_no_version(version):
    with pytest.raises(DarkpruneError) as caught:
        version_digits(version)
    assert str(caught.value) == (
        "error: {} is no version of TensorRT\nhint: give its first three numbers, such as 8.2.1".format(version)
    )


CURE = "hint: give a calibration cache as TensorRT or darkprune calibrate wrote it"
NO_LINE = "error: this is no line of a calibration cache, which has a name, a colon, a space and up to 8 digits"
NO_HEADER = "error: a calibration cache begins with its version and algorithm, TRT-8201-EntropyCalibration2"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "{path}:1: " + NO_HEADER + "\n    1 | \n" + CURE),
        ("TRT-8201\na: 3c\n", "{path}:1: " + NO_HEADER + "\n    1 | TRT-8201\n" + CURE),
        (REAL + "a 3c010a14\n", "{path}:6: " + NO_LINE + "\n    6 | a 3c010a14\n" + CURE),
        (REAL + "a:3c010a14\n", "{path}:6: " + NO_LINE + "\n    6 | a:3c010a14\n" + CURE),
        (REAL + ": 3c010a14\n", "{path}:6: " + NO_LINE + "\n    6 | : 3c010a14\n" + CURE),
        (REAL + "a: 3c010a140\n", "{path}:6: " + NO_LINE + "\n    6 | a: 3c010a140\n" + CURE),
        (REAL + "a: 0.5\n", "{path}:6: " + NO_LINE + "\n    6 | a: 0.5\n" + CURE),
        (REAL + "a: 7f800000\n", "{path}:6: error: the scale of a is inf\n    6 | a: 7f800000\nhint: calibrate again"),
        (REAL + "a: bf800000\n", "{path}:6: error: the scale of a is -1.0\n    6 | a: bf800000\nhint: calibrate again"),
        (
            REAL + "dead: 1\n",
            "{path}:6: error: the tensor dead stands here a second time\n    6 | dead: 1\n"
            "hint: remove one of the two lines",
        ),
    ],
)
def test_malformed(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(DarkpruneError) as caught:
        read(path)
    assert str(caught.value) == message.format(path=path)


def test_no_file(tmp_path):
    path = str(tmp_path / "none")
    with pytest.raises(DarkpruneError) as caught:
        read(path)
    assert str(caught.value) == (
        "{}: error: cannot read the calibration cache: No such file or directory\nhint: check the path".format(path)
    )
