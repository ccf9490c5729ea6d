"""Names whole images with a classifier and prints its surest classes as Darknet does.

The image's shorter side is scaled to the net's width and the middle cut out, as AlexeyAB's Darknet does it. With
--dialect pjreddie or --letter-box the whole image is fitted in, as the original does it.
"""

import argparse
from collections import OrderedDict
from contextlib import closing
from typing import Any, Dict, List, Tuple

from darkprune.cli.common import add_common, print_json, write
from darkprune.cli.running import add_running, class_names, image_paths, open_model
from darkprune.data.data_file import DataFile
from darkprune.detect.classifier import Classifier, best
from darkprune.detect.image_file import read_image
from darkprune.errors import UsageError

TOP = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_running(parser)
    parser.add_argument(
        "--top", metavar="K", type=int, help="how many classes (default: the .data file's top, or {})".format(TOP)
    )
    parser.add_argument("--letter-box", action="store_true", help="take the whole image, with grey at two sides")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    if arguments.top is not None and arguments.top < 1:
        raise UsageError("--top {} is no number of classes".format(arguments.top), hint="use 1 or more")
    top = arguments.top or (DataFile.read(arguments.data).top if arguments.data is not None else TOP)
    paths = image_paths(arguments.images)
    images = []
    with closing(open_model(arguments)) as model:
        classifier = Classifier(model, arguments.letter_box or arguments.dialect == "pjreddie")
        names = class_names(arguments, classifier.classes, surplus=True)
        for path in paths:
            found = best(classifier.classify([read_image(path)])[0], top)
            images.append(_as_dict(path, found, names, classifier.seconds))
            if not arguments.json:
                write("{}: Predicted in {:f} milli-seconds.\n".format(path, classifier.seconds * 1000))
                write("".join("{}: {:f}\n".format(names[number], score) for number, score in found))
    if arguments.json:
        print_json({"images": images})
    return 0


def _as_dict(path: str, found: List[Tuple[int, float]], names: List[str], seconds: float) -> Dict[str, Any]:
    classes = [OrderedDict([("class", n), ("name", names[n]), ("confidence", round(score, 6))]) for n, score in found]
    return OrderedDict([("file", path), ("classes", classes), ("milliseconds", round(seconds * 1000, 3))])
