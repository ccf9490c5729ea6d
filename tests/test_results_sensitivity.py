"""The measured sensitivity of Yolo-Fastest: the page is what the rows say."""

import sys

import pytest

import need
import tool
from darkprune.prune.sensitivity_csv import Row, Table

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")


@pytest.fixture
def tools(monkeypatch):
    """(results_sensitivity, results)"""
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    return [tool.load(name) for name in ("results_sensitivity", "results")]


def test_the_page_is_made_of_the_rows(tools):
    page, results = tools
    assert results.read("sensitivity", "results_sensitivity.py") == page.page()


def test_widths_and_blocks_by_what_they_lose(tools, monkeypatch, tmp_path):
    page, _ = tools
    row = Row("k", "gamma", "map", "", "width", (0,), 0.5, 1, 1, 0.2, 0.1)
    rows = [row._replace(kind="baseline", layers=(), share=0.0, value=0.5)]
    rows += [row._replace(share=share, value=0.5 - share / 2) for share in page.ALL]
    rows += [row._replace(share=share, value=0.5 - share / 4, layers=(3,)) for share in page.ALL]
    rows += [row._replace(kind="block", layers=(4, 5), share=1.0)]
    monkeypatch.setattr(page, "read", lambda path: Table(rows))
    monkeypatch.setattr(page, "ROWS", str(tmp_path))
    lines = page.page().splitlines()
    assert lines[0] == "mAP of the whole net: 50.00. Points of mAP that are lost:"
    assert lines[4].endswith("| 5.00 | 15.00 | 25.00 | 35.00 | 45.00 | 25.00 |")
    assert lines[5].endswith("| 2.50 | 7.50 | 12.50 | 17.50 | 22.50 | 12.50 |")
    assert len(lines) == 10 and lines[-1].endswith("| 40.00 |")
    del rows[12]
    with pytest.raises(SystemExit):
        page.page()
