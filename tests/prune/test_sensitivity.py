"""Sensitivity: its rows against pruning by hand, its table that goes on where it ended, and the processes it takes."""

import json
import os

import numpy as np
import pytest

import drawn_set
import need
import small_nets
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.cli.main import main
from darkprune.darknet.pair import write_file
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import read_detection
from darkprune.data.labels import candidates
from darkprune.errors import UsageError
from darkprune.evaluate.net_accuracy import NetAccuracy
from darkprune.graph.build import load
from darkprune.graph.net import heads
from darkprune.prune.pipeline import prune
from darkprune.prune.sensitivity import (
    BLOCK,
    PREDICTED,
    SIGNAL,
    WIDTH,
    HeadSignal,
    Part,
    Task,
    loss_of,
    losses,
    parts_of,
    ranked,
    short_key,
    tasks_of,
    without,
)
from darkprune.prune.sensitivity_csv import HEADER, Appended, Row, Table, read
from darkprune.prune.sensitivity_run import Setup, run
from darkprune.verify import test_batch as picture
from small_nets import HEAD, cfg, conv, shortcut

NET = cfg(conv(12), conv(12), shortcut(-2), conv(8), conv(12, 1), HEAD)
SHARES = [0.25, 0.75]
PARTS = [Part(WIDTH, (0, 1)), Part(WIDTH, (3,)), Part(WIDTH, (4,)), Part(BLOCK, (1, 2))]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return small_nets.write(tmp_path_factory.mktemp("pair"), NET, dead=0.0)


@pytest.fixture(scope="module")
def net(pair):
    return load(*pair)


def head_of(net):
    return Row(short_key(net), "gamma", PREDICTED, "group=max", "", (), 0.0, 0, 0, 0.0, None)


@pytest.fixture
def measured(pair, net, tmp_path):
    """Appends to a file of that name; returns its bytes and how many rows were measured."""

    def measure(name="s.csv", jobs=1, progress=iter):
        setup = Setup(pair[0], pair[1], "alexeyab", {}, {}, None, [], False, None, head_of(net))
        with Appended(str(tmp_path / name), setup.head, pair) as table:
            count = run(setup, tasks_of(parts_of(net), SHARES), table, jobs, progress)
        return (tmp_path / name).read_bytes(), count

    return measure


# ---- rows


def test_the_parts(net):
    assert parts_of(net) == PARTS
    assert tasks_of(PARTS[2:], SHARES) == [Task(PARTS[2], 0.25), Task(PARTS[2], 0.75), Task(PARTS[3], 1.0)]


def test_a_width_against_pruning_by_hand(net, pair):
    """Three quarters of layer 4, those of the smallest gammas, silenced in the original; its reader has no borders."""
    found, damage, removed = without(net, Task(PARTS[2], 0.75), {})
    gammas = np.abs(net.layers[4].array("scales").astype(np.float64))
    gone = np.argsort(gammas)[:9]
    silenced = load(*pair)
    silenced.layers[4].set_param("scales", np.where(np.isin(np.arange(12), gone), 0, net.layers[4].array("scales")))
    assert removed == 9 and found.layers[4].shape.c == 3 and found.layers[3].shape.c == 8
    assert small_nets.distance(silenced, found) < 1e-5
    assert damage == pytest.approx((gammas[gone] ** 2).sum() / (gammas**2).sum(), abs=1e-4)


def test_a_block_against_pruning_by_hand(net):
    found, damage, removed = without(net, Task(PARTS[3], 1.0), {})
    by_hand = prune(net, blocks=1, force=True)
    assert small_nets.distance(by_hand.net, found) == 0
    assert (damage, removed) == (by_hand.preflight["damage"], 12)


def test_the_signal_against_heads_by_hand(net):
    def raw(any_net, inputs):
        return [[NumpyRunner(any_net).infer(x, heads(any_net))[i] for i in heads(any_net)] for x in inputs]

    inputs = [picture(net, seed=1), picture(net, seed=2)]
    pruned = prune(net, channels=0.3, force=True).net
    x, y = [np.concatenate([outputs[0] for outputs in raw(some, inputs)]).astype(float) for some in (net, pruned)]
    signal = HeadSignal(net, inputs, raw)
    assert signal(pruned) == pytest.approx(10 * np.log10((x**2).sum() / ((x - y) ** 2).sum()), abs=1e-6)
    assert signal(net) == 200


def test_losses():
    row = Row("k", "gamma", SIGNAL, "", WIDTH, (0,), 0.5, 1, 1, 0.2, 0.0)
    assert loss_of(row, None) == 0.5 and loss_of(row._replace(value=200.0), None) == pytest.approx(1e-6, rel=0.01)
    assert loss_of(row._replace(metric="map", value=0.3), 0.5) == pytest.approx(0.2)
    assert loss_of(row._replace(metric="map", value=0.6), 0.5) == 0.0 and loss_of(row._replace(value=None), None) == 0.2
    rows = [row._replace(value=None, layers=(n,), predicted=p) for n, p in ((0, 0.1), (3, 0.4), (0, 0.3), (3, 0.2))]
    assert [(one.part.layers, round(one.loss, 9)) for one in ranked(Table(rows))] == [((3,), 0.3), ((0,), 0.2)]


