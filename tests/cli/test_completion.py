"""What bash completes, asked of bash itself; the script is made from the parsers, so that it is always current."""

import shutil
import subprocess

import pytest

from darkprune.cli.darknet_commands import VERBS
from darkprune.cli.main import COMMANDS, main, parser

COMPLETE = 'source "$1"; shift; COMP_WORDS=(darkprune "$@"); COMP_CWORD=$#; _darkprune; echo "${COMPREPLY[*]}"'


@pytest.fixture
def complete(tmp_path, capsys):
    """The words that bash completes a command line to."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)

    def ask(*words):
        argv = ["bash", "-c", COMPLETE, "bash", str(tmp_path / "script")] + list(words)
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return ask


def test_commands(complete):
    assert complete("insp") == ["inspect"]
    assert complete("") == [name for name, _ in COMMANDS] + list(VERBS) + ["--help", "--version"]
    assert complete("detector", "") == list(VERBS["detector"])
    assert complete("detector", "map", "-iou") == ["-iou-thresh"]
    assert complete("detector", "test", "net.cfg", "--runner", "num") == ["numpy"]
    assert complete("classifier", "predict", "--to") == ["--top"]


def test_options_choices_and_files(complete):
    assert complete("prune", "--sco") == ["--scope", "--score"]
    assert complete("prune", "-sco") == ["-scope", "-score"]
    assert complete("prune", "net.cfg", "--scope", "") == ["global", "layer"]
    assert complete("prune", "net.cfg", "-scope", "l") == ["layer"]
    assert complete("completion", "") == ["bash", "zsh"]
    assert complete("prune", "net") == [] == complete("prune", "--output", "x")  # bash completes files then


def test_every_option_of_every_command(complete):
    for name, _ in COMMANDS:
        options = [option for option in parser(name)._option_string_actions if option.startswith("--")]
        assert set(complete(name, "--")) == set(options)


def test_zsh_runs_the_same_through_its_own_layer(capsys):
    assert main(["completion", "bash"]) == 0
    bash = capsys.readouterr().out
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out == "autoload -Uz bashcompinit && bashcompinit\n" + bash


def test_another_shell(capsys):
    assert main(["completion", "fish"]) == 2
    assert capsys.readouterr().err == "error: fish is none of the choices of SHELL\nhint: use bash, zsh\n"
