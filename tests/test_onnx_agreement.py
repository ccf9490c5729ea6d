"""tools/onnx_agreement.py on the smallest of its nets, and that a graph that computes something else is found."""

import pytest

import need
import tool
from small_nets import HEAD, conv, section

agreement = tool.load("onnx_agreement")


@pytest.fixture
def readers():
    need.onnx(), need.onnxruntime(), need.opencv(), need.opencv5()


def job(tmp_path, *sections, **size):
    path = tmp_path / "made.cfg"
    path.write_text(section("net", **dict({"width": 16, "height": 16, "channels": 3}, **size)) + "".join(sections))
    return "made", str(path), "alexeyab"


def test_a_net_passes_in_all_three(tmp_path, readers):
    row = agreement.row_of(*job(tmp_path, conv(8), conv(4, 3, "mish"), HEAD))
    assert (row["failures"], row["remarks"]) == ([], [])
    assert row["counts"] == {"ONNX Runtime": (3, 3), "OpenCV 4": (1, 1), "OpenCV 5": (1, 1)}
    assert all(0 < error < 1e-5 for error in row["errors"].values())
    line = agreement.line(row)
    assert line.startswith("| made | 12 x 8 | 3 | 3/3, ") and line.endswith(" |  |\n")
    text = agreement.table([row])
    assert text.startswith("- nets that lower, without a failure: 1 of 1\n- layers equal in ONNX Runtime: 3 of 3\n")


def test_a_graph_that_computes_something_else_fails_in_all_three(tmp_path, readers, monkeypatch):
    from darkprune.backends import onnx_activations

    monkeypatch.setitem(onnx_activations.FUNCTIONS, "mish", lambda f, x: f.Relu(x))
    row = agreement.row_of(*job(tmp_path, conv(8), conv(4, 3, "mish"), HEAD))
    assert [text.split(" differs by ")[0] for text in row["failures"]] == ["ONNX Runtime", "OpenCV 4", "OpenCV 5"]
    assert " at layer 1, 1.0e-04 allowed" in row["failures"][0] and " 1.0e-03 allowed" in row["failures"][1]
    assert "**FAILED** " in agreement.line(row)


def test_what_does_not_lower_is_named_with_the_reason(tmp_path, readers):
    row = agreement.row_of(*job(tmp_path, conv(4), section("lstm", output=5)))
    assert row["failures"] == [] and row["remarks"] == ["not lowered: [lstm] cannot be run by the onnx backend"]
    rows = agreement.table([row])
    assert rows.startswith("- nets that lower, without a failure: 0 of 0\n")


def test_nets_that_compute_the_same_are_compared_once(tmp_path):
    first, other = tmp_path / "a", tmp_path / "b"
    for folder in (first, other):
        folder.mkdir()
    same = job(first, conv(8), HEAD), ("twin",) + job(other, "# a comment\n", conv(8), HEAD, subdivisions=4)[1:]
    larger = ("larger", job(tmp_path, conv(16), HEAD)[1], "alexeyab")
    assert agreement.twins([larger] + list(same)) == [list(same), [larger]]


def test_the_page_holds_every_cfg(tmp_path):
    need.shared(), need.debian_cfgs()
    page = (need.ROOT / "docs" / "coverage.md").read_text("utf-8")
    part = page.split(agreement.MARK[0])[1].split(agreement.MARK[1])[0]
    assert "FAILED" not in part
    names = {line.split(" | ")[0][2:] for line in part.splitlines() if line.startswith("| ") and "---" not in line}
    assert {name for name, _, _ in agreement.coverage_nets.nets()} <= names
