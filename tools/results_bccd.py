"""Trains, prunes and recovers detectors of blood cells (the BCCD data set), and keeps what each step comes to.

    python tools/results_bccd.py [--seeds 0,1,2] [--only NAME,...] [--speed] [--write]

Each step is a darkprune command, and a row of docs/bccd.csv as soon as it is done: a run that is cut short goes on
where it stopped, training in the middle of its steps. All steps of a seed come before those of the next. The models
lie in build/bccd; what a row depends on is made again where it is missing. --speed times the pairs of the first seed
in OpenCV and in Darknet, those of a baseline in turn; --write makes the tables of docs/results.md.

Training images are the set's trainval list (292), accuracies are those of its test list (72 images) in OpenCV.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import OrderedDict

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

import kept_rows  # noqa: E402
import results_bccd_page as page  # noqa: E402
from int8_bootstrap import matches, precision  # noqa: E402
from kept_rows import append, commit, is_made  # noqa: E402
from results import write as write_part  # noqa: E402
from results_bccd_steps import COCO, DATA, FOLDER, PRUNING, THREADS, TIMED_TOGETHER, steps_of  # noqa: E402

from darkprune.backends.model import Model  # noqa: E402
from darkprune.data.data_file import DataFile  # noqa: E402
from darkprune.data.data_set import read_detection  # noqa: E402
from darkprune.evaluate.detector import evaluate_detector  # noqa: E402
from darkprune.graph.build import load, totals  # noqa: E402
from darkprune.graph.key import pair_key  # noqa: E402

RESAMPLES = 200  # of the test images, the same ones for all rows


def weights_of_resamples(images):
    """float64 [RESAMPLES, images]: how often each image was drawn."""
    random = np.random.RandomState(0)
    return random.multinomial(images, np.full(images, 1.0 / images), RESAMPLES).astype(float)


def measure(cfg, weights, int8=None):
    """What a pair is worth: AP50 and Darknet's map on the test images in OpenCV, and what it holds."""
    data = DataFile.read(DATA)
    examples = read_detection(data, "valid")
    runner = "opencv" if int8 is None else "onnxruntime"
    with Model(cfg, weights, runner, int8=int8) as model:
        found = evaluate_detector(model, examples)
    draws = precision(matches(examples, found.found), weights_of_resamples(len(examples.images)))
    net = load(cfg, weights)
    gammas = [layer.array("scales") for layer in net.layers if layer.has("scales")]
    row = OrderedDict(ap50="{:.4f}".format(found.coco.ap50), map="{:.4f}".format(found.map.map))
    row["parameters"] = totals(net)["parameters"]
    row["bytes"] = os.path.getsize(weights)
    row["bflops"] = "{:.4f}".format(net.bflops())
    row["zero_gammas"] = "{:.4f}".format(np.mean(np.concatenate(gammas) == 0))
    row["key"] = pair_key(net)[:16]
    return row, draws


def carry_out(command):
    """Runs a darkprune command; its output goes to stderr. Ends this program where it fails."""
    sys.stderr.write("$ darkprune {}\n".format(" ".join(map(shlex.quote, command))))
    status = subprocess.call([sys.executable, "-m", "darkprune"] + command, stdout=sys.stderr, cwd=ROOT)
    if status:
        sys.exit("error: darkprune {} ended with status {}".format(command[0], status))


def made(step, steps):
    """The files of a step, made where they are missing, after those that it needs. Returns who made them: the commits,
    and the seconds it took in all, which stand beside them."""

    def needed():
        for name in step.needs:
            made(steps[name], steps)

    return kept_rows.made(os.path.join(ROOT, step.folder), step.commands, carry_out, needed)


def run(step, steps, seed):
    """Carries out a step that has no row yet, and appends it."""
    about = made(step, steps)
    row, draws = measure(os.path.join(ROOT, step.cfg), os.path.join(ROOT, step.weights), step.int8)
    row = OrderedDict([("seed", seed), ("step", step.name)], **row)
    row.update(kept_rows.provenance(about, step.commands))
    numbers = [str(int(round(10000 * value))) for value in draws]
    if (str(seed), step.name) not in page.draws():  # a run that was killed here may have left them
        append(page.DRAWS, ("seed", "step", "ap50"), {"seed": seed, "step": step.name, "ap50": " ".join(numbers)})
    append(page.ROWS, page.COLUMNS, row)
    sys.stderr.write("{}\n".format(json.dumps(row)))


