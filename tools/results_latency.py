"""Prunes our own detector to shares of its time in OpenCV, and keeps what came out, measured afresh at the end.

    python tools/results_latency.py [--write]

Each share is one `darkprune prune --target-latency`, on one thread, and a row of docs/latency.csv as soon as it is
done; shares that have a row are left alone. --write makes the table of docs/results.md; measures nothing.
"""

import argparse
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

from kept_rows import append, made, provenance, read  # noqa: E402
from results import write as write_part  # noqa: E402
from results_bccd import carry_out  # noqa: E402

from darkprune.cli.bench import machine  # noqa: E402

ROWS = os.path.join(ROOT, "docs", "latency.csv")
COLUMNS = ("asked", "ms", "original_ms", "measurements", "machine", "seconds", "commit", "command")
PAIR = [os.path.join("cfg", "scenes.cfg"), os.path.join("weights", "scenes.weights")]
GOALS = ("opencv:80%", "opencv:70%", "opencv:60%", "opencv:50%")


def measure(goal):
    """Prunes to one goal, and appends its row."""
    folder = os.path.join("build", "latency", goal.replace(":", "-"))
    stem = os.path.join(folder, "pruned")
    options = ["--target-latency", goal, "--threads", "1", "--force", "--overwrite"]
    commands = [["prune"] + PAIR + ["-o", stem] + options]
    about = made(os.path.join(ROOT, folder), commands, carry_out)
    with open(os.path.join(ROOT, stem + ".plan.json")) as stream:
        budget = json.load(stream)["options"]["budget"]
    row = {"asked": goal, "measurements": budget["timed"], "machine": machine()}
    row.update((key, "{:.3f}".format(budget[key])) for key in ("ms", "original_ms"))
    append(ROWS, COLUMNS, dict(row, **provenance(about, commands)))


def asked(row):
    """The share of the original's time that a row's command asks for."""
    return float(row["asked"].split(":")[1].rstrip("%")) / 100


def measured(row):
    """The share that was measured at the end."""
    return float(row["ms"]) / float(row["original_ms"])


def page():
    """The table: what was asked for, and what was measured at the end."""
    text = "| asked of the original's time | measured at the end | off by | ms | the original's ms | measurements |\n"
    text += "|---|---|---|---|---|---|\n"
    for row in read(ROWS):
        cells = [row["asked"], "{:.1%}".format(measured(row)), "{:+.1%}".format(measured(row) / asked(row) - 1)]
        text += "| {} |\n".format(" | ".join(cells + [row["ms"], row["original_ms"], row["measurements"]]))
    return text + "\n{}, one thread.\n".format("; ".join(sorted({row["machine"] for row in read(ROWS)})))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table; measure nothing")
    if parser.parse_args().write:
        write_part("latency", "results_latency.py", page())
        return
    there = {row["asked"] for row in read(ROWS)}
    for goal in GOALS:
        if goal not in there:
            measure(goal)


if __name__ == "__main__":
    main()
