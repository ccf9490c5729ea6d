"""The stages of a run, the folder of each, and the record that says how a folder was made.

A stage is a function of the pair before it, the settings and the seed. Its folder holds a pair and `stage.json`, which
is put there when the stage begins and once more, with the results, when all else is in place.
"""

import hashlib
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from darkprune.compress.config import Config
from darkprune.darknet import journal
from darkprune.darknet.pair import write_file
from darkprune.data.text import read_bytes
from darkprune.errors import Place, UsageError, place

FORMAT = 1
RECORD = "stage.json"
_LONGEST = 1 << 20
_LEFT = (".cfg", "_last.weights", "_best.weights", "_final.weights", "_last.npz", "_log.csv", "_chart.png")

Stage = NamedTuple(
    "Stage",
    [
        ("kind", str),  # original, train, sparsify, prune, recalibrate, finetune
        ("section", Optional[str]),  # of the config
        ("round", int),  # of pruning, from 1; 0 before
        ("folder", str),  # its name: 03-prune-1
    ],
)

Pair = NamedTuple("Pair", [("cfg", str), ("weights", str)])  # paths


def stages_of(config: Config) -> List[Stage]:
    """All stages, in order."""
    kinds: List[Tuple[str, Optional[str], int]] = []
    kinds.append(("train", "train", 0) if config.get("train") else ("original", None, 0))
    if config.get("sparsify"):
        kinds.append(("sparsify", "sparsify", 0))
    prune = config.get("prune")
    for number in range(1, prune["steps"] + 1) if prune else ():
        kinds.append(("prune", "prune", number))
        if prune and prune["recalibrate"]:
            kinds.append(("recalibrate", "prune", number))
        if config.get("finetune"):
            kinds.append(("finetune", "finetune", number))
    return [
        Stage(kind, section, number, "{:02d}-{}{}".format(n, kind, "-{}".format(number) if number else ""))
        for n, (kind, section, number) in enumerate(kinds, 1)
    ]


def digest(path: str) -> str:
    """SHA-256 of a file's bytes, shortened."""
    found = hashlib.sha256()
    with journal.translated(path), open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            found.update(chunk)
    return found.hexdigest()[:32]


class Record:
    """What stands in a stage's `stage.json`.

    Attributes: asked (what the stage depends on, by name), files (name -> digest, once it is done), row (its results).
    """

    def __init__(self, asked: Dict[str, str]) -> None:
        self.asked = asked
        self.files: Dict[str, str] = {}
        self.row: Dict[str, Any] = {}

    @property
    def done(self) -> bool:
        return bool(self.files)

    def write(self, folder: str) -> None:
        """Puts it in place. Raises OutputError."""
        fields = {"format": FORMAT, "asked": self.asked, "files": self.files, "row": self.row}
        text = json.dumps(fields, indent=1, sort_keys=True) + "\n"
        write_file(os.path.join(folder, RECORD), text.encode("ascii"), overwrite=True)

    @classmethod
    def read(cls, folder: str) -> Optional["Record"]:
        """That of a folder; None where there is none. Raises UsageError for one that is not ours."""
        path = os.path.join(folder, RECORD)
        if not os.path.lexists(path):
            return None
        try:
            fields = json.loads(read_bytes(path, "the record of a stage", _LONGEST).decode("ascii"))
            record = cls({str(key): str(value) for key, value in fields["asked"].items()})
            record.files = {str(key): str(value) for key, value in fields["files"].items()}
            record.row = dict(fields["row"])
            good = fields["format"] == FORMAT
        except (ValueError, KeyError, TypeError, AttributeError):
            good = False
        if not good:
            raise UsageError("this is no record of a stage", place(path), "remove its folder, and resume")
        return record

    def require_same(self, asked: Dict[str, str], folder: str, where: Dict[str, Place]) -> None:
        """Raises UsageError where the stage would be made otherwise now, with the first thing that differs."""
        for key in list(asked) + [key for key in self.asked if key not in asked]:
            old, new = (found.get(key, "nothing") for found in (self.asked, asked))
            if old != new:
                cause = "{} was {} when {} was made, and is {} now".format(key, old, folder, new)
                cure = "set it back, remove that folder, or write to another one"
                raise UsageError(cause, where.get(key) or place(os.path.join(folder, RECORD)), cure)

    def require_files(self, folder: str) -> None:
        """Raises UsageError where the files of a stage that was done are no longer those it wrote."""
        for name, was in self.files.items():
            path = os.path.join(folder, name)
            if not os.path.isfile(path) or digest(path) != was:
                raise UsageError("this is not the file that the stage wrote", place(path), "remove its folder")


def sweep(folder: str, name: str) -> None:
    """Settles a pair that a killed run was writing, and removes what was not in place yet. Raises OutputError."""
    journal.recover(os.path.join(folder, name))
    with journal.translated(folder):
        journal.sweep(journal.Names(os.path.join(folder, name)), _LEFT)
        journal.sweep(journal.Names(os.path.join(folder, "stage")), [".json"])
