"""Kill -9 while a pair is replaced: the old pair, the new pair or no cfg stands there, and the next command repairs.

The program itself (kill_runner.py) replaces a pair and its plan, and is killed at each step of writing, five times:
before the step, right behind its call of the system, and three times from outside at a random moment. Every state
that was found is then opened in the real Darknet; states of the same bytes once. `pytest -s` shows the table.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pytest

import need
import small_nets
from darkprune.backends.darknet_ import DarknetRunner, layer_table
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.errors import VerifyError
from darkprune.graph.build import load
from darkprune.verify import READERS, check, heads
from darkprune.verify import test_batch as picture

if not sys.platform.startswith("linux"):
    pytest.skip("processes are forked and killed as Linux does it", allow_module_level=True)

RUNNER = Path(__file__).resolve().parent / "kill_runner.py"
HOWS = ("before", "after", "outside", "outside", "outside")
LEAST_STEPS = 20
OLD, NEW = 0.2, 0.6  # shares of the filters that are pruned
NAMES = ("net.cfg", "net.weights", "net.plan.json")
NET = small_nets.cfg(
    *[small_nets.conv(192) for _ in range(3)],
    small_nets.shortcut(-2),
    small_nets.conv(192),
    small_nets.conv(18, size=1, activation="linear", bn=None)
)

Kill = namedtuple("Kill", "step name how status stood repaired left")


class Program:
    """A process that runs the program in children; see kill_runner."""

    def __init__(self):
        env = dict(os.environ, PYTHONPATH=str(need.ROOT), OPENBLAS_NUM_THREADS="1")
        command = [sys.executable, "-W", "ignore", str(RUNNER)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)

    def run(self, folder, argv, **kill):
        self.process.stdin.write(json.dumps(dict(kill, folder=str(folder), argv=argv)).encode("ascii") + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline().decode("ascii"))

    def prune(self, folder, share, **kill):
        argv = ["prune", "../big.cfg", "../big.weights", "-o", "net", "--overwrite", "--channels", str(share)]
        return self.run(folder, argv, **kill)

    def inspect(self, folder, **kill):
        return self.run(folder, ["inspect", "net.cfg", "net.weights"], **kill)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Killed:
    """All kills and what they left. Attributes: old, new (bytes by name), steps, kills, again (repairs that were
    killed), states (hash of cfg and weights -> folder)."""

    def __init__(self, folder, program, overwrite):
        self.folder, self.program = folder, program
        self.kills, self.again, self.states = [], Counter(), {}
        small_nets.write(folder, NET, "big")
        for name, share in (("old", OLD), ("new", NEW)):
            (folder / name).mkdir()
            assert program.prune(folder / name, share)["status"] == 0
        self.new = self.read(folder / "new")
        self.old = self.read(folder / "old") if overwrite else {}
        self.steps = program.prune(self.start("count"), NEW)["steps"]
        assert self.label(folder / "count") == "new"
        random = np.random.RandomState(4)
        for step in range(len(self.steps)):
            for number, how in enumerate(HOWS if overwrite else HOWS[:2]):
                self.kill(step, how, number, 10 ** random.uniform(-5, -2.4))  # 10 microseconds to 4 ms

    def start(self, name):
        """A folder with the old pair."""
        path = self.folder / name
        path.mkdir()
        for suffix in self.old:
            os.link(str(self.folder / "old" / suffix), str(path / suffix))
        return path

    def kill(self, step, how, number, delay):
        here = self.start("step{}-{}".format(step, number))
        ended = self.program.prune(here, NEW, step=step, how=how, delay=delay)
        stood = self.label(here)
        if how == "before" and not self.steps[step].startswith("part of"):
            self.kill_repairs(here)
        repaired = self.program.inspect(here)
        left = self.label(here) if sorted(os.listdir(str(here))) in (sorted(NAMES), []) else "leftovers"
        self.kills.append(Kill(step, self.steps[step], how, ended["status"], stood, repaired, left))
        shutil.rmtree(str(here))

    def kill_repairs(self, here):
        """Kills the repair too, at each of its steps."""
        for step in range(20):
            twin = here.parent / (here.name + "-again")
            shutil.copytree(str(here), str(twin), copy_function=os.link)
            ended = self.program.inspect(twin, step=step, how="before")
            stood = self.label(twin)
            self.program.inspect(twin)
            left = self.label(twin) if sorted(os.listdir(str(twin))) in (sorted(NAMES), []) else "leftovers"
            shutil.rmtree(str(twin))
            if ended["status"] != -9:
                return
            self.again[stood, left] += 1
        raise AssertionError("the repair does not end")

    @staticmethod
    def read(folder):
        return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}

    def label(self, folder):
        """old, new, no cfg or mixed; and keeps the pair for Darknet."""
        files = self.read(folder)
        key = hash((files.get("net.cfg"), files.get("net.weights")))
        if key not in self.states:
            self.states[key] = self.folder / "state{}".format(len(self.states))
            shutil.copytree(str(folder), str(self.states[key]))
        for name, data in (("old", self.old), ("new", self.new)):
            if files == data:
                return name
        if "net.cfg" in files:
            return "mixed"
        whole = {self.new["net.weights"], self.old.get("net.weights"), None}
        return "no cfg" if files.get("net.weights") in whole else "mixed"

    def table(self):
        """What stood there after each kill, and after the repair."""
        lines = ["{} steps, {} kills, {} kills of repairs".format(len(self.steps), len(self.kills), self.killed_again)]
        for step, name in enumerate(self.steps):
            mine = [kill for kill in self.kills if kill.step == step]
            words = ["{} {} -> {}".format(kill.how, kill.stood, kill.left) for kill in mine]
            lines.append("{:3d} before {!r:28} {}".format(step, name, "; ".join(words)))
        return "\n".join(lines)

    @property
    def killed_again(self):
        return sum(self.again.values())


@pytest.fixture(scope="module", params=[True, False], ids=["overwrite", "new"])
def killed(request, tmp_path_factory):
    program = Program()
    try:
        yield Killed(tmp_path_factory.mktemp("kill"), program, request.param)
    finally:
        program.close()


def test_there_are_enough_steps(killed):
    print("\n" + killed.table())
    assert len(killed.steps) >= LEAST_STEPS
    assert len(killed.kills) == len(killed.steps) * (len(HOWS) if killed.old else 2)
    by_itself = [kill for kill in killed.kills if kill.how == "before"]
    assert [kill.status for kill in by_itself] == [-9] * len(killed.steps)
    assert sum(kill.status == -9 for kill in killed.kills) > 0.9 * len(killed.kills)
    assert {kill.status for kill in killed.kills} <= {-9, 0}
    assert (killed.folder / "big.weights").stat().st_size > 3 << 20


def test_old_pair_new_pair_or_no_cfg(killed):
    stood = Counter(kill.stood for kill in killed.kills)
    assert set(stood) == ({"old", "new", "no cfg"}), stood
    assert {kill.stood for kill in killed.kills if kill.status == 0} <= {"new"}


def test_next_command_repairs(killed):
    left = Counter(kill.left for kill in killed.kills)
    assert set(left) == {"old", "new"}, left
    for kill in killed.kills:
        assert kill.stood in (kill.left, "no cfg"), kill
        assert kill.repaired["status"] == (0 if kill.left == "new" or killed.old else 2), kill
    settled = [kill for kill in killed.kills if "had been interrupted" in kill.repaired["output"]]
    assert settled and "no cfg" in {kill.stood for kill in settled}


def test_repair_may_be_killed_too(killed):
    assert killed.killed_again > 30
    assert {stood for stood, _ in killed.again} <= {"old", "new", "no cfg"}
    assert {left for _, left in killed.again} <= {"old", "new"}


def test_darknet_runs_the_old_or_the_new_pair_or_refuses(killed):
    need.libdarknet()
    expected = {name: numpy_heads(killed.folder / name) for name in ("old", "new")}
    refused, ran = 0, set()
    assert max(np.abs(a - b).max() for a, b in zip(expected["old"], expected["new"])) > 1e-2
    for folder in killed.states.values():
        pair = str(folder / "net.cfg"), str(folder / "net.weights")
        if not (folder / "net.cfg").exists():
            with pytest.raises(VerifyError, match="the real Darknet refuses the pair: Couldn't open file"):
                layer_table(*pair)
            refused += 1
            continue
        found = darknet_heads(*pair)
        same = [name for name, value in expected.items() if agree(value, found)]
        assert len(same) == 1
        ran.update(same)
    assert refused and ran == ({"old", "new"} if killed.old else {"new"})


def numpy_heads(folder):
    net = load(str(folder / "net.cfg"), str(folder / "net.weights"), "pjreddie")
    found = NumpyRunner(net).infer(picture(net), heads(net))
    return [found[index] for index in sorted(found)]


def darknet_heads(cfg, weights):
    net = load(cfg, weights, "pjreddie")
    found = DarknetRunner(cfg, weights).infer(picture(net), heads(net))
    return [found[index] for index in sorted(found)]


def agree(expected, found):
    pairs = zip(expected, found)
    return all(check("reader", "darknet", 0, a, b.reshape(a.shape), READERS).ok for a, b in pairs)
