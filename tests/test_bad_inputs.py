"""Bad input: exit status 2, a message whose whole text is asserted, and nothing written or lost.

The cfgs lie under data/bad/, each with its message beside it; other bad input is made from one small good pair.
"""

import json
import os
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import small_nets
from darkprune.cli.main import main
from darkprune.darknet.cfg import MAX_BYTES
from darkprune.graph.build import build, load
from darkprune.prune.pipeline import prune
from expected_errors import EXPECTED

ROOT = Path(__file__).resolve().parent.parent
BAD = ROOT / "tests" / "data" / "bad"
CFGS = sorted(path.stem for path in BAD.glob("*.cfg"))

HEAD = small_nets.conv(24, 1, "linear", None) + small_nets.section(
    "yolo", mask="0,1,2", anchors="1,2, 3,4, 5,6", classes=3, num=3
)
GOOD = small_nets.cfg(
    small_nets.conv(8), small_nets.conv(8), small_nets.conv(8), small_nets.shortcut(-2), HEAD, width=16, height=16
)
HEADER = struct.pack("<iiiQ", 0, 2, 5, 64)
PRUNE = ["prune", "good.cfg", "good.weights", "-o", "out"]
VERIFY = ["verify", "good.cfg", "good.weights"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with good.cfg and good.weights: gammas 1/8 to 1 in each layer, so that nothing is dead."""
    monkeypatch.chdir(str(tmp_path))
    (tmp_path / "good.cfg").write_text(GOOD)
    (tmp_path / "good.weights").write_bytes(HEADER + values_of(GOOD).astype("<f4").tobytes())
    return tmp_path


def values_of(text):
    """The floats of a weights file for a cfg."""
    random, parts = np.random.RandomState(3), []
    for _, spec in build(small_nets.parse(text)).specs():
        fill = {"scales": np.arange(1, 9) / 8.0, "variance": np.ones(8), "mean": np.zeros(8)}
        values = fill[spec.name] if spec.name in fill else 0.3 * random.randn(*spec.shape)
        parts.append(values.reshape(-1))
    return np.concatenate(parts)


def snapshot(folder):
    """Every file below a folder with its bytes, and every other entry."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def without_keys(text):
    """A message without the keys of pairs, which depend on every option that layer types declare."""
    return re.sub(r"\([0-9a-f]{12}\.\.\., this one is [0-9a-f]{12}\.\.\.\)", "(KEY, this one is KEY)", text)


def check(argv, expected, folder, capsys):
    """Runs a command line in this process: it must fail with the expected text and change nothing."""
    before = snapshot(folder)
    status = main(argv)
    out, err = capsys.readouterr()
    assert without_keys(err) == expected
    assert (status, out) == (2, "")
    assert snapshot(folder) == before


# ---- cfgs


def test_the_cfgs_are_there():
    assert len(CFGS) >= 36
    assert CFGS == sorted(path.stem for path in BAD.glob("*.txt"))


@pytest.mark.parametrize("name", CFGS)
def test_cfg(name, folder, capsys):
    (folder / (name + ".cfg")).write_bytes((BAD / (name + ".cfg")).read_bytes())
    expected = (BAD / (name + ".txt")).read_text(encoding="utf-8")
    assert "error: " in expected and "\nhint: " in expected
    for argv in (
        ["inspect", name + ".cfg"],
        ["prune", name + ".cfg", "good.weights", "-o", "out", "--channels", "0.5"],
    ):
        check(argv, expected, folder, capsys)
    check(["verify", name + ".cfg", "good.weights", "--runners", "numpy,darknet"], expected, folder, capsys)


@pytest.mark.parametrize("name", ["filters-billion", "net-input-huge", "maps-huge", "channels-huge"])
def test_a_number_in_a_cfg_allocates_nothing(name, folder, capsys):
    assert peak_of(["inspect", str(BAD / (name + ".cfg"))]) < 20 << 20
    capsys.readouterr()


def test_a_large_image_is_inspected_and_pruned_without_its_maps(folder, capsys):
    text = GOOD.replace("width=16", "width=10000").replace("height=16", "height=10000")
    (folder / "large.cfg").write_text(text)
    assert peak_of(["inspect", "large.cfg", "good.weights"]) < 50 << 20
    assert peak_of(["prune", "large.cfg", "good.weights", "-o", "out", "--channels", "0.2"]) < 50 << 20
    capsys.readouterr()


def peak_of(argv):
    """Bytes that Python and numpy allocated at most while a command ran."""
    main(["inspect", "good.cfg"])  # what is imported late
    tracemalloc.start()
    try:
        main(argv)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---- everything else: a function makes the bad thing in the folder and returns the arguments

MAKERS = {}


def maker(function):
    MAKERS[function.__name__] = function
    return function


def changed(folder, edit, name="bad.weights"):
    """Writes the good weights, edited by a function of a float array; returns the file's name."""
    data = (folder / "good.weights").read_bytes()
    values = np.frombuffer(data[20:], "<f4").copy()
    edit(values)
    (folder / name).write_bytes(data[:20] + values.tobytes())
    return name


def inspect(folder, data, name="bad.weights"):
    (folder / name).write_bytes(data)
    return ["inspect", "good.cfg", name]


def good_bytes(folder):
    return (folder / "good.weights").read_bytes()


@maker
def weights_truncated(folder):
    return inspect(folder, good_bytes(folder)[: 20 + 4 * 300])


@maker
def weights_longer(folder):
    return inspect(folder, good_bytes(folder) + bytes(64))


@maker
def weights_empty(folder):
    return inspect(folder, b"")


@maker
def weights_end_inside_the_header(folder):
    return inspect(folder, good_bytes(folder)[:18])


@maker
def weights_ragged(folder):
    return inspect(folder, good_bytes(folder)[:-3])


@maker
def weights_one_byte_too_long(folder):
    return inspect(folder, good_bytes(folder) + b"\n")


@maker
def weights_of_other_classes(folder):
    (folder / "coco.cfg").write_text(GOOD.replace("filters=24", "filters=255").replace("classes=3", "classes=80"))
    return ["prune", "coco.cfg", "good.weights", "-o", "out", "--channels", "0.5"]


@maker
def weights_partial(folder):
    (folder / "good.conv.1").write_bytes(good_bytes(folder)[: 20 + 4 * 248])
    return ["prune", "good.cfg", "good.conv.1", "-o", "out", "--channels", "0.5"]


@maker
def weights_partial_inspected(folder):
    (folder / "good.conv.1").write_bytes(good_bytes(folder)[: 20 + 4 * 248])
    return ["inspect", "good.cfg", "good.conv.1"]


@maker
def weights_cut_inside_a_layer_though_partial(folder):
    return inspect(folder, good_bytes(folder)[: 20 + 4 * 247]) + ["--partial"]


@maker
def weights_and_cfg_swapped(folder):
    return ["inspect", "good.weights", "good.cfg"]


@maker
def weights_that_are_a_cfg(folder):
    return ["prune", "good.cfg", "good.cfg", "-o", "out", "--channels", "0.5"]


@maker
def weights_that_are_a_git_lfs_pointer(folder):
    return inspect(folder, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 248007048\n")


@maker
def weights_that_are_a_web_page(folder):
    return inspect(folder, b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>")


@maker
def weights_that_are_something_else(folder):
    return inspect(folder, b"solid ball\nfacet normal 1 0 0\nouter loop\n")


@maker
def weights_absent(folder):
    return ["inspect", "good.cfg", "absent.weights"]


@maker
def cfg_absent(folder):
    return ["inspect", "absent.cfg"]


@maker
def cfg_too_large(folder):
    with (folder / "huge.cfg").open("wb") as stream:
        stream.write(b"[net]\n")
        stream.seek(MAX_BYTES)
        stream.write(b"\n")
    return ["inspect", "huge.cfg"]


@maker
def weights_of_numload(folder):
    (folder / "numload.cfg").write_text(GOOD.replace("filters=24", "filters=24\nnumload=8"))
    return ["inspect", "numload.cfg", "good.weights", "--dialect", "pjreddie"]


@maker
def variance_negative(folder):
    changed(folder, lambda v: v.__setitem__(8 * 3 + 5, -1.0))
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.5"]


@maker
def weight_nan(folder):
    changed(folder, lambda v: v.__setitem__(300, np.nan))
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.2"]


@maker
def weight_nan_dry_run(folder):
    return weight_nan(folder) + ["--dry-run"]


@maker
def weight_nan_scored(folder):
    return weight_nan(folder) + ["--score", "l2"]


@maker
def weight_nan_where_too_much_would_go(folder):
    return weight_nan(folder) + ["--channels", "0.95"]


@maker
def weight_nan_overwriting(folder):
    for suffix in (".cfg", ".weights", ".plan.json"):
        (folder / ("out" + suffix)).write_text("older")
    return weight_nan(folder) + ["--overwrite"]


@maker
def weight_infinite(folder):
    changed(folder, lambda v: v.__setitem__(-1, np.inf))
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.2"]


@maker
def weight_infinite_that_is_absorbed(folder):
    changed(folder, lambda v: v.__setitem__(slice(280, 280 + 576), -np.inf))
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.2"]


@maker
def gamma_nan(folder):
    changed(folder, lambda v: v.__setitem__(8, np.nan))
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--channels", "0.2"]


@maker
def gamma_infinite(folder):
    changed(folder, lambda v: v.__setitem__(9, np.inf))
    return ["prune", "good.cfg", "bad.weights", "-o", "out", "--blocks", "1"]


@maker
def weight_nan_inspected(folder):
    changed(folder, lambda v: v.__setitem__(300, np.nan))
    return ["inspect", "good.cfg", "bad.weights"]


@maker
def weight_nan_verified(folder):
    changed(folder, lambda v: v.__setitem__(300, np.nan))
    return ["verify", "good.cfg", "bad.weights", "--runners", "numpy,darknet"]


@maker
def weight_nan_in_the_second_pair(folder):
    changed(folder, lambda v: v.__setitem__(300, np.nan))
    write_plan(folder)
    return VERIFY + ["good.cfg", "bad.weights", "--plan", "plan.json"]


# ---- outputs


@maker
def output_into_no_folder(folder):
    return ["prune", "good.cfg", "good.weights", "-o", "absent/out", "--channels", "0.2"]


@maker
def output_into_a_file(folder):
    return ["prune", "good.cfg", "good.weights", "-o", "good.cfg/out", "--channels", "0.2"]


@maker
def output_without_a_name(folder):
    return ["prune", "good.cfg", "good.weights", "-o", "./", "--channels", "0.2"]


@maker
def output_over_the_input(folder):
    return ["prune", "good.cfg", "good.weights", "-o", "good", "--channels", "0.2", "--overwrite"]


@maker
def output_over_the_input_through_a_link(folder):
    os.symlink("good.weights", "link.weights")
    return ["prune", "good.cfg", "good.weights", "-o", "link", "--channels", "0.2", "--overwrite"]


@maker
def output_over_the_input_as_a_hard_link(folder):
    os.link("good.cfg", "link.cfg")
    return ["prune", "good.cfg", "good.weights", "-o", "./link", "--channels", "0.2", "--overwrite"]


@maker
def output_over_a_file(folder):
    (folder / "out.weights").write_bytes(b"precious")
    return PRUNE + ["--channels", "0.2"]


@maker
def output_over_a_plan(folder):
    (folder / "out.plan.json").write_bytes(b"precious")
    return PRUNE + ["--channels", "0.2", "--dry-run"]


@maker
def output_over_a_folder(folder):
    (folder / "out.cfg").mkdir()
    return PRUNE + ["--channels", "0.2", "--overwrite"]


# ---- plans


def write_plan(folder, edit=None, data=None, **options):
    """Writes plan.json: a good one for the pair, edited by a function of its JSON; returns arguments that use it."""
    net = load(str(folder / "good.cfg"), str(folder / "good.weights"))
    plan = prune(net, **(options or {"channels": 0.2, "absorb": "none"})).plan.to_dict()
    plan = json.loads(json.dumps(plan))
    if edit is not None:
        edit(plan)
    (folder / "plan.json").write_bytes(json.dumps(plan).encode("ascii") if data is None else data)
    return PRUNE + ["--plan", "plan.json"]


@maker
def plan_absent(folder):
    return PRUNE + ["--plan", "absent.json"]


@maker
def plan_that_is_no_json(folder):
    return write_plan(folder, data=b'{\n "format": "darkprune plan 1",\n "pair": nonsense\n}\n')


@maker
def plan_that_is_binary(folder):
    return PRUNE + ["--plan", "good.weights"]


@maker
def plan_nested_deeply(folder):
    return write_plan(folder, data=b"[" * 100000)


@maker
def plan_of_another_version(folder):
    return write_plan(folder, lambda p: p.update(format="darkprune plan 2"))


@maker
def plan_of_another_kind(folder):
    return write_plan(folder, data=b"[]")


@maker
def plan_without_a_pair(folder):
    return write_plan(folder, lambda p: p.pop("pair"))


@maker
def plan_with_a_list_for_an_object(folder):
    return write_plan(folder, lambda p: p.update(removed_channels=[1, 2]))


@maker
def plan_with_a_word_for_a_channel(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"0": ["first"]}))


@maker
def plan_with_a_negative_channel(folder):
    return write_plan(folder, lambda p: p["constants"].update({"0": [-1]}))


@maker
def plan_with_a_layer_of_5000_digits(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"9" * 5000: [0]}))


