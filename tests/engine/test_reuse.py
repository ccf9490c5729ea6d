"""An engine beside its pair: built once, built again when something that it depends on is another, never over a file
of somebody else."""

import os
import shutil

import pytest

from darkprune.engine import report as reports
from darkprune.engine.build import Request
from darkprune.engine.reuse import prepare, why_not
from darkprune.errors import OutputError
from darkprune.graph.build import load
from int8_nets import measured
from small_nets import HEAD, cfg, conv, write
from stand_ins.loading import stand_in

NET = cfg(conv(8), conv(8), HEAD)
ENGINE = "net.engine"
PAIR = ("net.cfg", "net.weights")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, NET, dead=0.0)
    return tmp_path


def reason(precision="fp16", ranges=None):
    return why_not(ENGINE, load(*PAIR), Request(precision), ranges)


def test_built_once(folder):
    said = []
    with stand_in("tensorrt82"):
        prepare(ENGINE, PAIR[0], PAIR[1], Request("fp16"), say=said.append)
        assert said == ["building net.engine, since there is none yet; that may take minutes"]
        before = os.stat(ENGINE).st_mtime, (folder / ENGINE).read_bytes()
        prepare(ENGINE, PAIR[0], PAIR[1], Request("fp16"), say=said.append)
        assert len(said) == 1 and (os.stat(ENGINE).st_mtime, (folder / ENGINE).read_bytes()) == before
        report = reports.read(ENGINE)
        assert sorted(report.fields["inputs"]) == ["cfg", "weights"]


def test_built_again_for_another_pair(folder):
    with stand_in("tensorrt82"):
        prepare(ENGINE, PAIR[0], PAIR[1], Request("fp16"))
        write(folder, NET, dead=0.0, seed=8)
        assert reason().startswith("the engine is that of another pair (")
        said = []
        prepare(ENGINE, PAIR[0], PAIR[1], Request("fp16"), say=said.append)
        assert len(said) == 1 and reason() is None


def test_what_an_engine_depends_on(folder):
    with stand_in("tensorrt82", "tx2"):
        assert reason() == "there is none yet"
        prepare(ENGINE, PAIR[0], PAIR[1], Request("fp16"))
        assert reason() is None
        assert reason("fp32") == "its precision changed"
        assert why_not(ENGINE, load(*PAIR), Request("fp16", batch=(2, 2))) == "its batch changed"
        report = (folder / (ENGINE + ".json")).read_text()
        (folder / (ENGINE + ".json")).write_text(report.replace('"memory": 8192', '"memory": 7850'))
        assert '"memory": 7850' in (folder / (ENGINE + ".json")).read_text() and reason() is None
    with stand_in("tensorrt82", "xavier"):
        assert reason() == "the GPU changed"
    with stand_in("tensorrt10"):
        assert reason() == "TensorRT changed"
    with stand_in("tensorrt82", "tx2"):
        with open(ENGINE, "ab") as stream:
            stream.write(b"x")
        assert reason() == "this report is about another engine than the one beside it"
        os.remove(ENGINE + ".json")
        assert reason() == "it has no report"


def test_ranges_and_the_warning_of_a_tx2(folder):
    ranges = measured(load(*PAIR), keep_float=[])
    (folder / "a.json").write_bytes(ranges.to_bytes())
    said = []
    with stand_in("tensorrt82", "tx2"):
        prepare(ENGINE, PAIR[0], PAIR[1], Request("int8"), "a.json", said.append)
        assert said[0].startswith("warning: NVIDIA Tegra X2 (compute capability 6.2) has no INT8 units")
        assert said[-1] == "building net.engine, since there is none yet; that may take minutes"
        shutil.copy("a.json", "b.json")
        assert reason("int8", "a.json") is None and reason("int8", "b.json") is None
        with open("b.json", "a") as stream:
            stream.write("\n")
        assert reason("int8", "b.json") == "its ranges changed"


def test_a_file_of_somebody_else_stays(folder):
    (folder / ENGINE).write_bytes(b"an engine of another program")
    with stand_in("tensorrt82"):
        with pytest.raises(OutputError) as caught:
            prepare(ENGINE, PAIR[0], PAIR[1], Request("fp16"))
    text = "net.engine: error: a file of this name has no report of an engine\nhint: move it away"
    assert str(caught.value) == text and (folder / ENGINE).read_bytes() == b"an engine of another program"
