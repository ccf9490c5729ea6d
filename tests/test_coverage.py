"""tools/coverage.py on the smallest of its nets: the same checks, and that a broken surgery does not get through."""

import importlib.util
import os
import sys

import pytest

import need
from darkprune.prune.absorb import Absorption
from small_nets import HEAD, conv, parse, section, shortcut


def _tool(name):
    folder = str(need.ROOT / "tools")
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location(name + "_for_tests", os.path.join(folder, name + ".py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


coverage = _tool("coverage")
EVERY = {"opencv", "darknet"}


def job(name):
    found = {job[0]: job for job in coverage.coverage_nets.nets()}
    return found[name]


@pytest.fixture
def readers():
    need.opencv()
    need.libdarknet()


def net_of(tmp_path, *sections, **size):
    """A job whose cfg is made of sections."""
    text = section("net", **dict({"width": 64, "height": 64, "channels": 3}, **size)) + "".join(sections)
    path = tmp_path / "made.cfg"
    path.write_text(text)
    return "made", str(path), "alexeyab"


def expect_whole(row, runs, takers=EVERY):
    """Everything was tried, and passed."""
    assert row["failures"] == [] and [run["mode"] for run in row["runs"]] == runs
    for run in row["runs"]:
        assert run["ok"] == run["layers"] > 0 and run["sets"] > 0.3 * row["sets"]
        assert run["judge"] == run["readers"] == dict.fromkeys(takers, True)


@pytest.mark.parametrize("name", ["Debian/tiny", "models/yolo-fastest-1.1/yolo-fastest-1.1"])
def test_a_net_passes(name, readers):
    need.debian_cfgs()
    if name.startswith("models"):
        need.shared()
    row = coverage.row_of(*job(name))
    blocks = name.startswith("models")
    expect_whole(row, ["none", "exact"] + ["exact"] * blocks)
    assert row["faults"] == {} and (row["runs"][-1]["blocks"], row["blocks"]) == ((9, 18) if blocks else (0, 0))


def test_a_readers_fault_is_named(readers):
    row = coverage.row_of(*job("own/yolov4-tiny"))
    expect_whole(row, ["none", "exact"], {"opencv"})
    assert row["faults"] == {"darknet": "the original Darknet ignores groups of [route]: misread weights from here on"}


def test_what_cannot_be_run_is_a_failure(tmp_path, readers):
    row = coverage.row_of(*net_of(tmp_path, conv(16), conv(16), conv(16, rotate=1), HEAD))
    assert len(row["failures"]) == 1 and row["failures"][0].startswith("Unsupported: ")


def test_lost_constants_are_a_failure(tmp_path, readers, monkeypatch):
    monkeypatch.setattr(Absorption, "_add", lambda *_: None)
    row = coverage.row_of(*net_of(tmp_path, conv(16), conv(8, 1), conv(16), shortcut(-3), conv(16), HEAD))
    failed = [text.split(" differs")[0] for text in row["failures"] if text.startswith("exact: layer ")]
    assert failed == ["exact: layer 1"]
    assert [run["ok"] == run["layers"] for run in row["runs"]] == [True, False, False]
    assert [run["judge"]["opencv"] for run in row["runs"]] == [True, False, False]
    line = coverage.coverage_table.line(row)
    assert "| **FAILED** exact: layer 1 differs by " in line and "| 6/6 |" in line


def test_the_table_sums_up(tmp_path, readers):
    rows = [coverage.row_of(*net_of(tmp_path, conv(16), conv(16), HEAD)), coverage.row_of("x", "no.cfg", "alexeyab")]
    text = coverage.coverage_table.document(rows, [("rnn", "[rnn]")], coverage.__doc__)
    assert "\n- nets without a failure: 1 of 2\n- layers equal, `none`: 3 of 3\n" in text
    assert "\n- pruned pairs read by Darknet: 2 of 2\n" in text
    assert "\n| made | 12 x 8 | 3 | 16, 15 of 32 | 3/3 | 3/3 | - | 2/2 | 2/2 | 2/2 | 2/2 |  |\n" in text
    assert "**FAILED** " in text and text.endswith("not pruned: rnn ([rnn]).\n")


# ---- the smaller image


def size_of(tmp_path, *sections, **size):
    name, path, dialect = net_of(tmp_path, *sections, **size)
    return tuple(coverage.coverage_nets.shrunk(path, dialect).input.shape[:2])


def test_every_map_stays_a_map(tmp_path):
    down = [conv(8, stride=2) for _ in range(4)]
    assert size_of(tmp_path, conv(8), HEAD) == (12, 8)
    assert size_of(tmp_path, *down + [HEAD], width=256, height=256) == (28, 19)  # 2 x 2 at the end
    assert size_of(tmp_path, *down + [section("avgpool"), HEAD], width=256, height=256) == (28, 19)


def test_sources_of_one_size_stay_of_one_size(tmp_path):
    body = [conv(8, stride=2), conv(8, stride=2), section("upsample", stride=2), shortcut(-3), HEAD]
    w, h = size_of(tmp_path, *body, width=128, height=128)
    assert w % 4 == h % 4 == 0


def test_a_crop_shrinks_with_the_net(tmp_path):
    body = [section("crop", crop_width=48, crop_height=48), conv(8), HEAD]
    assert size_of(tmp_path, *body) == (28, 24)
    made = parse(coverage.cfg_bytes(coverage.coverage_nets.shrunk(*net_of(tmp_path, *body)[1:])).decode("ascii"))
    assert [o.value for o in made.sections[1].options] == ["12", "8"]


def test_nets_that_are_not_pruned_are_named(tmp_path):
    need.debian_cfgs()
    binary = net_of(tmp_path, conv(8, xnor=1), conv(8, xnor=1), HEAD)
    jobs, others = coverage.coverage_nets.sorted_out([job("Debian/rnn"), job("Debian/tiny"), binary])
    assert [found[0] for found in jobs] == ["Debian/tiny"]
    assert others == [
        ("Debian/rnn", "[rnn] remembers the images before"),
        ("made", "no filter may go: made by layer 0: xnor=1"),
    ]
