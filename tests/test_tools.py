"""Every program in tools/ can be imported: what it takes from the package is still there."""

import sys

import pytest

import need
import tool

PROGRAMS = sorted(path.stem for path in (need.ROOT / "tools").glob("*.py"))


@pytest.mark.skipif(sys.version_info < (3, 8), reason="the programs are for a workstation")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_imports(name, monkeypatch):
    need.opencv()
    need.torch()
    monkeypatch.syspath_prepend(str(need.ROOT / "tools"))
    assert tool.load(name).__doc__
