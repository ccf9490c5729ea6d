"""tools/engine_agreement.py on small nets: it passes what is right and finds what is wrong; its pages hold."""

import pytest

import need
import tool
from small_nets import HEAD, conv, section, shortcut

agreement = tool.load("engine_agreement")
page = tool.load("engine_agreement_page")
NET = (conv(16), conv(16, 3, "leaky"), shortcut(-2), conv(16, 3, "mish"), conv(8), HEAD)


def row(tmp_path, *sections, **options):
    path = tmp_path / "made.cfg"
    path.write_text(section("net", width=16, height=16, channels=3) + "".join(sections))
    return agreement.row_of("made", lambda folder: agreement.small(folder, str(path), "alexeyab"), **options)


def test_a_net_passes_in_both_releases(tmp_path):
    found = row(tmp_path, *NET, shown=True)
    assert (found["failures"], found["remarks"]) == ([], [])
    for release in ("8.2", "10.3"):
        assert found["fp32"][release][:2] == [6, 6] and 0 < found["fp32"][release][2] < 1e-5
        assert found["int8"][release]["steps"] == 0 and found["int8"][release]["free"] < 1e-5
        assert found["int8"][release]["share"] == 1
    assert [found["int8"][release]["tensors"] for release in ("8.2", "10.3")] == [6, 5]
    old = found["int8"]["8.2"]
    assert 0 < old["leaky apart"] < old["nothing fused"]
    assert 0 < found["fp16"]["10.3"] < 0.05
    text = page.table([found])
    assert text.startswith("- nets that lower, without a failure: 1 of 1\n- 8.2: layers equal in fp32 6 of 6;")
    assert page.line(found, []).endswith("| 6: all, 0 | 5: all, 0 |\n")
    assert page.main_table([found]).count("\n") == 3


def test_an_activation_that_is_another_is_found(tmp_path, monkeypatch):
    from darkprune.backends.tensorrt_ops import TensorrtBuilder

    plain = TensorrtBuilder.activation
    monkeypatch.setattr(TensorrtBuilder, "activation", lambda b, x, name: plain(b, x, {"mish": "relu"}.get(name, name)))
    found = row(tmp_path, *NET)
    releases = [text.split(": ")[:2] for text in found["failures"]]
    assert [release for release, _ in releases][:2] == ["8.2", "10.3"]
    assert releases[0][1].startswith("layer 3 differs by ") and releases[0][1].endswith(", 1.0e-04 allowed")
    assert "**FAILED** 8.2: layer 3 differs" in page.remarks(found)


def test_a_wrong_scale_is_found(tmp_path, monkeypatch):
    """What the engine rounds by differs from what fakequant rounds by, in one tensor."""
    from darkprune.backends.tensorrt_nodes import Nodes

    plain = Nodes.set_range

    def wider(self, x, amax):
        return plain(self, x, amax * (1.3 if x.handle.name == "L001_convolutional" else 1))

    monkeypatch.setattr(Nodes, "set_range", wider)
    failures = row(tmp_path, *NET)["failures"]
    assert len(failures) == 1 and failures[0].startswith("8.2: ") and failures[0].endswith(" steps away")


def test_what_does_not_lower_is_named_with_the_reason(tmp_path):
    found = row(tmp_path, conv(4), section("lstm", output=5))
    assert found["failures"] == [] and found["fp32"] == {}
    assert found["remarks"] == ["not lowered: [lstm] cannot be run by the numpy backend"]


def test_large_nets_are_left_out_by_name(tmp_path):
    path = tmp_path / "made.cfg"
    path.write_text(section("net", width=16, height=16, channels=3) + conv(8) + conv(1000, 3))
    job = "made", str(path), "alexeyab"
    assert agreement.left_out([[job]], 1) == ([[job]], [])
    chosen, rows = agreement.left_out([[job]], 0.01)
    assert chosen == [] and rows[0]["net"] == "made"
    assert rows[0]["remarks"] == ["not compared here: 0 million parameters"]
    assert page.line(rows[0], [page.remarks(rows[0])]) == (
        "| made | - | - | - | - | - | - | not compared here: 0 million parameters |\n"
    )


def cells(line):
    return [cell.strip() for cell in line.strip("| \n").split(" | ")]


def rows_of(text):
    return {cells(line)[0]: cells(line) for line in text.splitlines() if line.startswith("| ") and "---" not in line}


def coverage_part():
    text = (need.ROOT / "docs" / "coverage.md").read_text("utf-8")
    return text.split(page.MARK[0])[1].split(page.MARK[1])[0]


def test_the_page_holds_every_cfg_and_no_failure():
    need.shared(), need.debian_cfgs()
    assert "FAILED" not in coverage_part()
    assert {name for name, _, _ in agreement.coverage_nets.nets()} <= set(rows_of(coverage_part()))


@pytest.mark.parametrize("name", ["AlexeyAB/cifar.test"])
def test_a_row_of_the_page_is_what_is_measured_now(name):
    """Its counts; errors depend on the processor in their last digits."""
    (path, dialect), = [net[1:] for net in agreement.coverage_nets.nets() if net[0] == name]
    found = agreement.row_of(name, lambda folder: agreement.small(folder, path, dialect))
    now, then = cells(page.line(found, [page.remarks(found)])), rows_of(coverage_part())[name]
    assert now[:3] == then[:3]
    assert [cell.split(",")[0] for cell in now[3:5]] == [cell.split(",")[0] for cell in then[3:5]]
    assert [cell.split(":")[0] for cell in now[5:7]] == [cell.split(":")[0] for cell in then[5:7]]


def test_the_main_nets_are_in_the_results_all_equal():
    text = tool.load("results").read(page.PART, page.TOOL)
    rows = rows_of(text)
    assert set(agreement.MAIN) <= set(rows)
    for name in agreement.MAIN:
        for cell in rows[name][3:5]:
            equal, of = cell.split(",")[0].split("/")
            noisy = rows[name][-1].startswith("within the float noise")  # deep nets with synthetic weights
            assert equal == of and (noisy or float(cell.split(", ")[1]) <= 1e-4)
        assert all(int(cell.rsplit(", ", 1)[1]) <= 1 for cell in rows[name][5:7])