@maker
def plan_with_a_malformed_block(folder):
    return write_plan(folder, lambda p: p["removed_blocks"].append({"shortcut": 3, "layers": [3]}))


@maker
def plan_with_an_unknown_absorb_mode(folder):
    return write_plan(folder, lambda p: p["options"].update(absorb="magic"))


@maker
def plan_for_another_pair(folder):
    write_plan(folder)
    changed(folder, lambda v: v.__setitem__(-1, 0.25), "other.weights")
    return ["prune", "good.cfg", "other.weights", "-o", "out", "--plan", "plan.json"]


@maker
def plan_for_another_pair_to_verify(folder):
    write_plan(folder)
    changed(folder, lambda v: v.__setitem__(-1, 0.25), "other.weights")
    return ["verify", "good.cfg", "other.weights", "good.cfg", "good.weights", "--plan", "plan.json"]


@maker
def plan_in_another_dialect(folder):
    return write_plan(folder) + ["--dialect", "pjreddie"]


@maker
def plan_with_a_layer_too_many(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"6": [0]}))


@maker
def plan_with_a_channel_too_many(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"0": [0, 9]}))


@maker
def plan_with_a_huge_channel(folder):
    write_plan(folder, lambda p: p["removed_channels"].update({"0": [10**30]}))
    return VERIFY + ["good.cfg", "good.weights", "--plan", "plan.json"]


