"""The same bytes from the same input and options: in any folder, with any number of threads, on any Python."""

import json
import os
import subprocess
import sys

import pytest

import same_bytes
from darkprune.prune import constant_readers

with open(same_bytes.TABLE) as stream:
    EXPECTED = json.load(stream)
CASES = same_bytes.cases()


def test_the_table_is_whole():
    assert sorted(EXPECTED) == sorted("{} {}".format(*case) for case in CASES)
    assert sum("error" not in digests for digests in EXPECTED.values()) > 0.9 * len(CASES)


@pytest.mark.parametrize("net, options", CASES)
def test_bytes_are_those_of_the_table(net, options, tmp_path):
    found = same_bytes.digests(same_bytes.written(net, options, str(tmp_path)))
    cure = "if this is meant: python tests/same_bytes.py --write"
    assert found == EXPECTED["{} {}".format(net, options)], cure


@pytest.mark.parametrize("net, options", [case for case in CASES if case[1] in ("exact", "blocks", "bias")])
def test_threads_and_folders_change_nothing(net, options, tmp_path, monkeypatch):
    found = []
    for threads in (1, 2, 5):
        folder = tmp_path / "{} threads".format(threads) / ("deeper" * threads)
        folder.mkdir(parents=True)
        monkeypatch.chdir(str(folder))
        monkeypatch.setattr(constant_readers, "THREADS", threads)
        named = [str(folder / net), net, os.path.join("..", folder.name, net)][threads % 3]
        found.append(same_bytes.written(net, options, str(folder), named))
    assert found[0] == found[1] == found[2]


def test_the_program_on_one_processor_and_on_all(tmp_path):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system binds no process to a processor")
    outputs = []
    for number, affinity in enumerate([None, {min(os.sched_getaffinity(0))}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        same_bytes.written("residual-mish", "exact", str(folder))
        command = "import os, sys\n"
        command += "os.sched_setaffinity(0, {!r})\n".format(affinity) if affinity else ""
        command += "from darkprune.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        argv = ["prune", "residual-mish.cfg", "residual-mish.weights", "-o", "out", "--overwrite", "--force"]
        env = dict(os.environ, PYTHONPATH=os.path.dirname(same_bytes.HERE), PYTHONHASHSEED=str(number))
        subprocess.check_output(
            [sys.executable, "-c", command] + argv + ["--channels", "0.5"], cwd=str(folder), env=env
        )
        outputs.append([same_bytes.read(str(folder / "out") + suffix) for suffix in same_bytes.SUFFIXES])
    assert outputs[0] == outputs[1]
