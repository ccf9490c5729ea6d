"""The command `edit` end to end: what it writes and prints, and what it refuses as a whole."""

import json
import struct

import numpy as np
import pytest

import need
import small_nets
from darkprune.cli.main import main
from darkprune.errors import place, render
from edit_checks import DETECTOR, changes, same_weights

EDIT = ["edit", "net.cfg", "net.weights", "-o", "out"]
FILES = ["net.cfg", "net.weights", "out.cfg", "out.weights"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the pair net."""
    monkeypatch.chdir(str(tmp_path))
    small_nets.write(tmp_path, DETECTOR)
    return tmp_path


def output(argv, capsys, status=0):
    """What a command prints on stdout and stderr, with an exit status."""
    assert main(argv) == status
    return capsys.readouterr()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- what it writes and prints


def test_all_edits_at_once(folder, capsys):
    argv = EDIT + ["--width", "32", "--height", "24", "--set", "net:batch=1", "--set", "12:ignore_thresh=.5"]
    out, err = output(argv + ["--classes", "2", "--fuse-bn", "opencv", "--seen", "64"], capsys)
    assert names(folder) == FILES
    lines = (folder / "out.cfg").read_text().split("\n")
    assert "ignore_thresh=.5" in lines and lines.pop(-3) == "ignore_thresh=.5"
    old = DETECTOR.split("\n")
    assert len(lines) == len(old)
    assert [(a, b) for a, b in zip(old, lines) if a != b] == [
        ("width = 16", "width = 32"),
        ("height=16   # as the camera has it", "height=24   # as the camera has it"),
        ("batch=8", "batch=1"),
    ] + [("batch_normalize=1", "batch_normalize=0")] * 4 + [
        ("filters=24", "filters=21"),
        ("classes=3", "classes=2"),
        ("batch_normalize=1", "batch_normalize=0"),
        ("filters=24", "filters=21"),
        ("  classes = 3", "  classes = 2"),
    ]
    data = (folder / "out.weights").read_bytes()
    assert data[:20] == struct.pack("<iiiQ", 0, 2, 5, 64)
    assert out.endswith("wrote out.cfg out.weights\n") and "\nfilters  " in out and "warning" not in out
    assert "rows of layer 11 are new" not in out and "6 of the 21 rows of layer 11 are new" in err


def test_json(folder, capsys):
    out, err = output(EDIT + ["--width", "32", "--height", "32", "--seen", "7", "--json"], capsys)
    assert err == "" and out.endswith("}\n") and out.count("\n") == 1
    found = json.loads(out, parse_constant=pytest.fail)
    assert sorted(found) == ["after", "before", "files", "warnings"]
    assert found["files"] == ["out.cfg", "out.weights"]
    assert (found["before"]["seen"], found["after"]["seen"]) == (0, 7)
    assert found["after"]["bflops"] == pytest.approx(4 * found["before"]["bflops"], abs=0.002)
    for key in ("layers", "channels", "parameters", "weights_bytes"):
        assert found["before"][key] == found["after"][key] > 0
    inspected = json.loads(output(["inspect", "out.cfg", "out.weights", "--json"], capsys)[0])
    assert inspected["parameters"] == found["after"]["parameters"] and inspected["header"]["seen"] == 7


def test_what_changes_nothing_gives_the_same_bytes(folder, capsys):
    output(EDIT + ["--width", "16", "--set", "0:activation=leaky", "--classes", "3", "--seen", "0"], capsys)
    assert changes(folder) == [] and same_weights(folder)


def test_warnings_are_those_of_the_old_cfg_and_what_is_new_in_the_new_one(folder, capsys):
    small_nets.write(folder, DETECTOR.replace("pad=1\n# down", "pad=1\njunk=1\n# down"))
    _, err = output(EDIT + ["--set", "1:activation=mish"], capsys)
    assert err.startswith("net.cfg:17: warning: [convolutional] has no option 'junk'\n") and err.count("junk") == 2
    assert "out.cfg:20: warning: the original Darknet computes ReLU instead of mish\n   20 | activation=mish\n" in err


def test_a_prefix(folder, capsys):
    out, _ = output(EDIT + ["--cut", "5"], capsys)
    assert out == "wrote out.conv.5: layers 0..4, 2,072 parameters, 0 images seen\n"
    assert names(folder) == ["net.cfg", "net.weights", "out.conv.5"]
    found = json.loads(output(EDIT + ["--cut", "2", "--seen", "9", "--json"], capsys)[0])
    assert found["files"] == ["out.conv.2"]
    size = (folder / "out.conv.2").stat().st_size
    assert found["after"] == {"layers": 2, "parameters": (size - 20) // 4, "weights_bytes": size, "seen": 9}
    shown, _ = output(["inspect", "net.cfg", "out.conv.2", "--partial"], capsys)
    assert shown.endswith("partial: values for the first 2 layers\n") and " 9 images seen" in shown


def test_a_prefix_of_all_layers_is_the_weights(folder, capsys):
    output(EDIT + ["--cut", "13"], capsys)
    assert (folder / "out.conv.13").read_bytes() == (folder / "net.weights").read_bytes()


@pytest.mark.parametrize("runners", ["opencv", "darknet"])
def test_verify_takes_what_was_written(folder, capsys, runners):
    need.opencv() if runners == "opencv" else need.libdarknet()
    output(EDIT + ["--width", "32", "--height", "8", "--classes", "4", "--set", "3:activation=relu"], capsys)
    argv = ["verify", "out.cfg", "out.weights", "--runners", "numpy," + runners, "--json"]
    checks = json.loads(output(argv, capsys)[0])["checks"]
    assert [check["ok"] for check in checks] == [True, True]


def test_shipped_cfgs_can_be_resized_and_their_classes_changed(folder, capsys):
    cfg = need.ROOT / "cfg" / "yolov3-tiny.cfg"
    small_nets.make_weights.make(str(cfg), "tiny.weights", calibrate=False)
    argv = ["edit", str(cfg), "tiny.weights", "-o", "out", "--width", "224", "--height", "160", "--classes", "1"]
    out, _ = output(argv, capsys)
    assert out.endswith("wrote out.cfg out.weights\n")
    old, new = cfg.read_text().split("\n"), (folder / "out.cfg").read_text().split("\n")
    found = [b for a, b in zip(old, new) if a != b]
    assert len(old) == len(new)
    assert found == ["width=224", "height=160", "filters=18", "classes=1", "filters=18", "classes=1"]


# ---- replacing


def test_overwrite_and_the_plan_of_another_pair(folder, capsys):
    prune = ["prune", "net.cfg", "net.weights", "-o", "out", "--channels", "0.2"]
    output(prune, capsys)
    before = contents(folder)
    for status, argv in ((2, EDIT + ["--seen", "3"]), (0, EDIT + ["--seen", "3", "--overwrite"])):
        _, err = output(argv, capsys, status)
        if status:
            assert err == "out.weights: error: this file exists\nhint: --overwrite replaces it\n"
            assert contents(folder) == before
    assert names(folder) == FILES and changes(folder) == []


def test_a_plan_that_waits_is_not_lost_unasked(folder, capsys):
    output(["prune", "net.cfg", "net.weights", "-o", "out", "--channels", "0.2", "--dry-run"], capsys)
    _, err = output(EDIT + ["--seen", "3"], capsys, 2)
    assert err == "out.plan.json: error: this file exists\nhint: --overwrite removes it\n"
    assert names(folder) == ["net.cfg", "net.weights", "out.plan.json"]


def test_inputs_are_never_outputs(folder, capsys):
    before = contents(folder)
    argv = ["edit", "net.cfg", "net.weights", "-o", "net", "--seen", "3", "--overwrite"]
    _, err = output(argv, capsys, 2)
    cure = "choose another name; inputs are never overwritten"
    assert err == render("error", "the output would replace the input net.weights", place("net.weights"), cure) + "\n"
    assert contents(folder) == before


# ---- refusals: nothing is written

USAGE = {
    "nothing": ([], "error: no edit was asked for\nhint: see darkprune edit --help\n"),
    "cut and more": (
        ["--cut", "3", "--width", "8", "--set", "net:batch=1", "--fuse-bn", "opencv", "--seen", "1"],
        "error: --cut writes a file for the cfg as it is\nhint: leave out --set, --width, --fuse-bn, or edit first\n",
    ),
    "cut too far": (
        ["--cut", "14"],
        "error: cannot cut behind layer 14: the net has 13 layers\nhint: use 1..13\n",
    ),
    "seen": (
        ["--seen", "-1"],
        "error: seen=-1 does not fit the 8 bytes that this header has for it\nhint: use 0..18446744073709551615\n",
    ),
    "the second edit": (["--seen", "3", "--width", "0"], "error: width=0 is no size\nhint: use 1 or more\n"),
    "no layer": (["--set", "99:pad=1"], "error: there is no layer 99\nhint: use 0..12, or net\n"),
}
for number, word in enumerate(["", "3", "3:pad", "pad=1", ":pad=1", "3:=1", "3 pad=1"]):
    USAGE["set {}".format(number)] = (
        ["--set=" + word],
        "error: --set takes LAYER:KEY=VALUE, not {!r}\nhint: as in 3:activation=relu or net:batch=1\n".format(word),
    )


@pytest.mark.parametrize("name", sorted(USAGE))
def test_usage(name, folder, capsys):
    flags, expected = USAGE[name]
    before = contents(folder)
    assert output(EDIT + flags, capsys, 2) == ("", expected)
    assert contents(folder) == before


def test_weights_that_are_not_finite(folder, capsys):
    data = bytearray((folder / "net.weights").read_bytes())
    data[28:32] = np.array([np.nan], "<f4").tobytes()
    (folder / "net.weights").write_bytes(bytes(data))
    for flags in (["--seen", "1"], ["--cut", "1"]):
        _, err = output(EDIT + flags, capsys, 2)
        assert err == (
            "net.weights: error: value nan at byte 28 (float 2)\n"
            "hint: training diverged or the file is damaged; use an earlier backup\n"
        )
    assert names(folder) == ["net.cfg", "net.weights"]


def test_partial_weights(folder, capsys):
    data = (folder / "net.weights").read_bytes()
    (folder / "net.weights").write_bytes(data[: 20 + 4 * (8 * 31)])
    _, err = output(EDIT + ["--seen", "1"], capsys, 2)
    assert err == (
        "net.weights: error: the file ends with layer 0 of 13: a partial file (.conv.1)\n"
        "hint: give the full weights; only inspect --partial takes a part of them\n"
    )


def test_a_cfg_that_cannot_be_read(folder, capsys):
    (folder / "net.cfg").write_text("[net]\nwidth=8\n")
    _, err = output(EDIT + ["--seen", "1"], capsys, 2)
    assert err.startswith("net.cfg:1: error: [net] has no height and no channels\n")
