"""The command `calibrate` end to end: what it writes and prints, and what it refuses as a whole."""

import errno
import json

import numpy as np
import pytest

import need
import small_nets
from darkprune.cli import calibrate
from darkprune.cli.main import main
from darkprune.darknet import journal
from darkprune.errors import MissingDependency
from darkprune.evaluate.advice import PLAIN, Advice, Variant, timed
from darkprune.graph.build import load
from darkprune.quant import trt_cache
from darkprune.quant.ranges import Ranges
from edit_checks import DETECTOR

CALIBRATE = ["calibrate", "net.cfg", "net.weights", "-o", "out.json", "--images"]
NUMPY = ["--runner", "numpy"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: the pair net, pictures in images/, and list.txt, which names them."""
    cv2 = need.opencv()
    monkeypatch.chdir(str(tmp_path))
    small_nets.write(tmp_path, DETECTOR)
    (tmp_path / "images").mkdir()
    names = []
    for number in range(5):
        pixels = np.random.RandomState(number).randint(0, 60 + 45 * number, (20, 30, 3)).astype(np.uint8)
        names.append("images/{}.png".format(number))
        assert cv2.imwrite(names[-1], pixels)
    (tmp_path / "list.txt").write_text("\n".join(names[::-1]) + "\n", "ascii")
    return tmp_path


def output(argv, capsys, status=0):
    """What a command prints on stdout and stderr, with an exit status."""
    assert main(argv) == status
    return capsys.readouterr()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_what_it_prints_and_writes(folder, capsys):
    out, err = output(CALIBRATE + ["images", "--cache", "out.cache"] + NUMPY, capsys)
    assert out == ("ranges of 17 tensors from 5 images, by entropy (2048 bins, 128 levels)\nwrote out.json out.cache\n")
    assert err == ""
    ranges, net = Ranges.read("out.json"), load("net.cfg", "net.weights")
    ranges.require(net)
    assert (ranges.keep_float, ranges.preprocessing, ranges.images) == ([0, 5, 11], "stretch", 5)
    cache = trt_cache.read("out.cache")
    assert list(cache.scales) == list(ranges.tensors)
    assert cache.scales["data"] == np.float32(ranges.tensors["data"].amax / 127)
    assert sorted(contents(folder)) == ["list.txt", "net.cfg", "net.weights", "out.cache", "out.json"]


def test_json(folder, capsys):
    arguments = ["list.txt", "--method", "percentile:99.9", "--count", "3", "--keep-float", "none", "--json"]
    out, _ = output(CALIBRATE + arguments + NUMPY, capsys)
    assert json.loads(out) == {
        "method": {"name": "percentile", "percent": 99.9},
        "tensors": 17,
        "images": 3,
        "resumed": 0,
        "runner": "numpy",
        "preprocessing": "stretch",
        "keep_float": [],
        "files": ["out.json"],
        "warnings": [],
        "adjustments": [],
        "advice": [],
    }


def test_a_net_that_integers_may_not_suit_is_measured(folder, capsys, monkeypatch):
    thin = small_nets.conv(64, size=1) + small_nets.conv(64, groups=64) * 3
    small_nets.write(folder, small_nets.cfg(thin, small_nets.HEAD, width=128, height=128), "thin")
    argv = ["calibrate", "thin.cfg", "thin.weights", "-o", "out.json", "--overwrite", "--count", "1", "--images"]
    argv += ["images", "--method", "max"] + NUMPY
    asked = []

    def told(net, ranges, **options):
        asked.append((net.input.shape.w, ranges.images, options["rounds"], len(options["variants"])))
        if len(asked) == 2:
            raise MissingDependency("onnx cannot be imported: no", hint="pip install onnx")
        return Advice(timed({PLAIN: [2.0], Variant(False, 16): [1.5]}), 0.5)

    monkeypatch.setattr(calibrate, "advise", told)
    lines = output(argv, capsys)[0].splitlines()
    assert lines[1:] == ["wrote out.json", "use export --pad-channels 16: 0.75 of the plain FP32 net's time"]
    advice = json.loads(output(argv + ["--json"], capsys)[0])["advice"]
    assert advice == ["whether INT8 pays for this net was not measured: onnx cannot be imported: no"]
    assert output(argv + ["--no-advice"], capsys)[0].splitlines()[1:] == ["wrote out.json"]
    assert asked == [(128, 1, 2, 3)] * 2


def test_a_list_in_another_order_gives_the_same_bytes(folder, capsys):
    output(CALIBRATE + ["images"] + NUMPY, capsys)
    first = contents(folder)
    output(CALIBRATE + ["list.txt", "--overwrite"] + NUMPY, capsys)
    assert contents(folder) == first


def test_another_size_and_whole_images(folder, capsys):
    output(CALIBRATE + ["images", "--width", "32", "--height", "24", "-letter_box"] + NUMPY, capsys)
    ranges = Ranges.read("out.json")
    assert (ranges.width, ranges.height, ranges.preprocessing) == (32, 24, "letterbox")


def test_the_fastest_runner_that_shows_what_must_be_seen(folder, capsys):
    need.runner("onnxruntime")
    small_nets.write(folder, DETECTOR.replace("activation=leaky", "activation=mish"))
    out, err = output(CALIBRATE + ["images"], capsys)
    assert err.startswith("runner: onnxruntime\n")
    assert "L000_convolutional_before" in Ranges.read("out.json").tensors


def test_goes_on_where_it_was(folder, capsys, monkeypatch):
    from darkprune.quant import calibrate

    output(CALIBRATE + ["images"] + NUMPY, capsys)
    expected = (folder / "out.json").read_bytes()
    (folder / "out.json").unlink()
    monkeypatch.setattr(calibrate, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(calibrate, "SECONDS", 0.0)
    real, seen = calibrate.prepared, []

    def interrupted(path, *rest):
        seen.append(path)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(path, *rest)

    monkeypatch.setattr(calibrate, "prepared", interrupted)
    output(CALIBRATE + ["images"] + NUMPY, capsys, 130)
    assert (folder / "out.json.checkpoint").exists() and not (folder / "out.json").exists()
    out, _ = output(CALIBRATE + ["images"] + NUMPY, capsys)
    assert "3 of the images had been counted before\n" in out
    assert (folder / "out.json").read_bytes() == expected
    assert not (folder / "out.json.checkpoint").exists()


# ---- refusals: nothing is written


def refusal(folder, capsys, *arguments):
    before = contents(folder)
    out, err = output(CALIBRATE + list(arguments) + NUMPY, capsys, 2)
    assert out == "" and contents(folder) == before
    return err


def test_fewer_images_than_asked_for(folder, capsys):
    assert refusal(folder, capsys, "images", "--count", "6") == (
        "images: error: 5 images are here, 6 were asked for\nhint: give more images, or a smaller --count\n"
    )
    assert refusal(folder, capsys, "images", "--count", "0") == (
        "error: --count 0 is no number of images\nhint: use 1 or more\n"
    )


def test_images_that_are_not_there(folder, capsys):
    (folder / "empty").mkdir()
    assert refusal(folder, capsys, "empty").startswith("empty: error: no images in this folder\n")
    (folder / "list.txt").write_text("images/0.png\nimages/9.png\n", "ascii")
    assert refusal(folder, capsys, "list.txt").startswith("list.txt:2: error: this image does not exist\n")


def test_an_image_that_cannot_be_read(folder, capsys):
    (folder / "images" / "3.png").write_bytes(b"no image")
    assert refusal(folder, capsys, "images") == (
        "images/3.png: error: cannot read the image\nhint: give a JPEG, PNG or BMP file\n"
    )


def test_settings_that_make_no_sense(folder, capsys):
    assert refusal(folder, capsys, "images", "--method", "kl") == (
        "error: unknown method kl\nhint: use entropy, max, percentile, mse\n"
    )
    assert refusal(folder, capsys, "images", "--cache", "c", "--cache-version", "8") == (
        "error: 8 is no version of TensorRT\nhint: give its first three numbers, such as 8.2.1\n"
    )
    assert refusal(folder, capsys, "images", "--cache", "./out.json") == (
        "./out.json: error: --cache and -o name the same file\nhint: give two names\n"
    )
    assert refusal(folder, capsys, "images", "--keep-float", "99") == (
        "error: --keep-float names 99, which is no layer of this net\n"
        "hint: use numbers of 0 to 12, first-and-heads or none\n"
    )


def test_files_that_exist(folder, capsys):
    (folder / "out.json").write_bytes(b"ranges")
    assert refusal(folder, capsys, "images") == "out.json: error: this file exists\nhint: --overwrite replaces it\n"
    assert refusal(folder, capsys, "images", "-o", "images/0.png", "--overwrite") == (
        "images/0.png: error: the output would replace the input images/0.png\n"
        "hint: choose another name; inputs are never overwritten\n"
    )


def test_a_full_disk(folder, capsys, monkeypatch):
    real = journal.translated

    def full(path):
        if str(path).endswith("out.json"):
            raise journal.failure(OSError(errno.ENOSPC, "No space left on device"), path)
        return real(path)

    monkeypatch.setattr(journal, "translated", full)
    assert refusal(folder, capsys, "images") == (
        "out.json: error: cannot write: No space left on device\nhint: free some space, or write elsewhere\n"
    )


def test_weights_that_are_no_numbers(folder, capsys):
    data = (folder / "net.weights").read_bytes()
    (folder / "net.weights").write_bytes(data[:40] + b"\xff\xff\xff\x7f" + data[44:])
    assert refusal(folder, capsys, "images") == (
        "net.weights: error: value nan at byte 40 (float 5)\n"
        "hint: training diverged or the file is damaged; use an earlier backup\n"
    )


def test_what_holds_the_accuracy_is_said_and_written(folder, capsys):
    plain, _ = output(CALIBRATE + ["images", "--no-advice"] + NUMPY, capsys)
    options = ["--equalize", "0.5", "--learn-rounding", "--overwrite", "--no-advice"]
    _, err = output(CALIBRATE + ["images", "--cache", "out.cache"] + options + NUMPY, capsys)
    assert err.startswith("out.cache: warning: the cache fits the equalised net, not the weights in the file\n")
    out, _ = output(CALIBRATE + ["images"] + options + NUMPY, capsys)
    ranges, net = Ranges.read("out.json"), load("net.cfg", "net.weights")
    found = ranges.adjustments
    first, last = plain.splitlines()
    assert out.splitlines() == [
        first,
        "{} layers equalised, with strength 0.5".format(len(found.factors)),
        "rounding of {} layers learned".format(len(found.rounding)),
        "biases of {} layers corrected".format(len(found.biases)),
        last,
    ]
    assert found.factors and found.rounding and sorted(found.biases) == sorted(found.rounding)
    from darkprune.quant.quantization import Quantization

    Quantization(net, ranges)


def test_a_strength_beyond_1_is_refused(folder, capsys):
    for word in ("2", "-1", "much", "nan"):
        _, err = output(CALIBRATE + ["images", "--equalize=" + word] + NUMPY, capsys, 2)
        assert err == (
            "error: --equalize {} is no strength\n"
            "hint: use 0 to 1, such as 0.5, or give no number: it is then chosen\n"
        ).format(word)
        assert not (folder / "out.json").exists()
