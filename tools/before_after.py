"""Prints the before/after table of a pruning from what `darkprune prune --json` wrote.

usage: python tools/before_after.py PRUNE.json
"""

import json
import sys

ROWS = [
    ("layers", "layers", "{:,d}"),
    ("channels", "channels", "{:,d}"),
    ("parameters", "parameters", "{:,d}"),
    ("weights_bytes", "weights bytes", "{:,d}"),
    ("bflops", "BFLOPs", "{:,.3f}"),
]


def table(before, after):
    """The lines of the table; `before` and `after` are dicts with the keys of ROWS."""
    line = "{:14s} {:>14s} {:>14s} {:>8s}".format
    lines = [line("", "before", "after", "left")]
    for key, name, form in ROWS:
        left = "{:.1f} %".format(100.0 * after[key] / before[key])
        lines.append(line(name, form.format(before[key]), form.format(after[key]), left))
    return lines


def main(path):
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    print("\n".join(table(result["before"], result["after"])))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
