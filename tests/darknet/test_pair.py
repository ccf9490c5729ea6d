"""Two files as one: all are written, or nothing is changed."""

import errno
import os
import stat

import numpy as np
import pytest

from darkprune.darknet import journal
from darkprune.darknet.journal import recover
from darkprune.darknet.pair import PairWriter
from darkprune.errors import OutputError
from pairs import BARE, NEW, OLD, PLAN, failing, fill, state, write

# ---- without accidents


@pytest.mark.parametrize("before", [{}, OLD], ids=["new", "overwrite"])
def test_writes_all_files_and_nothing_else(tmp_path, before):
    fill(tmp_path, before)
    write(str(tmp_path / "net"))
    assert state(tmp_path) == NEW


@pytest.mark.parametrize("before", [{}, OLD, BARE], ids=["new", "overwrite", "overwrite without plan"])
def test_an_old_plan_goes_with_its_pair(tmp_path, before):
    fill(tmp_path, dict(before, **{"other.plan.json": b"keep"}))
    write(str(tmp_path / "net"), plan=False)
    assert state(tmp_path) == dict(BARE, **{"other.plan.json": b"keep"})


def test_an_old_plan_stays_without_overwrite_or_as_an_input(tmp_path):
    fill(tmp_path, {"net" + PLAN: b"old plan"})
    with pytest.raises(OutputError) as caught:
        write(str(tmp_path / "net"), overwrite=False, plan=False)
    text = "{}: error: this file exists\nhint: --overwrite removes it"
    assert str(caught.value) == text.format(tmp_path / ("net" + PLAN))
    with pytest.raises(OutputError, match="would replace the input"):
        write(str(tmp_path / "net"), inputs=[str(tmp_path / ("net" + PLAN))], plan=False)
    assert state(tmp_path) == {"net" + PLAN: b"old plan"}


def test_prefix_without_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    write("net")
    assert state(tmp_path) == NEW


def test_large_chunks_and_empty_ones(tmp_path):
    array = np.arange(1 << 20, dtype="<f4").reshape(1024, -1)
    with PairWriter(tmp_path / "net") as writer:
        writer.write_cfg(b"cfg")
        writer.write_weights([b"head", np.empty((0, 3), "<f4"), array, memoryview(b"tail")])
        writer.commit()
    assert (tmp_path / "net.weights").read_bytes() == b"head" + array.tobytes() + b"tail"


def test_mode_is_that_of_a_new_file_or_of_the_replaced_one(tmp_path):
    fill(tmp_path, {"net.weights": b""})
    os.chmod(str(tmp_path / "net.weights"), 0o640)
    before = os.umask(0o027)
    try:
        write(str(tmp_path / "net"))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("net.weights", "net.cfg")]
    assert modes == [0o640, 0o666 & ~0o027]


def test_replaces_a_link_and_not_what_it_points_at(tmp_path):
    fill(tmp_path, {"other": b"keep"})
    (tmp_path / "net.cfg").symlink_to("other")
    write(str(tmp_path / "net"))
    assert state(tmp_path) == dict(NEW, other=b"keep")


# ---- refusals: nothing is changed


@pytest.mark.parametrize("name", sorted(OLD))
def test_refuses_to_replace_without_overwrite(tmp_path, name):
    fill(tmp_path, {name: OLD[name]})
    with pytest.raises(OutputError) as caught:
        write(str(tmp_path / "net"), overwrite=False)
    text = "{}: error: this file exists\nhint: --overwrite replaces it".format(tmp_path / name)
    assert str(caught.value) == text
    assert state(tmp_path) == {name: OLD[name]}


def test_refuses_what_appeared_meanwhile(tmp_path):
    with pytest.raises(OutputError, match="this file exists"):
        with PairWriter(tmp_path / "net") as writer:
            writer.write_cfg(b"new cfg")
            writer.write_weights([b"new weights"])
            fill(tmp_path, OLD)
            writer.commit()
    assert state(tmp_path) == OLD


