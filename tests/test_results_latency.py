"""The measured latencies: the page is what the rows say, and every row is of a command that exists."""

import shlex
import sys

import pytest

import need
import tool
from darkprune.cli.main import parser
from darkprune.prune.candidate_times import TOLERANCE

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
        assert latency.measured(row) == pytest.approx(latency.asked(row), rel=TOLERANCE)


def test_the_readme_tells_the_measured_shares(monkeypatch):
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    latency = tool.load("results_latency")
    told = " ".join((need.ROOT / "README.md").read_text().split())
    shares = ["{:.0f}".format(100 * latency.measured(row)) for row in latency.read(latency.ROWS)]
    assert "came out at {} and {} %, measured afresh".format(", ".join(shares[:-1]), shares[-1]) in told
