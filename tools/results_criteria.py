"""Compares what says which channels go: nets for Fashion-MNIST pruned by each criterion, before and after training.

    python tools/results_criteria.py [--seeds 0,1,2,3] [--nets NAME,...] [--criteria NAME,...|best] [--list] [--write]

Each net is trained once a seed, pruned by each criterion to the same number of parameters, and trained on for two
epochs. A row of docs/criteria.csv is there as soon as it is measured: a run that is cut short goes on where it stopped,
a training from its checkpoint. `--criteria best` takes the four that were best with seed 0, and random, for the other
seeds. Two runs may go on at once with other nets or seeds. The commands are darkprune's own, run in one process. The
images are those of Debian's package dataset-fashion-mnist: 10,000 to train with, accuracy is top-1 in OpenCV on all
10,000 test images.
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
from collections import OrderedDict

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

import results_criteria_page as page  # noqa: E402
from fashion_mnist import SOURCE, prepare  # noqa: E402
from kept_rows import append, is_made, made, provenance  # noqa: E402
from results import write as write_part  # noqa: E402
from results_criteria_steps import BASE, DATA, NETS, SINGLE, files, folder_of, steps_of  # noqa: E402

from darkprune.backends.model import Model  # noqa: E402
from darkprune.cli.main import main as darkprune  # noqa: E402
from darkprune.data.data_file import DataFile  # noqa: E402
from darkprune.data.data_set import read_classification  # noqa: E402
from darkprune.detect.image_file import read_image  # noqa: E402
from darkprune.detect.preprocess import centre  # noqa: E402
from darkprune.evaluate.classification import ranks  # noqa: E402
from darkprune.graph.build import load, totals  # noqa: E402

AT_ONCE = 250  # test images
SIDE = 28


class TestImages:
    """The test images as the nets take them, read once."""

    def __init__(self, data):
        examples = read_classification(DataFile.read(data), "valid")
        self.classes = np.array(examples.classes)
        self.batch = np.stack([centre(read_image(path), SIDE, SIDE) for path in examples.images])

    def top1(self, stem):
        """Share of the images that a pair names rightly."""
        with Model(*files(os.path.join(ROOT, stem)), runner="opencv") as model:
            parts = (model.raw_heads(self.batch[k : k + AT_ONCE]) for k in range(0, len(self.batch), AT_ONCE))
            scores = np.concatenate([next(iter(part.values())).reshape(-1, 10) for part in parts])
        return float((ranks(scores, self.classes) == 0).mean())


def carry_out(command):
    """Runs a darkprune command, quietly. Ends this program where it fails."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = darkprune(list(command))
    if status:
        sys.exit("{}error: darkprune {} ended with status {}".format(said.getvalue(), " ".join(command), status))


def measure(step, seed, images):
    """The row of a step. What pruning made is removed again; trained nets stay."""
    folder = os.path.join(ROOT, folder_of(step))
    if step.criterion != BASE and not is_made(folder, step.commands):
        shutil.rmtree(folder, ignore_errors=True)
    for command in step.commands:
        os.makedirs(os.path.dirname(os.path.join(ROOT, command[command.index("-o") + 1])), exist_ok=True)
    about = made(folder, step.commands, carry_out)
    row = OrderedDict(seed=seed, net=step.net, criterion=step.criterion, share=step.share)
    net = load(*files(step.tuned))
    row["parameters"] = totals(net)["parameters"]
    weights = [layer.array(spec.name) for layer in net.layers for spec in layer.op.connections(layer)]
    row["zeros"] = sum(int((array == 0).sum()) for array in weights)
    row["bflops"] = "{:.6f}".format(net.bflops())
    row["before"] = "{:.4f}".format(images.top1(step.pruned)) if step.pruned else ""
    row["after"] = "{:.4f}".format(images.top1(step.tuned))
    row.update(provenance(about, step.commands))
    append(page.ROWS, page.COLUMNS, row)
    if step.criterion != BASE:
        shutil.rmtree(folder)
    return row


def wanted(arguments, seed):
    """The steps that were asked for and have no row yet."""
    there = {(row["seed"], row["net"], row["criterion"], row["share"]) for row in page.rows()}
    for step in steps_of(seed):
        asked = not arguments.nets or step.net in arguments.nets
        if arguments.criteria and step.criterion not in arguments.criteria:
            asked = asked and step.criterion == BASE and (step.net in NETS or SINGLE in arguments.criteria)
        if asked and (str(seed), step.net, step.criterion, str(step.share)) not in there:
            yield step


def parsed():
    """The arguments: lists of what was asked for, empty for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0", help="default: %(default)s")
    parser.add_argument("--nets", default="", help="only these nets")
    parser.add_argument("--criteria", default="", help="only these criteria, or best")
    parser.add_argument("--source", default=SOURCE, help="folder of Fashion-MNIST's four files")
    parser.add_argument("--list", action="store_true", help="show what is to be measured")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/results.md")
    arguments = parser.parse_args()
    for name, known in (
        ("seeds", [str(seed) for seed in range(page.SEEDS)]),
        ("nets", {step.net for step in steps_of(0)}),
        ("criteria", {step.criterion for step in steps_of(0)} | {"best"}),
    ):
        given = [word for word in getattr(arguments, name).split(",") if word]
        unknown = [word for word in given if word not in known]
        if unknown:
            parser.error("--{} {}: there are {}".format(name, unknown[0], ", ".join(sorted(known))))
        setattr(arguments, name, given)
    if "best" in arguments.criteria:
        arguments.criteria = page.best() + [page.CONTROL]
        if len(arguments.criteria) == 1:
            parser.error("--criteria best: not all criteria have been measured with seed 0 yet")
    return arguments


def main():
    arguments = parsed()
    os.chdir(ROOT)
    seeds = [int(seed) for seed in arguments.seeds]
    if arguments.list:
        for seed in seeds:
            for step in wanted(arguments, seed):
                sys.stdout.write("{} {} {} {}\n".format(seed, step.net, step.criterion, step.share))
    elif arguments.write:
        for part, text in page.PARTS.items():
            write_part(part, "results_criteria.py", text())
    else:
        if not os.path.exists(DATA):
            prepare(os.path.join(ROOT, os.path.dirname(DATA)), arguments.source)
        images = TestImages(DATA)
        for seed in seeds:
            for step in wanted(arguments, seed):
                row = measure(step, seed, images)
                sys.stderr.write("{seed} {net} {criterion} {share}: {before} -> {after}, {seconds} s\n".format(**row))


if __name__ == "__main__":
    main()