@maker
def plan_with_a_layer_without_channels(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"3": [0]}))


@maker
def plan_with_a_pinned_channel(folder):
    return write_plan(folder, lambda p: p["removed_channels"].update({"4": [0]}))


@maker
def plan_with_a_part_of_a_channel_set(folder):
    return write_plan(folder, lambda p: p.update(removed_channels={"1": [2]}))


@maker
def plan_with_a_channel_named_twice(folder):
    return write_plan(folder, lambda p: p.update(removed_channels={"0": [2, 2]}))


@maker
def plan_that_leaves_no_filter(folder):
    return write_plan(folder, lambda p: p.update(removed_channels={"0": list(range(8))}))


@maker
def plan_without_its_constants(folder):
    return write_plan(
        folder, lambda p: p.update(removed_channels={"0": [0]}, constants={}, options={"absorb": "exact"})
    )


@maker
def plan_with_a_block_that_is_none(folder):
    return write_plan(folder, lambda p: p.update(removed_blocks=[{"shortcut": 3, "layers": [1, 3]}]))


@maker
def plan_with_a_block_too_many(folder):
    return write_plan(folder, lambda p: p.update(removed_blocks=[{"shortcut": 9, "layers": [8, 9]}]))


@maker
def plan_beside_channels(folder):
    return write_plan(folder) + ["--channels", "0.2"]


