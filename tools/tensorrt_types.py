"""Writes the type stubs of TensorRT 10.13 to build/types, where mypy looks for them, mended.

    python tools/tensorrt_types.py

They are those of the package tensorrt-stubs, whose files are no valid Python (an argument called `in`, one without a
default behind others that have one), and they leave out what the bindings take too: a tuple for Dims, an array for
Weights.
"""

import os
import re
import shutil
import sys
from importlib import metadata

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TYPES = os.path.join(ROOT, "build", "types")
MENDS = (
    (re.compile(r"\bin: list\["), "in_: list["),
    (re.compile(r"(= None, channel_axis: int)\)"), r"\1 = ...)"),
    (re.compile(r"(\w+: )Dims\b"), r"\1typing.Union[Dims, typing.Sequence[int]]"),
    (re.compile(r"(\w+: )Weights\b"), r"\1typing.Union[Weights, numpy.ndarray]"),
)
ATTRIBUTE = re.compile(r"(\s+\w+): (?:Dims|Weights)$", re.MULTILINE)  # may be set to either, too


def mended(text):
    """The text of a stub file with its signatures mended."""
    lines = text.splitlines(True)
    for number, line in enumerate(lines):
        if line.lstrip().startswith("def "):
            head, arrow, result = line.rpartition(" -> ")
            for pattern, replacement in MENDS:
                head = pattern.sub(replacement, head)
            lines[number] = head + arrow + result
    return ATTRIBUTE.sub(r"\1: typing.Any", "".join(lines))


def write(folder):
    """Writes the stubs there; returns the files. Raises PackageNotFoundError without the package."""
    shutil.rmtree(folder, ignore_errors=True)
    written = []
    for file in metadata.files("tensorrt-stubs") or []:
        if file.suffix == ".pyi":
            path = os.path.join(folder, str(file))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(mended(file.read_text(encoding="utf-8")))
            written.append(path)
    return written


def main():
    try:
        files = write(TYPES)
    except metadata.PackageNotFoundError:
        sys.exit("error: tensorrt-stubs is not installed (pip install --no-deps tensorrt-stubs==10.13.0.35.1)")
    sys.stdout.write("{} files in {}\n".format(len(files), os.path.relpath(TYPES)))


if __name__ == "__main__":
    main()
