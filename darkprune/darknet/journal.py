"""The journal of a pair that is being put in place: what it says, and how an interrupted write is settled."""

import errno
import json
import os
import re
import time
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence

from darkprune.errors import OutputError, place

try:
    import fcntl
except ImportError:  # not a POSIX system: leftovers are then not told from the files of a running program
    fcntl = None  # type: ignore[assignment]

CFG, WEIGHTS, PLAN, JOURNAL = ".cfg", ".weights", ".plan.json", ".darkprune-journal"
WAIT = 5.0  # seconds that another program may take to put its files in place
TOKEN = re.compile(r"[0-9a-f]{16}\Z")
SUFFIX = re.compile(r"(\.[a-z0-9]+)+\Z")
_LONGEST = 1 << 16  # bytes of a journal
_CURES = {
    errno.ENOSPC: "free some space, or write elsewhere",
    errno.EDQUOT: "free some space, or write elsewhere",
    errno.ENAMETOOLONG: "choose a shorter name",
}

# What a journal says: suffix -> size of the files in the order they are renamed in, and of the files that go.
# No path is ever read from it, and a file goes only if it still has the size it had.
Entry = NamedTuple("Entry", [("token", str), ("sizes", Dict[str, int]), ("stale", Dict[str, int])])


def step(name: str) -> None:
    """Called before every step that changes the disk; tests put a crash here."""


def recover(prefix: str) -> Optional[str]:
    """Undoes or finishes what an interrupted write left at `prefix`; to be called before a pair is read too.

    Files that a killed program had not put in place yet are removed.

    Returns what was done about the pair, as a sentence, or None when it stood there whole. Raises OutputError when
    the journal is not one of ours, or the files are not those it tells of; nothing is changed then.
    """
    names, said = Names(prefix), None
    with translated(names.journal):
        stream = _claim(names)
        if stream is not None:
            with stream:
                said = settle(names, parse(stream.read(_LONGEST + 1), names))
    with suppress(OSError):  # whoever only reads need not be allowed to
        sweep(names, [CFG, WEIGHTS, PLAN, JOURNAL])
    return said


class Names:
    """All paths that belong to a prefix; nothing else is ever renamed or removed."""

    def __init__(self, prefix: str) -> None:
        self.prefix = str(prefix)
        self.folder, self.stem = os.path.split(self.prefix)
        if self.stem in ("", os.curdir, os.pardir):
            raise OutputError("this names no file", place(self.prefix), "give a path and a stem, as in out/pruned")
        self.journal = self.target(JOURNAL)

    def target(self, suffix: str) -> str:
        return self.prefix + suffix

    def temporary(self, suffix: str, token: str) -> str:
        return os.path.join(self.folder, "." + self.stem + suffix + ".darkprune-tmp-" + token)

    def old(self, token: str) -> str:
        return os.path.join(self.folder, "." + self.stem + CFG + ".darkprune-old-" + token)


def settle(names: Names, entry: Entry) -> str:
    """Undoes a write whose weights are not in place yet, and finishes one whose weights are."""
    old, cfg = names.old(entry.token), names.target(CFG)
    for path in [old] + [names.temporary(suffix, entry.token) for suffix in list(entry.sizes) + [JOURNAL]]:
        if os.path.lexists(path) and not regular(path):
            raise _foreign(names, path)
    if not os.path.lexists(names.temporary(WEIGHTS, entry.token)):
        for suffix, size in entry.sizes.items():
            _require_written(names, entry, suffix, size)
        finish(names, entry)
        return "finished writing {}, which had been interrupted".format(names.prefix)
    if os.path.lexists(old):
        if os.path.lexists(cfg):
            raise _foreign(names, cfg)
        step("old cfg back")
        os.replace(old, cfg)
        sync_folder(names)
    remove(names.journal, "the journal")
    for suffix in list(entry.sizes) + [JOURNAL]:
        remove(names.temporary(suffix, entry.token), "the new " + suffix)
    return "undid the writing of {}, which had been interrupted".format(names.prefix)


def finish(names: Names, entry: Entry) -> None:
    """Renames in what is not yet, the cfg last, and removes what is no longer needed."""
    for suffix in entry.sizes:
        if suffix == CFG:
            _remove_stale(names, entry)
        temporary = names.temporary(suffix, entry.token)
        if os.path.lexists(temporary):
            step(suffix + " in")
            os.replace(temporary, names.target(suffix))
    sync_folder(names)
    remove(names.old(entry.token), "the old cfg")
    remove(names.journal, "the journal")


