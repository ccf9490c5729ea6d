"""Prints the before/after table of a pruning, and draws what the nets find in a few images, side by side.

    darkprune eval CFG WEIGHTS --data DATA --json > net.json     (one for each net, the original first)
    darkprune bench CFG WEIGHTS [CFG WEIGHTS]... --runners opencv --json > bench.json
    python tools/before_after.py bench.json net.json... [--draw FILE.png --data DATA CFG WEIGHTS...]

A column is called as its pair is in bench.json. Pictures are of the first images of the list `test` that hold objects.
"""

import argparse
import json
import os
import sys
from contextlib import closing

import numpy as np

from darkprune.backends.model import Model
from darkprune.cli.common import table, write
from darkprune.darknet.pair import write_file
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_detection
from darkprune.data.problems import Problems
from darkprune.detect.detector import Detector
from darkprune.detect.draw import draw
from darkprune.detect.image_file import read_image
from darkprune.errors import DarkpruneError, UsageError, place

ROWS = [
    ("map", "mAP@0.5", "{:.4f}"),
    ("parameters", "parameters", "{:,d}"),
    ("weights_bytes", "bytes of weights", "{:,d}"),
    ("bflops", "BFLOPs", "{:.4f}"),
    ("median_ms", "ms per image", "{:.2f}"),
]
ENLARGED = 2  # what is drawn, so that names can be read
GAP = 12  # pixels between images
SPLIT = "test"
PICTURES = 4


def columns(bench, evals):
    """[dict with "model" and the keys of ROWS] from the JSON of `bench`, and of `eval` for each of its models."""
    models = bench["models"]
    if len(models) != len(evals):
        cause = "bench timed {} nets, and {} were evaluated".format(len(models), len(evals))
        raise UsageError(cause, hint="give the files of the same nets in the same order")
    times = {run["model"]: run["median_ms"] for run in bench["runs"] if run["runner"] == bench["runs"][0]["runner"]}
    return [dict(model, map=found["map"], median_ms=times[model["model"]]) for model, found in zip(models, evals)]


def lines(found):
    """The table; what the last column has less than the first stands behind it."""
    rows = [[""] + [column["model"] for column in found] + ["change"]]
    for key, name, form in ROWS:
        first, last = found[0][key], found[-1][key]
        change = "{:+.4f}".format(last - first) if key == "map" else "{:.1f}x less".format(first / last)
        rows.append([name] + [form.format(column[key]) for column in found] + [change])
    return table(rows)


def picture(data, pairs, count=PICTURES):
    """uint8 RGB: images of the list, two in a row, each as often as there are (cfg, weights) with what these find in
    it, in OpenCV."""
    examples = read_detection(DataFile.read(data), SPLIT, Problems())
    chosen = [path for path, truth in zip(examples.images, examples.truths) if len(truth.classes) > 2][:count]
    if len(chosen) < count:
        raise UsageError("too few of its images hold three objects", place(data), "draw more of them")
    images = [np.repeat(np.repeat(read_image(path), ENLARGED, axis=0), ENLARGED, axis=1) for path in chosen]
    drawn = []
    for cfg, weights in pairs:
        with closing(Model(cfg, weights, "opencv")) as model:
            found = [Detector(model).detect([image])[0] for image in images]
        drawn.append([draw(image, objects, examples.names) for image, objects in zip(images, found)])
    strips = [np.pad(np.concatenate(strip, axis=1), ((0, GAP), (0, GAP), (0, 0)), "constant", constant_values=255)
              for strip in zip(*drawn)]
    return np.concatenate([np.concatenate(strips[at : at + 2], axis=1) for at in range(0, count, 2)])


def as_png(pixels):
    """The bytes of a PNG file."""
    import cv2

    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError("no JSON of darkprune: {}".format(error), place(path), "write it by --json") from error


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", metavar="BENCH.json")
    parser.add_argument("evals", metavar="EVAL.json", nargs="+")
    parser.add_argument("--draw", metavar="PNG", help="file to draw into; an earlier one is replaced")
    parser.add_argument("--data", metavar="DATA", help="the .data file of the images to draw")
    parser.add_argument("--pairs", metavar="FILE", nargs="+", default=[], help="CFG WEIGHTS of the nets to draw with")
    arguments = parser.parse_args(argv)
    try:
        found = columns(read_json(arguments.bench), [read_json(path) for path in arguments.evals])
        write(lines(found))
        if arguments.draw:
            pairs = list(zip(arguments.pairs[::2], arguments.pairs[1::2]))
            if not pairs or not arguments.data:
                raise UsageError("--draw needs --data and --pairs", hint="see --help")
            write_file(arguments.draw, as_png(picture(arguments.data, pairs)), arguments.pairs, overwrite=True)
            write("wrote {}\n".format(os.path.relpath(arguments.draw)))
    except DarkpruneError as error:
        write(str(error) + "\n", sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
