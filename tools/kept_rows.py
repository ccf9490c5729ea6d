"""Rows of long measurements, each kept in a file as soon as it is there: a run that is cut short loses nothing."""

import csv
import fcntl
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time

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
    """Puts a row at the end of a CSV file, under a head of the columns' names, and on the disk. What a row was left
    half written by a run that was killed goes. Several runs may add rows at once: each waits for the others."""
    with open(path, "ab") as stream:
        pass
    with open(path, "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # until it is closed
        whole = stream.read().rfind(b"\n") + 1
        stream.truncate(whole)
        stream.seek(whole)
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if not whole:
            writer.writeheader()
        writer.writerow(row)
        stream.write(text.getvalue().encode("utf-8"))
        stream.flush()
        os.fsync(stream.fileno())


def commit():
    """The commit that is checked out, with a + where files differ from it, other than rows."""
    text = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT).decode("ascii").strip()
    changed = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/*.csv", ":!docs/results.md"]
    return text + ("+" if subprocess.check_output(changed, cwd=ROOT).strip() else "")


def is_made(folder, commands):
    """Whether these commands made what is in a folder. Ends the program where others did."""
    return _about(folder, commands)["done"]


def made(folder, commands, carry_out, before=lambda: None):
    """Carries out darkprune commands that write into a folder, unless that was done; a training goes on from its
    checkpoint. Returns who did: the commits, and the seconds in all, which stand in the folder, in made.json.

    Args: carry_out: takes a command's arguments. before: makes what they read.
    """
    about = _about(folder, commands)
    if about["done"]:
        return about
    before()
    os.makedirs(folder, exist_ok=True)
    about["commits"] = list(dict.fromkeys(about["commits"] + [commit()]))
    for command in commands:
        began = time.time()
        _tell(folder, about)
        if command[0] == "train":
            begun = os.path.exists(os.path.join(ROOT, _checkpoint(command)))
            command = command + (["--resume"] if begun else ["--overwrite"])
        carry_out(command)
        about["seconds"] += time.time() - began
    about["done"] = True
    _tell(folder, about)
    return about


def provenance(about, commands):
    """What a row says of how it came about: seconds, commit, command, as text.

    Args: about: what `made` returned.
    """
    said = " && ".join("darkprune " + " ".join(map(shlex.quote, command)) for command in commands)
    return {"seconds": "{:.0f}".format(about["seconds"]), "commit": " ".join(about["commits"]), "command": said}


def _about(folder, commands):
    about = {"commits": [], "seconds": 0.0, "done": False}
    path = os.path.join(folder, "made.json")
    if os.path.exists(path):
        with open(path) as stream:
            about = json.load(stream)
    if about.get("commands", commands) != commands:
        sys.exit("error: {} holds what other commands made; remove it, and what was made of it".format(folder))
    about["commands"] = commands
    return about


def _tell(folder, about):
    path = os.path.join(folder, "made.json")
    with open(path + ".part", "w") as stream:
        json.dump(about, stream)
    os.replace(path + ".part", path)


def _checkpoint(command):
    folder = command[command.index("-o") + 1]
    return os.path.join(folder, os.path.splitext(os.path.basename(command[1]))[0] + "_last.npz")
