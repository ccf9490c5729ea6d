"""Histograms of a calibration that is not finished, in a file that a killed one leaves and the next one takes up.

A line that says what the file is, a line of JSON, and the counts as 64-bit integers, least significant byte first, one
tensor after the other without the empty bins at its ends. It is put in place whole, and holds only what a calibration
of the same pair, images and settings counted, so that one which was interrupted comes to the same bytes.
"""

import json
import os
from contextlib import suppress
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from darkprune.darknet.pair import write_file
from darkprune.errors import OutputError, place
from darkprune.quant.histogram import BINS, Histogram

SUFFIX = ".checkpoint"  # behind the name of the file that calibration writes
_MAGIC = b"darkprune calibration 1\n"
_LONGEST = 1 << 24  # bytes of the line of JSON

Checkpoint = NamedTuple(
    "Checkpoint",
    [
        ("key", str),  # of the pair, the images and the settings
        ("done", int),  # images that were counted
        ("histograms", Dict[str, Histogram]),
    ],
)


def write(path: str, state: Checkpoint) -> None:
    """Puts the checkpoint in place of an earlier one. Raises OutputError."""
    rows, parts = [], []
    for name, found in state.histograms.items():
        used = np.flatnonzero(found.counts)
        first, length = (int(used[0]), int(used[-1] - used[0]) + 1) if used.size else (0, 0)
        rows.append([name, found.count, found.low, found.high, found.reach, first, length])
        parts.append(found.counts[first : first + length].astype("<i8").tobytes())
    head = json.dumps({"key": state.key, "done": state.done, "tensors": rows}).encode("ascii")
    write_file(path, [_MAGIC, head + b"\n"] + parts, overwrite=True)


def read(path: str, key: str) -> Optional[Checkpoint]:
    """The checkpoint at `path`; None where there is none, or one of other images or settings, or one that is damaged.

    Raises OutputError where something else stands there, which no checkpoint may replace.
    """
    try:
        with open(path, "rb") as stream:
            if stream.readline(len(_MAGIC)) != _MAGIC:
                cause = "this is no checkpoint of a calibration, but one is to be written here"
                raise OutputError(cause, place(path), "move it away, or choose another output")
            head = stream.readline(_LONGEST)
            data = stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError("cannot read the checkpoint: {}".format(error.strerror), place(path), "remove it") from error
    try:
        fields = json.loads(head.decode("ascii"))
        return _parsed(fields, data) if fields["key"] == key else None
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _parsed(fields: Dict[str, Any], data: bytes) -> Optional[Checkpoint]:
    counts = np.frombuffer(data, "<i8")
    found: Dict[str, Histogram] = {}
    at = 0
    rows: List[Any] = fields["tensors"]
    for name, count, low, high, reach, first, length in rows:
        if not 0 <= first <= first + length <= 2 * BINS or counts[at : at + length].sum() != count:
            return None
        one = found[name] = Histogram()
        one.count, one.low, one.high, one.reach = int(count), float(low), float(high), float(reach)
        one.counts[first : first + length] = counts[at : at + length]
        at += length
    return Checkpoint(fields["key"], int(fields["done"]), found) if at == counts.size else None


def remove(path: str) -> None:
    """Takes the checkpoint away, if there is one."""
    with suppress(OSError):
        os.remove(path)
