"""An AlexNet trained on Fashion-MNIST, in FP32 and in INT8: accuracy over 10,000 images, time, one picture.

    python tools/alexnet_fashion.py prepare|train|measure|all [--out DIR] [--resume] [--write]

prepare writes the images of Debian's package dataset-fashion-mnist as PNG files, train trains cfg/alexnet-fashion.cfg
on 10,000 of them (about an hour on two cores), measure runs darkprune's own commands on what is there; --write puts
the table into docs/results.md. FP32 had been scored on the test images, and entropy once (it lost 7 points then), when
max was found to be better on 600 training images; it was then scored once.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from fashion_mnist import ROOT, SEED, SOURCE, prepare  # noqa: E402
from results import write  # noqa: E402

from darkprune.backends.clock import Clock  # noqa: E402
from darkprune.cli.bench import machine  # noqa: E402
from darkprune.data.data_file import DataFile  # noqa: E402
from darkprune.data.data_set import read_classification  # noqa: E402
from darkprune.evaluate.bench import Comparison  # noqa: E402
from darkprune.evaluate.onnx_latency import FileMeasurement  # noqa: E402

CFG = os.path.join(ROOT, "cfg", "alexnet-fashion.cfg")
OUT = os.path.join(ROOT, "build", "alexnet")
EPOCHS = 4
CALIBRATION = 512  # training images
RECIPE = ("--method", "max")  # the best of entropy and max on training images
LEAST = 0.85  # FP32 top-1; below it a comparison says nothing
THREADS, ROUNDS = 2, 5
STAGES = ("prepare", "train", "measure", "all")


def darkprune(*arguments):
    """What a command prints with --json. Ends the program where it fails."""
    command = [sys.executable, "-m", "darkprune"] + list(arguments)
    environment = dict(os.environ, PYTHONPATH=ROOT)
    done = subprocess.run(command + ["--json"], env=environment, stdout=subprocess.PIPE, cwd=ROOT)
    if done.returncode:
        sys.exit("error: darkprune {} ended with status {}".format(" ".join(arguments), done.returncode))
    return json.loads(done.stdout.decode("utf-8"))


def calibration_list(out):
    """A list of CALIBRATION training images, drawn with a fixed seed."""
    images = read_classification(DataFile.read(os.path.join(out, "fashion.data")), "train").images
    chosen = sorted(random.Random(SEED).sample(images, min(CALIBRATION, len(images))))
    path = os.path.join(out, "calibration.txt")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("".join(image + "\n" for image in chosen))
    return path


def measure(out):
    """All figures of the table, as a dict."""
    pair = [os.path.join(out, "alexnet-fashion" + suffix) for suffix in (".cfg", ".weights")]
    data, ranges = os.path.join(out, "fashion.data"), os.path.join(out, "alexnet-fashion.ranges.json")
    began = time.time()
    darkprune("calibrate", *pair, "--images", calibration_list(out), "-o", ranges, "--overwrite", *RECIPE)
    found = {"calibration_s": time.time() - began}
    picture = read_classification(DataFile.read(data)).images[0]
    for name, options in (("fp32", []), ("int8", ["--int8", ranges])):
        run = ["--runner", "onnxruntime"] + options
        found[name] = darkprune("eval", *pair, "--data", data, "--batch", "32", *run)
        found[name]["picture"] = darkprune("classify", *pair, picture, "--data", data, "--top", "3", *run)
        model = os.path.join(out, name + ".onnx")
        darkprune("export", *pair, "-o", model, "--overwrite", *options)
        found[name]["bytes"] = os.path.getsize(model)
    files = [os.path.join(out, name + ".onnx") for name in ("fp32", "int8")]
    found["runs"] = timings(files)
    found["file"] = os.path.basename(picture)
    return found


def timings(files):
    """(median ms, min ms, speed-up over the first) of each file, by fresh processes that take turns."""
    clock = Clock(warm=5, duration=1.0).as_dict()
    keys = [((number, "onnxruntime"), FileMeasurement(path, THREADS, clock)) for number, path in enumerate(files)]
    comparison = Comparison(keys, strict=True)
    comparison.measure(ROUNDS)
    return [(run.median_ms, run.min_ms, run.speedup) for run in comparison.runs()]


def table(found):
    """The text in docs/results.md."""
    lines = [
        "| AlexNet, 227 x 227 | top-1 | top-5 | ms, median | ms, least | ONNX file | `{}` is |".format(found["file"])
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name, run in zip(("fp32", "int8"), found["runs"]):
        row = found[name]
        classes = row["picture"]["images"][0]["classes"][:1]
        words = ", ".join("{} {:.2f} %".format(best["name"], 100 * best["confidence"]) for best in classes)
        cells = [name.upper(), "{:.2f} %".format(100 * row["top1"]), "{:.2f} %".format(100 * row["top5"])]
        cells += ["{:.2f}".format(run[0]), "{:.2f}".format(run[1]), "{:.1f} MB".format(row["bytes"] / 1e6), words]
        lines.append("| {} |".format(" | ".join(cells)))
    apart, ratio = 100 * (found["int8"]["top1"] - found["fp32"]["top1"]), 1 / found["runs"][1][2]
    text = "\nINT8 takes {:.3f} of FP32's time (median of {} rounds), and its top-1 is {:+.2f} points off over {:,} "
    text = text.format(ratio, ROUNDS, apart, found["fp32"]["images"])
    text += "test images. Calibrated on {} of the training images, in {:.0f} s, with `{}`.\n".format(
        CALIBRATION, found["calibration_s"], " ".join(RECIPE)
    )
    if found["fp32"]["top1"] < LEAST:
        text += "FP32 is below {:.0f} %: the comparison is void.\n".format(100 * LEAST)
    return "\n".join(lines) + "\n" + text + "\n{}, {} threads.\n".format(machine(), THREADS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=STAGES, default="all")
    parser.add_argument("--out", default=OUT, help="folder of images, checkpoints, weights (default: build/alexnet)")
    parser.add_argument("--source", default=SOURCE, help="folder of Fashion-MNIST's four files")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--resume", action="store_true", help="train on from the last epoch that was saved")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    arguments = parser.parse_args()
    out, stages = os.path.abspath(arguments.out), STAGES[:3] if arguments.stage == "all" else (arguments.stage,)
    if "prepare" in stages:
        os.makedirs(out, exist_ok=True)
        prepare(out, arguments.source)
    if "train" in stages:
        from alexnet_training import train

        prefix = os.path.join(out, "alexnet-fashion")
        train(CFG, prefix, arguments.epochs, arguments.resume, arguments.source)
    if "measure" in stages:
        text = table(measure(out))
        sys.stdout.write(text)
        if arguments.write:
            write("alexnet", "alexnet_fashion.py", text)


if __name__ == "__main__":
    main()
