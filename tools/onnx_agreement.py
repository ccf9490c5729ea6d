"""Exports every cfg at hand to ONNX, and compares it in ONNX Runtime, OpenCV 4 and OpenCV 5 with numpy.

    python tools/onnx_agreement.py [--nets NAME,...] [--jobs 2] [--write]

Seeded random weights and the input sizes of tools/coverage.py. In ONNX Runtime every layer's output is compared, in
OpenCV those of the heads, of the file that `darkprune export` writes. An error is relative to the layer's largest
value. In ONNX Runtime it may be 1e-4, or four times what the layer moves in numpy when all tensors move in the last
bit, which deep nets with synthetic weights amplify; in OpenCV, which multiplies in another way (Winograd), 1e-3, as
verify allows it. OpenCV 5 is looked for in build/opencv5, or where DARKPRUNE_OPENCV5 says:
pip install --target build/opencv5 --no-deps "opencv-python-headless>=5,<6". Rows are kept in build/onnx until the code
or the cfg changes. Exit status 1 where something disagrees. --write puts the table into docs/coverage.md.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]
if __name__ == "__main__":  # each process computes with one thread: numpy reads this when it is imported
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import coverage_nets  # noqa: E402
import kept_rows  # noqa: E402
import numpy as np  # noqa: E402
from make_weights import make  # noqa: E402

from darkprune.backends.numpy_ import NumpyRunner  # noqa: E402
from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner  # noqa: E402
from darkprune.errors import DarkpruneError, Unsupported  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.key import meaning  # noqa: E402
from darkprune.graph.net import heads  # noqa: E402
from darkprune.graph.write import cfg_bytes  # noqa: E402
from darkprune.verify import READERS as READERS_AGREE  # noqa: E402
from darkprune.verify import SURGERY, allow_noise, check, moved, test_batch  # noqa: E402

CACHE = os.path.join(ROOT, "build", "onnx")
OPENCV5 = os.environ.get("DARKPRUNE_OPENCV5", os.path.join(ROOT, "build", "opencv5"))
READERS = ("OpenCV 4", "OpenCV 5")
PAGE = os.path.join(ROOT, "docs", "coverage.md")
MARK = "<!-- onnx: written by tools/onnx_agreement.py -->\n", "<!-- end of onnx -->\n"
TOOLS = ("coverage_nets.py", "kept_rows.py", "make_weights.py", "onnx_agreement.py", "onnx_opencv.py")
CODE = ("darknet", "graph", "ops", "edit")
BACKENDS = "base forward geometry numpy_ numpy_ops numpy_windows onnxruntime_".split()
BACKENDS += ["onnx_" + part for part in ("activations", "graph", "maps", "model", "ops")]


def row_of(name, path, dialect):
    """All comparisons of one net: a dict for the table."""
    row = {"net": name, "failures": [], "remarks": [], "errors": {}}
    try:
        with tempfile.TemporaryDirectory(prefix="onnx-") as folder:
            _compare(row, folder, path, dialect)
    except Unsupported as error:
        row["remarks"].append("not lowered: " + error.message)
    except Exception as error:  # the table names every net, also one that cannot be compared
        text = error.message if isinstance(error, DarkpruneError) else str(error)
        row["failures"].append("{}: {}".format(type(error).__name__, text))
    return row


def _compare(row, folder, path, dialect):
    cfg, weights = os.path.join(folder, "net.cfg"), os.path.join(folder, "net.weights")
    small = coverage_nets.shrunk(path, dialect)
    row["size"], row["layers"] = "{0.w} x {0.h}".format(small.input.shape), len(small.layers)
    if not small.input.shape.c:
        raise Unsupported("it takes {} flat values, not an image".format(small.input.shape.outputs))
    with open(cfg, "wb") as stream:
        stream.write(cfg_bytes(small))
    make(cfg, weights, seed=7, dead=0.25, dialect=dialect)
    net = load(cfg, weights, dialect)
    batch = test_batch(net)
    model = os.path.join(folder, "net.onnx")
    runner = OnnxRuntimeRunner(net, threads=1, lower=lambda layers, length: exported(net, model, layers, length))
    found = runner.infer(batch)
    runner.close()
    expected = NumpyRunner(net).infer(batch)
    _judge(row, "ONNX Runtime", net, batch, expected, found)
    chosen = {index: expected[index] for index in heads(net)}
    del found, expected
    for reader, outputs in in_opencv(net, model, batch, folder):
        if isinstance(outputs, str):
            row["failures"].append("{}: {}".format(reader, outputs))
        else:
            _judge(row, reader, net, batch, chosen, outputs)


def _judge(row, runner, net, batch, expected, found):
    allowed = READERS_AGREE if runner in READERS else SURGERY
    checks = [check("onnx", runner, i, y, found[i].reshape(y.shape), allowed) for i, y in expected.items()]

    def noise():
        first = NumpyRunner(net).infer(batch, expected)
        other = NumpyRunner(net, lambda layer, y: moved(y)).infer(moved(batch), expected)
        return {i: check("noise", "numpy", i, first[i], other[i], 0.0).max_error for i in expected}

    checks = allow_noise(checks, noise)
    row["errors"][runner] = max(c.max_error for c in checks)
    row.setdefault("counts", {})[runner] = (sum(c.ok for c in checks), len(checks))
    text = "{} differs by {:.1e} at layer {}, {:.1e} allowed"
    row["failures"] += [text.format(runner, c.max_error, c.layer, c.tolerance) for c in checks if not c.ok][:1]
    over = [c for c in checks if c.ok and c.max_error > allowed]
    if over:
        row["remarks"].append("{} within the float noise, {:.0e}".format(runner, max(c.tolerance for c in over)))


def exported(net, path, layers, length):
    """The graph with all layers as outputs, of which that of the heads is written as export does it."""
    from darkprune.backends.onnx_model import folded, lower

    lowered = lower(folded(net), layers, length)
    lowered.graph.outputs = [lowered.outputs[index] for index in heads(net)]
    with open(path, "wb") as stream:
        stream.write(lowered.model().SerializeToString())
    lowered.graph.outputs = []
    return lowered


def in_opencv(net, model, batch, folder):
    """(reader, the heads' outputs by layer or what it says) of the file in both OpenCVs."""
    from darkprune.quant.tensors import output_name

    data, out = os.path.join(folder, "batch.npy"), os.path.join(folder, "out.npz")
    np.save(data, batch)
    argv = [sys.executable, os.path.join(ROOT, "tools", "onnx_opencv.py"), model, data, out]
    for reader in READERS:
        path = [OPENCV5] if reader == "OpenCV 5" else []
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path))
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            yield reader, (lines or ["ends with status {}".format(done.returncode)])[-1][:200]
            continue
        with np.load(out) as found:
            if not str(found["version"]).startswith(reader[-1]):
                yield reader, "this is OpenCV {}".format(found["version"])
                continue
            yield reader, {index: found[output_name(net.layers[index])] for index in heads(net)}


