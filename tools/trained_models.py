"""The trained detectors and the images that tools/accuracy.py and tools/recovery.py measure with, and their tables.

Both lie in the shared folder, which DARKPRUNE_SHARED names: two COCO-trained detectors, and the first 128 images of
COCO's train2017 and of its val2017.
"""

import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from darkprune.backends.model import Model  # noqa: E402
from darkprune.cli.eval import DARKNET_BATCH  # noqa: E402
from darkprune.data.data_file import DataFile  # noqa: E402
from darkprune.data.data_set import read_detection  # noqa: E402
from darkprune.evaluate.darknet_map import total  # noqa: E402
from darkprune.evaluate.detector import evaluate_detector  # noqa: E402

SHARED = os.path.join(ROOT, os.environ.get("DARKPRUNE_SHARED", os.path.join("..", "shared")))
BUILD = os.path.join(ROOT, "build", "accuracy")
POINTS = (0, 11, 101)  # -points of Darknet's map
MODELS = ("yolo-fastest-1.1", "yolo-fastest-1.1-xl")


def pair_of(name):
    """(cfg, weights) of a model by name. Ends the program where it is not at hand."""
    stem = os.path.join(SHARED, "models", "yolo-fastest-1.1", name)
    for path in (stem + ".cfg", stem + ".weights"):
        if not os.path.exists(path):
            sys.exit("error: {} is not there; DARKPRUNE_SHARED names the folder of the models".format(path))
    return stem + ".cfg", stem + ".weights"


def data_file():
    """A .data file of COCO128: train and valid are its 128 images each. It is written to the build folder."""
    folder = os.path.join(SHARED, "datasets", "coco128")
    os.makedirs(BUILD, exist_ok=True)
    lines = ["classes=80", "names=" + os.path.abspath(os.path.join(folder, "coco.names"))]
    for key, split in (("train", "train2017"), ("valid", "val2017")):
        images = os.path.abspath(os.path.join(folder, "images", split))
        if not os.path.isdir(images):
            sys.exit("error: {} is not there; DARKPRUNE_SHARED names the folder of the images".format(images))
        path = os.path.join(BUILD, split + ".txt")
        _write(path, "".join(os.path.join(images, name) + "\n" for name in sorted(os.listdir(images))))
        lines.append("{}={}".format(key, path))
    path = os.path.join(BUILD, "coco128.data")
    _write(path, "\n".join(lines) + "\n")
    return path


def evaluated(cfg, weights, data, runner):
    """What `darkprune eval` measures of a pair: AP50, AP, counts above the confidence, and Darknet's map by points."""
    examples = read_detection(DataFile.read(data))
    with Model(cfg, weights, runner) as model:
        found = evaluate_detector(model, examples, batch=DARKNET_BATCH if runner == "darknet" else 1)
    row = {"ap50": found.coco.ap50, "ap": found.coco.ap, "images": len(examples.images)}
    row.update({"map{}".format(points): found.judge.result(points).map for points in POINTS})
    return dict(row, tp=total(found.map, "tp"), fp=total(found.map, "fp"))


class Rows:
    """Measured rows, each kept in a file of the build folder as soon as it is there, so that a run can go on later.

    Args:
        name: of the file. resume: take the rows that an earlier run left, instead of measuring them again.
    """

    def __init__(self, name, resume):
        os.makedirs(BUILD, exist_ok=True)
        self.path = os.path.join(BUILD, name + ".jsonl")
        self.rows = []
        if resume and os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as stream:
                self.rows = [json.loads(line) for line in stream]
        else:
            _write(self.path, "")

    def measure(self, key, function):
        """The row of `key`, a dict; `function` gives what is added to it where it is not there yet."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        row = dict(key, **function())
        self.rows.append(row)
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, sort_keys=True) + "\n")
        sys.stderr.write(json.dumps(row, sort_keys=True) + "\n")
        return row


def write_page(name, text):
    """Writes docs/NAME.md."""
    _write(os.path.join(ROOT, "docs", name + ".md"), text)


def table(titles, rows):
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [titles, ["---"] * len(titles)] + rows) + "\n"


def percent(share):
    """As accuracies are written: 37.05; "-" where nothing was measured."""
    return "-" if share is None else "{:.2f}".format(100 * share)


def _write(path, text):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
