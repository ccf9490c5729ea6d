"""The log of a training: its rows after a kill and a resume, the chart, and what is refused."""

import importlib.util
import struct
import sys
import types

import pytest

import need
from darkprune.errors import OutputError
from darkprune.train import logs
from darkprune.train.logs import Log


def run(prefix, steps, resume_at_step=None, **options):
    with Log(prefix, resume_at_step, **options) as log:
        for step in steps:
            more = {"map": 0.5 + step / 100.0, "zeros": 0.25} if step % 4 == 0 else {}
            log.row(step, epoch=step / 8.0, images=4 * step, loss=10.0 / step, box=1.0 / 3, **more)
    return prefix + "_log.csv"


def read(path):
    with open(path) as stream:
        return stream.read()


def test_rows_and_columns(tmp_path):
    path = run(str(tmp_path / "net"), range(3, 5))
    assert read(path) == (
        "step,epoch,images,learning_rate,loss,map,box,zeros,seconds\n"
        "3,0.375,12,,3.333333,,0.3333333,,\n"
        "4,0.5,16,,2.5,0.54,0.3333333,0.25,\n"
    )


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_a_resumed_run_has_the_rows_of_an_unbroken_one(tmp_path, cut):
    whole = read(run(str(tmp_path / "whole"), range(1, 13)))
    path = run(str(tmp_path / "net"), range(1, 10))  # killed here, its checkpoint is of step 6
    with open(path, "rb+") as stream:
        stream.truncate(stream.seek(0, 2) - cut)
    run(str(tmp_path / "net"), range(7, 13), resume_at_step=6)
    assert read(path) == whole


def test_a_log_that_is_gone_begins_where_the_run_is_resumed(tmp_path):
    path = run(str(tmp_path / "net"), [7], resume_at_step=6)
    assert read(path).splitlines()[1:] == ["7,0.875,28,,1.428571,,0.3333333,"]


def test_an_earlier_log_is_kept_unless_told(tmp_path):
    path = run(str(tmp_path / "net"), [1])
    before = read(path)
    with pytest.raises(OutputError) as raised:
        Log(str(tmp_path / "net"))
    assert str(raised.value) == "{}: error: this file exists\nhint: --overwrite replaces it".format(path)
    assert read(path) == before
    run(str(tmp_path / "net"), [2], overwrite=True)
    assert [line.split(",")[0] for line in read(path).splitlines()] == ["step", "2"]


@pytest.mark.parametrize("text", ["no,log\n1,2\n", "step,loss\none,2\n", "step,loss\n1\n", "step,loss\n1,x\n"])
def test_another_table_is_no_log(tmp_path, text):
    path = tmp_path / "net_log.csv"
    path.write_text(text)
    with pytest.raises(OutputError) as raised:
        Log(str(tmp_path / "net"), resume_at_step=5)
    assert str(raised.value) == "{}: error: this is no log of a training\nhint: move it away".format(path)
    assert path.read_text() == text


def test_inputs_are_not_overwritten(tmp_path):
    path = run(str(tmp_path / "net"), [1])
    with pytest.raises(OutputError, match="the output would replace the input"):
        Log(str(tmp_path / "net"), overwrite=True, inputs=[path])


def test_no_matplotlib_is_one_notice(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with Log(str(tmp_path / "net")) as log:
        log.chart()
        log.chart()
    assert [notice.message for notice in log.notices] == [
        "matplotlib is not installed: the losses are in {}_log.csv only".format(tmp_path / "net")
    ]
    assert not (tmp_path / "net_chart.png").exists()


def test_chart_shows_loss_and_map(tmp_path, monkeypatch):
    need.matplotlib()
    image = need.opencv()
    monkeypatch.setattr(logs, "POINTS", 400)
    with Log(str(tmp_path / "net")) as log:
        log.chart()
        empty = (tmp_path / "net_chart.png").read_bytes()
        for step in range(1, 3 * logs.POINTS):
            log.row(step, loss=float("nan") if step == 5 else 100.0 / step, map=0.9 if step % 100 == 0 else None)
        log.chart("net.cfg")
    data = (tmp_path / "net_chart.png").read_bytes()
    assert data != empty and data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1000, 600)
    pixels = image.imread(str(tmp_path / "net_chart.png")).astype(int)
    blue, red = pixels[:, :, 0] - pixels[:, :, 2] > 80, pixels[:, :, 2] - pixels[:, :, 0] > 80
    assert blue.sum() > 500 and red.sum() > 500
    columns = red.any(axis=0).nonzero()[0]
    assert columns[-1] - columns[0] > 500  # the line goes from the first to the last mAP


def test_tensorboard_gets_every_number(tmp_path, monkeypatch):
    seen = []

    class Writer:
        def __init__(self, folder, purge_step):
            seen.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            seen.append((name, value, step))

        def close(self):
            seen.append("closed")

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(importlib, "import_module", lambda name: sys.modules[name])
    with Log(str(tmp_path / "net"), resume_at_step=3) as log:
        log.row(4, loss=2.0, map=None, seconds=9.0)
    assert seen == [(str(tmp_path / "net_tensorboard"), 4), ("loss", 2.0, 4), "closed"]


def test_tensorboards_own_writer(tmp_path):
    need.torch(), need.tensorboard()
    with Log(str(tmp_path / "net")) as log:
        log.row(1, loss=2.0)
    (file,) = (tmp_path / "net_tensorboard").iterdir()
    assert b"loss" in file.read_bytes()
