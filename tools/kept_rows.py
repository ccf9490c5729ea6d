"""Rows of long measurements, each kept in a file as soon as it is there: a run that is cut short loses nothing."""

import hashlib
import json
import os
import re


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
