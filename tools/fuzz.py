"""Prunes random nets in random ways and checks everything that is promised about the result.

    python tools/fuzz.py --nets 2000 [--seed S] [--readers opencv,darknet] [--reader-share 0.1] [--keep DIR]
    python tools/fuzz.py --replay DIR

For each net: the cfg is written back byte for byte; a random plan leads to a net that verify's contract accepts
(and, with absorb=none, to the heads of the net whose removed filters are zeros); what is saved loads as the same
net; the plan, read back, gives the same bytes; no reader gets a new reason to refuse; and each reader that takes
the original takes the result and agrees at the heads. Failing nets are shrunk and kept in --keep.
Exit status: 0, or 1 where a check failed.
"""

import argparse
import json
import os
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]

from darkprune.backends.darknet_ import find_library  # noqa: E402
from darkprune.backends.opencv_ import _import_cv2  # noqa: E402
from darkprune.errors import MissingDependency  # noqa: E402
from random_checks import Checker, draw, failure_of, kept_cases  # noqa: E402
from random_layers import Choices  # noqa: E402
from random_shrink import shrink  # noqa: E402


def keep(folder, name, case, text, seed):
    """Writes a failing case where a test finds it again."""
    if not os.path.isdir(folder):
        os.makedirs(folder)
    with open(os.path.join(folder, name + ".cfg"), "wb") as stream:
        stream.write(case.data)
    fields = json.loads(case.to_json())
    fields.update(failure=text, seed=seed)
    with open(os.path.join(folder, name + ".json"), "w") as stream:
        stream.write(json.dumps(fields, indent=1, sort_keys=True) + "\n")


def present(words):
    """The readers of a comma list that are installed."""
    found = []
    for word in [w for w in words.split(",") if w]:
        try:
            {"opencv": _import_cv2, "darknet": find_library}[word]()
            found.append(word)
        except MissingDependency as error:
            print("{} is not there: {}".format(word, error.message))
    return found


def table(checker):
    """Lines: by layer type the nets with it, the channels that went from it, and the readers' checks."""
    rows = ["{:<16}{:>7}{:>10}{:>10}".format("layer type", "nets", "channels", "removed")]
    rows[0] += "".join("{:>16}".format(reader + " ok/tried") for reader in checker.readers)
    for kind in sorted(checker.nets):
        row = "{:<16}{:>7}{:>10}{:>10}".format(kind, checker.nets[kind], checker.totals[kind], checker.removed[kind])
        for reader in checker.readers:
            row += "{:>16}".format("{}/{}".format(checker.passed[kind, reader], checker.tried[kind, reader]))
        rows.append(row)
    return rows


def search(args, checker):
    """Runs args.nets random cases; returns the failures as (seed, text)."""
    failures, kinds, start = [], set(), time.time()
    for number in range(args.nets):
        seed = args.seed + number
        with_readers = (seed * 7919 % 1000) < 1000 * args.reader_share
        case = draw(Choices(seed))
        found = failure_of(checker, case, with_readers)
        if found:
            failures.append((seed, found[1]))
            print("seed {}: {}".format(seed, found[1]), flush=True)
            if args.keep and found[0] not in kinds:
                kinds.add(found[0])
                save_shrunk(args, checker.readers, case, found[0], seed, with_readers)
        if (number + 1) % args.progress == 0:
            rate = (number + 1) / (time.time() - start)
            print("{} nets, {} failed, {:.1f} nets/s".format(number + 1, len(failures), rate), flush=True)
    return failures


def save_shrunk(args, readers, case, kind, seed, with_readers):
    with tempfile.TemporaryDirectory() as folder:
        small = Checker(folder, readers if with_readers else ())

        def fails(candidate):
            found = failure_of(small, candidate, with_readers)
            return found is not None and found[0] == kind

        case = shrink(case, fails)
        found = failure_of(small, case, with_readers)
    keep(args.keep, "net-{}".format(seed), case, found[1] if found else "gone when run again", seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default="", help="opencv,darknet")
    parser.add_argument("--reader-share", type=float, default=0.1, help="share of the nets that readers run")
    parser.add_argument("--keep", metavar="DIR", help="where failing nets go, shrunk, the first of each kind")
    parser.add_argument("--replay", metavar="DIR", help="check the nets kept there instead")
    parser.add_argument("--progress", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checker = Checker(folder, present(args.readers))
        if args.replay:
            cases = list(kept_cases(args.replay))
            results = [(name, failure_of(checker, case, bool(checker.readers))) for name, case in cases]
            failures = [(name, found[1]) for name, found in results if found]
            for name, text in failures:
                print("{}: {}".format(name, text))
        else:
            failures = search(args, checker)
    print("\n".join(table(checker)))
    print("{} failures".format(len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
