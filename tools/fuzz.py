"""Prunes random nets in random ways and checks everything that is promised about the result.

    python tools/fuzz.py --nets 2000 [--seed S] [--jobs 2] [--readers opencv,darknet] [--reader-share 0.1] [--keep DIR]
    python tools/fuzz.py --nets 2000 --readers opencv,darknet --reader-share 1 --write
    python tools/fuzz.py --replay DIR

For each net: the cfg is written back byte for byte; a random plan leads to a net that verify's contract accepts, and
to the heads of the net whose removed filters are zeros in its own arrays; what is saved loads as the same net; the
plan, read back, gives the same bytes; no reader gets a new reason to refuse; and each reader that takes the original
takes the result and agrees at the heads. Failing nets are shrunk and kept in --keep; --write puts the result into
docs/random-nets.md. Exit status: 0, or 1 where a check failed.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]

from darkprune.backends.darknet_ import find_library  # noqa: E402
from darkprune.backends.opencv_ import import_cv2  # noqa: E402
from darkprune.errors import MissingDependency  # noqa: E402
from random_checks import Checker, draw, failure_of, kept_cases  # noqa: E402
from random_layers import Choices  # noqa: E402
from random_shrink import shrink  # noqa: E402

PAGE = os.path.join(ROOT, "docs", "random-nets.md")
STEP = 20  # nets that a process takes at a time
NAMES = {"opencv": "OpenCV", "darknet": "the original Darknet"}


def keep(folder, name, case, text, seed):
    """Writes a failing case where a test finds it again."""
    os.makedirs(folder, exist_ok=True)
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
            {"opencv": import_cv2, "darknet": find_library}[word]()
            found.append(word)
        except MissingDependency as error:
            print("{} is not there: {}".format(word, error.message))
    return found


def with_readers(seed, share):
    """Whether the readers run the net of a seed."""
    return (seed * 7919 % 1000) < 1000 * share


def check_seeds(task):
    """(failures, the checker's counts) of some seeds; failures are (seed, kind, text). Runs in a process of its own."""
    seeds, readers, share = task
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        checker = Checker(folder, readers)
        for seed in seeds:
            found = failure_of(checker, draw(Choices(seed)), with_readers(seed, share))
            if found:
                failures.append((seed,) + found)
    return failures, checker.counts()


def search(args, total):
    """Runs args.nets random cases; adds to the checker `total`. Returns the failures as (seed, text)."""
    seeds = list(range(args.seed, args.seed + args.nets))
    tasks = [(seeds[i : i + STEP], total.readers, args.reader_share) for i in range(0, len(seeds), STEP)]
    failures, kinds, start = [], set(), time.time()
    with multiprocessing.Pool(args.jobs) as pool:
        for number, (found, counts) in enumerate(pool.imap(check_seeds, tasks), 1):
            total.add(counts)
            for seed, kind, text in found:
                failures.append((seed, text))
                print("seed {}: {}".format(seed, text), flush=True)
                if args.keep and kind not in kinds:
                    kinds.add(kind)
                    save_shrunk(args, total.readers, kind, seed)
            done = min(number * STEP, args.nets)
            rate = done / (time.time() - start)
            print("{} nets, {} failed, {:.1f} nets/s".format(done, len(failures), rate), flush=True)
    return failures


def save_shrunk(args, readers, kind, seed):
    read = with_readers(seed, args.reader_share)
    with tempfile.TemporaryDirectory() as folder:
        small = Checker(folder, readers if read else ())

        def fails(candidate):
            found = failure_of(small, candidate, read)
            return found is not None and found[0] == kind

        case = shrink(draw(Choices(seed)), fails)
        found = failure_of(small, case, read)
    keep(args.keep, "net-{}".format(seed), case, found[1] if found else "gone when run again", seed)


def replay(folder, checker):
    failures = []
    for name, case in kept_cases(folder):
        found = failure_of(checker, case, bool(checker.readers))
        if found:
            failures.append((name, found[1]))
            print("{}: {}".format(name, found[1]))
    return failures


def table(checker):
    """Lines of a table: by layer type the nets with it, its channels, those removed, and how the readers' nets went."""
    columns = ["layer type", "nets", "channels", "removed"]
    columns += ["passed in {}".format(NAMES[reader]) for reader in checker.readers]
    rows = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for kind in sorted(checker.nets):
        cells = [str(counts[kind]) for counts in (checker.nets, checker.totals, checker.removed)]
        cells += ["{} of {}".format(checker.passed[kind, r], checker.tried[kind, r]) for r in checker.readers]
        rows.append("| " + " | ".join(["`[{}]`".format(kind)] + cells) + " |")
    return rows


def page(args, checker, failures):
    """The text of docs/random-nets.md."""
    shown = "python tools/fuzz.py --nets {} --seed {}".format(args.nets, args.seed)
    if checker.readers:
        shown += " --readers {} --reader-share {:g}".format(",".join(checker.readers), args.reader_share)
    lines = [
        "# Random nets",
        "",
        "Made by",
        "",
        "    {} --write".format(shown),
        "",
        "Each net is drawn at random - up to 40 layers of the types below, in the dialects of all readers - gets",
        "weights with dead channels, and is pruned by a random plan. Then every promise is checked: see",
        "tests/random_checks.py. A reader runs the nets that it takes for what they are and of which something was",
        "removed: the original and the pruned net against numpy, and the pruned net against the original whose removed",
        "filters are zeros.",
        "",
        "**{} nets, {} with a mismatch.**".format(args.nets, len(failures)),
        "",
    ]
    lines += table(checker) + [""]
    lines += ["- seed {}: {}".format(seed, text) for seed, text in failures] + ([""] if failures else [])
    lines += ["A test demands that every prunable type is in at least one net of twenty."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes; the result does not depend on it")
    parser.add_argument("--readers", default="", help="opencv,darknet")
    parser.add_argument("--reader-share", type=float, default=0.1, help="share of the nets that readers run")
    parser.add_argument("--keep", metavar="DIR", help="where failing nets go, shrunk, the first of each kind")
    parser.add_argument("--replay", metavar="DIR", help="check the nets kept there instead")
    parser.add_argument("--write", action="store_true", help="write docs/random-nets.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checker = Checker(folder, present(args.readers))
        failures = replay(args.replay, checker) if args.replay else search(args, checker)
    print("\n".join(table(checker)))
    print("{} failures".format(len(failures)))
    if args.write and not args.replay:
        with open(PAGE, "w") as stream:
            stream.write(page(args, checker, failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
