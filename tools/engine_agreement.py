"""Hands every cfg at hand to stand-ins for TensorRT 8.2 and 10.3, and runs in numpy what they recorded.

    python tools/engine_agreement.py [--nets NAME,...] [--largest MILLIONS] [--main] [--jobs 2] [--write]

The stand-ins (tests/stand_ins) check what TensorRT checks, and compute by NVIDIA's documentation; they share no code
with darkprune. Seeded random weights and the input sizes of tools/coverage.py; with --main the main nets at the size of
their cfg, trained weights where there are any, and pruned forms (half of each tied width, absorb exact).

fp32: every layer's output against numpy, relative to its largest value: 1e-4, or four times what the layer moves in
numpy when all tensors move in the last bit, which deep nets with synthetic weights amplify. int8: every rounded tensor
against `fakequant` in the scheme of that TensorRT, at most one step away given the same integers before it; float
layers are fp32 here. Ranges are the extreme values on two synthetic pictures, a third one is run. With --main also what
is only shown, as errors of the heads: fp16 against numpy; int8 from the picture on, and with other fusions than those
that the scheme counts on, against fakequant.

Rows are kept in build/engines until the code or the cfg changes. Exit status 1 where something disagrees. --write puts
the table into docs/coverage.md, that of the main nets into docs/results.md.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools"), os.path.join(ROOT, "tests")]
if __name__ == "__main__":  # each process computes with one thread: numpy reads this when it is imported
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import coverage_nets  # noqa: E402
import engine_agreement_page as page  # noqa: E402
import kept_rows  # noqa: E402
from engine_agreement_runs import compare  # noqa: E402
from make_weights import make  # noqa: E402
from onnx_agreement import twins  # noqa: E402
from torch_agreement import pair  # noqa: E402

from darkprune.errors import DarkpruneError, Unsupported  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.write import cfg_bytes  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402
from darkprune.verify import test_batch  # noqa: E402
from stand_ins.loading import FOLDER  # noqa: E402

CACHE = os.path.join(ROOT, "build", "engines")
PRUNED = " pruned"
TRAINED = ("yolo-fastest-1.1", "yolo-fastest-1.1-xl", "yolo-fastest-1.1" + PRUNED)
SYNTHETIC = ("yolov3-tiny", "yolov3-tiny" + PRUNED, "yolov4-tiny", "yolov3", "yolov3-spp", "yolov4")
MAIN = TRAINED + SYNTHETIC
TOOLS = ("coverage_nets.py", "engine_agreement.py", "engine_agreement_runs.py", "fakequant_agreement.py")
TOOLS += ("kept_rows.py", "make_weights.py")
CODE = ("backends", "darknet", "edit", "engine", "graph", "ops", "quant")


def small(folder, path, dialect):
    """The net of tools/coverage.py."""
    cfg, weights = os.path.join(folder, "net.cfg"), os.path.join(folder, "net.weights")
    shrunk = coverage_nets.shrunk(path, dialect)
    if not shrunk.input.shape.c:
        raise Unsupported("it takes {} flat values, not an image".format(shrunk.input.shape.outputs))
    with open(cfg, "wb") as stream:
        stream.write(cfg_bytes(shrunk))
    make(cfg, weights, seed=7, dead=0.25, dialect=dialect)
    return load(cfg, weights, dialect)


def main_net(name):
    """A main net, whole or pruned, at its own size."""
    cfg, weights, _ = pair(name[: -len(PRUNED)] if name.endswith(PRUNED) else name)
    net = load(cfg, weights)
    if name.endswith(PRUNED):
        net = prune(net, channels=0.5, scope="layer", absorb="exact", force=True).net
    return net


def empty(name):
    """The row of a net that was not compared."""
    return {"net": name, "failures": [], "remarks": [], "fp32": {}, "fp16": {}, "int8": {}}


def row_of(name, make_net, shown=False):
    """All comparisons of one net: a dict for the tables."""
    row = empty(name)
    try:
        with tempfile.TemporaryDirectory(prefix="engines-") as folder:
            net = make_net(folder)
            row["size"], row["layers"] = "{0.w} x {0.h}".format(net.input.shape), len(net.layers)
            compare(row, net, test_batch(net), shown)
    except Unsupported as error:
        row["remarks"].append("not lowered: " + error.message)
    except Exception as error:  # the table names every net, also one that cannot be compared
        text = error.message if isinstance(error, DarkpruneError) else str(error)
        row["failures"].append("{}: {}".format(type(error).__name__, text))
    return row


def digest(path):
    """A name for what a row depends on: the cfg and the code."""
    files = [path] if path else []
    files += [os.path.join(ROOT, "tools", name) for name in TOOLS]
    for top in [os.path.join(ROOT, "darkprune", part) for part in CODE] + [FOLDER]:
        for folder, _, names in sorted(os.walk(top)):
            files += [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
    return kept_rows.digest(files)


def cached(job):
    """The row of (name, path, dialect), of a main net where there is no path; kept if the run is cut short."""
    name, path, dialect = job
    if path:
        return kept_rows.kept(CACHE, name, digest(path), lambda: row_of(name, lambda f: small(f, path, dialect)))
    return kept_rows.kept(CACHE, "main " + name, digest(None), lambda: row_of(name, lambda _: main_net(name), True))


# ---- all of them


def left_out(alike, largest):
    """(the lists of equal jobs of at most so many million parameters, rows of the others)."""
    chosen, rows = [], []
    for same in alike:
        count = coverage_nets.shrunk(*same[0][1:]).count_parameters() / 1e6
        if count <= largest:
            chosen.append(same)
        else:
            text = "not compared here: {:.0f} million parameters".format(count)
            rows += [dict(empty(job[0]), remarks=[text]) for job in same]
    return chosen, rows


def measure(jobs, processes, largest):
    """The rows of the jobs, in their order."""
    order = [job[0] for job in jobs]
    alike = twins(jobs) if jobs[0][1] else [[job] for job in jobs]
    rows = []
    if largest is not None:
        alike, rows = left_out(alike, largest)
    with multiprocessing.Pool(processes, maxtasksperchild=1) as pool:
        for row in pool.imap_unordered(cached, [same[0] for same in alike]):
            others = next(same[1:] for same in alike if same[0][0] == row["net"])
            twin = ["the same net as " + row["net"]]
            rows += [row] + [dict(row, net=job[0], remarks=row["remarks"] + twin) for job in others]
            sys.stderr.write(page.line(row, [page.remarks(row)]))
    return sorted(rows, key=lambda row: order.index(row["net"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="", help="comma list of names, or of parts of names")
    parser.add_argument("--largest", type=float, help="in millions of parameters: larger nets are left out, and named")
    parser.add_argument("--main", action="store_true", help="the main nets at the size of their cfg")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table into the docs")
    arguments = parser.parse_args()
    words = [word for word in arguments.nets.split(",") if word] or [""]
    known = [(name, None, None) for name in MAIN] if arguments.main else coverage_nets.nets()
    os.makedirs(CACHE, exist_ok=True)
    rows = measure([job for job in known if any(word in job[0] for word in words)], arguments.jobs, arguments.largest)
    text = page.main_table(rows) if arguments.main else page.table(rows)
    sys.stdout.write(text)
    if arguments.write:
        page.write(text, arguments.main)
    return 1 if any(row["failures"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
