"""What the tests of bad input share: one small good pair, ways to spoil it, and the check of what the program says.

Bad input means: exit status 2, a message whose whole text is asserted, and nothing written or lost.
"""

import json
import os
import re
import struct
import subprocess
import sys
from collections import OrderedDict

import numpy as np

import need
import small_nets
from darkprune.cli.main import main
from darkprune.graph.build import build, load
from darkprune.prune.pipeline import prune

HEAD = small_nets.conv(24, 1, "linear", None) + small_nets.section(
    "yolo", mask="0,1,2", anchors="1,2, 3,4, 5,6", classes=3, num=3
)
GOOD = small_nets.cfg(
    small_nets.conv(8), small_nets.conv(8), small_nets.conv(8), small_nets.shortcut(-2), HEAD, width=16, height=16
)
HEADER = struct.pack("<iiiQ", 0, 2, 5, 64)
PRUNE = ["prune", "good.cfg", "good.weights", "-o", "out"]
VERIFY = ["verify", "good.cfg", "good.weights"]


class Cases:
    """Bad inputs by name: a function makes one in a folder and returns arguments; its message stands above it."""

    def __init__(self):
        self.makers, self.expected = OrderedDict(), {}

    def __call__(self, text):
        assert "error: " in text and "\nhint: " in text and text.endswith("\n")

        def add(function):
            assert function.__name__ not in self.makers
            self.makers[function.__name__], self.expected[function.__name__] = function, text
            return function

        return add

    def __len__(self):
        return len(self.makers)

    def __iter__(self):
        return iter(self.makers)

    def check(self, name, folder, capsys):
        check(self.makers[name](folder), self.expected[name], folder, capsys)

    def check_program(self, name, folder):
        """The same in a process of its own."""
        argv = self.makers[name](folder)
        before = snapshot(folder)
        run = subprocess.run(
            [sys.executable, "-m", "darkprune"] + argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=str(need.ROOT), PYTHONDONTWRITEBYTECODE="1"),
        )
        assert without_keys(run.stderr.decode()) == self.expected[name]
        assert (run.returncode, run.stdout) == (2, b"")
        assert snapshot(folder) == before


def check(argv, expected, folder, capsys):
    """Runs a command line in this process: it must fail with the expected text and change nothing."""
    before = snapshot(folder)
    status = main(argv)
    out, err = capsys.readouterr()
    assert without_keys(err) == expected
    assert (status, out) == (2, "")
    assert snapshot(folder) == before


def snapshot(folder):
    """Every file below a folder with its bytes, and every other entry."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def without_keys(text):
    """A message without the keys of pairs, which depend on every option that layer types declare."""
    return re.sub(r"\([0-9a-f]{12}\.\.\., this one is [0-9a-f]{12}\.\.\.\)", "(KEY, this one is KEY)", text)


# ---- the good pair, spoilt


def values_of(text):
    """The floats of a weights file for a cfg."""
    random, parts = np.random.RandomState(3), []
    for _, spec in build(small_nets.parse(text)).specs():
        fill = {"scales": np.arange(1, 9) / 8.0, "variance": np.ones(8), "mean": np.zeros(8)}
        values = fill[spec.name] if spec.name in fill else 0.3 * random.randn(*spec.shape)
        parts.append(values.reshape(-1))
    return np.concatenate(parts)


def write_good(folder):
    """good.cfg and good.weights: gammas 1/8 to 1 in each layer, so that nothing is dead."""
    (folder / "good.cfg").write_text(GOOD)
    (folder / "good.weights").write_bytes(HEADER + values_of(GOOD).astype("<f4").tobytes())


def good_bytes(folder):
    return (folder / "good.weights").read_bytes()


def changed(folder, position, value, name="bad.weights"):
    """Writes the good weights with another value at a position, an index or a slice; returns the file's name."""
    data = good_bytes(folder)
    values = np.frombuffer(data[20:], "<f4").copy()
    values[position] = value
    (folder / name).write_bytes(data[:20] + values.tobytes())
    return name


def write_plan(folder, edit=None, data=None, **options):
    """Writes plan.json: a good one for the pair, edited by a function of its JSON; returns arguments that use it."""
    net = load(str(folder / "good.cfg"), str(folder / "good.weights"))
    plan = prune(net, **(options or {"channels": 0.2, "absorb": "none"})).plan.to_dict()
    plan = json.loads(json.dumps(plan))
    if edit is not None:
        edit(plan)
    (folder / "plan.json").write_bytes(json.dumps(plan).encode("ascii") if data is None else data)
    return PRUNE + ["--plan", "plan.json"]
