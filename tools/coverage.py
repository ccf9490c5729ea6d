"""Prunes every convolutional cfg at hand at random, and checks all that is promised about the results.

    python tools/coverage.py [--nets NAME,...] [--jobs 2] [--write]

Seeded random weights (tools/make_weights.py, a quarter of the channels dead), half of each tied width removed with
`--absorb none` and `exact`; where there are shortcut blocks, half of those as well in another run with `exact`.
Width and height are the smallest that give every layer a map of its kind. For each result: verify's contract behind
every layer to 1e-4; the masked original against it in OpenCV and in Darknet (darkprune/judge.py); and the written pair
in each reader that takes the unpruned original. Rows are kept in build/coverage until the code or the cfg changes.
Exit status 1 where a check failed or a net could not be checked.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]
if __name__ == "__main__":  # each process computes with one thread: numpy reads this when it is imported
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import coverage_nets  # noqa: E402
import coverage_table  # noqa: E402
import kept_rows  # noqa: E402
import numpy as np  # noqa: E402
from make_weights import make  # noqa: E402

from darkprune.backends.numpy_ import NumpyRunner  # noqa: E402
from darkprune.backends.registry import open_runner  # noqa: E402
from darkprune.errors import DarkpruneError, MissingDependency, UsageError  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.channels import Channels  # noqa: E402
from darkprune.graph.net import heads  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.graph.write import cfg_bytes  # noqa: E402
from darkprune.judge import compare_masked, misread  # noqa: E402
from darkprune.prune.blocks import find_blocks  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402
from darkprune.verify import READERS as READERS_AGREE  # noqa: E402
from darkprune.verify import check, compare_surgery, test_batch  # noqa: E402

CACHE = os.path.join(ROOT, "build", "coverage")
READERS = ("opencv", "darknet")


# ---- one net


def row_of(name, path, dialect):
    """All checks of one net: a dict for the table. Whatever goes wrong is named in its `failures`."""
    start = time.time()
    row = {"net": name, "runs": [], "faults": {}, "failures": [], "remarks": []}
    try:
        with tempfile.TemporaryDirectory(prefix="coverage-") as folder:
            Case(row, folder, path, dialect).run()
    except MissingDependency:
        raise
    except Exception as error:  # the table names every net, also one that cannot be checked
        line = traceback.extract_tb(sys.exc_info()[2])[-1]
        where = "{}:{}".format(os.path.basename(line[0]), line[1])
        text = error.message if isinstance(error, DarkpruneError) else "{} at {}".format(error, where)
        row["failures"].append("{}: {}".format(type(error).__name__, text))
    row["seconds"] = round(time.time() - start, 1)
    return row


class Case:
    """One cfg in a folder of its own."""

    def __init__(self, row, folder, path, dialect):
        self.row, self.dialect = row, dialect
        self.cfg, self.weights, self.out = [os.path.join(folder, n) for n in ("net.cfg", "net.weights", "out")]
        small = coverage_nets.shrunk(path, dialect)
        with open(self.cfg, "wb") as stream:
            stream.write(cfg_bytes(small))
        row["size"] = "{} x {}".format(small.input.shape.w, small.input.shape.h)
        row["layers"] = len(small.layers)

    def run(self):
        make(self.cfg, self.weights, seed=7, dead=0.25, dialect=self.dialect)
        self.net = load(self.cfg, self.weights, self.dialect)
        self.batch, self.sets = test_batch(self.net), Channels(self.net)
        filters = (self.sets.filters > 0) & (self.sets.pinned < 0)
        self.row["sets"] = int(np.count_nonzero(filters))
        self.score = "gamma" if self.sets.scored[filters].all() else "l2"
        takers = [reader for reader in READERS if self.takes(reader)]
        blocks = len([b for b in find_blocks(self.net) if b.obstacle is None or b.forcible])
        self.row["blocks"] = blocks
        for mode, count in (("none", 0), ("exact", 0), ("exact", max(1, blocks // 2)))[: 3 if blocks else 2]:
            self.prune(mode, count, takers)

    def takes(self, reader):
        """Whether a reader computes the original as it is meant; else the row names the reader's fault."""
        dialect = open_runner(reader, self.cfg, self.weights).dialect
        why = misread(self.net, dialect)
        if why is None:
            failed = self.read(reader, self.cfg, self.weights)
            why = failed[0] if failed else None
        if why is not None:
            self.row["faults"][reader] = why
        return why is None

    def read(self, reader, cfg, weights):
        """What is wrong with a pair in a reader: nothing, or texts. What numpy cannot run is raised."""
        runner = open_runner(reader, cfg, weights)
        try:
            own = load(cfg, weights, runner.dialect)
        except DarkpruneError as error:
            return [error.message]
        expected = NumpyRunner(own).infer(self.batch, heads(own))
        try:
            found = runner.infer(self.batch, heads(own))
        except MissingDependency:
            raise
        except DarkpruneError as error:
            return [error.message]
        finally:
            runner.close()
        checks = [check("", reader, i, y, found[i].reshape(y.shape), READERS_AGREE) for i, y in expected.items()]
        return ["{} differs by {:.1e} at layer {}".format(reader, c.max_error, c.layer) for c in checks if not c.ok]

    def prune(self, mode, blocks, takers):
        """One pruning and its checks, recorded in the row."""
        result = self.pruned(mode, blocks)
        if result is None:
            return
        plan = result.plan
        save(result.net, self.out, overwrite=True, plan=plan)
        pruned = load(self.out + ".cfg", self.out + ".weights", self.dialect)
        checks = compare_surgery(self.net, pruned, plan, self.batch)
        run = {"mode": mode, "blocks": len(plan.removed_blocks), "sets": self.count(plan)}
        run["layers"], run["ok"] = len(checks), sum(c.ok for c in checks)
        run["worst"] = max(c.max_error for c in checks)
        self.row["runs"].append(run)
        told = "{}{}: ".format(mode, " with blocks" if blocks else "")
        self.row["failures"] += [
            told + "layer {} differs by {:.1e}, {:.1e} allowed".format(c.layer, c.max_error, c.tolerance)
            for c in [c for c in checks if not c.ok][:1]
        ]
        self.judge(run, told, pruned, plan, takers)
        run["readers"] = {}
        for reader in takers:
            failed = self.read(reader, self.out + ".cfg", self.out + ".weights")
            run["readers"][reader] = not failed
            self.row["failures"] += [told + text for text in failed[:1]]

    def pruned(self, mode, blocks):
        """The result with as many of `blocks` as can go; None where blocks were asked for and none can."""
        for count in range(blocks, -1 if blocks == 0 else 0, -1):
            try:
                options = {"channels": 0.5, "scope": "layer", "score": self.score, "absorb": mode}
                return prune(self.net, blocks=count, force=True, **options)
            except UsageError as error:
                if "shortcut blocks were asked for" not in error.message:
                    raise
        self.row["remarks"].append("no shortcut block can go with " + mode)
        return None

    def judge(self, run, told, pruned, plan, takers):
        found = compare_masked(self.net, pruned, plan, takers, self.batch)
        run["judge"] = {}
        for c in found.checks:
            run["judge"][c.runner] = run["judge"].get(c.runner, True) and c.ok
            if not c.ok:
                text = "the judge in {} finds {:.1e} at layer {}".format(c.runner, c.max_error, c.layer)
                self.row["failures"].append(told + text)
        for _, why in found.not_judged[:1]:
            self.row["remarks"].append("not judged ({}): {}".format(told[:-2], why))

    def count(self, plan):
        """The number of channel sets that a plan removes, without constants that stay or were added."""
        outputs, labels = self.sets.outputs, []
        for index, places in plan.removed_channels.items():
            labels.append(outputs[index][[k for k in places if k < outputs[index].size]])
        return int(np.unique(self.sets.sets[np.concatenate(labels)]).size) if labels else 0


