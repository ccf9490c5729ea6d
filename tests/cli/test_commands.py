"""The commands end to end: exit status, what they write, and what they print."""

import hashlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import need
import small_nets
from darkprune.cli.files import slots_of
from darkprune.cli.main import COMMANDS, main, parser
from darkprune.version import __version__

NET = small_nets.cfg(
    small_nets.conv(8),
    small_nets.conv(8, 1),
    small_nets.conv(8),
    small_nets.shortcut(-3),
    small_nets.conv(8),
    small_nets.HEAD,
    small_nets.section("unknown_option_of_the_next", junk=1).replace("[unknown_option_of_the_next]\n", ""),
)
PRUNE = ["prune", "net.cfg", "net.weights", "-o"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with net.cfg (whose last layer has an unknown option) and net.weights."""
    monkeypatch.chdir(str(tmp_path))
    small_nets.write(tmp_path, NET)
    return tmp_path


@pytest.fixture
def pruned(folder, capsys):
    """The folder, with out.cfg, out.weights and out.plan.json as well."""
    assert main(PRUNE + ["out", "--channels", "0.3", "--blocks", "1"]) == 0
    capsys.readouterr()
    return folder


def output(argv, capsys, status=0):
    """What a command prints on stdout and stderr, with an exit status."""
    assert main(argv) == status
    return capsys.readouterr()


def only_json(argv, capsys, status=0):
    """The one JSON object that a command prints on stdout."""
    out, _ = output(argv + ["--json"], capsys, status)
    assert out.endswith("}\n") and out.count("\n") == 1
    return json.loads(out, parse_constant=pytest.fail)  # no NaN, no Infinity


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- the program


@pytest.mark.parametrize("command", [name for name, _ in COMMANDS])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    out, err = capsys.readouterr()
    assert (caught.value.code, err) == (0, "")
    assert out.startswith("usage: darkprune {} ".format(command))
    files = slots_of(parser(command)) or []
    assert all(slot.name in out for slot in files) and ("Darknet's spelling" in out) == bool(files)


@pytest.mark.parametrize(
    "argv, start",
    [(["help"], "usage: darkprune [-h] "), (["help", "prune"], "usage: darkprune prune "), (["version"], "darkprune ")],
)
def test_help_and_version_as_words(argv, start, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 0 and capsys.readouterr().out.startswith(start)


def test_help_of_the_program_names_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    out, _ = capsys.readouterr()
    assert caught.value.code == 0
    for name, purpose in COMMANDS:
        assert name in out and purpose.split()[0] in out


def test_without_a_command_the_help_is_an_error(capsys):
    out, err = output([], capsys, 2)
    assert out == "" and err.startswith("usage: darkprune ")


def run(*argv):
    env = dict(os.environ, PYTHONPATH=str(need.ROOT), PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run(
        [sys.executable] + list(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, universal_newlines=True
    )


def test_version():
    done = run("-m", "darkprune", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, "darkprune {}\n".format(__version__), "")


ABSENT = """\
import importlib, os, pkgutil, sys

class Absent:
    names = {"torch", "torchvision", "onnx", "onnxruntime", "cv2", "tensorrt", "tensorrt_rtx", "matplotlib"}
    names |= {"faster_coco_eval"}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ImportError(name + " is absent in this test")

sys.meta_path.insert(0, Absent())
try:
    import cv2
except ImportError:
    pass
else:
    sys.exit("the hook does not work")
import darkprune
# they need torch or onnx, and only who asks for it loads them
WORKSTATION = dict.fromkeys(["torch_ops", "torch_activations", "torch_module", "torch_chunks"], "torch")
ONNX = ["onnx_graph", "onnx_maps", "onnx_ops", "onnx_activations", "onnx_model", "onnx_decode", "onnx_int8"]
WORKSTATION.update(dict.fromkeys(ONNX, "onnx"))
# of these packages only the modules named here work without torch and OpenCV
TRAINING = ("darkprune.train.", "darkprune.compress.")
PORTABLE = "settings schedule random_weights partial_weights prunable logs".split()
PORTABLE = ["darkprune.train." + name for name in PORTABLE]
from darkprune.errors import MissingDependency
count = 0
for module in pkgutil.walk_packages(darkprune.__path__, "darkprune."):
    if module.name.split(".")[-1] in WORKSTATION:
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            assert str(error) == WORKSTATION[module.name.split(".")[-1]] + " is absent in this test", error
        else:
            sys.exit(module.name + " needs none of it?")
    elif module.name.startswith(TRAINING) and module.name not in PORTABLE:
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            assert str(error) in ("torch is absent in this test", "cv2 is absent in this test"), (module.name, error)
        except MissingDependency as error:
            assert "needs OpenCV" in str(error), (module.name, error)
    elif module.name not in ("darkprune.__main__", "darkprune.backends.darknet_worker"):
        importlib.import_module(module.name)
        count += 1
from darkprune.cli.files import slots_of
from darkprune.cli.main import COMMANDS, main, parser
for argv in [["--help"]] + [[name, "--help"] for name, _ in COMMANDS]:
    try:
        main(argv)
    except SystemExit as error:
        assert not error.code, error.code
print("modules", count)
"""


def test_without_the_heavy_packages_every_module_imports_and_every_help_runs():
    done = run("-c", ABSENT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    count = int(re.search(r"^modules (\d+)$", done.stdout, re.M).group(1))
    assert count >= 70 and done.stdout.count("usage: darkprune") == len(COMMANDS) + 1


def test_a_reader_that_closes_the_pipe_gets_no_traceback(folder):
    command = "{} -m darkprune inspect net.cfg | head -c 10".format(sys.executable)
    env = dict(os.environ, PYTHONPATH=str(need.ROOT), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    assert b"Traceback" not in done.stderr and b"Broken" not in done.stderr


# ---- inspect


def test_inspect(folder, capsys):
    out, err = output(["inspect", "net.cfg", "net.weights"], capsys)
    lines = out.splitlines()
    assert lines[0] == "   layer   filters  size/strd(dil)      input                output"
    assert lines[1] == "   0 conv         8       3 x 3/ 1     16 x  16 x   3 ->   16 x  16 x   8 0.000 BF"
    assert lines[-2] == "6 layers, 5 convolutional, 1,605 parameters, 6,440 bytes of weights"
    assert lines[-1] == "weights: version 0.2.5, 0 images seen, 20 bytes of header"
    size = (folder / "net.weights").stat().st_size
    assert size == 6440
    assert err.startswith("net.cfg:42: warning: [convolutional] has no option 'junk'\n")


def test_inspect_json(folder, capsys):
    found = only_json(["inspect", "net.cfg", "net.weights"], capsys)
    assert {k: found[k] for k in ("layers", "convolutional", "parameters", "weights_bytes", "layers_with_values")} == {
        "layers": 6,
        "convolutional": 5,
        "parameters": 8 * 31 + 8 * 12 + 2 * 8 * 76 + 5 * 9,
        "weights_bytes": 20 + 4 * 1605,
        "layers_with_values": 6,
    }
    assert found["header"] == {"version": "0.2.5", "seen": 0, "bytes": 20, "transposed": False}
    flops = 2.0 * 256 * (8 * 27 + 8 * 8 + 8 * 72 + 8 * 72 + 5 * 8) + 256 * 8
    assert found["bflops"] == round(flops / 1e9, 3)
    assert [layer["type"] for layer in found["layer_list"]] == ["convolutional"] * 3 + ["shortcut"] + [
        "convolutional"
    ] * 2
    assert found["layer_list"][3]["inputs"] == [2, 0] and found["layer_list"][5]["output"] == [16, 16, 5]
    assert found["layer_list"][5]["arrays"] == [["biases", [5]], ["weights", [5, 8, 1, 1]]]
    assert sum(layer["parameters"] for layer in found["layer_list"]) == found["parameters"]
    assert any("junk" in text for text in found["warnings"])


def test_inspect_of_a_cfg_alone(folder, capsys):
    assert only_json(["inspect", "net.cfg"], capsys)["header"] is None


def test_inspect_of_partial_weights(folder, capsys):
    data = (folder / "net.weights").read_bytes()
    (folder / "net.conv.1").write_bytes(data[: 20 + 4 * (4 * 8 + 8 * 27)])
    found = only_json(["inspect", "net.cfg", "net.conv.1", "--partial"], capsys)
    assert (found["layers"], found["layers_with_values"], found["weights_bytes"]) == (6, 1, 1012)


# ---- prune


def test_prune_writes_three_files_and_json(folder, capsys):
    found = only_json(PRUNE + ["out", "--channels", "0.3", "--blocks", "1"], capsys)
    assert names(folder) == ["net.cfg", "net.weights", "out.cfg", "out.plan.json", "out.weights"]
    plan = json.loads((folder / "out.plan.json").read_text())
    assert found["plan"] == plan
    assert found["removed_blocks"] == len(plan["removed_blocks"]) == 1
    assert found["removed_channels"] == sum(len(v) for v in plan["removed_channels"].values()) > 0
    assert found["constants"] == sum(len(v) for v in plan["constants"].values())
    assert any("junk" in text for text in found["warnings"])
    for side, name in (("before", "net"), ("after", "out")):
        totals = found[side]
        inspected = only_json(["inspect", name + ".cfg", name + ".weights"], capsys)
        for key in ("layers", "parameters", "weights_bytes", "bflops"):
            assert totals[key] == inspected[key]
        assert totals["weights_bytes"] == (folder / (name + ".weights")).stat().st_size
        assert totals["channels"] == sum(la["output"][2] for la in inspected["layer_list"] if la["type"][:4] == "conv")
    assert found["after"]["channels"] < found["before"]["channels"]


def test_prune_prints_the_table_and_the_histogram(folder, capsys):
    out, err = output(PRUNE + ["out", "--channels", "0.3"], capsys)
    assert out.startswith("|gamma| of 32 filters, 50.0% near zero (trained for sparsity)\n")
    assert re.search(r"^parameters +1,605 +[\d,]+ +\d+\.\d%$", out, re.M)
    assert out.endswith("wrote out.cfg out.weights out.plan.json\n")
    assert "junk" in err


def test_the_pruned_cfg_names_its_plan_and_keeps_the_text(pruned):
    text = (pruned / "out.cfg").read_text()
    digest = hashlib.sha256((pruned / "out.plan.json").read_bytes()).hexdigest()
    assert text.startswith("# pruned by darkprune; plan sha256:{}\n[net]\nwidth=16\n".format(digest))
    assert "junk=1" in text and str(pruned) not in text


def test_a_plan_gives_the_same_bytes_again(pruned, capsys):
    output(PRUNE + ["again", "--plan", "out.plan.json"], capsys)
    for suffix in (".cfg", ".weights", ".plan.json"):
        assert (pruned / ("again" + suffix)).read_bytes() == (pruned / ("out" + suffix)).read_bytes()


def test_a_second_run_gives_the_same_bytes_again(pruned, capsys):
    output(PRUNE + ["again", "--channels", "0.3", "--blocks", "1"], capsys)
    for suffix in (".cfg", ".weights", ".plan.json"):
        assert (pruned / ("again" + suffix)).read_bytes() == (pruned / ("out" + suffix)).read_bytes()


def test_a_dry_run_writes_only_the_plan(pruned, capsys):
    before = names(pruned)
    out, _ = output(PRUNE + ["dry", "--channels", "0.3", "--blocks", "1", "--dry-run"], capsys)
    assert out.endswith("wrote dry.plan.json\n")
    assert names(pruned) == sorted(before + ["dry.plan.json"])
    assert (pruned / "dry.plan.json").read_bytes() == (pruned / "out.plan.json").read_bytes()


def test_overwrite(pruned, capsys):
    output(PRUNE + ["out", "--channels", "0.1", "--overwrite"], capsys)
    plan = json.loads((pruned / "out.plan.json").read_text())
    assert plan["options"]["channels"] == 0.1 and plan["removed_blocks"] == []
    assert only_json(["inspect", "out.cfg", "out.weights"], capsys)["layers"] == 6


# ---- verify


def test_verify(pruned, capsys):
    argv = ["verify", "net.cfg", "net.weights", "out.cfg", "out.weights", "--plan", "out.plan.json"]
    found = only_json(argv, capsys)
    assert found["ok"] is True and len(found["checks"]) == 3  # a block of three layers went
    for check in found["checks"]:
        assert sorted(check) == ["layer", "max_error", "name", "ok", "runner", "tolerance"]
        assert check["ok"] and check["max_error"] <= check["tolerance"] < 1e-2
        assert (check["name"], check["runner"]) == ("surgery", "numpy")
    assert [check["layer"] for check in found["checks"]] == [0, 1, 2]
    out, _ = output(argv, capsys)
    assert out.startswith("ok   surgery in numpy: 3 of 3 layers, ") and out.endswith("\nall checks passed\n")


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_verify_finds_one_changed_weight(layer, pruned, capsys):
    arrays = only_json(["inspect", "out.cfg", "out.weights"], capsys)["layer_list"]
    start = sum(la["parameters"] for la in arrays[:layer]) + arrays[layer]["parameters"] - 1
    data = (pruned / "out.weights").read_bytes()
    values = np.frombuffer(data[20:], "<f4").copy()
    values[start] += 0.5 * np.abs(values).max()
    (pruned / "out.weights").write_bytes(data[:20] + values.tobytes())
    argv = ["verify", "net.cfg", "net.weights", "out.cfg", "out.weights", "--plan", "out.plan.json"]
    found = only_json(argv, capsys, 1)
    assert found["ok"] is False
    assert [check["layer"] for check in found["checks"] if not check["ok"]][0] == layer
    out, _ = output(argv, capsys, 1)
    assert "first diverging layer: {}\n".format(layer) in out and out.endswith("a check failed\n")


@pytest.mark.parametrize("pair", ["net", "out"])
def test_verify_in_opencv(pair, pruned, capsys):
    need.opencv()
    argv = ["verify", pair + ".cfg", pair + ".weights", "--runners", "numpy,opencv"]
    checks = only_json(argv, capsys)["checks"]
    assert [(check["name"], check["runner"], check["ok"]) for check in checks] == [("reader", "opencv", True)]


def test_verify_of_a_plan_in_opencv(pruned, capsys):
    need.opencv()
    argv = ["verify", "net.cfg", "net.weights", "out.cfg", "out.weights", "--plan", "out.plan.json"]
    checks = only_json(argv + ["--runners", "numpy,opencv"], capsys)["checks"]
    assert [(check["name"], check["runner"]) for check in checks[3:]] == [("masked", "opencv"), ("reader", "opencv")]
    assert [check["runner"] for check in checks[:3]] == ["numpy"] * 3


def test_a_reader_that_refuses_the_pair_is_a_failed_check(folder, capsys):
    need.opencv()
    text = NET.replace("activation=leaky", "activation=elu", 1)
    small_nets.write(folder, text, "elu")
    found = only_json(["verify", "elu.cfg", "elu.weights", "--runners", "numpy,opencv"], capsys, 1)
    assert found["ok"] is False and found["checks"][0]["max_error"] is None
    assert found["checks"][0]["name"].startswith("load (")
    out, _ = output(["verify", "elu.cfg", "elu.weights", "--runners", "numpy,opencv"], capsys, 1)
    assert out.startswith("FAIL load (OpenCV") and out.endswith(") in opencv\na check failed\n") and "-1" not in out


def test_verify_with_an_image(folder, capsys):
    cv2 = need.opencv()
    pixels = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)
    assert cv2.imwrite("picture.png", pixels)
    argv = ["verify", "net.cfg", "net.weights", "--runners", "numpy,opencv", "--image", "picture.png"]
    assert only_json(argv, capsys)["ok"] is True


@pytest.mark.parametrize("content, cause", [(None, ": No such file"), (b"", ": the file is empty\n"), (b"a", "\n")])
def test_an_image_that_cannot_be_read(folder, capfd, content, cause):
    need.opencv()
    if content is not None:
        with open("picture.png", "wb") as stream:
            stream.write(content)
    argv = ["verify", "net.cfg", "net.weights", "--runners", "numpy,opencv", "--image", "picture.png"]
    assert main(argv) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("picture.png: error: cannot read the image" + cause)


# ---- prune --explain


def test_explain_accounts_for_every_filter(folder, capsys):
    fields = only_json(PRUNE + ["out", "--channels", "0.3", "--blocks", "1", "--explain"], capsys)
    layers, blocks = fields["explain"]["layers"], fields["explain"]["blocks"]
    assert blocks == [{"shortcut": 3, "score": blocks[0]["score"], "removed": True, "reason": ""}]
    assert [row["layer"] for row in layers] == [0, 4, 5]
    for row in layers:
        assert row["filters"] == row["removed"] + row["constants"] + sum(row["kept"].values())
        number = str(row["layer"])
        assert row["removed"] == len(fields["plan"]["removed_channels"].get(number, []))
        assert row["constants"] == len(fields["plan"]["constants"].get(number, []))
    assert layers[-1]["kept"] == {"output of the net, layer 5": 5}


def test_explain_as_text(folder, capsys):
    out, _ = output(PRUNE + ["out", "--channels", "0.3", "--explain"], capsys)
    lines = out.split("\n")
    assert lines[0].split() == "layer type tied with filters go constants stay why they stay".split()
    assert re.match(r" +2  convolutional +0 +8 .* its score", lines[3])
    assert "5 output of the net, layer 5" in out and "wrote out.cfg" in out
    out, _ = output(PRUNE + ["out", "--blocks", "1", "--explain", "--overwrite"], capsys)
    assert re.match(r"block +mean \|gamma\| +why it stays\n3 +0\.\d+ +goes\n", out)


def test_a_plan_is_not_explained(pruned, capsys):
    _, err = output(PRUNE + ["new", "--plan", "out.plan.json", "--explain"], capsys, 2)
    assert "a plan holds its reasons itself" in err and "leave out --explain" in err
