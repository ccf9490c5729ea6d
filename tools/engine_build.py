"""Builds YOLOv3 with TensorRT-RTX, and shows INT8 for a Jetson TX2 on the stand-in of its TensorRT 8.2.

    python tools/engine_build.py [--net NAME] [--only yolov3|tx2] [--write]

Weights are synthetic, ranges the extreme values on two synthetic pictures. Each build is a process of its own, whose
time and memory count from its start to the two files. --write puts both parts into docs/results.md.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

import results  # noqa: E402
from fakequant_agreement import measured  # noqa: E402
from make_weights import make  # noqa: E402

from darkprune.edit.resize import resize  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.write import cfg_bytes  # noqa: E402
from darkprune.quant.float_layers import default_float  # noqa: E402

TOOL = "engine_build.py"
STAND_INS = [os.path.join(ROOT, "tests", "stand_ins", name) for name in ("tensorrt82", "cuda")]
HEAD = "| precision | engine | of the weights | seconds | of processor time | memory |\n"
ROWS = ("precision", "target", "gpu", "tensorrt", "inspected")  # of the report, that are shown


def prepare(folder, name, size, calibrate=True):
    """NAME.cfg, NAME.weights and ranges.json of one of our cfgs, at another input size."""
    cfg, weights = [os.path.join(folder, name + suffix) for suffix in (".cfg", ".weights")]
    net = resize(load(os.path.join(ROOT, "cfg", name + ".cfg"), None), size, size)
    with open(cfg, "wb") as stream:
        stream.write(cfg_bytes(net))
    make(cfg, weights, calibrate=calibrate)
    net = load(cfg, weights)
    with open(os.path.join(folder, "ranges.json"), "wb") as stream:
        stream.write(measured(net, default_float(net)).to_bytes())


def run(folder, argv, stand_ins=()):
    """(exit status, output, errors, seconds, seconds of the processor, MiB) of `darkprune ARGV` in a folder.

    The memory is the most that a child of this process ever had, so it is only right for the largest so far.
    """
    path, which = os.pathsep.join([ROOT] + list(stand_ins)), "tensorrt" if stand_ins else "tensorrt_rtx"
    start, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, "-m", "darkprune"] + argv,
        cwd=folder,
        env=dict(os.environ, PYTHONPATH=path, STAND_IN_GPU="tx2", DARKPRUNE_TENSORRT=which),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = [text.decode("utf-8") for text in process.communicate()]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return process.returncode, out, err, time.time() - start, used, after.ru_maxrss // 1024


def yolov3(name):
    """The table of a net built in three precisions; those that take less memory come first."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, name, 416)
        for precision in ("int8", "fp16", "fp32"):
            argv = ["build", name + ".cfg", name + ".weights", "-o", precision + ".engine", "--precision", precision]
            argv += ["--ranges", "ranges.json"] if precision == "int8" else []
            status, out, err, seconds, used, memory = alone(folder, argv)
            if status:
                sys.exit(err)
            size, weights = [
                os.path.getsize(os.path.join(folder, p)) for p in (precision + ".engine", name + ".weights")
            ]
            row = "| {} | {:.1f} MB | {:.0%} | {:.1f} | {:.1f} | {} MiB |\n"
            rows.append(row.format(precision, size / 1e6, size / weights, seconds, used, memory))
    return "{} at 416 x 416:\n\n".format(name) + HEAD + "| --- " * 6 + "|\n" + "".join(rows)


def alone(folder, argv):
    """`run` in a process whose only child it is, so that the memory is that child's."""
    code = "import json, sys; sys.path.insert(0, {!r}); import engine_build; ".format(os.path.join(ROOT, "tools"))
    code += "print(json.dumps(engine_build.run(*json.loads(sys.argv[1]))))"
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps([folder, argv])], stdout=subprocess.PIPE)
    return json.loads(process.communicate()[0].decode("utf-8"))


def tx2(name):
    """What INT8 for a TX2 prints and reports, what --strict says, and what a PC with TensorRT-RTX alone says."""
    argv = ["build", name + ".cfg", name + ".weights", "-o", "tx2.engine", "--target", "tx2"]
    argv += ["--precision", "int8", "--ranges", "ranges.json"]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, name, 96, calibrate=False)
        for more, stand_ins in ([], STAND_INS), (["--strict", "--overwrite"], STAND_INS), (["--overwrite"], ()):
            status, out, err = run(folder, argv + more, stand_ins)[:3]
            where = "TensorRT 8.2, stand-in" if stand_ins else "only TensorRT-RTX"
            lines += ["# " + where, "$ darkprune " + " ".join(argv + more)]
            said = [line for line in (err + out).splitlines() if not re.match("size|time", line)]  # a stand-in's own
            lines += said + ["(exit status {})".format(status), ""]
        with open(os.path.join(folder, "tx2.engine.json")) as stream:
            report = json.load(stream)
    lines += ["# tx2.engine.json, some of it"]
    lines += [json.dumps({key: report[key]}) for key in ROWS] + [json.dumps(row) for row in report["layers"][:3]]
    return "```\n" + "\n".join(lines) + "\n```\n"


def main(argv=None):
    """Measures; prints, and with --write writes, the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="yolov3", help="of cfg/ (default: %(default)s)")
    parser.add_argument("--only", choices=("yolov3", "tx2"))
    parser.add_argument("--write", action="store_true", help="write the parts into docs/results.md")
    arguments = parser.parse_args(argv)
    parts = [
        ("engine-build", "yolov3", lambda: yolov3(arguments.net)),
        ("engine-tx2", "tx2", lambda: tx2("yolov3-tiny")),
    ]
    for part, word, make_text in parts:
        if arguments.only in (None, word):
            text = make_text()
            sys.stdout.write(text)
            if arguments.write:
                results.write(part, TOOL, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
