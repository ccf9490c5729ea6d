"""The folder in which bad input is made."""

import pytest

pytest.register_assert_rewrite("bad_input")
import bad_input  # noqa: E402


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with good.cfg and good.weights."""
    monkeypatch.chdir(str(tmp_path))
    bad_input.write_good(tmp_path)
    return tmp_path
