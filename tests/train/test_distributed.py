"""Several processes against one with the same batches: losses, weights and running statistics; and what they say."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import need
import small_nets
import tiny_compress
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.prune.weight_sparsity import sparsify

if not sys.platform.startswith("linux"):
    pytest.skip("processes are forked as Linux does it", allow_module_level=True)

SCRIPT = Path(__file__).resolve().parent / "one_of_several.py"
NET = small_nets.cfg(
    small_nets.conv(6),
    small_nets.conv(6, stride=2),
    small_nets.conv(6),
    small_nets.shortcut(-2),
    small_nets.conv(4, size=1, activation="linear", bn=None),
)


class Processes:
    """Runs trainings; see one_of_several.py."""

    def __init__(self, folder):
        self.folder, self.pair = folder, small_nets.write(folder, NET, dead=0.0)
        # torch warns of sockets that the other process closed
        env = dict(os.environ, PYTHONPATH=str(need.ROOT), OMP_NUM_THREADS="1", TORCH_CPP_LOG_LEVEL="ERROR")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, str(SCRIPT)], env=env, **pipes)
        self.trained = {}

    def run(self, subdivisions, world, fail="", **more):
        """The exit status of each process, and what it said."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        job = {"cfg": self.pair[0], "weights": self.pair[1], "out": self.out(subdivisions, world), "port": port}
        job.update(subdivisions=subdivisions, world=world, fail=fail, **more)
        self.process.stdin.write(json.dumps(job).encode("ascii") + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline().decode("ascii"))
        return answer["codes"], answer["said"]

    def out(self, subdivisions, world):
        return str(self.folder / "{}-{}-".format(subdivisions, world))

    def train(self, subdivisions, world):
        """By process: name -> array, the losses among them."""
        if (subdivisions, world) not in self.trained:
            codes, said = self.run(subdivisions, world)
            assert codes == [0] * world, said
            found = []
            for rank in range(world):
                with np.load("{}{}.npz".format(self.out(subdivisions, world), rank)) as file:
                    found.append({name: file[name] for name in file.files})
            self.trained[subdivisions, world] = found
        return self.trained[subdivisions, world]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    need.torch()
    running = Processes(tmp_path_factory.mktemp("several"))
    yield running
    running.close()


@pytest.mark.parametrize("subdivisions", [2, 4])
def test_two_processes_learn_what_one_does(processes, subdivisions):
    (one,) = processes.train(subdivisions, 1)
    first, second = processes.train(subdivisions, 2)
    assert one["losses"].shape == (50,) and one["losses"][-1] < 0.9 * one["losses"][0]
    assert np.abs(first["losses"] / one["losses"] - 1).max() < 1e-4
    for name, values in one.items():
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        np.testing.assert_allclose(first[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


def test_other_parts_learn_something_else(processes):
    """So that the test above can fail: batch norm does see which images a part has."""
    (two,), (four,) = processes.train(2, 1), processes.train(4, 1)
    assert np.abs(two["losses"] / four["losses"] - 1).max() > 1e-3


@pytest.mark.parametrize(
    "fail, text",
    [
        ("raises", "error: this process cannot go on\nhint: none\n"),
        (
            "differs",
            "error: process 1 has another set of options than process 0\n"
            "hint: give all processes the same files and options, in a folder all can read\n",
        ),
    ],
)
def test_one_process_tells_of_an_error(processes, fail, text):
    codes, said = processes.run(2, 2, fail)
    assert codes == [2, 2], said
    assert "".join(said) == text


def command(folder, out, *more):
    argv = ["train", "{}/tiny.cfg".format(folder), "--data", "{}/tiny.data".format(folder), "-o", str(out)]
    return argv + ["--max-batches", "50", "--workers", "0", "--every", "20", "--learning-rate", "0.001"] + list(more)


def logged(out):
    with open(str(out / "tiny_log.csv")) as stream:
        return [(int(row["step"]), float(row["loss"]), row["map"]) for row in csv.DictReader(stream)]


def test_the_command_in_two_processes(processes, tmp_path):
    need.matplotlib()
    tiny_compress.write(tmp_path)
    for world in (1, 2):
        codes, said = processes.run(2, world, argv=command(tmp_path, tmp_path / str(world)))
        assert codes == [0] * world, said
        assert "50/50" in said[0] and said[1:] == [""] * (world - 1)
    one, two = logged(tmp_path / "1"), logged(tmp_path / "2")
    assert [step for step, _, _ in one] == [step for step, _, _ in two] and len(one) >= 6
    for (step, loss, measured), (_, other, again) in zip(one, two):
        assert abs(other / loss - 1) < 1e-3, step
        assert (measured == "") == (again == "")
    assert len({round(loss, 3) for _, loss, _ in one}) == len(one)  # something is learnt
    names = sorted(os.listdir(str(tmp_path / "1")))
    assert "tiny_final.weights" in names and sorted(os.listdir(str(tmp_path / "2"))) == names


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_ends_all_with_a_checkpoint(processes, tmp_path, rank):
    """With weights whose zeros are kept: they are the same in all processes, and in one that is resumed."""
    need.matplotlib()
    tiny_compress.write(tmp_path)
    pair = small_nets.write(tmp_path, tiny_compress.NET, "dense", dead=0.0)
    save(sparsify(load(*pair), 0.5).net, str(tmp_path / "tiny"), overwrite=True)
    start = load(str(tmp_path / "tiny.cfg"), str(tmp_path / "tiny.weights"))
    argv = ["--max-batches", "8", "--every", "0", "--keep-zeros", str(tmp_path / "tiny.weights")]
    whole, broken = (command(tmp_path, tmp_path / name, *argv) for name in ("whole", "broken"))
    codes, said = processes.run(2, 2, argv=whole)
    assert codes == [0, 0], said
    codes, said = processes.run(2, 2, argv=broken, interrupt=[rank, 3])
    assert codes == [130, 0] and "interrupted after step 3; --resume goes on from there\n" in said[0], said
    assert said[1] == "" and not (tmp_path / "broken" / "tiny_final.weights").exists()
    codes, said = processes.run(2, 2, argv=broken + ["--resume"])
    assert codes == [0, 0], said
    files = [tmp_path / name / "tiny_final.weights" for name in ("whole", "broken")]
    assert files[0].read_bytes() == files[1].read_bytes()
    learnt = load(str(tmp_path / "tiny.cfg"), str(files[0]))
    for old, new in zip(start.layers, learnt.layers):
        if old.has("weights"):
            np.testing.assert_array_equal(old.array("weights") == 0, new.array("weights") == 0)


def test_the_command_tells_of_an_error_once(processes, tmp_path):
    tiny_compress.write(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tiny_final.weights").write_bytes(b"")
    codes, said = processes.run(2, 2, argv=command(tmp_path, tmp_path / "out"))
    assert codes == [2, 2] and "".join(said).count("error: ") == 1
    assert "tiny_final.weights: error: an earlier training stands there" in said[0]
