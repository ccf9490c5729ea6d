"""What the commands share: arguments of a pair, notices on stderr, JSON on stdout, tables."""

import argparse
import json
import math
import sys
from collections import OrderedDict
from typing import Any, Callable, Dict, Iterable, List, Sequence

from darkprune.darknet.dialect_epsilon import DEFAULT, DIALECTS
from darkprune.errors import Notice
from darkprune.graph.build import totals
from darkprune.graph.net import Net


def add_common(parser: argparse.ArgumentParser) -> None:
    """--dialect and --json."""
    parser.add_argument(
        "--dialect",
        choices=sorted(DIALECTS),
        default=DEFAULT,
        help="whose arithmetic and defaults the files are read with (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")


def warn(notices: Iterable[Notice]) -> None:
    """Prints notices on stderr, equal ones once with their number."""
    groups: Dict[Any, List[Notice]] = OrderedDict()
    for notice in notices:
        groups.setdefault((notice.message, notice.reader), []).append(notice)
    for same in groups.values():
        write(str(same[0]) + "\n", sys.stderr)
        if len(same) > 1:
            write("  ... and on {} more lines\n".format(len(same) - 1), sys.stderr)


def notice_texts(notices: Iterable[Notice]) -> List[str]:
    """Notices as JSON values."""
    return [str(notice) for notice in notices]


def print_json(value: Any) -> None:
    """One JSON object on stdout; numbers JSON cannot say are null."""
    write(json.dumps(_finite(value)) + "\n")


def write(text: str, stream: Any = None) -> None:
    """Text to stdout, or another stream; what its encoding cannot say is escaped."""
    stream = stream or sys.stdout
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return OrderedDict((str(key), _finite(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def progress(what: str, unit: str = "layer") -> Callable[[Any], Any]:
    """A wrapper of iterables that shows a bar on stderr, where that is a terminal and tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return iter
    return lambda items: tqdm(items, desc=what, unit=unit, leave=False, disable=None, file=sys.stderr)


def table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Rows as aligned columns, those named in `left` to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if n in left else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def comparison(before: Net, after: Net) -> str:
    """A table of two nets' totals."""
    sides = [dict(totals(net), bflops=net.bflops()) for net in (before, after)]
    rows = [["", "before", "after", ""]]
    for name, key in (
        ("layers", "layers"),
        ("filters", "channels"),
        ("parameters", "parameters"),
        ("weights bytes", "weights_bytes"),
        ("BFLOPs", "bflops"),
    ):
        old, new = sides[0][key], sides[1][key]
        shown = [grouped(v) if isinstance(v, int) else "{:.3f}".format(v) for v in (old, new)]
        rows.append([name] + shown + ["{:.1%}".format(new / old if old else 1.0)])
    return table(rows)


def grouped(number: int) -> str:
    """12,345,678."""
    return "{:,}".format(number)
