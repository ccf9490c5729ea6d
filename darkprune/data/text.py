"""Small text files of a data set, read within bounds, and the paths that they name."""

import io
import os
import stat
from typing import List, Optional, Tuple

from darkprune.errors import UsageError, place

LONGEST = 4096  # bytes of a line; Darknet's own buffers for paths hold no more
_BOM = b"\xef\xbb\xbf"


def read_bytes(path: str, what: str, limit: int) -> bytes:
    """A regular file's bytes. Raises UsageError where it is absent, unreadable, longer than `limit`, or no text.

    Args:
        what: the file's name in messages, such as "the list of images".
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise UsageError("{} cannot be read: this is {}".format(what, kind), place(path), "name a text file")
        with open(path, "rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        cause = getattr(error, "strerror", None) or error
        raise UsageError("{} cannot be read: {}".format(what, cause), place(path), "check the path") from error
    if len(data) > limit:
        raise UsageError("{} is longer than {} MB".format(what, limit >> 20), place(path), "check the path")
    if b"\0" in data[: 1 << 16] or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError("{} is no plain text".format(what), place(path), "save it as UTF-8; PowerShell's > does not")
    return data[len(_BOM) :] if data.startswith(_BOM) else data


def read_lines(path: str, what: str, limit: int) -> List[Tuple[int, bytes]]:
    """(1-based number, bytes without blanks at both ends) of every line that is not blank. Raises UsageError."""
    lines = []
    for number, line in enumerate(io.BytesIO(read_bytes(path, what, limit)), 1):
        line = line.strip()
        if len(line) > LONGEST:
            cause = "this line has {} bytes, more than {}".format(len(line), LONGEST)
            raise UsageError(cause, place(path, number), "check that this is {}".format(what))
        if line:
            lines.append((number, line))
    return lines


def resolve(name: str, folder: str) -> Optional[str]:
    """The path of what a file in `folder` names: relative to the working directory, as in Darknet, or to `folder`.

    Where nothing is there by that name, backslashes are taken as slashes. None where that does not help either.
    """
    names = [name] + ([name.replace("\\", "/")] if "\\" in name else [])
    for spelled in names:
        for path in (spelled, os.path.join(folder, spelled)):
            if "\0" not in path and os.path.exists(path):
                return path
    return None
