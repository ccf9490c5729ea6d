"""A crash at any step leaves the old pair, the new pair, or no cfg; a journal that is not ours changes nothing."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys

import pytest

from darkprune.darknet import journal
from darkprune.darknet.journal import recover
from darkprune.darknet.pair import PairWriter
from darkprune.errors import OutputError
from pairs import BARE, NEW, OLD, PLAN, failing, fill, state, write

SUFFIXES = [".weights", PLAN, ".cfg"]
TOKEN = "0123456789abcdef"

# ---- crashes: the process ends at a step, and nothing is cleaned up

DRIVER = """
import os, sys
from darkprune.darknet import journal
from darkprune.darknet.pair import PairWriter

def crash(count, prefix):
    left = [count]
    def step(name):
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
    journal.step = step
    extras, stale = ([".plan.json"], []) if sys.argv[1] == "plan" else ([], [".plan.json"])
    with PairWriter(prefix, overwrite=True, extras=extras, stale=stale) as writer:
        writer.write_weights([b"new ", b"weights"])
        if extras:
            writer.write_extra(".plan.json", b"new plan")
        writer.write_cfg(b"new cfg")
        writer.commit()

for count, folder in enumerate(sys.argv[2:]):
    child = os.fork()
    if child == 0:
        try:
            crash(count, os.path.join(folder, "net"))
        finally:
            os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(count)
