"""The images that criteria of `darkprune prune` are measured on."""

import argparse
import importlib.util
from typing import Any, List, Optional, Tuple

from darkprune.backends.registry import RUNNERS
from darkprune.cli.common import progress, warn
from darkprune.cli.running import files_of
from darkprune.cli.train import require_training
from darkprune.data import image_list
from darkprune.data.data_file import DataFile
from darkprune.data.problems import Problems
from darkprune.errors import UsageError
from darkprune.graph.net import Net
from darkprune.prune.combine import parse
from darkprune.prune.criteria.base import GRADIENTS, WEIGHTS
from darkprune.prune.measurer import COUNT, Measurer, drawn, part
from darkprune.prune.score import criterion_of

FLAGS = ("images", "data", "count", "runner")  # what of the arguments says how criteria are measured


def add_evidence(parser: argparse.ArgumentParser) -> None:
    """--images, --data, --count and --runner."""
    parser.add_argument("--images", metavar="DIR|LIST", help="images that criteria of maps are measured on")
    parser.add_argument(
        "--data",
        metavar="FILE.data",
        help="a data set: the same of its train list, with labels; its valid list measures accuracy for a budget",
    )
    parser.add_argument("--count", metavar="N", type=int, help="so many of the images (default: {})".format(COUNT))
    parser.add_argument(
        "--runner", choices=RUNNERS, help="what runs the net on them (default: torch, or numpy where that is missing)"
    )


def require_seed(seed: int) -> int:
    """The seed. Raises UsageError for one that numpy does not take."""
    if not 0 <= seed < 2**32:
        raise UsageError("--seed {} is no seed".format(seed), hint="use a number from 0 to {}".format(2**32 - 1))
    return seed


def measurer(
    arguments: argparse.Namespace, net: Net, criterion: str, block_rank: Optional[str], seed: int
) -> Tuple[Optional[Measurer], List[str]]:
    """What measures the criteria, None where they need no images; and the files it reads."""
    wanted = [criterion_of(name) for name in parse(criterion, arguments.combine).names]
    needs = {found.needs for found in wanted} - {WEIGHTS}
    if block_rank == "damage":
        needs.add("damage")
    count = COUNT if arguments.count is None else arguments.count
    if count < 1:
        raise UsageError("--count {} is no number of images".format(count), hint="use 1 or more")
    if not needs or (arguments.images is None and arguments.data is None):
        return None, []
    paths: List[str] = []
    inputs: List[str] = []
    data_set = None
    if arguments.data is not None:
        data = DataFile.read(arguments.data)
        inputs += files_of(data)
        if GRADIENTS in needs:
            data_set = _labelled(data, net, count, seed)
        if arguments.images is None:
            paths = image_list.read(data.require("train"))
    if arguments.images is not None:
        paths = image_list.read(arguments.images)
        inputs.append(arguments.images)
    paths = [paths[number] for number in drawn(len(paths), count, seed)]
    names = [found.name for found in wanted]
    runner = arguments.runner or ("torch" if importlib.util.find_spec("torch") is not None else "numpy")
    return Measurer(names, paths, data_set, runner, seed, progress("criteria", "batch")), inputs + paths


def _labelled(data: DataFile, net: Net, count: int, seed: int) -> Any:
    """The training set with labels, or a part of it. Raises MissingDependency without torch or OpenCV."""
    require_training()
    from darkprune.train.assemble import read_set

    problems = Problems()
    found = read_set(data, "train", net, problems)
    warn(list(data.notices) + problems.settle(False))
    return part(found, count, seed)
