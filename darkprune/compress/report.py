"""What a run has come to, stage by stage: results.csv, report.md, report.json."""

import csv
import io
import json
import os
from collections import OrderedDict
from typing import Any, Dict, List, Sequence

from darkprune.darknet import journal
from darkprune.darknet.pair import write_file

FILES = TABLE, PAGE, FIELDS = "results.csv", "report.md", "report.json"
COLUMNS = ("stage", "map", "ap50", "ap", "top1", "top5", "parameters", "bytes", "bflops", "zeros", "seconds") + (
    "key",
    "cfg",
    "weights",
    "command",
)
_ACCURACIES = ("map", "ap50", "ap", "top1", "top5")
_TITLES = {
    "map": "AP50 (Darknet)",
    "ap50": "AP50 (COCO)",
    "ap": "AP (COCO)",
    "zeros": "gammas at 0",
    "bflops": "BFLOPs",
}

Row = Dict[str, Any]


def write(folder: str, rows: Sequence[Row], kept: int = -1) -> None:
    """Writes all three into the folder, in place of earlier ones. Raises OutputError.

    kept: which row's pair is the result.
    """
    files = ((TABLE, as_csv(rows)), (PAGE, as_markdown(rows, kept)), (FIELDS, as_json(rows, kept)))
    for name, text in files:
        write_file(os.path.join(folder, name), text.encode("utf-8"), overwrite=True)


def sweep(folder: str) -> None:
    """Removes what a killed run had not put in place yet. Raises OutputError."""
    if os.path.isdir(folder):
        with journal.translated(folder):
            for name in FILES:
                journal.sweep(journal.Names(os.path.join(folder, name)), [""])


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each stage, every number as it was measured."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_plain(row.get(name)) for name in COLUMNS] for row in rows)
    return stream.getvalue()


def as_json(rows: Sequence[Row], kept: int = -1) -> str:
    """One object: `stages`, `kept` (the one whose pair is the result), and `smaller` (how many times that pair is
    smaller than the first, by cost)."""
    known = [OrderedDict((name, row[name]) for name in COLUMNS if row.get(name) is not None) for row in rows]
    smaller = {key: _times(rows, key, kept) for key in ("parameters", "bytes", "bflops")} if rows else {}
    result = rows[kept]["stage"] if rows else None
    return json.dumps(OrderedDict([("stages", known), ("kept", result), ("smaller", smaller)]), indent=1) + "\n"


def as_markdown(rows: Sequence[Row], kept: int = -1) -> str:
    """A table for people, aligned, and the commands."""
    found = [name for name in _ACCURACIES if any(row.get(name) is not None for row in rows)]
    names = ["stage"] + found + ["parameters", "bytes", "bflops", "zeros", "seconds"]
    cells = [[_TITLES.get(name, name) for name in names]]
    cells += [[_shown(name, row.get(name)) for name in names] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    lines = [
        "| "
        + " | ".join(cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths)))
        + " |"
        for row in cells
    ]
    lines.insert(
        1, "|" + "|".join("-" * (w + 2) if n == 0 else "-" * (w + 1) + ":" for n, w in enumerate(widths)) + "|"
    )
    lines += [""] + _closing(rows, found, kept) + ["", "```"]
    lines += [row["command"] for row in rows if row["command"]] + ["```"]
    return "\n".join(lines) + "\n"


def _closing(rows: Sequence[Row], accuracies: List[str], kept: int) -> List[str]:
    if not rows:
        return []
    times = ", ".join(
        "{:.2f}x fewer {}".format(_times(rows, key, kept), _TITLES.get(key, key))
        for key in ("parameters", "bytes", "bflops")
    )
    last = rows[kept]
    change = 100.0 * (last[accuracies[0]] - rows[0][accuracies[0]])
    said = "From {} to {}: {}, {} {:+.2f} points.".format(
        rows[0]["stage"], last["stage"], times, _TITLES.get(accuracies[0], accuracies[0]), change
    )
    which = "last pair" if last is rows[-1] else "pair that is kept"
    return [said, "", "The {}: {} {}".format(which, last["cfg"], last["weights"])]


def _times(rows: Sequence[Row], key: str, kept: int) -> float:
    return round(rows[0][key] / float(rows[kept][key]), 4) if rows[kept][key] else 0.0


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _ACCURACIES or name == "zeros":
        return "{:.2f} %".format(100.0 * value)
    if isinstance(value, int):
        return "{:,}".format(value)
    return "{:.3f}".format(value) if name == "bflops" else "{:.0f}".format(value) if name == "seconds" else str(value)
