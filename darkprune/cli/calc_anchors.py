"""Finds anchors that fit the boxes of a data set's training images, and writes them to a file for the cfg.

It is Darknet's `detector calc_anchors`: k-means over the boxes' sizes by IoU, in pixels of the net's input. Put the
line into every [yolo] section of the cfg, set num= to the number of clusters, and give each section the masks of the
sizes that it is to find.
"""

import argparse
from typing import Any, Dict, List

import numpy as np

from darkprune.cli.common import grouped, notice_texts, print_json, warn, write
from darkprune.darknet.pair import write_file
from darkprune.data.anchors import average_iou, find_anchors
from darkprune.data.data_file import SPLITS, DataFile
from darkprune.data.data_set import read_detection
from darkprune.data.problems import Problems
from darkprune.errors import UsageError, place

LARGEST = 1 << 16  # pixels, and clusters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("data", metavar="DATA", help=".data file; the boxes are those of its train list")
    parser.add_argument(
        "--num-of-clusters", metavar="N", type=int, default=5, help="how many anchors (default: %(default)s)"
    )
    parser.add_argument("--width", metavar="W", type=int, required=True, help="width of the net's input")
    parser.add_argument("--height", metavar="H", type=int, required=True, help="height of the net's input")
    parser.add_argument("--split", choices=SPLITS, default="train", help="the list of images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random starts (default: %(default)s)")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="anchors.txt", help="file to write (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--ignore-problems", action="store_true", help="go on without the labels that are wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    for name in ("num_of_clusters", "width", "height"):
        if not 1 <= getattr(arguments, name) <= LARGEST:
            option = "--" + name.replace("_", "-")
            raise UsageError("{} must be 1 to {}".format(option, LARGEST), hint="as in {} 416".format(option))
    if not 0 <= arguments.seed < 1 << 32:
        raise UsageError("--seed must be 0 to {}".format((1 << 32) - 1), hint="as in --seed 1")
    data, problems = DataFile.read(arguments.data), Problems()
    found = read_detection(data, arguments.split, problems)
    notices = data.notices + problems.settle(arguments.ignore_problems)
    sizes = np.concatenate([truth.boxes for truth in found.truths])[:, 2:]
    usable = (sizes > 0).all(axis=1)
    sizes = sizes[usable] * [arguments.width, arguments.height]
    if not len(sizes):
        raise UsageError("the images of {} have no boxes".format(arguments.split), place(data.path), "label them first")
    text = as_text(find_anchors(sizes, arguments.num_of_clusters, arguments.seed), arguments.width)
    anchors = np.array([float(word) for word in text.split(",")]).reshape(-1, 2)
    write_file(arguments.output, (text + "\n").encode("ascii"), [arguments.data] + data.files(), arguments.overwrite)
    classes = np.concatenate([truth.classes for truth in found.truths])[usable]
    result: Dict[str, Any] = {
        "anchors": anchors.tolist(),
        "avg_iou": average_iou(sizes, anchors),
        "width": arguments.width,
        "height": arguments.height,
        "images": len(found.images),
        "boxes": len(sizes),
        "counters_per_class": np.bincount(classes, minlength=len(found.names)).tolist(),
        "file": arguments.output,
        "warnings": notice_texts(notices),
    }
    if arguments.json:
        print_json(result)
    else:
        warn(notices)
        write(_report(result, text))
    return 0


def as_text(anchors: np.ndarray, width: int) -> str:
    """Anchors as Darknet's calc_anchors writes them: whole pixels, or 4 decimals for grids no wider than 32."""
    if width > 32:
        pairs: List[str] = ["{:3.0f},{:3.0f}".format(*pair) for pair in np.maximum(np.round(anchors), 1)]
    else:
        pairs = ["{:.4f},{:.4f}".format(*pair) for pair in anchors]
    return ", ".join(pairs)


def _report(result: Dict[str, Any], text: str) -> str:
    """The lines that Darknet prints; the IoU is that of the anchors as written."""
    lines = [
        "num_of_clusters = {}, width = {}, height = {}".format(
            len(result["anchors"]), result["width"], result["height"]
        ),
        "read labels from {} images: {} boxes".format(grouped(result["images"]), grouped(result["boxes"])),
        "counters_per_class = " + ", ".join(map(str, result["counters_per_class"])),
        "avg IoU = {:.2f} %".format(100 * result["avg_iou"]),
        "Saving anchors to the file: " + result["file"],
        "anchors = " + text,
    ]
    return "\n".join(lines) + "\n"
