"""Rows of long measurements: what a killed run left half written does no harm, and what others made is not taken."""

import json
import multiprocessing
import sys

import pytest

import need
import tool

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    return tool.load("kept_rows")


@pytest.mark.parametrize("left", [b"", b"a,", b"a,b\n", b"a,b\n5,6", b"a,b\n5,"])
def test_rows_after_a_run_that_was_killed(rows, tmp_path, left):
    path = str(tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_bytes(left)
    rows.append(path, ("a", "b"), {"a": 1, "b": 2})
    rows.append(path, ("a", "b"), {"a": 3, "b": "x,y"})
    assert rows.read(path) == [{"a": "1", "b": "2"}, {"a": "3", "b": "x,y"}]


def test_rows_of_several_runs_at_once(rows, tmp_path):
    path = str(tmp_path / "rows.csv")

    def run(name):
        for number in range(40):
            rows.append(path, ("a", "b"), {"a": name, "b": number})

    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=run, args=(name,)) for name in "uvwx"]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    found = [(row["a"], int(row["b"])) for row in rows.read(path)]
    assert sorted(found) == [(name, number) for name in "uvwx" for number in range(40)]


def test_no_file_no_rows(rows, tmp_path):
    assert rows.read(str(tmp_path / "none.csv")) == []


def test_what_is_made_is_made_once_and_a_training_goes_on(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "ROOT", str(tmp_path))
    monkeypatch.setattr(rows, "commit", lambda: "abc")
    commands = [["prune", "net.cfg"], ["train", "net.cfg", "-o", "out"]]
    carried, folder = [], str(tmp_path / "out")

    def killed(command):
        carried.append(command)
        if command[0] == "train":
            (tmp_path / "out" / "net_last.npz").write_bytes(b"")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows.made(folder, commands, killed)
    assert not rows.is_made(folder, commands)
    about = rows.made(folder, commands, carried.append, lambda: carried.append("needs"))
    assert rows.made(folder, commands, carried.append) == about and about["commits"] == ["abc"]
    train = commands[1]
    assert carried == [commands[0], train + ["--overwrite"], "needs", commands[0], train + ["--resume"]]
    assert json.loads((tmp_path / "out" / "made.json").read_text())["done"] and rows.is_made(folder, commands)
    with pytest.raises(SystemExit):
        rows.is_made(folder, commands[:1])