def sweep(names: Names, suffixes: Sequence[str]) -> None:
    """Removes what a killed program left before it had a journal: our names, and locked by no one. Raises OSError."""
    starts = ["." + names.stem + suffix + ".darkprune-tmp-" for suffix in suffixes]
    for name in os.listdir(names.folder or os.curdir):
        start = name[:-16]
        path = os.path.join(names.folder, name)
        if start in starts and TOKEN.match(name[len(start) :]) and regular(path):
            with suppress(OSError), open(path, "rb") as stream:
                if lock(stream) and stands(stream, path):
                    remove(path, "a leftover")


def _remove_stale(names: Names, entry: Entry) -> None:
    """Removes what describes the pair that stood here before, and is not renewed."""
    for suffix, size in entry.stale.items():
        path = names.target(suffix)
        if os.path.lexists(path) and os.lstat(path).st_size == size:
            remove(path, "the old " + suffix)


def _require_written(names: Names, entry: Entry, suffix: str, size: int) -> None:
    """Refuses where a file that is to be renamed in, or was, is not the one that was written."""
    path = names.temporary(suffix, entry.token)
    if not os.path.lexists(path):
        path = names.target(suffix)
    if not regular(path) or os.lstat(path).st_size != size:
        raise _foreign(names, path)


def parse(data: bytes, names: Names) -> Entry:
    """The journal's entry. Raises OutputError for anything that `commit` does not write."""
    try:
        document = json.loads(data.decode("ascii"))
        token, files, stale = document["token"], document["files"], document.get("stale", [])
        suffixes = [suffix for suffix, _ in files]
        every = suffixes + [suffix for suffix, _ in stale]
        good = (
            len(data) <= _LONGEST
            and document["format"] == 1
            and TOKEN.match(token)
            and all(SUFFIX.match(suffix) for suffix in every)
            and len(set(every)) == len(every) >= len(suffixes) >= 2
            and (suffixes[0], suffixes[-1]) == (WEIGHTS, CFG)
            and all(type(size) is int and size >= 0 for _, size in files + stale)
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        good = False
    if not good:
        raise _no_journal(names)
    return Entry(token, dict(files), dict(stale))


def _claim(names: Names) -> Any:
    """The opened journal, locked; None if there is none. Raises OutputError when another program keeps it."""
    deadline = time.monotonic() + WAIT
    while os.path.lexists(names.journal):
        if not regular(names.journal):
            raise _no_journal(names)
        with suppress(FileNotFoundError):  # its writer has just finished
            stream = open(names.journal, "rb")
            if lock(stream) is not False and stands(stream, names.journal):
                return stream
            stream.close()
        if time.monotonic() > deadline:
            raise busy(names)
        time.sleep(0.02)
    return None


def lock(stream: Any) -> Optional[bool]:
    """Locks an opened file until it is closed; False if another program has locked it, None where locks do not work."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def stands(stream: Any, path: str) -> bool:
    """Whether the opened file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def regular(path: str) -> bool:
    """Whether a file stands there, and no link to one."""
    return os.path.isfile(path) and not os.path.islink(path)


def remove(path: str, what: str) -> None:
    """Removes a file if it is there."""
    if os.path.lexists(path):
        step("remove " + what)
        os.remove(path)


def sync_folder(names: Names) -> None:
    """Returns when all renames so far are on the disk."""
    step("sync folder")
    handle = os.open(names.folder or os.curdir, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(handle)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns an OSError into an OutputError about `path`."""
    try:
        yield
    except OSError as error:
        raise failure(error, path) from error


def failure(error: OSError, path: str) -> OutputError:
    """The error to raise for one of the system."""
    cure = _CURES.get(error.errno or 0, "check the folder and its permissions, or write elsewhere")
    return OutputError("cannot write: {}".format(error.strerror), place(path), cure)


def busy(names: Names) -> OutputError:
    """The error to raise where another program's files are being put in place."""
    return OutputError("another program is writing this pair", place(names.prefix + CFG), "wait until it has ended")


def _no_journal(names: Names) -> OutputError:
    return OutputError("this is no journal of ours", place(names.journal), "check the pair beside it, then remove it")


def _foreign(names: Names, path: str) -> OutputError:
    cure = "check the pair, then remove {}".format(names.journal)
    return OutputError("an interrupted write cannot be settled: this is not the file it left", place(path), cure)
