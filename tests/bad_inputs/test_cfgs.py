"""Cfg files: those in data/bad with their messages beside them, and some that are made."""

import tracemalloc

import pytest

import need
from bad_input import GOOD, Cases, check
from darkprune.cli.main import main
from darkprune.darknet.cfg import MAX_BYTES

BAD = need.ROOT / "tests" / "data" / "bad"
CFGS = sorted(path.stem for path in BAD.glob("*.cfg"))

case = Cases()


@case(
    """\
absent.cfg: error: cannot read the cfg: No such file or directory
hint: check the path
"""
)
def cfg_absent(folder):
    return ["inspect", "absent.cfg"]


@case(
    """\
huge.cfg: error: this is not a cfg: it has more than 16777216 bytes
hint: the order is CFG WEIGHTS; are they swapped?
"""
)
def cfg_too_large(folder):
    with (folder / "huge.cfg").open("wb") as stream:
        stream.write(b"[net]\n")
        stream.seek(MAX_BYTES)
        stream.write(b"\n")
    return ["inspect", "huge.cfg"]


def test_no_case_is_lost():
    assert len(case) >= 2


@pytest.mark.parametrize("name", sorted(case))
def test_cfgs_that_are_made(name, folder, capsys):
    case.check(name, folder, capsys)


def test_the_cfgs_are_there():
    assert len(CFGS) >= 59
    assert CFGS == sorted(path.stem for path in BAD.glob("*.txt"))


@pytest.mark.parametrize("name", CFGS)
def test_cfg(name, folder, capsys):
    (folder / (name + ".cfg")).write_bytes((BAD / (name + ".cfg")).read_bytes())
    expected = (BAD / (name + ".txt")).read_text(encoding="utf-8")
    assert "error: " in expected and "\nhint: " in expected
    for argv in (
        ["inspect", name + ".cfg"],
        ["prune", name + ".cfg", "good.weights", "-o", "out", "--channels", "0.5"],
        ["edit", name + ".cfg", "good.weights", "-o", "out", "--seen", "1"],
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
