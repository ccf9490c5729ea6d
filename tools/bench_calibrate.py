"""Times `darkprune calibrate` against ONNX Runtime's entropy calibrator, on the same graph and images.

    python tools/bench_calibrate.py [--nets NAME,...] [--rounds N] [--images N] [--same-tensors] [--write]

Both are whole processes with 2 threads, which take turns: start, read the images and resize them alike, run them
through ONNX Runtime, search the ranges over 2048 bins with 128 levels. ONNX Runtime's calibrator takes all tensors of
the graph, as its quantize_static does; with --same-tensors it runs once more over no others than ours. It keeps every
tensor of every image in memory: YOLOv3 with 32 images needs 14 GB. YOLOv3's weights are synthetic; they are made in
build/ where they are missing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
sys.path.insert(0, os.path.join(ROOT, "tools"))

import results  # noqa: E402
from bench_prune import environment, pair  # noqa: E402
from trained_models import data_file, pair_of, table  # noqa: E402

from darkprune.data import image_list  # noqa: E402
from darkprune.data.data_file import DataFile  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.quant.calibrate import prepared, preprocessing_of  # noqa: E402
from darkprune.quant.observe import measured_tensors  # noqa: E402

NETS = {"yolov3": 32, "yolo-fastest-1.1": 128, "yolo-fastest-1.1-xl": 128}  # images
BINS, LEVELS = 2048, 128
PART, TOOL = "calibrator", "bench_calibrate.py"
THEIRS = "--theirs"  # runs ONNX Runtime's calibrator in this process


def run(command):
    """Runs a command in a process of its own: (seconds, processor seconds, peak bytes). Exits where it fails."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = status
        if status:
            output.seek(0)
            sys.exit("failed: {}\n{}".format(" ".join(command), output.read().decode("utf-8", "replace")))
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def theirs(model, images, cfg, names):
    """ONNX Runtime's calibrator; `names` are the tensors to calibrate, none for all."""

    from onnxruntime.quantization.calibrate import (
        CalibrationDataReader,
        CalibrationMethod,
        EntropyCalibrater,
        create_calibrator,
    )

    net = load(cfg)
    how = preprocessing_of(net)

    class Images(CalibrationDataReader):
        def __init__(self):
            with open(images, encoding="utf-8") as stream:
                self.paths = iter(stream.read().split("\n")[:-1])

        def get_next(self):
            path = next(self.paths, None)
            return None if path is None else {"data": prepared(path, net, how)[None]}

    if names:
        every = EntropyCalibrater.select_tensors_to_calibrate

        def chosen(self, graph):
            return set(names), every(self, graph)[1]

        EntropyCalibrater.select_tensors_to_calibrate = chosen
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            model,
            augmented_model_path=os.path.join(folder, "augmented.onnx"),
            calibrate_method=CalibrationMethod.Entropy,
            extra_options={"num_bins": BINS, "num_quantized_bins": LEVELS},
        )
        calibrator.collect_data(Images())
        found = calibrator.compute_data()
    assert len(found.data) >= len(names)
    sys.stdout.write("{}\n".format(len(found.data)))


def commands(name, folder, count, same=False):
    """The processes to time, by the name of their column, and how many tensors ours sees.

    same: with a process of ONNX Runtime's that takes our tensors only.
    """
    cfg, weights = pair(name, os.path.join(ROOT, "build")) if name == "yolov3" else pair_of(name)
    paths = image_list.read(DataFile.read(data_file()).require("train"))[:count]
    images, model = os.path.join(folder, "images.txt"), os.path.join(folder, name + ".onnx")
    with open(images, "w", encoding="utf-8") as stream:
        stream.write("".join(path + "\n" for path in paths))
    run([sys.executable, "-m", "darkprune", "export", cfg, weights, "-o", model, "--batch", "1", "--overwrite"])
    tensors = [tensor.name for tensor in measured_tensors(load(cfg))]
    ours = [sys.executable, "-m", "darkprune", "calibrate", cfg, weights, "--images", images, "--runner", "onnxruntime"]
    ours += ["--no-advice"]
    ours += ["-o", os.path.join(folder, "ranges.json"), "--overwrite", "--no-advice"]
    call = [sys.executable, os.path.abspath(__file__), THEIRS, model, images, cfg]
    todo = {"ours": ours, "theirs": call}
    if same:
        todo["theirs, our tensors"] = call + tensors
    return todo, len(tensors)


def measure(name, count, rounds, same):
    """A row of the table: medians over the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        todo, tensors = commands(name, folder, count, same)
        found = {key: [] for key in todo}
        for _ in range(rounds):
            for key, command in todo.items():
                found[key].append(run(command))
                sys.stderr.write("{} {} {}\n".format(name, key, " ".join("{:.4g}".format(v) for v in found[key][-1])))
    ours, *others = [[statistics.median(values) for values in zip(*found[key])] for key in todo]
    return row(name, count, tensors, ours, others)


def row(name, count, tensors, ours, others):
    """Of (seconds, processor seconds, bytes) of ours, and of ONNX Runtime's over all tensors and over ours."""
    cells = [name, str(count), str(tensors), "{:.1f}".format(ours[0]), "{:.0f}".format(ours[2] / 1e6)]
    for other in others:
        cells += ["{:.1f}".format(other[0]), "{:.0f}".format(other[2] / 1e6)]
        cells += ["{:.1f}x".format(other[0] / ours[0]), "{:.1f}x".format(other[1] / ours[1])]
        cells += ["1/{:.1f}".format(other[2] / ours[2])]
    return cells


def page(rows):
    """The table in Markdown."""
    titles = ["net", "images", "tensors", "ours, s", "MB"]
    for which in ("all tensors", "our tensors")[: (len(rows[0]) - len(titles)) // 5]:
        titles += ["ONNX Runtime, {}, s".format(which), "MB", "faster", "less processor time", "memory"]
    return table(titles, rows)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == [THEIRS]:
        return theirs(argv[1], argv[2], argv[3], argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each; the medians count (default: %(default)s)")
    parser.add_argument("--images", type=int, help="default: {}".format(NETS))
    parser.add_argument("--same-tensors", action="store_true", help="theirs over our tensors too")
    parser.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    arguments = parser.parse_args(argv)
    names = arguments.nets.split(",")
    same = arguments.same_tensors
    text = page([measure(name, arguments.images or NETS[name], arguments.rounds, same) for name in names])
    if arguments.write:
        results.write(PART, TOOL, text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
