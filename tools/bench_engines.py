"""Builds TensorRT-RTX engines by `darkprune build`, without a GPU: sizes, times, memory, and what INT8 plans hold.

    python tools/bench_engines.py [--nets NAME,...] [--write]

Each engine is built by a process of its own, at the size of the cfg, from the pair as it is and from one of which 60 %
of the removable filters were pruned, exactly and to whatever width is left. An INT8 plan is searched for every layer's
integers, scales and biases, and its listing for convolutions that take them (tests/plan_bytes.py). Weights are
synthetic but Yolo-Fastest's; ranges are of synthetic images. Rows are kept in build/engines until the code or the pair
changes. Exit status 1 where a plan lacks something.
"""

import argparse
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools"), os.path.join(ROOT, "tests")]

import kept_rows  # noqa: E402
import results  # noqa: E402
from int8_speed import synthetic_ranges  # noqa: E402
from measured_nets import pair_of  # noqa: E402
from trained_models import MODELS  # noqa: E402
from trained_models import pair_of as trained_pair_of  # noqa: E402

import int8_plans  # noqa: E402
from darkprune.cli.bench import machine  # noqa: E402
from darkprune.errors import CalibrationError  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402
from darkprune.quant.quantization import TENSORRT, Quantization  # noqa: E402
from darkprune.quant.ranges import Ranges  # noqa: E402

BUILD = os.path.join(ROOT, "build", "engines")
PART, TOOL = "engines", "bench_engines.py"
NETS = ("yolov3-tiny", "yolov4-tiny", "yolov3-spp", "yolov3") + MODELS
FORMS = ("whole", "pruned")
PRECISIONS = ("fp32", "fp16", "int8")
SHARE = 0.6  # of the removable filters
# runs a command, and writes its seconds and peak KiB; a process that is as large as this one would count as its own
ALONE = """
import resource, subprocess, sys, time
start = time.time()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
CODE = ("backends", "engine", "quant", "ops", "graph")


def pair(name, form):
    """(cfg, weights) of a net, as it is or pruned, which is done where that pair is missing."""
    cfg, weights = trained_pair_of(name) if name in MODELS else pair_of(name)
    if form == "whole":
        return cfg, weights
    prefix = os.path.join(BUILD, name + "-pruned")
    if not os.path.exists(prefix + ".cfg"):
        done = prune(load(cfg, weights), channels=SHARE, force=True)
        save(done.net, prefix, overwrite=True, plan=done.plan)
    return prefix + ".cfg", prefix + ".weights"


def ranges_of(name, form, net):
    """The path of the pair's ranges, which are measured where they are missing or another pair's."""
    path = os.path.join(BUILD, "{}-{}.ranges.json".format(name, form))
    try:
        Ranges.read(path).require(net)
    except CalibrationError:
        with open(path, "wb") as stream:
            stream.write(synthetic_ranges(net).to_bytes())
    return path


def built(cfg, weights, precision, ranges):
    """(report, plan, seconds, peak bytes) of an engine, whose files go again."""
    engine = os.path.join(BUILD, "bench.engine")
    command = [sys.executable, "-m", "darkprune", "build", cfg, weights, "-o", engine, "--target", "rtx", "--overwrite"]
    command += ["--precision", precision] + (["--ranges", ranges] if precision == "int8" else [])
    done = subprocess.run([sys.executable, "-c", ALONE] + command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    seconds, peak = [float(word) for word in done.stdout.split()]
    with open(engine, "rb") as stream, open(engine + ".json", encoding="utf-8") as text:
        found = json.load(text), stream.read(), seconds, int(peak) * 1024
    os.remove(engine), os.remove(engine + ".json")
    return found


def lacking(report, plan, quantization):
    """(the number of int8 layers with weights, what the plan lacks of them)."""
    names = {row["layer"]: row["tensorrt"] for row in report["layers"]}
    return len(int8_plans.layers_with_weights(quantization)), int8_plans.missing(plan, quantization, names)


def row_of(name, form):
    """A row of the table: sizes in bytes, seconds, peak bytes by precision."""
    cfg, weights = pair(name, form)
    net = load(cfg, weights)
    row = {"net": name, "form": form, "parameters": net.count_parameters(), "failures": [], "engines": {}}
    row["input"] = "{0.w} x {0.h}".format(net.input.shape)
    ranges = ranges_of(name, form, net)
    for precision in PRECISIONS:
        report, plan, seconds, peak = built(cfg, weights, precision, ranges)
        row["engines"][precision] = {"bytes": len(plan), "seconds": round(seconds, 2), "peak": peak}
        row["version"] = report["tensorrt"]["version"]
        if precision == "int8":
            quantization = Quantization(net, Ranges.read(ranges), TENSORRT)
            row["layers"], row["failures"] = lacking(report, plan, quantization)
    return row


def digest(cfg, weights):
    """A name for what a row depends on: the pair and the code."""
    files = [cfg, weights, os.path.join(ROOT, "tools", TOOL), os.path.join(ROOT, "tests", "int8_plans.py")]
    for part in CODE:
        folder = os.path.join(ROOT, "darkprune", part)
        files += [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".py")]
    return kept_rows.digest(files)


def line(row):
    """A row of the table as text."""
    each = [row["engines"][precision] for precision in PRECISIONS]
    name = row["net"] + ("" if row["form"] == "whole" else ", {:.0%} pruned".format(SHARE).replace("%", " %"))
    cells = [name, row["input"], "{:.2f} M".format(row["parameters"] / 1e6)]
    cells += ["{:.2f}".format(one["bytes"] / 1e6) for one in each]
    cells.append("{:.2f}".format(each[2]["bytes"] / each[0]["bytes"]))
    cells.append(", ".join("{:.1f}".format(one["seconds"]) for one in each))
    cells.append(", ".join("{:.0f}".format(one["peak"] / 1e6) for one in each))
    wrong = {text.partition(":")[0] for text in row["failures"]}
    cells.append("{} of {}".format(row["layers"] - len(wrong), row["layers"]))
    return "| {} |\n".format(" | ".join(cells))


def table(rows):
    """The text in docs/results.md."""
    head = ["net", "input", "parameters", "FP32, MB", "FP16, MB", "INT8, MB", "INT8 / FP32"]
    head += ["seconds", "memory, MB", "layers whose integers convolve"]
    text = "| {} |\n|{}\n".format(" | ".join(head), "---|" * len(head)) + "".join(map(line, rows))
    versions = " and ".join(sorted({row["version"] for row in rows}))
    cause = "\nTensorRT-RTX {}; seconds and memory of the whole processes for FP32, FP16, INT8. {}.\n"
    return text + cause.format(versions, machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS), help="names, with commas between them")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    arguments = parser.parse_args()
    os.makedirs(BUILD, exist_ok=True)
    rows = []
    for name in arguments.nets.split(","):
        for form in FORMS:
            key = digest(*pair(name, form))
            rows.append(kept_rows.kept(BUILD, "{} {}".format(name, form), key, lambda n=name, f=form: row_of(n, f)))
            sys.stderr.write(line(rows[-1]) + "".join("  {}\n".format(text) for text in rows[-1]["failures"]))
    sys.stdout.write(table(rows))
    if arguments.write:
        results.write(PART, TOOL, table(rows))
    return 1 if any(row["failures"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
