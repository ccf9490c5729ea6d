"""`darkprune prune` with criteria: their images, their words, their errors."""

import json

import numpy as np
import pytest

import need
import small_nets
from darkprune.cli.main import main
from darkprune.prune.criteria import CRITERIA
from small_nets import HEAD, cfg, conv, shortcut

TEXT = cfg(conv(8), conv(8, 1), shortcut(-2), conv(6), HEAD)


@pytest.fixture
def pair(tmp_path):
    return small_nets.write(tmp_path, TEXT, dead=0.25)


@pytest.fixture
def images(tmp_path):
    cv2 = need.opencv()
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.RandomState(number).randint(0, 256, (16, 16, 3)).astype(np.uint8)
        assert cv2.imwrite(str(folder / "{}.png".format(number)), pixels)
    return str(folder)


def told(capsys, pair, *words):
    """(status, stdout, stderr) of the command."""
    out = pair[0].replace("net.cfg", "out")
    status = main(["prune"] + pair + ["-o", out, "--channels", "0.4", "--force"] + list(words))
    return (status,) + tuple(capsys.readouterr())


def test_maps_from_a_folder(pair, images, capsys):
    words = ["--criterion", "apoz,l1", "--combine", "union", "--images", images, "--runner", "numpy", "--count", "2"]
    status, out, err = told(capsys, pair, "--steps", "2", "--json", *words)
    assert status == 0, err
    options = json.loads(out)["plan"]["options"]
    expected = {"score": "apoz,l1", "combine": "union", "images": 2, "steps": 2}
    assert {key: options[key] for key in expected} == expected
    new = pair[0].replace("net.cfg", "out")
    argv = ["verify"] + pair + [new + ".cfg", new + ".weights", "--plan", new + ".plan.json"]
    assert main(argv) == 0


def test_blocks_by_damage(pair, images, capsys):
    words = ["--blocks", "1", "--block-rank", "damage", "--images", images, "--runner", "numpy", "--explain"]
    status, out, err = told(capsys, pair, *words)
    assert status == 0, err
    assert out.splitlines()[0].split() == ["block", "damage", "why", "it", "stays"]


def test_older_words_do_the_same(pair, capsys):
    plans = []
    for word in ("--score", "--criterion"):
        status, out, err = told(capsys, pair, word, "l2", "--json", "--overwrite")
        assert status == 0, err
        plans.append(json.loads(out)["plan"])
    assert plans[0] == plans[1]


def test_help_names_all_criteria(capsys):
    with pytest.raises(SystemExit):
        main(["prune", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in CRITERIA)


@pytest.mark.parametrize(
    "words, expected",
    [
        (
            ["--criterion", "rank"],
            "error: the criterion rank looks at images, and there are none\n"
            "hint: give --images DIR, or --data FILE.data\n",
        ),
        (
            ["--criterion", "taylor"],
            "error: the criterion taylor needs images with labels, and there are none\nhint: give --data FILE.data\n",
        ),
        (
            ["--blocks", "1", "--block-rank", "damage"],
            "error: the damage of removing blocks is measured on images, and there are none\n"
            "hint: give --images DIR, or --data FILE.data\n",
        ),
        (
            ["--images", "photos"],
            "error: --images does nothing: no criterion is measured on images here\n"
            "hint: leave it out, or give --criterion entropy and --images or --data\n",
        ),
        (
            ["--block-rank", "damage"],
            "error: --block-rank damage does nothing without --blocks\nhint: give --blocks N, or leave it out\n",
        ),
        (
            ["--criterion", "l1", "--combine", "union"],
            "error: one criterion has nothing to combine with\n"
            "hint: name several criteria, such as l1,entropy, or do not say how they combine\n",
        ),
        (["--count", "0"], "error: --count 0 is no number of images\nhint: use 1 or more\n"),
        (["--seed", "-1"], "error: --seed -1 is no seed\nhint: use a number from 0 to 4294967295\n"),
        (
            ["--plan", "x.plan.json", "--images", "here"],
            "error: --plan already says what goes\nhint: leave out --channels, --images\n",
        ),
    ],
)
def test_errors(words, expected, pair, capsys):
    assert told(capsys, pair, *words) == (2, "", expected)


def test_steps_of_nothing(pair, tmp_path, capsys):
    assert main(["prune", *pair, "-o", str(tmp_path / "out"), "--blocks", "1", "--steps", "3"]) == 2
    expected = "error: --steps does nothing without --channels\nhint: give --channels R, or leave it out\n"
    assert capsys.readouterr().err == expected
