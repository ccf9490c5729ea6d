"""Writes a cfg and its weights so that at no moment files of different pairs stand under the two names.

All files are written beside their targets under names of their own. Then a journal is put down, the old cfg is
renamed away, the weights and further files are renamed in, and the new cfg last. A crash leaves the old pair, the
new pair, or no cfg, which every reader refuses; `recover` then undoes or finishes the rest. After a loss of power
the same holds where renames within a folder reach the disk in order, as on every journaling file system.
"""

import json
import os
import stat
import time
from contextlib import suppress
from threading import Thread
from typing import Any, Dict, Iterable, List, Optional, Sequence, Union

from darkprune.darknet import journal
from darkprune.darknet.journal import CFG, JOURNAL, SUFFIX, WEIGHTS, Entry, Names, recover
from darkprune.errors import OutputError, place

_BUFFER = 1 << 20  # bytes; larger chunks pass it by


class PairWriter:
    """Writes `prefix`.cfg, `prefix`.weights and further files, all or none; use it in a `with` statement.

    Args:
        prefix: path without the suffix.
        inputs: files that must not be overwritten, whatever way they are spelled.
        overwrite: whether existing files may be replaced.
        extras: suffixes of further files, such as ".plan.json".
        stale: suffixes of files that describe the pair which stands there, and go with it.

    The constructor makes all checks. Raises OutputError. Without `commit` nothing is changed.

    Attributes: recovered (what was done about an earlier interrupted write, a sentence, or None).
    """

    def __init__(
        self,
        prefix: str,
        inputs: Sequence[str] = (),
        overwrite: bool = False,
        extras: Sequence[str] = (),
        stale: Sequence[str] = (),
    ) -> None:
        self._names = Names(prefix)
        self._suffixes = (WEIGHTS,) + tuple(extras) + (CFG,)
        self._stale = tuple(stale)
        every = self._suffixes + self._stale
        if len(set(every)) < len(every) or not all(map(SUFFIX.match, every)):
            raise ValueError("not usable as extra suffixes: {}".format(list(extras) + list(stale)))
        self._inputs, self._overwrite = [str(path) for path in inputs], overwrite
        self._token = os.urandom(8).hex()
        self._files: Dict[str, _Temporary] = {}
        self._entry: Optional[Entry] = None
        _require_folder(self._names)
        self.recovered = recover(prefix)
        self._check_targets()
        with journal.translated(prefix):
            journal.sweep(self._names, self._suffixes + (JOURNAL,))

    def write_cfg(self, data: bytes) -> None:
        """Writes the cfg."""
        self._write(CFG, [data])

    def write_weights(self, chunks: Iterable[Any]) -> None:
        """Writes the weights: bytes, or other contiguous buffers such as arrays."""
        self._write(WEIGHTS, chunks)

    def write_extra(self, suffix: str, data: bytes) -> None:
        """Writes one of the further files."""
        self._write(suffix, [data])

    def commit(self) -> None:
        """Puts all files in place. Raises OutputError; what was done by then is undone or finished on exit."""
        if set(self._suffixes) != set(self._files):
            raise ValueError("written: {}, announced: {}".format(list(self._files), self._suffixes))
        names = self._names
        self._check_targets()
        stale = {s: os.lstat(names.target(s)).st_size for s in self._stale if os.path.lexists(names.target(s))}
        entry = Entry(self._token, {suffix: self._files[suffix].size for suffix in self._suffixes}, stale)
        document = {"format": 1, "token": entry.token, "files": list(entry.sizes.items()), "stale": list(stale.items())}
        self._write(JOURNAL, [json.dumps(document, sort_keys=True).encode("ascii")])
        for file in self._files.values():
            file.wait()
        with journal.translated(names.prefix + CFG):
            if os.path.lexists(names.journal):
                raise journal.busy(names)
            self._entry = entry
            journal.step("journal in")
            os.replace(names.temporary(JOURNAL, entry.token), names.journal)
            journal.sync_folder(names)
            if os.path.lexists(names.target(CFG)):
                journal.step("old cfg away")
                os.replace(names.target(CFG), names.old(entry.token))
            journal.finish(names, entry)
            self._entry = None

    def _check_targets(self) -> None:
        for suffix in self._suffixes:
            _require_free(self._names.target(suffix), self._inputs, self._overwrite)
        for suffix in self._stale:
            _require_free(self._names.target(suffix), self._inputs, self._overwrite, "--overwrite removes it")

    def _write(self, suffix: str, chunks: Iterable[Any]) -> None:
        if suffix in self._files or suffix not in self._suffixes + (JOURNAL,):
            raise ValueError("{!r} was not announced, or is written twice".format(suffix))
        target = self._names.target(suffix)
        journal.step("write " + suffix)
        with journal.translated(target):
            self._files[suffix] = file = _Temporary(self._names.temporary(suffix, self._token), target)
        for chunk in chunks:
            journal.step("part of " + suffix)
            file.write(chunk)
        journal.step("wrote " + suffix)
        file.finish()

    def __enter__(self) -> "PairWriter":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._entry is not None:  # something failed while the files were put in place
                with suppress(OSError, OutputError):
                    journal.settle(self._names, self._entry)
        finally:
            needed = self._entry is not None and os.path.lexists(self._names.journal)
            for file in self._files.values():
                file.close(remove=not needed)