def test_widths_compare_over_the_shares_that_all_have():
    row = Row("k", "gamma", "predicted", "", WIDTH, (0,), 0.5, 1, 1, 0.2, None)
    rows = [row._replace(predicted=0.1), row._replace(share=0.9, predicted=0.9)]
    rows += [row._replace(layers=(3,), predicted=0.3)]
    assert [(one.part.layers, one.loss) for one in ranked(Table(rows))] == [((3,), 0.3), ((0,), 0.1)]
    assert [(one.part.layers, one.loss) for one in ranked(Table(rows), [0.9])] == [((0,), 0.9)]


# ---- the table


def test_a_second_run_measures_nothing(measured):
    first, count = measured()
    lines = first.decode("ascii").splitlines()
    assert count == 7 and lines[0] + "\n" == HEADER and len(lines) == 8
    assert measured() == (first, 0)


def test_a_run_that_was_killed_goes_on(measured, tmp_path):
    whole, _ = measured("whole.csv")
    lines = whole.splitlines(True)
    for number, cut in enumerate(
        [b"", lines[0][:9], lines[0], b"".join(lines[:4]), b"".join(lines[:4]) + lines[4][:20]]
    ):
        path = tmp_path / "{}.csv".format(number)
        path.write_bytes(cut)
        assert measured(path.name) == (whole, 7 - max(0, cut.count(b"\n") - 1))


def test_ctrl_c_leaves_whole_rows(measured, tmp_path):
    def three(rows):
        for count, row in enumerate(rows):
            if count == 3:
                raise KeyboardInterrupt
            yield row

    with pytest.raises(KeyboardInterrupt):
        measured("cut.csv", progress=three)
    assert len(read(str(tmp_path / "cut.csv")).rows) == 3
    assert measured("cut.csv") == (measured("whole.csv")[0], 4)


def test_the_rows_are_the_same_from_two_processes(measured):
    assert measured("one.csv", jobs=1) == measured("two.csv", jobs=2)


def test_rows_of_something_else_are_refused(measured, net, tmp_path):
    text, _ = measured()
    path = str(tmp_path / "s.csv")
    for change, cause in (
        ({"criterion": "l2"}, "criterion: gamma, not l2"),
        ({"metric": "map"}, "metric: predicted, not map"),
        ({"setting": "group=sum"}, "setting: group=max, not group=sum"),
        ({"pair": "0" * 16}, "pair: {}, not {}".format(short_key(net), "0" * 16)),
    ):
        with pytest.raises(UsageError) as raised:
            Appended(path, head_of(net)._replace(**change), [])
        line = text.decode("ascii").splitlines()[1][:80]
        assert str(raised.value) == (
            "{}:2: error: this table is of another {}\n    2 | {}\nhint: write to another file, or remove this one"
        ).format(path, cause, line)
    assert (tmp_path / "s.csv").read_bytes() == text


def test_files_that_are_no_table(tmp_path, net):
    path = str(tmp_path / "s.csv")
    for text in ("a,b\n1,2\n", "no table", "\n", HEADER.replace("pair", "pear")):
        write_file(path, text.encode("ascii"), overwrite=True)
        with pytest.raises(UsageError) as raised:
            read(path)
        assert str(raised.value) == (
            "{}: error: this is no table of darkprune sensitivity\n"
            "hint: give the file that darkprune sensitivity wrote, or another name"
        ).format(path)
    for row in ("k,gamma,predicted,,width,0,0.5,1,1,nan,", "k,gamma,predicted", "k,gamma,map,,width,x,0.5,1,1,0.1,"):
        write_file(path, (HEADER + row + "\n").encode("ascii"), overwrite=True)
        with pytest.raises(UsageError) as raised:
            read(path)
        assert str(raised.value) == "{0}:2: error: this row is malformed\n    2 | {1}\nhint: remove the line".format(
            path, row
        )


def test_a_search_takes_it_up(measured, net, tmp_path):
    measured()
    found = losses(str(tmp_path / "s.csv"), net)
    assert set(found) == {(0, 1), (3,), (4,)} and all(0 < loss < 1 for loss in found.values())
    lines = (tmp_path / "s.csv").read_bytes().splitlines(True)
    (tmp_path / "part.csv").write_bytes(b"".join(lines[:4]))
    with pytest.raises(UsageError) as raised:
        losses(str(tmp_path / "part.csv"), net)
    assert str(raised.value) == (
        "{}: error: no share was measured of every tied width, such as that of layer 4\n"
        "hint: run darkprune sensitivity again: it goes on where it was ended".format(tmp_path / "part.csv")
    )
    other = small_nets.net(tmp_path, NET, "other", seed=8)
    with pytest.raises(UsageError) as raised:
        losses(str(tmp_path / "s.csv"), other)
    assert str(raised.value) == (
        "{}: error: this sensitivity is of another pair\nhint: measure that of this pair".format(tmp_path / "s.csv")
    )


