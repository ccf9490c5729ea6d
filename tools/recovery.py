"""Measures what pruning costs a detector that was never sparsified, and what `recalibrate` wins back.

    python tools/recovery.py [--shares 0.1,0.2,0.3] [--models NAME,...] [--scope SCOPE] [--resume] [--write]

Each row: `darkprune prune --channels SHARE --absorb MODE --force`, then `darkprune recalibrate` with the first 128
images of COCO's train2017, without labels or training; `darkprune eval` on the first 128 images of val2017.
"""

import argparse
import functools
import hashlib
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from trained_models import BUILD, MODELS, Rows, darkprune, data_file, pair_of, percent, table, write_page  # noqa: E402

MODES = ("exact", "bias", "none")


def accuracy(cfg, weights, data, runner):
    """(AP50, Darknet's map) on the validation images."""
    report = darkprune("eval", cfg, weights, "--data", data, "--runner", runner)
    return {"ap50": report["ap50"], "map": report["map"]}


def digest(*paths):
    """SHA-256 of files."""
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            total.update(stream.read())
    return total.hexdigest()


def pruned(pair, share, mode, scope, data, runner, known):
    """What becomes of a pair: parameters, accuracy as pruned, and accuracy as recalibrated; of equal files that are
    among the `known` rows, these are taken."""
    folder = tempfile.mkdtemp(prefix="darkprune-")
    try:
        small, again = os.path.join(folder, "small"), os.path.join(folder, "again")
        words = ["--channels", str(share), "--absorb", mode, "--scope", scope, "--force", "-o", small]
        made = darkprune("prune", *(list(pair) + words))
        row = {"parameters": made["after"]["parameters"], "before": made["before"]["parameters"]}
        row["damage"] = made["preflight"]["damage"]
        row["files"] = digest(small + ".cfg", small + ".weights")
        for other in known:
            if other.get("files") == row["files"]:
                return dict(row, pruned=other["pruned"], recalibrated=other["recalibrated"], equal=other["mode"])
        row["pruned"] = accuracy(small + ".cfg", small + ".weights", data, runner)
        images = os.path.join(BUILD, "train2017.txt")
        darkprune("recalibrate", small + ".cfg", small + ".weights", "--images", images, "-o", again)
        row["recalibrated"] = accuracy(again + ".cfg", again + ".weights", data, runner)
        return row
    finally:
        shutil.rmtree(folder)


def whole(pair, data, runner):
    """The pair as it is, and recalibrated: what recalibration costs where nothing is broken."""
    folder = tempfile.mkdtemp(prefix="darkprune-")
    try:
        again = os.path.join(folder, "again")
        row = {"pruned": accuracy(pair[0], pair[1], data, runner)}
        darkprune("recalibrate", pair[0], pair[1], "--images", os.path.join(BUILD, "train2017.txt"), "-o", again)
        row["recalibrated"] = accuracy(again + ".cfg", again + ".weights", data, runner)
        return row
    finally:
        shutil.rmtree(folder)


def page(rows):
    """The text of docs/recovery.md."""
    text = "# Pruned without sparsity training, and recalibrated\n\nMade by `python tools/recovery.py --write`. "
    text += " ".join(__doc__.strip().split("\n")[4:]) + "\n\n"
    body = []
    for row in rows:
        cells = [row["model"]]
        if row["share"] == 0:
            cells += ["not pruned", "", "", ""]
        else:
            left = "{:.1f} %".format(100.0 * row["parameters"] / row["before"])
            mode = row["mode"] + (" (same files as {})".format(row["equal"]) if "equal" in row else "")
            cells += ["{:.0f} %, {}".format(100 * row["share"], row["scope"]), mode, left]
            cells.append("{:.2f}".format(row["damage"]))
        body.append(cells + [percent(row[step]["ap50"]) for step in ("pruned", "recalibrated")])
    titles = ["model", "channels, scope", "constants", "parameters left", "predicted damage"]
    return text + table(titles + ["AP50", "AP50 recalibrated"], body) + "\n" + WORDS


WORDS = """The predicted damage is what `prune` says beforehand; above 0.5 it refuses without `--force`.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", default="0.1,0.2,0.3", help="of the channels (default: %(default)s)")
    parser.add_argument("--models", default=",".join(MODELS), help="(default: %(default)s)")
    parser.add_argument("--scope", default="global", help="of prune (default: %(default)s)")
    parser.add_argument("--runner", default="opencv", help="of eval (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep the rows that an earlier run measured")
    parser.add_argument("--write", action="store_true", help="write docs/recovery.md after each row")
    arguments = parser.parse_args()
    data, rows = data_file(), Rows("recovery", arguments.resume)
    for model in arguments.models.split(","):
        pair = pair_of(model)
        steps = [(0.0, "")] + [(float(share), mode) for share in arguments.shares.split(",") for mode in MODES]
        for share, mode in steps:
            key = {"model": model, "share": share, "mode": mode, "scope": arguments.scope if share else ""}
            if share:
                settings = (arguments.scope, data, arguments.runner, rows.rows)
                function = functools.partial(pruned, pair, share, mode, *settings)
            else:
                function = functools.partial(whole, pair, data, arguments.runner)
            rows.measure(key, function)
            if arguments.write:
                write_page("recovery", page(rows.rows))
    sys.stdout.write(page(rows.rows))


if __name__ == "__main__":
    main()
