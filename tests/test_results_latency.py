"""The measured latencies: the page is what the rows say, and every row is of a command that exists."""

import shlex
import sys

import pytest

import need
import tool
from darkprune.cli.main import parser

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


def test_the_page_is_made_of_the_rows_and_the_rows_of_commands(monkeypatch):
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    latency, results = tool.load("results_latency"), tool.load("results")
    assert results.read("latency", "results_latency.py") == latency.page()
    rows = latency.read(latency.ROWS)
    assert [row["asked"] for row in rows] == list(latency.GOALS)
    for row in rows:
        said = shlex.split(row["command"])
        assert parser(said[1]).parse_args(said[2:]).target_latency == row["asked"]
        assert 0 < float(row["ms"]) < float(row["original_ms"])
