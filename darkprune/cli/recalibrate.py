"""Estimates the batch-norm statistics of a pair anew from unlabelled images and writes OUT.cfg and OUT.weights.

Pruning shifts what layers see, while their running means and variances are still those of the old net. Here the
images go through the net layer by layer, and each batch norm takes the mean and variance of its input over all of
them. A hundred images such as the net was trained with are enough; nothing but means and variances changes.
"""

import argparse
from typing import Any, Dict, List

from darkprune.cli.common import add_common, grouped, notice_texts, print_json, progress, warn, write
from darkprune.darknet.pair import PairWriter
from darkprune.data import image_list
from darkprune.detect.preprocess import batches, require_image_input
from darkprune.edit.recalibrate import RUNNERS, Recalibrated, recalibrate, require_statistics
from darkprune.edit.resize import resize
from darkprune.errors import UsageError
from darkprune.graph.build import load
from darkprune.graph.save import PLAN_SUFFIX, save

BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument(
        "--images", metavar="DIR|LIST", required=True, help="a folder of images, or a file with one path a line"
    )
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="prefix of the files to write")
    parser.add_argument("--runner", choices=RUNNERS, default="numpy", help="what computes (default: %(default)s)")
    parser.add_argument("--letter-box", action="store_true", help="keep the images' proportions")
    parser.add_argument(
        "--batch",
        metavar="N",
        type=int,
        default=BATCH,
        help="images that go through a layer at once; the result is the same (default: %(default)s)",
    )
    parser.add_argument("--width", metavar="W", type=int, help="width of the images; the written cfg keeps its own")
    parser.add_argument("--height", metavar="H", type=int, help="height of the images")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    if arguments.batch < 1:
        raise UsageError("--batch {} is no number of images".format(arguments.batch), hint="use 1 or more")
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    require_statistics(net)
    size = net
    if arguments.width is not None or arguments.height is not None:
        size = resize(net, arguments.width, arguments.height)
    require_image_input(size)
    files = image_list.read(arguments.images)
    inputs = [arguments.cfg, arguments.weights, arguments.images] + files
    PairWriter(arguments.output, inputs, arguments.overwrite, stale=[PLAN_SUFFIX])  # its checks, before minutes of work
    images = batches(size, files, arguments.batch, arguments.letter_box)
    made = recalibrate(net, images, len(files), size, arguments.runner, progress("layers"))
    save(made.net, arguments.output, arguments.overwrite, None, inputs)
    written = [arguments.output + suffix for suffix in (".cfg", ".weights")]
    if arguments.json:
        print_json(_as_dict(made, written))
    else:
        warn(made.net.notices)
        write(_text(made, written))
    return 0


def _as_dict(made: Recalibrated, files: List[str]) -> Dict[str, Any]:
    return {
        "images": made.images,
        "layers": made.layers,
        "channels": made.channels,
        "kept": made.kept,
        "files": files,
        "warnings": notice_texts(made.net.notices),
    }


def _text(made: Recalibrated, files: List[str]) -> str:
    text = "statistics of {} channels in {} layers from {} images\n".format(
        grouped(made.channels), made.layers, grouped(made.images)
    )
    if made.kept:
        text += "{} constant channels keep theirs\n".format(grouped(made.kept))
    return text + "wrote " + " ".join(files) + "\n"
