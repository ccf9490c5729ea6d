"""Class names: one a line, as in `.names` and `labels` files; the first line is class 0."""

from typing import List, Optional

from darkprune.data.text import read_lines
from darkprune.errors import UsageError, place

MAX_BYTES = 16 << 20


def read(path: str, classes: Optional[int] = None, surplus: bool = False) -> List[str]:
    """The names, without blanks at their ends; blank lines at the end are none.

    Args:
        classes: how many there must be, where that is known.
        surplus: more will do; the first ones count. Darknet's list of ImageNet's names serves 1000 classes and more.

    Raises UsageError for a file without names, a blank line between names, or another number of names.
    """
    lines = read_lines(path, "the file of class names", MAX_BYTES)
    if not lines:
        raise UsageError("this file has no class names", place(path), "write one name a line")
    for index, (number, _) in enumerate(lines):
        if number != index + 1:
            cause = "class {} has no name: this line is blank".format(index)
            raise UsageError(cause, place(path, index + 1), "write one name a line, or take the blank line out")
    if classes is not None and surplus:
        lines = lines[:classes]
    if classes is not None and len(lines) != classes:
        cause = "{} names, but {} classes".format(len(lines), classes)
        raise UsageError(cause, place(path), "name every class once, or mend classes= in the .data file or the cfg")
    return [line.decode("utf-8", "surrogateescape") for _, line in lines]