@maker
def plan_with_fewer_layers_than_the_second_pair(folder):
    write_plan(folder, lambda p: p.update(removed_blocks=[{"shortcut": 3, "layers": [2, 3]}]))
    return VERIFY + ["good.cfg", "good.weights", "--plan", "plan.json"]


# ---- options


@maker
def channels_above_1(folder):
    return PRUNE + ["--channels", "1.5"]


@maker
def channels_negative(folder):
    return PRUNE + ["--channels=-1"]


@maker
def channels_nan(folder):
    return PRUNE + ["--channels", "nan"]


@maker
def neither_channels_nor_blocks(folder):
    return PRUNE


@maker
def round_0(folder):
    return PRUNE + ["--channels", "0.2", "--round", "0"]


@maker
def blocks_too_many(folder):
    return PRUNE + ["--blocks", "4"]


@maker
def blocks_negative(folder):
    return PRUNE + ["--blocks=-1"]


@maker
def min_keep_negative(folder):
    return PRUNE + ["--channels", "0.2", "--min-keep=-1"]


@maker
def min_keep_infinite(folder):
    return PRUNE + ["--channels", "0.2", "--min-keep", "inf"]


@maker
def pruned_to_death(folder):
    return PRUNE + ["--channels", "0.9"]


@maker
def runner_unknown(folder):
    return VERIFY + ["--runners", "numpy,tensorflow"]


