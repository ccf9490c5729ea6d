"""The command `recalibrate` end to end: what it writes and prints, and what it refuses as a whole."""

import json

import numpy as np
import pytest

import need
import small_nets
from darkprune.cli.main import main
from darkprune.graph.build import load
from edit_checks import DETECTOR

RECALIBRATE = ["recalibrate", "net.cfg", "net.weights", "-o", "out", "--images"]


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
    (tmp_path / "images" / "notes.txt").write_text("not an image", "ascii")
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n", "ascii")
    return tmp_path


def output(argv, capsys, status=0):
    """What a command prints on stdout and stderr, with an exit status."""
    assert main(argv) == status
    return capsys.readouterr()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_what_it_prints_and_writes(folder, capsys):
    out, err = output(RECALIBRATE + ["images"], capsys)
    assert out == "statistics of 40 channels in 5 layers from 5 images\nwrote out.cfg out.weights\n"
    assert err == ""
    assert (folder / "out.cfg").read_bytes() == (folder / "net.cfg").read_bytes()
    before, after = load("net.cfg", "net.weights"), load("out.cfg", "out.weights")
    assert not np.array_equal(before.layers[0].array("mean"), after.layers[0].array("mean"))
    np.testing.assert_array_equal(before.layers[0].array("weights"), after.layers[0].array("weights"))


def test_a_list_and_other_batches_give_the_same_bytes(folder, capsys):
    output(RECALIBRATE + ["images", "--batch", "2"], capsys)
    first = contents(folder)
    out, _ = output(RECALIBRATE + ["list.txt", "--overwrite", "--json"], capsys)
    assert contents(folder) == first
    assert json.loads(out) == {
        "images": 5,
        "layers": 5,
        "channels": 40,
        "kept": 0,
        "files": ["out.cfg", "out.weights"],
        "warnings": [],
    }


def test_images_of_another_size_leave_the_cfg(folder, capsys):
    output(RECALIBRATE + ["images"], capsys)
    first = contents(folder)
    output(RECALIBRATE + ["images", "--width", "32", "--height", "24", "--overwrite"], capsys)
    after = contents(folder)
    assert after["out.cfg"] == first["net.cfg"] and after["out.weights"] != first["out.weights"]


def test_proportions_kept(folder, capsys):
    output(RECALIBRATE + ["images"], capsys)
    first = contents(folder)
    output(RECALIBRATE + ["images", "-letter_box", "--overwrite"], capsys)  # the images are 30 x 20, the input square
    assert contents(folder)["out.weights"] != first["out.weights"]


# ---- refusals: nothing is written


def refusal(folder, capsys, *arguments):
    before = contents(folder)
    out, err = output(RECALIBRATE + list(arguments), capsys, 2)
    assert out == "" and contents(folder) == before
    return err


def test_images_that_are_not_there(folder, capsys):
    assert refusal(folder, capsys, "nowhere").startswith("nowhere: error: ")
    (folder / "empty").mkdir()
    assert refusal(folder, capsys, "empty").startswith("empty: error: no images in this folder\n")
    (folder / "list.txt").write_text("\n\n", "ascii")
    assert refusal(folder, capsys, "list.txt").startswith("list.txt: error: this list names no images\n")
    (folder / "list.txt").write_text("images/0.png\nimages/9.png\n", "ascii")
    assert refusal(folder, capsys, "list.txt").startswith("list.txt:2: error: this image does not exist\n")


def test_an_image_that_cannot_be_read(folder, capsys):
    (folder / "images" / "3.png").write_bytes(b"no image")
    assert refusal(folder, capsys, "images").startswith("images/3.png: error: cannot read the image")


def test_the_images_are_inputs(folder, capsys):
    (folder / "list.txt").rename(folder / "out.cfg")
    assert refusal(folder, capsys, "out.cfg", "--overwrite") == (
        "out.cfg: error: the output would replace the input out.cfg\n"
        "hint: choose another name; inputs are never overwritten\n"
    )
    (folder / "out.cfg").unlink()
    (folder / "images" / "0.png").rename(folder / "out.weights")
    (folder / "list.txt").write_text("images/1.png\nout.weights\n", "ascii")
    assert refusal(folder, capsys, "list.txt", "--overwrite") == (
        "out.weights: error: the output would replace the input out.weights\n"
        "hint: choose another name; inputs are never overwritten\n"
    )


def test_a_net_of_four_channels(folder, capsys):
    small_nets.write(folder, DETECTOR.replace("channels=3", "channels=4"))
    (folder / "images" / "0.png").write_bytes(b"no image")
    assert refusal(folder, capsys, "images") == (
        "net.cfg:7: error: the net takes 4 channels, an image has 1 or 3\n    7 | channels=4\n      |          ^\n"
        "hint: channels in [net] says what the net was made for\n"
    )


def test_a_batch_of_nothing(folder, capsys):
    assert refusal(folder, capsys, "images", "--batch", "0") == (
        "error: --batch 0 is no number of images\nhint: use 1 or more\n"
    )


def test_files_that_exist(folder, capsys):
    output(RECALIBRATE + ["images"], capsys)
    assert refusal(folder, capsys, "images") == "out.weights: error: this file exists\nhint: --overwrite replaces it\n"


def test_partial_weights(folder, capsys):
    assert main(["edit", "net.cfg", "net.weights", "--cut", "3", "-o", "net"]) == 0
    (folder / "net.weights").write_bytes((folder / "net.conv.3").read_bytes())
    capsys.readouterr()
    assert refusal(folder, capsys, "images") == (
        "net.weights: error: the file ends with layer 2 of 13: a partial file (.conv.3)\n"
        "hint: give the full weights; only inspect --partial takes a part of them\n"
    )