class _Temporary:
    """A file being written; it is locked while it is open, and reaches the disk while others are written."""

    def __init__(self, path: str, target: str) -> None:
        self.path, self.target = path, target
        self.size = 0
        self._error: Optional[OSError] = None
        self._thread: Optional[Thread] = None
        self._stream = _new_file(path)
        if journal.regular(target):
            with suppress(OSError):  # some file systems have no modes
                os.chmod(path, stat.S_IMODE(os.lstat(target).st_mode) & 0o777)

    def write(self, chunk: Any) -> None:
        with journal.translated(self.target):
            self._stream.write(chunk)

    def finish(self) -> None:
        with journal.translated(self.target):
            self._stream.flush()
        self.size = self._stream.tell()
        self._thread = Thread(target=self._sync)
        self._thread.start()

    def _sync(self) -> None:
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            self._error = error

    def wait(self) -> None:
        """Returns when all is on the disk. Raises OutputError."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise journal.failure(self._error, self.target)

    def close(self, remove: bool) -> None:
        if self._thread is not None:
            self._thread.join()
        with suppress(OSError):
            self._stream.close()
        if remove:
            with suppress(OSError):
                os.remove(self.path)


def _new_file(path: str) -> Any:
    """A new file, locked; made again where another program took it for a leftover before it was."""
    while True:
        stream = open(path, "xb", _BUFFER)
        while journal.lock(stream) is False:
            time.sleep(0.001)
        if journal.stands(stream, path):
            return stream
        stream.close()


def _require_folder(names: Names) -> None:
    folder = names.folder or os.curdir
    if not os.path.isdir(folder):
        cause = "this is no folder" if os.path.lexists(folder) else "this folder does not exist"
        raise OutputError(cause, place(folder), "make it first, or write elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError("you may not write to this folder", place(folder), "write elsewhere")


def _require_free(target: str, inputs: List[str], overwrite: bool, cure: str = "--overwrite replaces it") -> None:
    for path in inputs:
        if os.path.realpath(path) == os.path.realpath(target) or (
            os.path.exists(path) and os.path.exists(target) and os.path.samefile(path, target)
        ):
            cause = "the output would replace the input {}".format(path)
            raise OutputError(cause, place(target), "choose another name; inputs are never overwritten")
    if not os.path.lexists(target):
        return
    if not journal.regular(target) and not os.path.islink(target):
        raise OutputError("something that is no file stands here", place(target), "choose another name")
    if not overwrite:
        raise OutputError("this file exists", place(target), cure)


def require_writable(path: str, inputs: Sequence[str] = (), overwrite: bool = False) -> None:
    """Raises the OutputError that `write_file` would raise, before the work that makes the data."""
    _require_folder(Names(path))
    _require_free(path, [str(source) for source in inputs], overwrite)


def write_file(
    path: str, data: Union[bytes, Iterable[Any]], inputs: Sequence[str] = (), overwrite: bool = False
) -> None:
    """Writes one file, all of it or nothing, under the rules of `PairWriter`. Raises OutputError.

    Args:
        data: the bytes, or chunks of them.
    """
    names = Names(path)
    require_writable(path, inputs, overwrite)
    with journal.translated(path):
        file = _Temporary(names.temporary("", os.urandom(8).hex()), path)
    try:
        for chunk in [data] if isinstance(data, bytes) else data:
            file.write(chunk)
        file.finish()
        file.wait()
        with journal.translated(path):
            os.replace(file.path, path)
    finally:
        file.close(remove=os.path.lexists(file.path))