def digest(path):
    """A name for what a row depends on: the cfg and the code."""
    files = [path] + [os.path.join(ROOT, "tools", name) for name in TOOLS]
    files += [os.path.join(ROOT, "darkprune", "backends", name + ".py") for name in BACKENDS]
    for part in CODE:
        folder = os.path.join(ROOT, "darkprune", part)
        files += [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".py")]
    return kept_rows.digest(files)


def cached(job):
    """The row of (name, path, dialect): the kept one, or a new one that is kept if the run is cut short."""
    return kept_rows.kept(CACHE, job[0], digest(job[1]), lambda: row_of(*job))


def twins(jobs):
    """Jobs in lists of those whose nets compute the same at the size that is compared, the smallest nets first."""
    found = {}
    for job in jobs:
        net = coverage_nets.shrunk(job[1], job[2])
        found.setdefault((net.count_parameters(), job[2], tuple(meaning(net))), []).append(job)
    return [found[key] for key in sorted(found)]


def line(row):
    """A row of the table."""
    cells = [row["net"], row.get("size", "-"), str(row.get("layers", "-"))]
    for runner in ("ONNX Runtime",) + READERS:
        counts = row.get("counts", {}).get(runner)
        cells.append("{}/{}, {:.1e}".format(counts[0], counts[1], row["errors"][runner]) if counts else "-")
    remarks = ["**FAILED** " + text for text in row["failures"]] + row["remarks"]
    return "| {} |\n".format(" | ".join(cells + ["; ".join(remarks).replace("|", "/")]))


def table(rows):
    """What stands between the marks."""
    ran = [row for row in rows if row.get("counts") or row["failures"]]
    text = "- nets that lower, without a failure: {} of {}\n".format(sum(not r["failures"] for r in ran), len(ran))
    for runner, what in zip(("ONNX Runtime",) + READERS, ("layers", "heads", "heads")):
        counts = [row["counts"][runner] for row in ran if runner in row.get("counts", {})]
        text += "- {} equal in {}: {:,} of {:,}\n".format(what, runner, *(sum(c[i] for c in counts) for i in (0, 1)))
    text += "\n| net | size | layers | layers in ONNX Runtime | heads in OpenCV 4 | heads in OpenCV 5 | remarks |\n"
    return text + "|---|---|---|---|---|---|---|\n" + "".join(map(line, rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="", help="comma list of names, or of parts of names")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/coverage.md")
    arguments = parser.parse_args()
    words = [word for word in arguments.nets.split(",") if word] or [""]
    chosen = [net for net in coverage_nets.nets() if any(word in net[0] for word in words)]
    order = [name for name, _, _ in chosen]
    os.makedirs(CACHE, exist_ok=True)
    rows, alike = [], twins(chosen)
    with multiprocessing.Pool(arguments.jobs, maxtasksperchild=1) as pool:
        for row in pool.imap_unordered(cached, [jobs[0] for jobs in alike]):
            others = next(jobs[1:] for jobs in alike if jobs[0][0] == row["net"])
            same = ["the same net as " + row["net"]]
            rows += [row] + [dict(row, net=job[0], remarks=row["remarks"] + same) for job in others]
            sys.stderr.write(line(row))
    rows.sort(key=lambda row: order.index(row["net"]))
    text = table(rows)
    sys.stdout.write(text)
    if arguments.write:
        with open(PAGE, encoding="utf-8") as stream:
            before, rest = stream.read().split(MARK[0])
        with open(PAGE, "w", encoding="utf-8") as stream:
            stream.write(before + MARK[0] + text + MARK[1] + rest.split(MARK[1])[1])
    return 1 if any(row["failures"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