@maker
def runner_none(folder):
    return VERIFY + ["--runners", ","]


@maker
def nothing_to_compare(folder):
    return VERIFY + ["--runners", "numpy,numpy"]


@maker
def second_pair_without_a_plan(folder):
    return VERIFY + ["good.cfg", "good.weights"]


@maker
def second_cfg_without_weights(folder):
    return VERIFY + ["good.cfg", "--plan", "plan.json"]


@maker
def plan_without_a_second_pair(folder):
    return VERIFY + ["--plan", "plan.json"]


def test_every_case_has_its_text():
    assert sorted(MAKERS) == sorted(EXPECTED)
    assert len(MAKERS) + len(CFGS) >= 120
    for text in EXPECTED.values():
        assert "error: " in text and "\nhint: " in text and text.endswith("\n")


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_bad_input(name, folder, capsys):
    argv = MAKERS[name](folder)
    check(argv, EXPECTED[name], folder, capsys)


def test_the_good_pair_is_good(folder, capsys):
    assert main(PRUNE + ["--channels", "0.2"]) == 0
    assert main(["inspect", "out.cfg", "out.weights"]) == 0
    assert main(VERIFY + ["out.cfg", "out.weights", "--plan", "out.plan.json"]) == 0
    assert main(["prune", "good.cfg", "good.weights", "-o", "again", "--plan", "out.plan.json"]) == 0
    capsys.readouterr()


def test_a_folder_without_write_permission(folder, capsys, monkeypatch):
    (folder / "locked").mkdir()
    os.chmod("locked", 0o555)
    if os.access("locked", os.W_OK):  # root may write anywhere
        monkeypatch.setattr(os, "access", lambda path, mode: os.stat(path).st_mode & 0o200 != 0)
    argv = ["prune", "good.cfg", "good.weights", "-o", "locked/out", "--channels", "0.2"]
    expected = "locked: error: you may not write to this folder\nhint: write elsewhere\n"
    check(argv, expected, folder, capsys)
    os.chmod("locked", 0o755)


@pytest.mark.parametrize(
    "argv, line",
    [
        (
            ["prune", "good.cfg", "good.weights", "--channels", "0.5"],
            "the following arguments are required: -o/--output",
        ),
        (PRUNE + ["--channels", "half"], "argument --channels: invalid float value: 'half'"),
        (["inspect"], "the following arguments are required: CFG"),
    ],
)
def test_arguments_that_are_none(argv, line, folder, capsys):
    before = snapshot(folder)
    with pytest.raises(SystemExit) as caught:
        main(argv)
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "") and snapshot(folder) == before
    assert err.endswith("darkprune {}: error: {}\n".format(argv[0], line))


SUBPROCESS = ["weight_nan_overwriting", "weights_truncated", "plan_for_another_pair", "weights_and_cfg_swapped"]


@pytest.mark.parametrize("name", SUBPROCESS)
def test_the_program_itself(name, folder):
    argv = MAKERS[name](folder)
    before = snapshot(folder)
    run = subprocess.run(
        [sys.executable, "-m", "darkprune"] + argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1"),
    )
    assert without_keys(run.stderr.decode()) == EXPECTED[name]
    assert (run.returncode, run.stdout) == (2, b"")
    assert snapshot(folder) == before
