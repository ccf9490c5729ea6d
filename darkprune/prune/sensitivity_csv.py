"""The table of `darkprune sensitivity`: a CSV to which each row is appended as soon as it is measured.

A run that was killed leaves whole rows and perhaps a part of one, which the next run drops; what stands there is not
measured again. All rows are of one pair, criterion, metric and setting.
"""

import csv
import io
import math
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from darkprune.darknet import journal
from darkprune.darknet.pair import require_writable, write_file
from darkprune.errors import UsageError, place

MAX_BYTES = 64 << 20
BASELINE = "baseline"  # the kind of the row of the whole net, where accuracy is measured

Row = NamedTuple(
    "Row",
    [
        ("pair", str),  # the beginning of its key
        ("criterion", str),
        ("metric", str),  # predicted, signal (dB), map or top1 (0..1)
        ("setting", str),  # all else that the values depend on
        ("kind", str),  # width, block or baseline
        ("layers", Tuple[int, ...]),
        ("share", float),  # of its filters that was to go
        ("removed", int),  # filters that went
        ("parameters", int),  # of the net that is left
        ("predicted", float),  # damage, 0..1
        ("value", Optional[float]),  # of the metric; None where it is `predicted`
    ],
)
SHARED = ("pair", "criterion", "metric", "setting")  # fields that all rows have in common
HEADER = ",".join(Row._fields) + "\n"


class Table:
    """The rows of a file.

    Attributes: rows. baseline (accuracy of the whole net, where that was measured).
    """

    def __init__(self, rows: List[Row]) -> None:
        self.rows = rows

    @property
    def baseline(self) -> Optional[float]:
        return next((row.value for row in self.rows if row.kind == BASELINE), None)

    def known(self) -> Dict[Any, Row]:
        """(kind, layers, share) -> row."""
        return {(row.kind, row.layers, row.share): row for row in self.rows}


class Appended(Table):
    """A file that rows are appended to; a context manager.

    Args: head: whose SHARED fields the rows have. inputs: files that must not be overwritten.

    Raises UsageError where the file holds other rows, or is none of ours; OutputError where it cannot be written.
    """

    def __init__(self, path: str, head: Row, inputs: List[str]) -> None:
        require_writable(path, inputs, overwrite=True)
        super(Appended, self).__init__([])
        if os.path.lexists(path):
            self.rows = read(path).rows
            _require_same(path, self.rows, head)
        write_file(path, (HEADER + "".join(map(_line, self.rows))).encode("ascii"), inputs, overwrite=True)
        with journal.translated(path):
            self._stream = open(path, "ab", 0)

    def append(self, row: Row) -> None:
        """Puts a row on the disk."""
        with journal.translated(self._stream.name):
            self._stream.write(_line(row).encode("ascii"))
            os.fsync(self._stream.fileno())
        self.rows.append(row)

    def __enter__(self) -> "Appended":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def read(path: str) -> Table:
    """The whole rows of a table. Raises UsageError for another file."""
    cure = "give the file that darkprune sensitivity wrote, or another name"
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError("cannot read the table: {}".format(error.strerror), place(path), cure) from error
    whole = data[: data.rfind(b"\n") + 1]
    if not data or len(data) <= MAX_BYTES and not whole and HEADER.encode("ascii").startswith(data):
        return Table([])  # of a run that was killed as it began
    try:
        lines = list(csv.reader(io.StringIO(whole.decode("ascii"), newline="")))
    except (ValueError, csv.Error):
        lines = []
    if len(data) > MAX_BYTES or not lines or tuple(lines[0]) != Row._fields:
        raise UsageError("this is no table of darkprune sensitivity", place(path), cure)
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        try:
            rows.append(_row(cells))
        except ValueError:
            text = ",".join(cells)[:80]
            raise UsageError("this row is malformed", place(path, number, text), "remove the line") from None
    return Table(rows)


def _line(row: Row) -> str:
    cells = list(row)
    cells[5] = " ".join(map(str, row.layers))
    cells[-1] = "" if row.value is None else repr(row.value)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _row(cells: List[str]) -> Row:
    if len(cells) != len(Row._fields):
        raise ValueError(cells)
    pair, criterion, metric, setting, kind, layers, share, removed, parameters, predicted, value = cells
    numbers = [float(text) for text in (share, predicted, value or "0")]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(cells)
    return Row(
        pair,
        criterion,
        metric,
        setting,
        kind,
        tuple(int(word) for word in layers.split()),
        numbers[0],
        int(removed),
        int(parameters),
        numbers[1],
        numbers[2] if value else None,
    )


def _require_same(path: str, rows: List[Row], head: Row) -> None:
    for number, row in enumerate(rows, 2):
        for name in SHARED:
            found, wanted = getattr(row, name), getattr(head, name)
            if found != wanted:
                cause = "this table is of another {}: {}, not {}".format(name, found, wanted)
                cure = "write to another file, or remove this one"
                raise UsageError(cause, place(path, number, _line(row).rstrip("\n")[:80]), cure)