# ---- all nets


def digest(path):
    """A name for what a row depends on: the cfg and all code."""
    tools = ("coverage.py", "coverage_nets.py", "kept_rows.py", "make_weights.py")
    files = [path] + [os.path.join(ROOT, "tools", name) for name in tools]
    for folder, _, names in sorted(os.walk(os.path.join(ROOT, "darkprune"))):
        files += [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
    return kept_rows.digest(files)


def cached(job):
    """The row of (name, path, dialect): the kept one, or a new one that is kept if the run is cut short."""
    return kept_rows.kept(CACHE, job[0], digest(job[1]), lambda: row_of(*job))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="", help="comma list of names, or of parts of names")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write docs/coverage.md")
    arguments = parser.parse_args()
    words = [word for word in arguments.nets.split(",") if word]
    known = coverage_nets.nets()
    whole = {name for name, _, _ in known} & set(words)
    parts = [word for word in words if word not in whole] if words else [""]
    chosen = [net for net in known if net[0] in whole or any(part in net[0] for part in parts)]
    jobs, others = coverage_nets.sorted_out(chosen)
    os.makedirs(CACHE, exist_ok=True)
    rows = []
    with multiprocessing.Pool(arguments.jobs, maxtasksperchild=1) as pool:
        for row in pool.imap_unordered(cached, jobs):
            rows.append(row)
            sys.stderr.write(coverage_table.line(row) + "\n")
    order = [name for name, _, _ in chosen]
    rows.sort(key=lambda r: order.index(r["net"]))
    text = coverage_table.document(rows, others, __doc__)
    sys.stdout.write(text)
    if arguments.write:
        page = os.path.join(ROOT, "docs", "coverage.md")
        with open(page, encoding="utf-8") as stream:
            text += coverage_table.kept(stream.read())
        with open(page, "w", encoding="utf-8") as stream:
            stream.write(text)
    return 1 if any(row["failures"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
