"""Measures what pruning costs a detector that was never sparsified, and what `recalibrate` wins back.

    python tools/recovery.py [--shares 0.1,0.2,0.3] [--models NAME,...] [--scope SCOPE] [--resume] [--write]

Each row is what comes of `darkprune prune --channels SHARE --absorb MODE --force`, and then of `darkprune recalibrate`
with the first 128 images of COCO's train2017, without labels or training. AP50 is COCO's, on the first 128 images of
val2017.
"""

import argparse
import functools
import os
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
sys.path.insert(0, os.path.join(ROOT, "tools"))

from trained_models import MODELS, Rows, data_file, evaluated, pair_of, percent, table, write_page  # noqa: E402

from darkprune.data import image_list  # noqa: E402
from darkprune.data.data_file import DataFile  # noqa: E402
from darkprune.detect.preprocess import load_image  # noqa: E402
from darkprune.edit.recalibrate import recalibrate  # noqa: E402
from darkprune.graph.build import load, totals  # noqa: E402
from darkprune.graph.key import pair_key  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402

IMAGES = 128  # of the training list
MODES = ("exact", "bias", "none")


class Measure:
    """Prunes pairs and measures what is left, all with the same images."""

    def __init__(self, scope, runner):
        self.scope, self.runner = scope, runner
        self.data = data_file()
        self._inputs = []

    def whole(self, pair):
        """A pair as it is, and recalibrated: what that costs where nothing is broken."""
        return self._both(load(*pair), pair)

    def pruned(self, pair, share, mode, known):
        """What becomes of a pair: parameters, accuracy as pruned, and accuracy as recalibrated; of an equal net that
        is among the `known` rows, these are taken."""
        net = load(*pair)
        made = prune(net, channels=share, absorb=mode, scope=self.scope, force=True)
        row = {"parameters": parameters(made.net), "before": parameters(net), "damage": made.preflight["damage"]}
        with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
            small = _saved(made.net, folder, "small")
            row["key"] = pair_key(load(*small))
            for other in known:
                if other.get("key") == row["key"]:
                    return dict(row, pruned=other["pruned"], recalibrated=other["recalibrated"], equal=other["mode"])
            return dict(row, **self._both(load(*small), small))

    def _both(self, net, pair):
        row = {"pruned": evaluated(pair[0], pair[1], self.data, self.runner)}
        made = recalibrate(net, self._train(net), IMAGES, runner="torch")
        with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
            again = _saved(made.net, folder, "again")
            return dict(row, recalibrated=evaluated(again[0], again[1], self.data, self.runner))

    def _train(self, net):
        shape = net.input.shape
        if not self._inputs:
            paths = image_list.read(DataFile.read(self.data).require("train"))[:IMAGES]
            self._inputs = [load_image(path, shape.w, shape.h, shape.c) for path in paths]
        return (np.concatenate(self._inputs[start : start + 8]) for start in range(0, len(self._inputs), 8))


def _saved(net, folder, name):
    stem = os.path.join(folder, name)
    save(net, stem)
    return stem + ".cfg", stem + ".weights"


def parameters(net):
    """How many floats the weights file has behind its header."""
    return totals(net)["parameters"]


def page(rows):
    """The text of docs/recovery.md."""
    text = "# Pruned without sparsity training, and recalibrated\n\nMade by `python tools/recovery.py --write`. "
    text += " ".join(__doc__.strip().split("\n")[4:]) + "\n\n"
    body = []
    for row in sorted(rows, key=_order):
        cells = [row["model"]]
        if row["share"] == 0:
            cells += ["not pruned", "", "", ""]
        else:
            left = "{:.1f} %".format(100.0 * row["parameters"] / row["before"])
            mode = row["mode"] + (" (the same net as {})".format(row["equal"]) if "equal" in row else "")
            cells += ["{:.0f} %, {}".format(100 * row["share"], row["scope"]), mode, left]
            cells.append("{:.2f}".format(row["damage"]))
        body.append(cells + [percent(row[step]["ap50"]) for step in ("pruned", "recalibrated")])
    titles = ["model", "channels, scope", "constants", "parameters left", "predicted damage"]
    return text + table(titles + ["AP50", "AP50 recalibrated"], body) + "\n" + WORDS


def _order(row):
    return row["model"], row["share"], row["scope"], (("",) + MODES).index(row["mode"])


WORDS = """AP50 is in percent. The predicted damage is what `prune` says beforehand; from 0.75 on it refuses without
`--force`. In these nets `exact` and `bias` come to the same: what removed channels emit meets no padded layer but
depthwise ones. 128 images are few; differences of a point may be chance.
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
    rows, measure = Rows("recovery", arguments.resume), Measure(arguments.scope, arguments.runner)
    for model in arguments.models.split(","):
        pair = pair_of(model)
        steps = [(0.0, "")] + [(float(share), mode) for share in arguments.shares.split(",") for mode in MODES]
        for share, mode in steps:
            key = {"model": model, "share": share, "mode": mode, "scope": arguments.scope if share else ""}
            function = functools.partial(measure.whole, pair)
            if share:
                function = functools.partial(measure.pruned, pair, share, mode, rows.rows)
            rows.measure(key, function)
            if arguments.write:
                write_page("recovery", page(rows.rows))
    sys.stdout.write(page(rows.rows))


if __name__ == "__main__":
    main()