# ---- the command


def test_the_command(pair, tmp_path, capsys):
    argv = ["sensitivity"] + pair + ["-o", str(tmp_path / "s.csv"), "--shares", "0.25,0.75"]
    assert main(argv + ["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metric"], found["rows"], found["measured"]) == ("predicted", 7, 7)
    assert sorted(tuple(part["layers"]) for part in found["parts"]) == [(0, 1), (1, 2), (3,), (4,)]
    assert [part["loss"] for part in found["parts"]] == sorted([part["loss"] for part in found["parts"]], reverse=True)
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("predicted damage (0 to 1), criterion gamma; the most sensitive first\n")
    assert "7 rows, 0 measured now; wrote {}\n".format(tmp_path / "s.csv") in out and "block 1-2" in out


def test_the_picture(pair, tmp_path, capsys):
    need.matplotlib()
    picture_path = tmp_path / "s.png"
    argv = (
        ["sensitivity"] + pair + ["-o", str(tmp_path / "s.csv"), "--shares", "0.25,0.75", "--plot", str(picture_path)]
    )
    assert main(argv) == 0
    data = picture_path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 10000
    assert main(argv) == 2  # it exists
    assert main(argv + ["--overwrite"]) == 0 and picture_path.read_bytes() == data
    capsys.readouterr()


def test_on_images_and_on_data(tmp_path, capsys):
    need.opencv()
    classes = small_nets.cfg(
        conv(8, stride=4),
        conv(8, 1),
        conv(21, size=1, activation="linear", bn=None),
        small_nets.section("yolo", mask="0,1,2", anchors="8,8, 14,14, 20,20", classes=2, num=3),
        width=32,
        height=32,
    )
    pair = small_nets.write(tmp_path, classes, dead=0.0)
    data = drawn_set.write(tmp_path, images=3)
    argv = ["sensitivity"] + pair + ["--shares", "0.5", "--runner", "numpy", "-o"]
    assert main(argv + [str(tmp_path / "images.csv"), "--images", str(tmp_path / "list.txt"), "--limit", "2"]) == 0
    rows = read(str(tmp_path / "images.csv")).rows
    assert [(row.metric, row.layers) for row in rows] == [("signal", (0,)), ("signal", (1,))]
    assert all(0 < row.value < 40 for row in rows) and "runner=numpy images=2:" in rows[0].setting
    by_maps = argv + [str(tmp_path / "apoz.csv"), "--images", str(tmp_path / "list.txt"), "--criterion", "apoz"]
    assert main(by_maps) == 0 and " evidence=" in read(str(tmp_path / "apoz.csv")).rows[0].setting
    assert main(argv + [str(tmp_path / "data.csv"), "--data", data]) == 0
    rows = read(str(tmp_path / "data.csv")).rows
    net = load(*pair)
    accuracy = NetAccuracy(DataFile.read(data), net, "numpy")
    assert [(row.metric, row.kind) for row in rows] == [("map", "baseline"), ("map", "width"), ("map", "width")]
    by_hand = [net] + [prune(net, channels=0.5, only={n: range(8)}, force=True).net for n in (0, 1)]
    assert [row.value for row in rows] == [float("{:.6g}".format(accuracy(some))) for some in by_hand]
    capsys.readouterr()
    labels = labels_of(DataFile.read(data))
    with open(labels, "a") as stream:
        stream.write("0 0.5 0.5 0.25 0.25\n")
    assert main(argv + [str(tmp_path / "data.csv"), "--data", data]) == 2  # other labels, other values
    assert "data.csv" in capsys.readouterr().err


def labels_of(data):
    """A label file of the valid images."""
    found = [path for image in read_detection(data).images for path in candidates(image) if os.path.exists(path)]
    return found[0]


@pytest.mark.parametrize(
    "options, text",
    [
        (
            ["--data", "a", "--images", "b"],
            "error: --data and --images measure two things\nhint: give one, and a file for each\n",
        ),
        (["--jobs", "0"], "error: --jobs 0 is too few\nhint: use 1 or more\n"),
        (["--limit", "0"], "error: --limit 0 is too few\nhint: use 1 or more\n"),
        (
            ["--shares", "0.5,1"],
            "error: --shares 0.5,1 is no list of shares\n"
            "hint: use numbers between 0 and 1: 0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9\n",
        ),
    ],
)
def test_options_that_are_refused(pair, tmp_path, capsys, options, text):
    assert main(["sensitivity"] + pair + ["-o", str(tmp_path / "s.csv")] + options) == 2
    assert capsys.readouterr() == ("", text)