"""


def crashes(folder, before, after=NEW, limit=40):
    """Folders in which the process was ended at the first, second... step."""
    folders = [folder / "step{}".format(i) for i in range(limit)]
    for path in folders:
        path.mkdir()
        fill(path, before)
    kind = "plan" if "net" + PLAN in after else "bare"
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, kind] + [str(path) for path in folders]
    count = int(subprocess.check_output(command))
    assert 10 < count < limit
    assert state(folders[count]) == after  # this one went through
    return folders[:count]


@pytest.mark.parametrize(
    "before, after", [({}, NEW), (OLD, NEW), (OLD, BARE)], ids=["new", "overwrite", "the old plan goes"]
)
def test_crash_at_every_step(tmp_path, before, after, monkeypatch):
    outcomes = []
    for folder in crashes(tmp_path, before, after):
        check_pair(folder)
        prefix = str(folder / "net")
        again = check_crashes_of_recovery(folder, before, after, monkeypatch)
        pending = (folder / "net.darkprune-journal").exists()
        said = recover(prefix)
        assert (said is not None) == pending
        left = {name: data for name, data in state(folder).items() if not name.startswith(".")}
        assert left in (before, after)
        assert again <= {"before" if left == before else "new"}
        if said:
            assert said.startswith("finished writing" if left == after else "undid the writing of " + prefix)
        assert recover(prefix) is None
        PairWriter(prefix, overwrite=True, extras=[PLAN])  # sweeps up
        assert state(folder) == left
        outcomes.append(left == after)
    assert outcomes == sorted(outcomes) and {False, True} == set(outcomes)


def check_pair(folder):
    """Files of two pairs never stand under the names, nor does a plan beside the cfg of another pair."""
    here = state(folder)
    if "net.cfg" in here:
        for other in ("net.weights", "net" + PLAN):
            assert here.get(other, here["net.cfg"])[:3] == here["net.cfg"][:3]


def check_crashes_of_recovery(folder, before, after, monkeypatch):
    """Ends the recovery itself at each of its steps; returns what is left in the end."""
    ends = set()
    for count in range(20):
        copy = folder.parent / "{}-recovery{}".format(folder.name, count)
        shutil.copytree(str(folder), str(copy))
        finished = True
        with monkeypatch.context() as patch:
            patch.setattr(journal, "step", failing(count, KeyboardInterrupt()))
            try:
                recover(str(copy / "net"))
            except KeyboardInterrupt:
                finished = False
        check_pair(copy)
        PairWriter(copy / "net", overwrite=True, extras=[PLAN])
        left = state(copy)
        assert left in (before, after)
        ends.add("before" if left == before else "new")
        if finished:
            return ends
    raise AssertionError("the recovery does not end")


def crashed(folder):
    """A folder in which a process was ended when the old cfg was away and the new one not yet there."""
    for path in crashes(folder, OLD):
        if not (path / "net.cfg").exists():
            return path
    raise AssertionError("there is always a cfg")


def test_writer_settles_an_earlier_crash_first(tmp_path):
    folder = crashed(tmp_path)
    with PairWriter(folder / "net", overwrite=True) as writer:
        assert writer.recovered == "undid the writing of {}, which had been interrupted".format(folder / "net")
    assert state(folder) == OLD


def test_refuses_where_someone_put_another_cfg(tmp_path):
    folder = crashed(tmp_path)
    fill(folder, {"net.cfg": b"by hand"})
    before = state(folder)
    with pytest.raises(OutputError) as caught:
        recover(str(folder / "net"))
    text = (
        "{0}.cfg: error: an interrupted write cannot be settled: this is not the file it left\n"
        "hint: check the pair, then remove {0}.darkprune-journal"
    )
    assert str(caught.value) == text.format(folder / "net")
    assert state(folder) == before


# ---- journals that we did not write


def entry(**changes):
    document = {"format": 1, "token": TOKEN, "files": [[s, len(OLD["net" + s])] for s in SUFFIXES]}
    return json.dumps(dict(document, **changes)).encode("ascii")


MALFORMED = {
    "empty": b"",
    "binary": b"\xff\x00\x80",
    "no object": b"[1, 2]",
    "deep": b"[" * 60000,
    "cut": entry()[:-1],
    "long": entry() + b" " * (1 << 16),
    "other format": entry(format=2),
    "token upwards": entry(token="../../0123456789"),
    "token with newline": entry(token=TOKEN + "\n"),
    "short token": entry(token="0123"),
    "token a list": entry(token=[TOKEN]),
    "path as suffix": entry(files=[[".weights", 1], ["/../outside", 1], [".cfg", 1]]),
    "dots as suffix": entry(files=[[".weights", 1], ["..", 1], [".cfg", 1]]),
    "no cfg": entry(files=[[".weights", 1]]),
    "cfg first": entry(files=[[".cfg", 1], [".weights", 1]]),
    "twice": entry(files=[[".weights", 1], [".cfg", 1], [".cfg", 1]]),
    "size a boolean": entry(files=[[".weights", True], [".cfg", 1]]),
    "negative size": entry(files=[[".weights", -1], [".cfg", 1]]),
    "files a map": entry(files={".weights": 1, ".cfg": 1}),
    "files a number": entry(files=3),
    "stale a path": entry(stale=[["/../outside", 4]]),
    "stale and written": entry(stale=[[PLAN, 8]]),
    "stale a number": entry(stale=3),
    "stale of no size": entry(stale=[[".txt", None]]),
}


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_malformed_journal_changes_nothing(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    fill(tmp_path, {"outside": b"keep", "0123456789": b"keep"})
    fill(folder, dict(OLD, **{"net.darkprune-journal": MALFORMED[name], "other.cfg": b"keep"}))
    before = state(tmp_path)
    with pytest.raises(OutputError) as caught:
        recover(str(folder / "net"))
    text = "{}.darkprune-journal: error: this is no journal of ours\nhint: check the pair beside it, then remove it"
    assert str(caught.value) == text.format(folder / "net")
    with pytest.raises(OutputError):
        PairWriter(folder / "net", overwrite=True)
    assert state(tmp_path) == before


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_journal_that_is_no_file(tmp_path, kind):
    path = tmp_path / "net.darkprune-journal"
    fill(tmp_path, dict(OLD, target=entry()))
    {"link": lambda: path.symlink_to("target"), "folder": path.mkdir, "pipe": lambda: os.mkfifo(str(path))}[kind]()
    with pytest.raises(OutputError, match="no journal of ours"):
        recover(str(tmp_path / "net"))
    assert state(tmp_path) == dict(OLD, target=entry())
    assert os.path.lexists(str(path))


@pytest.mark.parametrize("sizes", [(3, 7), (11, 3)])
def test_journal_of_files_that_are_not_there(tmp_path, sizes):
    data = entry(files=[[".weights", sizes[0]], [".cfg", sizes[1]]])
    fill(tmp_path, dict(OLD, **{"net.darkprune-journal": data}))
    with pytest.raises(OutputError, match="cannot be settled"):
        recover(str(tmp_path / "net"))
    assert state(tmp_path) == dict(OLD, **{"net.darkprune-journal": data})


@pytest.mark.parametrize("suffix", [".weights", ".cfg", ".darkprune-journal"])
def test_temporary_that_is_a_link(tmp_path, suffix):
    fill(tmp_path, dict(OLD, **{"net.darkprune-journal": entry(), "target": b"old cfg"}))
    (tmp_path / ".net{}.darkprune-tmp-{}".format(suffix, TOKEN)).symlink_to("target")
    before = state(tmp_path)
    with pytest.raises(OutputError, match="cannot be settled"):
        recover(str(tmp_path / "net"))
    assert state(tmp_path) == before


def test_stale_journal_of_a_finished_write_goes(tmp_path):
    fill(tmp_path, dict(OLD, **{"net.darkprune-journal": entry()}))
    assert recover(str(tmp_path / "net")) == "finished writing {}, which had been interrupted".format(tmp_path / "net")
    assert state(tmp_path) == OLD


def test_what_is_stale_goes_only_if_it_is_what_it_was(tmp_path):
    fill(tmp_path, dict(OLD, **{"net.a": b"1234", "net.b": b"123", "other.a": b"1234"}))
    fill(tmp_path, {"net.darkprune-journal": entry(stale=[[".a", 4], [".b", 4], [".c", 4]])})
    assert recover(str(tmp_path / "net")).startswith("finished writing")
    assert state(tmp_path) == dict(OLD, **{"net.b": b"123", "other.a": b"1234"})


# ---- other programs


def test_waits_for_another_program_and_then_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WAIT", 0.05)
    fill(tmp_path, dict(OLD, **{"net.darkprune-journal": entry()}))
    with (tmp_path / "net.darkprune-journal").open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(OutputError) as caught:
            recover(str(tmp_path / "net"))
    text = "{}.cfg: error: another program is writing this pair\nhint: wait until it has ended".format(tmp_path / "net")
    assert str(caught.value) == text
    recover(str(tmp_path / "net"))
    assert state(tmp_path) == OLD


def test_two_writers_at_once(tmp_path):
    with PairWriter(tmp_path / "net") as first:
        first.write_weights([b"new weights"])
        with PairWriter(tmp_path / "net") as second:  # must not sweep up the first one's files
            second.write_weights([b"2nd weights"])
            second.write_cfg(b"2nd cfg")
            first.write_cfg(b"new cfg")
            first.commit()
            with pytest.raises(OutputError, match="this file exists"):
                second.commit()
    assert state(tmp_path) == {"net.cfg": b"new cfg", "net.weights": b"new weights"}


def test_sweeps_only_leftovers_of_this_prefix(tmp_path):
    tail = ".darkprune-tmp-" + TOKEN
    keep = [".other.cfg" + tail, ".net.txt" + tail, ".net.cfg" + tail + "0", ".net.x.cfg" + tail, "net.cfg" + tail]
    fill(tmp_path, {name: b"keep" for name in keep})
    fill(tmp_path, {".net.cfg" + tail: b"", ".net.weights" + tail: b"", ".net.darkprune-journal" + tail: b""})
    PairWriter(tmp_path / "net")
    assert sorted(state(tmp_path)) == sorted(keep)


def test_reading_sweeps_up_too_but_not_what_is_being_written(tmp_path):
    token = ".darkprune-tmp-" + TOKEN
    fill(tmp_path, dict(OLD, **{".net" + suffix + token: b"" for suffix in SUFFIXES + [".darkprune-journal"]}))
    with PairWriter(tmp_path / "net", overwrite=True) as writer:
        writer.write_weights([b"2nd weights"])
        fill(tmp_path, {".net.cfg" + token: b"cut off"})
        assert recover(str(tmp_path / "net")) is None
        assert len(state(tmp_path)) == len(OLD) + 1
        writer.write_cfg(b"2nd cfg")
        writer.commit()
    assert state(tmp_path) == dict(OLD, **{"net.cfg": b"2nd cfg", "net.weights": b"2nd weights"})


def test_file_that_is_swept_up_before_it_is_locked(tmp_path, monkeypatch):
    names, lock, calls = journal.Names(str(tmp_path / "net")), journal.lock, []

    def late(stream):
        calls.append(stream)
        if len(calls) == 1:
            journal.sweep(names, SUFFIXES)  # calls this function again
            assert state(tmp_path) == {}
        return lock(stream)

    monkeypatch.setattr(journal, "lock", late)
    write(str(tmp_path / "net"))
    assert state(tmp_path) == NEW
    assert len(calls) == len(SUFFIXES) + 3


def test_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied")

    fill(tmp_path, OLD)
    monkeypatch.setattr(os, "listdir", refuse)
    assert recover(str(tmp_path / "net")) is None
    with pytest.raises(OutputError, match="cannot write: Permission denied"):
        PairWriter(tmp_path / "net", overwrite=True)
