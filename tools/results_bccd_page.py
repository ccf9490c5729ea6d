"""The tables that tools/results_bccd.py makes of its rows."""

import os

import numpy as np
from kept_rows import read
from results_bccd_steps import TIMED_TOGETHER, baseline_of, steps_of

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROWS, DRAWS = (os.path.join(ROOT, "docs", name) for name in ("bccd.csv", "bccd-resamples.csv"))
SPEED = os.path.join(ROOT, "docs", "bccd-speed.csv")
COLUMNS = ("seed", "step", "ap50", "map", "parameters", "bytes", "bflops", "zero_gammas", "key")
COLUMNS += ("seconds", "commit", "command")
SPEED_COLUMNS = ("seed", "step", "runner", "ms", "commit", "threads", "machine")
HEAD = "| step | seeds | AP50 | against the baseline | Darknet's map | parameters | weights | BFLOPs | gammas at 0 |\n"
HEAD += "|---|---|---|---|---|---|---|---|---|\n"


def rows():
    """All rows, as measured, in order."""
    return read(ROWS)


def draws():
    """(seed, step) -> float64 [resamples]: AP50 of each resample of the test images."""
    return {(row["seed"], row["step"]): np.array(row["ap50"].split(), float) / 10000 for row in read(DRAWS)}


def _names(found):
    """The steps that were measured, in the plan's order."""
    there = {row["step"] for row in found}
    return [name for name in steps_of(0) if name in there]


def _line(name, found, drawn):
    mine = [row for row in found if row["step"] == name]
    first = baseline_of(name)
    baseline = {row["seed"]: float(row["ap50"]) for row in found if row["step"] == first}
    mean = {key: np.mean([float(row[key]) for row in mine]) for key in ("ap50", "map", "bflops", "zero_gammas")}
    cells = [name, str(len(mine)), "{:.2f}".format(100 * mean["ap50"])]
    paired = [row["seed"] for row in mine if row["seed"] in baseline]
    if name == first or not paired:
        cells.append("")
    else:
        gain = np.mean([float(row["ap50"]) - baseline[row["seed"]] for row in mine if row["seed"] in baseline])
        apart = np.mean([drawn[seed, name] - drawn[seed, first] for seed in paired], axis=0)
        low, high = np.percentile(apart, [2.5, 97.5])
        cells.append("{:+.2f} ({:+.2f} to {:+.2f})".format(100 * gain, 100 * low, 100 * high))
    cells.append("{:.2f}".format(100 * mean["map"]))
    cells.append("{:,.0f}".format(np.mean([int(row["parameters"]) for row in mine])))
    cells.append("{:,.0f} KB".format(np.mean([int(row["bytes"]) for row in mine]) / 1000))
    cells.append("{:.3f}".format(mean["bflops"]))
    cells.append("{:.0f} %".format(100 * mean["zero_gammas"]))
    return "| " + " | ".join(cells) + " |\n"


def accuracy():
    """The table of all steps."""
    found, drawn = rows(), draws()
    if not found:
        return "Nothing was measured yet.\n"
    return HEAD + "".join(_line(name, found, drawn) for name in _names(found))


def speed():
    """The table of times."""
    found = read(SPEED)
    if not found:
        return "Nothing was measured yet.\n"
    text = "| pair | ms in OpenCV | ratio | ms in Darknet | ratio |\n|---|---|---|---|---|\n"
    ms = {(row["step"], row["runner"]): float(row["ms"]) for row in found}
    for name in _names(found):
        cells = [name]
        baseline = next(together[0] for together in TIMED_TOGETHER if name in together)
        for runner in ("opencv", "darknet"):
            mine, first = ms.get((name, runner)), ms.get((baseline, runner))
            cells += ["{:.1f}".format(mine), "{:.2f}".format(first / mine)] if mine and first else ["", ""]
        text += "| " + " | ".join(cells) + " |\n"
    where = sorted({"{threads} thread(s) on {machine}".format(**row) for row in found})
    return text + "\nEach baseline and what was pruned from it in one run, in turn; {}.\n".format("; ".join(where))


PARTS = {"bccd": accuracy, "bccd-speed": speed}
