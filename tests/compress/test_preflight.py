"""What compress says of its config before the first stage starts, and that it leaves nothing then."""

import re

import pytest

import need
import tiny_compress as tiny
from darkprune.cli.main import main

need.torch(), need.opencv()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny.write(folder)
    return str(folder)


@pytest.fixture
def refused(data, tmp_path, monkeypatch, capsys):
    """Runs compress on the tiny config with an edit; what it says of it."""

    def run(old, new, *more):
        text = tiny.CONFIG.format(folder=data, out="run", distill="no")
        assert text.count(old) == 1
        (tmp_path / "run.ini").write_text(text.replace(old, new))
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        assert main(["compress", "run.ini"] + list(more)) == 2
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize("path", ["07-finetune-2/stage.json", "results.csv", "report.md", "report.json"])
def test_an_earlier_run_of_other_stages_is_not_written_over(refused, tmp_path, path):
    path = tmp_path / "run" / path
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert refused("seed = 3", "seed = 4") == (
        "{}: error: an earlier run stands here\nhint: go on with it by --resume, or write to another folder\n"
    ).format(path.relative_to(tmp_path))
    assert [found for found in (tmp_path / "run").rglob("*") if found.is_file()] == [path]


@pytest.mark.parametrize(
    "old, new, said",
    [
        (
            "strength = 0.5",
            "strength = 0.5\nschedule = global:2:5",
            "run.ini:11: error: a sparsity schedule is made of shares, not 2.0, 5.0 and 0.0\n"
            "   11 | schedule = global:2:5\n"
            "hint: use numbers from 0 to 1, a start before the end, and some channels\n",
        ),
        (
            "epochs = 2",
            "epochs = 2\nlearning_rate = 0",
            "run.ini:20: error: learning_rate 0.0: must be above 0\n"
            "   20 | learning_rate = 0\n"
            "hint: use a rate such as 0.001\n",
        ),
        (
            "epochs = 2",
            "epochs = 2000000",
            "run.ini:19: error: 2000000.0 epochs of 6 images cannot be trained\n"
            "   19 | epochs = 2000000\n"
            "hint: use 1 or more\n",
        ),
        (
            "strength = 0.5",
            "strength = 0.5\nrandom = 9",
            "run.ini:11: error: random 9.0 is no factor of the input's size\n"
            "   11 | random = 9\n"
            "hint: use 0, 1, or a factor such as 1.4\n",
        ),
        (
            "seed = 3",
            "seed = 5000000000",
            "run.ini:23: error: seed = 5000000000 makes no sense\n"
            "   23 | seed = 5000000000\n"
            "hint: write a number from 0 to 4294967295\n",
        ),
    ],
)
def test_bad_values_are_found_before_the_first_stage(refused, tmp_path, old, new, said):
    assert refused(old, new) == said
    assert not (tmp_path / "run").exists()


def test_a_device_that_torch_has_not(refused, tmp_path):
    said = refused("seed = 3", "seed = 3\ndevice = cuda:77")
    cause = r"run\.ini:24: error: torch has no device cuda:77: .*\n   24 \| device = cuda:77\n"
    assert re.match(cause + "hint: use cpu, or install a torch that was built for the device\n$", said)
    assert not (tmp_path / "run").exists()