def speed(seed, names):
    """Times a baseline and what was pruned from it, in one run whose pairs take turns; other pairs' rows stay."""
    steps = steps_of(seed)
    for name in names:
        if not is_made(os.path.join(ROOT, steps[name].folder), steps[name].commands):
            sys.exit("error: {} is not there; run its step first, with --only".format(steps[name].folder))
    command = [sys.executable, "-m", "darkprune", "bench", "--runners", "opencv,darknet", "--json"]
    command += ["--threads", THREADS]
    for name in names:
        command += [steps[name].cfg, steps[name].weights]
    found = json.loads(subprocess.check_output(command, cwd=ROOT).decode("utf-8"))
    called = {model["model"]: name for model, name in zip(found["models"], names)}
    kept = [row for row in kept_rows.read(page.SPEED) if row["step"] not in names]
    with open(page.SPEED, "w") as stream:
        stream.write(",".join(page.SPEED_COLUMNS) + "\n")
    for row in kept:
        append(page.SPEED, page.SPEED_COLUMNS, row)
    for timed in found["runs"]:
        row = {"seed": seed, "step": called[timed["model"]], "runner": timed["runner"], "commit": commit()}
        row["ms"] = "{:.2f}".format(timed["median_ms"])
        row.update(threads=found["threads"], machine=found["machine"])
        append(page.SPEED, page.SPEED_COLUMNS, row)


def prepare():
    """The data set in Darknet's layout, and Yolo-Fastest's files, in build/bccd."""
    shared = os.environ.get("DARKPRUNE_SHARED", os.path.join(ROOT, "..", "shared"))
    source = os.path.abspath(os.path.join(shared, "datasets", "bccd"))
    if not os.path.isdir(source):
        sys.exit("error: {} is not there; DARKPRUNE_SHARED names the folder that holds datasets/bccd".format(source))
    os.makedirs(os.path.join(ROOT, FOLDER), exist_ok=True)
    if not os.path.exists(os.path.join(ROOT, DATA)):
        tool = os.path.join(ROOT, "tools", "voc_to_darknet.py")
        options = ["-o", os.path.dirname(DATA), "--train", "trainval", "--valid", "test", "--ignore-problems"]
        subprocess.check_call([sys.executable, tool, source] + options, cwd=ROOT, stdout=sys.stderr)
    with open(os.path.join(ROOT, DATA)) as stream:
        text = stream.read()
    with open(os.path.join(ROOT, PRUNING), "w") as stream:
        stream.write(text.replace("valid = test.txt", "valid = trainval.txt"))
    for suffix in (".cfg", ".weights"):
        if not os.path.exists(os.path.join(ROOT, COCO + suffix)):
            model = os.path.join(shared, "models", "yolo-fastest-1.1", "yolo-fastest-1.1" + suffix)
            shutil.copyfile(model, os.path.join(ROOT, COCO + suffix))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="(default: %(default)s)")
    parser.add_argument("--only", help="steps, by name")
    parser.add_argument("--list", action="store_true", help="print the steps and whether they have a row")
    parser.add_argument("--speed", action="store_true", help="time the first seed's pairs, or the runs with --only")
    parser.add_argument("--write", action="store_true", help="write the tables; measure nothing")
    arguments = parser.parse_args()
    if arguments.write:
        for part in page.PARTS:
            write_part(part, "results_bccd.py", page.PARTS[part]())
        return
    only = arguments.only.split(",") if arguments.only else None
    unknown = sorted(set(only or ()) - set(steps_of(0)))
    if unknown:
        parser.error("no step is called {}; --list names them".format(", ".join(unknown)))
    if arguments.speed:
        never = sorted(set(only or ()) - set(sum(TIMED_TOGETHER, ())))
        if never:
            parser.error("{} is not timed; what is: {}".format(never[0], ", ".join(sum(TIMED_TOGETHER, ()))))
        for names in TIMED_TOGETHER:
            if only is None or set(only) & set(names):  # a run times them all, as they are compared
                speed(int(arguments.seeds.split(",")[0]), names)
        return
    prepare()
    for seed in map(int, arguments.seeds.split(",")):
        steps = steps_of(seed)
        done = {row["step"] for row in page.rows() if int(row["seed"]) == seed}
        for step in steps.values():
            chosen = only is None or step.name in only
            if arguments.list:
                print(seed, step.name, "done" if step.name in done else "")
            elif chosen and step.name not in done:
                run(step, steps, seed)


if __name__ == "__main__":
    main()
