"""Rows of long measurements, each kept in a file as soon as it is there: a run that is cut short loses nothing."""

import csv
import hashlib
import json
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def digest(files):
    """A name for the contents of files: what a row depends on."""
    code = hashlib.sha256()
    for name in files:
        with open(name, "rb") as stream:
            code.update(hashlib.sha256(stream.read()).digest())
    return code.hexdigest()


def kept(folder, name, key, measure):
    """The row of that name: the one kept under the same key, unless it failed, or what `measure` gives, now kept."""
    path = os.path.join(folder, re.sub(r"\W+", "-", name) + ".json")
    if os.path.exists(path):
        with open(path) as stream:
            row = json.load(stream)
        if row.get("key") == key and not row["failures"]:
            return row
    row = dict(measure(), key=key)
    with open(path + ".tmp", "w") as stream:
        json.dump(row, stream, indent=1, sort_keys=True)
    os.replace(path + ".tmp", path)
    return row


def read(path):
    """The rows of a CSV file, as dicts of text; none where there is no file."""
    if not os.path.exists(path):
        return []
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def append(path, columns, row):
    """Puts a row at the end of a CSV file, under a head of the columns' names."""
    fresh = not os.path.exists(path)
    with open(path, "a", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def commit():
    """The commit that is checked out, with a + where files differ from it, other than rows."""
    text = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT).decode("ascii").strip()
    changed = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/*.csv", ":!docs/results.md"]
    return text + ("+" if subprocess.check_output(changed, cwd=ROOT).strip() else "")