@pytest.mark.parametrize("spelling", ["net", "./net", "sub/../net", "{}/net", "linked/net", "soft", "hard"])
@pytest.mark.parametrize("suffix", [".cfg", ".weights"])
def test_inputs_are_never_outputs(tmp_path, monkeypatch, spelling, suffix):
    monkeypatch.chdir(str(tmp_path))
    fill(tmp_path, OLD)
    (tmp_path / "sub").mkdir()
    (tmp_path / "linked").symlink_to(".")
    (tmp_path / ("soft" + suffix)).symlink_to("net" + suffix)
    os.link("net" + suffix, "hard" + suffix)
    before = state(tmp_path)
    prefix = spelling.format(tmp_path)
    with pytest.raises(OutputError) as caught:
        write(prefix, inputs=["absent.cfg", "net" + suffix])
    text = "{}: error: the output would replace the input net{}\nhint: choose another name; inputs are never "
    text += "overwritten"
    assert str(caught.value) == text.format(prefix + suffix, suffix)
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    "prefix, cause",
    [
        ("absent/net", "absent: error: this folder does not exist\nhint: make it first, or write elsewhere"),
        ("file/net", "file: error: this is no folder\nhint: make it first, or write elsewhere"),
        ("folder", "folder.cfg: error: something that is no file stands here\nhint: choose another name"),
        ("pipe", "pipe.weights: error: something that is no file stands here\nhint: choose another name"),
        ("folder.cfg/", "folder.cfg/: error: this names no file\nhint: give a path and a stem, as in out/pruned"),
        ("", ": error: this names no file\nhint: give a path and a stem, as in out/pruned"),
        ("n" * 230, "n" * 230 + ".weights: error: cannot write: File name too long\nhint: choose a shorter name"),
    ],
)
def test_refuses_places_where_no_pair_can_be(tmp_path, monkeypatch, prefix, cause):
    monkeypatch.chdir(str(tmp_path))
    fill(tmp_path, {"file": b"keep"})
    (tmp_path / "folder.cfg").mkdir()
    os.mkfifo("pipe.weights")
    with pytest.raises(OutputError) as caught:
        write(prefix)
    assert str(caught.value) == cause
    assert sorted(os.listdir(".")) == ["file", "folder.cfg", "pipe.weights"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_refuses_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="you may not write to this folder"):
        PairWriter(tmp_path / "net")


@pytest.mark.parametrize("extras", [["plan"], ["/../x"], [".cfg"], [".a", ".a"]])
def test_extras_must_be_plain_suffixes(tmp_path, extras):
    with pytest.raises(ValueError, match="extra suffixes"):
        PairWriter(tmp_path / "net", extras=extras)


# ---- failures of this program


def steps_of(function, monkeypatch):
    """The names of the steps that a call takes."""
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(journal, "step", seen.append)
        function()
    return seen


@pytest.mark.parametrize("before", [{}, OLD], ids=["new", "overwrite"])
def test_without_commit_nothing_is_changed(tmp_path, before):
    fill(tmp_path, before)
    write(str(tmp_path / "net"), commit=False)
    assert state(tmp_path) == before

    def chunks():
        yield b"new "
        raise KeyError("broken")

    with pytest.raises(KeyError):
        with PairWriter(tmp_path / "net", overwrite=True) as writer:
            writer.write_cfg(b"new cfg")
            writer.write_weights(chunks())
    assert state(tmp_path) == before
    with pytest.raises(ValueError, match="announced"):
        with PairWriter(tmp_path / "net", overwrite=True) as writer:
            writer.write_cfg(b"new cfg")
            writer.commit()
    assert state(tmp_path) == before


def test_full_disk(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    fill(tmp_path, OLD)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        write(str(tmp_path / "net"))
    text = "{}: error: cannot write: No space left on device\nhint: free some space, or write elsewhere"
    assert str(caught.value) == text.format(tmp_path / "net.weights")
    assert state(tmp_path) == OLD


@pytest.mark.parametrize("new", [NEW, BARE], ids=["plan", "no plan"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["io", "ctrl-c"])
def test_failure_at_every_step(tmp_path, monkeypatch, error, lasting, new):
    (tmp_path / "count").mkdir()
    fill(tmp_path / "count", OLD)
    steps = steps_of(lambda: write(str(tmp_path / "count/net"), plan=new is NEW), monkeypatch)
    for count in range(len(steps)):
        folder = tmp_path / str(count)
        folder.mkdir()
        fill(folder, OLD)
        with monkeypatch.context() as patch:
            patch.setattr(journal, "step", failing(count, error, lasting))
            with pytest.raises((OSError, OutputError, KeyboardInterrupt)):
                write(str(folder / "net"), plan=new is NEW)
        if lasting:
            recover(str(folder / "net"))
        left = state(folder)
        assert left in (OLD, new), steps[count]
        assert (left == new) == (count > steps.index(".weights in")), steps[count]
