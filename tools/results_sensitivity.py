"""Which parts of Yolo-Fastest bear pruning: mAP on 128 images of COCO with a share of one tied width, or a block, gone.

    python tools/results_sensitivity.py [--jobs N] [--write]

Runs `darkprune sensitivity` on the model and the images below DARKPRUNE_SHARED. Rows go to docs/sensitivity.csv as soon
as they are measured: a run that is cut short goes on where it stopped, and one that is finished measures nothing.
--write measures nothing either, and makes the table of docs/results.md.
"""

import argparse
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

from results import write as write_part  # noqa: E402
from trained_models import MODELS, data_file, pair_of, percent, table  # noqa: E402

from darkprune.cli.sensitivity import SHARES as EVERY  # noqa: E402
from darkprune.prune.sensitivity import BLOCK, ranked  # noqa: E402
from darkprune.prune.sensitivity_csv import read  # noqa: E402
from darkprune.prune.sensitivity_plot import name_of  # noqa: E402

ROWS, PICTURE = (os.path.join(ROOT, "docs", "sensitivity." + suffix) for suffix in ("csv", "png"))
SHOWN = 5  # widths at either end
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of them, in the table
ALL = [float(word) for word in EVERY.split(",")]  # that are measured


def measure(jobs):
    """Carries out the command; returns its exit status."""
    command = [sys.executable, "-m", "darkprune", "sensitivity"] + list(pair_of(MODELS[0]))
    command += ["-o", ROWS, "--data", data_file(), "--runner", "onnxruntime", "--jobs", str(jobs)]
    return subprocess.call(command + ["--plot", PICTURE, "--overwrite"], cwd=ROOT)


def page():
    """The text in docs/results.md: the most and the least sensitive widths, and all blocks."""
    if not os.path.exists(ROWS):
        return "Nothing was measured yet.\n"
    rows = read(ROWS)
    parts = ranked(rows, ALL)
    if any(one.part.kind != BLOCK and [share for share, _ in one.losses] != ALL for one in parts):
        raise SystemExit("error: {} is unfinished; run this without --write first".format(ROWS))
    widths, blocks = ([one for one in parts if (one.part.kind == BLOCK) == wanted] for wanted in (False, True))
    text = "mAP of the whole net: {}. Points of mAP that are lost:\n\n".format(percent(rows.baseline))
    cells = []
    for one in widths[:SHOWN] + widths[max(SHOWN, len(widths) - SHOWN) :]:
        losses = dict(one.losses)
        cells.append([name_of(one)] + [percent(losses.get(share)) for share in SHARES] + [percent(one.loss)])
    text += table(["tied width"] + ["{:.0%} gone".format(share) for share in SHARES] + ["mean of all shares"], cells)
    cells = [[name_of(one), percent(one.loss)] for one in blocks]
    return text + "\n" + table(["shortcut block", "gone"], cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table; measure nothing")
    arguments = parser.parse_args()
    if not arguments.write:
        sys.exit(measure(arguments.jobs))
    write_part("sensitivity", "results_sensitivity.py", page())


if __name__ == "__main__":
    main()
