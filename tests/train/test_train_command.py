"""The command `train`: what it writes, that it repeats, and that nothing is lost when it is ended."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import need

need.opencv()
need.torch()

import drawn_set  # noqa: E402
from darkprune.cli.main import main  # noqa: E402
from small_nets import cfg, conv, section, shortcut  # noqa: E402

YOLO = dict(classes=2, num=2, mask="0,1", anchors="8,8,14,14", jitter=0.1, iou_loss="ciou", ignore_thresh=0.7)
TRAINING = dict(batch=4, subdivisions=2, max_batches=12, learning_rate=0.01, burn_in=2, mosaic=1, ema_alpha=0.9)


@pytest.fixture
def job(tmp_path):
    """(words of the command without -o, the folder to write into)"""
    parts = [conv(4, stride=2), conv(8, stride=2), conv(4, size=1), conv(8), shortcut(-3), conv(14, size=1, bn=None)]
    text = cfg(*parts, section("yolo", **YOLO), width=32, height=32)
    keys = "".join("{}={}\n".format(key, value) for key, value in TRAINING.items())
    path = tmp_path / "small.cfg"
    path.write_text(text.replace("[net]\n", "[net]\n" + keys))
    data = drawn_set.write(tmp_path)
    return ["train", str(path), "--data", data, "--workers", "0", "--every", "2"], tmp_path / "out"


def train(job, *more, out=None):
    words, folder = job
    return main(words + ["-o", str(out or folder)] + list(more))


def table(folder):
    """The log without the times."""
    with open(str(folder / "small_log.csv")) as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


def test_it_writes_what_darknet_would_and_learns(job, capsys):
    assert train(job, "--epochs", "30", "--every", "10") == 0
    said, folder = capsys.readouterr().out, job[1]
    assert said.startswith("random weights, seed 0\n1/60 rate 0.000625 loss ")
    names = {path.name for path in folder.iterdir() if path.is_file()}
    wanted = {"small.cfg", "small_best.weights", "small_final.weights", "small_last.weights", "small_last.npz"}
    assert wanted | {"small_log.csv"} <= names
    rows = table(folder)
    assert float(rows[-1]["loss"]) < 0.6 * float(rows[0]["loss"])
    assert float(rows[-1]["map"]) > 0.1 and int(rows[-1]["images"]) == 240
    assert main(["eval", str(folder / "small.cfg"), str(folder / "small_final.weights"), "--data", job[0][3]]) == 0


def test_a_seed_repeats_and_another_differs(job, tmp_path):
    found = {}
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = tmp_path / name
        assert train(job, "--seed", seed, "--json", out=out) == 0
        found[name] = (out / "small_final.weights").read_bytes()
    assert found["a"] == found["b"] != found["c"]


def test_json_is_one_object(job, capsys):
    assert train(job, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == 12 and 0 <= report["map"] <= 1 and report["stopped"] is None


def test_darknets_own_words(job, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backup").mkdir()
    words, data = job[0], job[0][3]
    line = ["detector", "train", data, words[1], "-map", "-dont_show", "--workers", "0", "--max-batches", "2"]
    assert main(line) == 0 and (tmp_path / "backup" / "small_final.weights").exists()
    final = tmp_path / "backup" / "small_final.weights"
    assert main(line[:4] + [str(final)] + line[4:]) == 2
    assert "error: this file is read, and would be written over" in capsys.readouterr().err
    final.rename(tmp_path / "first.weights")
    assert main(line[:4] + [str(tmp_path / "first.weights")] + line[4:]) == 0
    said = capsys.readouterr()
    assert " taken\n" in said.out and "--overwrite --ignore-problems --partial" in said.err


def started(job, *more):
    """The command in a process of its own."""
    words, folder = job
    command = [sys.executable, "-m", "darkprune"] + words + ["-o", str(folder)] + list(more)
    environment = dict(os.environ, PYTHONPATH=str(need.ROOT))
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(condition, process):
    end = time.time() + 60
    while not condition() and process.poll() is None and time.time() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("sparsity", [(), ("--sparsity", "0.05", "--adam", "1")])
def test_a_killed_training_resumes_to_the_same_bytes(job, tmp_path, sparsity):
    more = ("--epochs", "16", "--every", "4", "--save-every", "7") + sparsity
    assert train(job, *more, out=tmp_path / "whole") == 0
    process = started(job, *more)
    checkpoint = job[1] / "small_last.npz"
    wait_for(checkpoint.exists, process)
    first = checkpoint.read_bytes()
    wait_for(lambda: checkpoint.read_bytes() != first, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (job[1] / "small_final.weights").exists()
    assert train(job, "--resume", *more) == 0
    for name in ("small_final.weights", "small_best.weights", "small_last.weights"):
        assert (job[1] / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert table(job[1]) == table(tmp_path / "whole")


def test_ctrl_c_keeps_what_was_learnt(job, tmp_path):
    more = ("--epochs", "30", "--every", "30", "--save-every", "1000")
    assert train(job, *more, out=tmp_path / "whole") == 0
    process = started(job, *more)
    log = job[1] / "small_log.csv"
    wait_for(lambda: log.exists() and log.read_text().count("\n") >= 3, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    text = said.decode().strip().split("\n")[-1]
    assert process.returncode == 130 and text.startswith("interrupted after step "), said
    assert train(job, "--resume", *more) == 0
    name = "small_final.weights"
    assert (job[1] / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def failed(capsys, status):
    assert status == 2
    return capsys.readouterr().err


def test_a_loss_that_is_no_number_keeps_a_checkpoint_from_before(job, capsys):
    bad = ("--policy", "steps", "--set", "steps=5", "--set", "scales=1e30", "--save-every", "1", "--ema-alpha", "0")
    said = failed(capsys, train(job, *bad))
    assert "error: the loss is " in said and " in step 6, with the images " in said and ".png" in said
    assert "hint: train with a smaller learning_rate, or a longer burn_in" in said
    with np.load(str(job[1] / "small_last.npz")) as kept:
        assert b'"step": 4' in kept["about"].tobytes()
        assert all(np.abs(kept[name]).max() < 100 for name in kept.files if name.startswith("net/"))
    assert np.abs(drawn_set.arrays(job[1] / "small.cfg", job[1] / "small_last.weights")).max() < 100


def test_a_full_disk_keeps_the_last_checkpoint(job, capsys, monkeypatch):
    assert train(job, "--max-batches", "4") == 0
    before = {path.name: path.read_bytes() for path in job[1].iterdir() if "last" in path.name or "final" in path.name}
    capsys.readouterr()

    real = os.fsync

    def full(number):
        if "small_last" in os.readlink("/proc/self/fd/{}".format(number)):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", full)
    said = failed(capsys, train(job, "--max-batches", "8", "--save-every", "3", "--overwrite"))
    assert "small_last.weights: error: cannot write: No space left on device\nhint: free some space" in said
    assert {name: (job[1] / name).read_bytes() for name in before} == before


def test_a_checkpoint_of_another_training_is_refused(job, capsys):
    assert train(job, "--max-batches", "4") == 0
    capsys.readouterr()
    said = failed(capsys, train(job, "--max-batches", "4", "--seed", "5", "--resume"))
    assert "small_last.npz: error: the checkpoint is of another training: " in said
    assert "hint: give what was given then, or train without --resume" in said
    said = failed(capsys, train(job, "--max-batches", "4", "--resume", "--learning-rate", "0.5"))
    assert "settings" in said


def test_damaged_and_missing_checkpoints(job, capsys):
    said = failed(capsys, train(job, "--resume"))
    assert "small_last.npz: error: there is no checkpoint to go on from\nhint: train without --resume" in said
    job[1].mkdir(exist_ok=True)
    (job[1] / "small_last.npz").write_bytes(b"PK\x03\x04 no archive")
    assert "this is no checkpoint of darkprune, or a damaged one" in failed(capsys, train(job, "--resume"))
    np.savez(str(job[1] / "small_last.npz"), about=np.array([{"step": 1}], dtype=object))
    assert "this is no checkpoint of darkprune, or a damaged one" in failed(capsys, train(job, "--resume"))


def test_an_earlier_training_is_not_overwritten_unasked(job, capsys):
    assert train(job, "--max-batches", "2") == 0
    before = (job[1] / "small_final.weights").read_bytes()
    said = failed(capsys, train(job, "--max-batches", "2", "--seed", "3"))
    assert "error: an earlier training stands there\nhint: go on from it by --resume, replace it by" in said
    assert (job[1] / "small_final.weights").read_bytes() == before


def test_another_cfg_of_that_name_is_not_overwritten_unasked(job, capsys):
    job[1].mkdir()
    (job[1] / "small.cfg").write_text("precious")
    assert "small.cfg: error: an earlier training stands there" in failed(capsys, train(job))
    assert (job[1] / "small.cfg").read_text() == "precious"


def test_any_setting_can_be_overridden(job, tmp_path):
    more = ("--max-batches", "2", "--set", "mosaic=0", "--set", "jitter=0", "--set", "flip=0", "--set", "power=1")
    assert train(job, *more) == 0
    with np.load(str(job[1] / "small_last.npz")) as kept:
        about = json.loads(kept["about"].tobytes().decode("ascii"))
    assert "power=1.0" in about["settings"] and "jitter=0.0, resize" in about["augmentation"]
    assert "mosaic=0.0" in about["augmentation"] and "flip=0.0" in about["augmentation"]


def test_keys_that_vary_no_image_are_named(job, capsys):
    with open(job[0][1]) as stream:
        text = stream.read()
    with open(job[0][1], "w") as stream:
        stream.write(text.replace("mosaic=1", "mixup=1"))
    assert train(job, "--max-batches", "1") == 0
    assert "warning: mixup=1 has no effect: it is not built in" in capsys.readouterr().err


def test_classes_that_do_not_match(job, capsys):
    path = job[0][3]
    with open(path) as stream:
        text = stream.read()
    with open(path, "w") as stream:
        stream.write(text.replace("classes = 2", "classes = 3"))
    said = failed(capsys, train(job))
    assert "error: " in said and "classes" in said and not (job[1] / "small.cfg").exists()


@pytest.mark.parametrize(
    "words, text",
    [
        (["--reinit"], "--partial and --reinit need WEIGHTS"),
        (["--hints", "1"], "--hints does nothing without --teacher"),
        (["--sparsity-method", "proximal"], "--sparsity-method does nothing without --sparsity"),
        (["--random", "nan"], "random nan is no factor of the input's size"),
        (["--set", "speed=3"], "speed"),
        (["--set", "batch=1.5"], "batch=1.5 is no whole number"),
        (["--seed", "-1"], "no seed is -1"),
        (["--resume", "--overwrite"], "--resume goes on, --overwrite starts anew"),
        (["--every", "-1"], "--every -1 is too few"),
        (["--sparsity", "0.1", "--sparsity-schedule", "sometimes"], "is no schedule of the strength"),
        (["--sparsity", "-1"], "strength"),
        (["--device", "cuda:77"], "cuda:77"),
        (["--workers", "-1"], "workers"),
        (["--band", "0"], "--band"),
    ],
)
def test_options_that_make_no_sense(job, capsys, words, text):
    assert text in failed(capsys, train(job, *words))


def test_training_ends_where_accuracy_leaves_the_band(job, tmp_path, capsys):
    assert train(job, "--epochs", "20", "--every", "20") == 0
    weights = str(job[1] / "small_final.weights")
    capsys.readouterr()
    words, _ = job
    more = ["-o", str(tmp_path / "worse"), "--sparsity", "20", "--band", "0.02", "--epochs", "20"]
    assert main(words[:2] + [weights] + words[2:] + more) == 0
    said = capsys.readouterr().out
    assert "stopped after step " in said and "by more than 0.02" in said
    assert (tmp_path / "worse" / "small_final.weights").exists()


def test_sparsity_reaches_exact_zeros_in_the_written_pair(job):
    assert train(job, "--epochs", "20", "--every", "20", "--sparsity", "6") == 0
    rows = table(job[1])
    assert float(rows[-1]["zero_sets"]) > 0.2
    net = drawn_set.load(str(job[1] / "small.cfg"), str(job[1] / "small_final.weights"))
    gammas = np.concatenate([layer.array("scales") for layer in net.layers if layer.has("scales")])
    assert np.mean(gammas == 0) == pytest.approx(float(rows[-1]["zero_gammas"]), abs=1e-4)


def test_a_classifier_learns(tmp_path, capsys):
    parts = [conv(8, stride=2), conv(8, stride=2), conv(2, size=1, bn=None, activation="linear")]
    text = cfg(*parts, section("avgpool"), section("softmax"), width=16, height=16)
    (tmp_path / "two.cfg").write_text(text.replace("[net]\n", "[net]\nbatch=8\nlearning_rate=0.05\n"))
    import cv2

    names = []
    for number in range(16):
        label = number % 2
        pixels = np.full((20, 20, 3), drawn_set.CLASSES[label], np.uint8)
        pixels[::2] = number
        names.append(str(tmp_path / "{}_{}.png".format(number, ("red", "blue")[label])))
        assert cv2.imwrite(names[-1], pixels[:, :, ::-1])
    (tmp_path / "list.txt").write_text("\n".join(names))
    (tmp_path / "labels.txt").write_text("red\nblue\n")
    lines = ("classes=2", "train={0}/list.txt", "valid={0}/list.txt", "labels={0}/labels.txt", "names={0}/labels.txt")
    (tmp_path / "two.data").write_text("\n".join(lines).format(tmp_path))
    words = ["train", str(tmp_path / "two.cfg"), "--data", str(tmp_path / "two.data"), "-o", str(tmp_path / "out")]
    assert main(words + ["--epochs", "40", "--workers", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] >= 0.9
