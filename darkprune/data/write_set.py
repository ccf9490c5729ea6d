"""Writes a data set for Darknet: a folder that holds the .data and .names files, lists, and images beside their labels.

    OUT/NAME.data  OUT/NAME.names  OUT/train.txt ...  OUT/obj/IMAGE.jpg  OUT/obj/IMAGE.txt  OUT/backup/

An image and its labels lie in one folder, since every Darknet looks there: in the name `obj` nothing is replaced.
All paths are relative to OUT, so that the folder may be moved; Darknet is then started in it.
"""

import os
import shutil
from contextlib import suppress
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple

from darkprune.data.labels import candidates
from darkprune.errors import Notice, OutputError, UsageError, place

Box = Tuple[int, float, float, float, float]  # class, centre x, centre y, width, height

_IMAGES, _BACKUP = "obj", "backup"


class SetWriter:
    """Writes the folder `out`, all of it or nothing; use it in a `with` statement.

    Args:
        out: the folder; its last part names the .data and .names files.
        inputs: files and folders that are read, which must not lie in it.
        overwrite: whether an existing folder may be replaced, if it holds no file that the new one lacks.
        copy: copy the images instead of linking them.
        prefix: what to put before the paths in all files; by default nothing, so that they are relative to `out`.

    Raises OutputError. Attributes: notices (of images whose labels some Darknet looks for elsewhere).
    """

    def __init__(
        self, out: str, inputs: Sequence[str] = (), overwrite: bool = False, copy: bool = False, prefix: str = ""
    ) -> None:
        self.out = os.path.normpath(str(out))
        self.name = os.path.basename(self.out)
        self._overwrite, self._copy, self._prefix = overwrite, copy, prefix
        self._inputs = [os.path.realpath(path) for path in inputs]
        self._keys: Dict[str, str] = {}
        self.notices: List[Notice] = []
        self._check()
        token = os.urandom(8).hex()
        self._folder = os.path.join(os.path.dirname(self.out), ".{}.{}.tmp".format(self.name, token))
        self._old = self._folder[: -len("tmp")] + "old"
        for folder in (self._folder, self._path(_IMAGES), self._path(_BACKUP)):
            self._do(os.mkdir, folder)

    def image(self, key: str, source: str, objects: Iterable[Box]) -> None:
        """Links or copies an image and writes its labels.

        Args:
            key: its path below `obj`, with slashes.
            source: the file.
        """
        target = self._target(key, source)
        if self._copy:
            self._do(lambda path: shutil.copyfile(source, path), target)
        else:
            real = os.path.realpath(source)
            final = os.path.realpath(os.path.join(os.path.dirname(self.out), self.name, _IMAGES, *key.split("/")[:-1]))
            self._do(lambda path: os.symlink(os.path.relpath(real, final), path), target, "give --copy")
        self._finish(key, objects)

    def drawn(self, key: str, content: bytes, objects: Iterable[Box]) -> None:
        """As `image`, for one that is made and not read: `content` are the bytes of its file."""
        target = self._target(key, key)
        self._do(lambda path: _create(path, content), target)
        self._finish(key, objects)

    def labels(self, key: str, objects: Iterable[Box]) -> None:
        """Writes the labels of an image, which need not exist (difficult objects go with names of their own)."""
        lines = ["{} {:.6f} {:.6f} {:.6f} {:.6f}\n".format(*item) for item in objects]
        self._write(self._path(_IMAGES, *(os.path.splitext(key)[0] + ".txt").split("/")), "".join(lines))

    def list(self, split: str, keys: Iterable[str]) -> None:
        """Writes the list `split`.txt of images."""
        self._write(self._path(split + ".txt"), "".join(self._named(_IMAGES, key) + "\n" for key in keys))

    def data(self, names: Sequence[str], lists: Iterable[Tuple[str, str]]) -> None:
        """Writes the .data and .names files.

        Args:
            lists: (key, split) such as ("valid", "val").
        """
        self._write(self._path(self.name + ".names"), "".join(name + "\n" for name in names))
        rows = [("classes", str(len(names)))]
        rows += [(key, self._named(split + ".txt")) for key, split in lists]
        rows += [("names", self._named(self.name + ".names")), ("backup", self._named(_BACKUP))]
        self._write(self._path(self.name + ".data"), "".join("{} = {}\n".format(*row) for row in rows))

    def commit(self) -> None:
        """Puts the folder in place. Raises OutputError."""
        self._check()
        replaced = os.path.lexists(self.out)
        if replaced:
            self._refuse_more()
            self._do(lambda path: os.rename(path, self._old), self.out)
        try:
            self._do(lambda path: os.rename(self._folder, path), self.out)
        except OutputError:
            if replaced:
                os.rename(self._old, self.out)
            raise
        if replaced:
            shutil.rmtree(self._old)

    def _target(self, key: str, source: str) -> str:
        """Where the image goes; its folder is made. Raises UsageError where it cannot be named so."""
        stem = os.path.splitext(key)[0]
        if os.path.isabs(key) or ".." in key.split("/") or "\n" in key or "\r" in key:
            raise UsageError("an image cannot be named {!r}".format(key), place(source), "rename it")
        other = self._keys.setdefault(stem, source)
        if other != source:
            cause = "this image would share its labels with {}".format(other)
            raise UsageError(cause, place(source), "rename one of them")
        target = self._path(_IMAGES, *key.split("/"))
        self._do(lambda folder: os.makedirs(folder, exist_ok=True), os.path.dirname(target))
        return target

    def _finish(self, key: str, objects: Iterable[Box]) -> None:
        """Notes where some Darknet would look for other labels, and writes them."""
        written = self._named(_IMAGES, key)
        if candidates(written) != [os.path.splitext(written)[0] + ".txt"]:
            cause = "Darknet may look for the labels elsewhere: the path holds images, JPEGImages or raw"
            self.notices.append(Notice(cause, place(written), "rename that, or take another --prefix"))
        self.labels(key, objects)

    def _check(self) -> None:
        parent = os.path.dirname(self.out) or os.curdir
        if self.name in ("", os.curdir, os.pardir):
            raise OutputError("this names no new folder", place(self.out), "name one, such as data/bccd")
        if not os.path.isdir(parent):
            raise OutputError("this folder does not exist", place(parent), "make it first, or write elsewhere")
        real = os.path.realpath(self.out)
        for path in self._inputs:
            if path == real or path.startswith(real + os.sep):
                cause = "the output would replace the input {}".format(path)
                raise OutputError(cause, place(self.out), "choose another name; inputs are never overwritten")
        if not os.path.lexists(self.out):
            return
        if not self._overwrite:
            raise OutputError("this folder exists", place(self.out), "--overwrite replaces it")
        if os.path.islink(self.out) or not os.path.isdir(self.out):
            raise OutputError("something that is no folder stands here", place(self.out), "choose another name")

    def _refuse_more(self) -> None:
        """Raises OutputError where the folder to be replaced holds a file that the new one lacks."""
        for folder, _, files in os.walk(self.out):
            for name in sorted(files):
                path = os.path.relpath(os.path.join(folder, name), self.out)
                if not os.path.lexists(self._path(path)):
                    cause = "this folder also holds {}, which the new one would not".format(path)
                    raise OutputError(cause, place(self.out), "move that away, or choose another name")

    def _named(self, *parts: str) -> str:
        return "/".join(([self._prefix.rstrip("/")] if self._prefix else []) + list(parts))

    def _path(self, *parts: str) -> str:
        return os.path.join(self._folder, *parts)

    def _write(self, path: str, text: str) -> None:
        self._do(lambda path: _create(path, text.encode("utf-8", "surrogateescape")), path)

    def _do(
        self, action: Callable[[str], Any], path: str, hint: str = "check the folder and the space on the disk"
    ) -> None:
        try:
            action(path)
        except OSError as error:
            shown = path.replace(self._folder, self.out) if path.startswith(self._folder) else path
            raise OutputError("cannot be written: {}".format(error.strerror), place(shown), hint) from error

    def __enter__(self) -> "SetWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            shutil.rmtree(self._folder)


def _create(path: str, content: bytes) -> None:
    with open(path, "xb") as stream:
        stream.write(content)


def relative_box(left: float, top: float, right: float, bottom: float, width: float, height: float) -> List[float]:
    """Pixel edges as [centre x, centre y, width, height] in 0..1 of an image of this size, cut off at its borders."""
    left, right = [min(max(edge / width, 0.0), 1.0) for edge in (left, right)]
    top, bottom = [min(max(edge / height, 0.0), 1.0) for edge in (top, bottom)]
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
