"""The program `darkprune`: finds the command, and turns the user's errors into messages and exit status 2.

Exit status: 0 fine, 1 a check failed, 2 the input is at fault. A traceback is always a bug of ours.
"""

import argparse
import importlib
import os
import sys
from contextlib import suppress
from typing import List, Optional

from darkprune.cli.arguments import Parser, one_of, split
from darkprune.cli.common import write
from darkprune.cli.darknet_commands import VERBS, commands
from darkprune.cli.files import arrange, slots_of
from darkprune.errors import DarkpruneError, render
from darkprune.version import __version__

# Command -> what it is for; the module darkprune.cli.<command> has `add_arguments` and `run`.
COMMANDS = (
    ("inspect", "show a net's layers, sizes and totals, as Darknet prints them"),
    ("prune", "remove channels and shortcut blocks; write a smaller pair"),
    ("sparsify", "make single weights zero by their magnitude: a smaller file when compressed, no faster net"),
    ("sensitivity", "measure what removing a part of each width, or a block, costs; a table and a picture"),
    ("compress", "train, sparsify, prune and fine-tune as a config file says; report every stage"),
    ("edit", "change input size, options, classes or batch norm; cut a prefix; write a new pair"),
    ("eval", "measure a pair's accuracy on a data set: Darknet's map and COCO's AP, or top-1 and top-5"),
    ("train", "train a net, from scratch or further, as its cfg says"),
    ("calibrate", "measure the range of every tensor on images: what INT8 needs; a cache for TensorRT"),
    ("recalibrate", "estimate batch-norm statistics anew from images: recovery after pruning without training"),
    ("bench", "time pairs in each runner; parameters, operations and bytes beside them"),
    ("calc-anchors", "find anchors that fit the boxes of a data set (Darknet's detector calc_anchors)"),
    ("detect", "find objects in images: as text, JSON or drawn"),
    ("classify", "name whole images with a classifier"),
    ("export", "write a pair as an ONNX model, or for DeepStream"),
    ("build", "build a TensorRT engine of a pair, on the machine that is to run it"),
    ("verify", "prove that a pair computes what it should, in the real readers too"),
    ("doctor", "show what this machine has, and the cure for what is missing"),
    ("completion", "print a script that completes commands and options in bash or zsh"),
)

_OF_FILES = """\
Files may stand in any order: their content tells them apart. NAME finds NAME.cfg and its weights.
Darknet's spelling works: -letter_box is --letter-box; thresh=.25 is --thresh .25."""


def parser(chosen: Optional[str] = None) -> argparse.ArgumentParser:
    """The parser of all commands, or of the program without their options; with `chosen`, of that command alone."""
    if chosen is not None:
        return _command(chosen)
    also = "Darknet's commands work too: " + ", ".join("{} {}".format(n, "|".join(v)) for n, v in VERBS.items())
    top = Parser(prog="darkprune", description="Prunes Darknet .cfg/.weights pairs.", epilog=also)
    top.add_argument("--version", action="version", version="darkprune " + __version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, purpose in COMMANDS:
        commands.add_parser(name, help=purpose)
    return top


def _command(name: str) -> argparse.ArgumentParser:
    module = importlib.import_module("darkprune.cli." + name.replace("-", "_"))
    layout = argparse.RawDescriptionHelpFormatter
    command = Parser(prog="darkprune " + name, description=module.__doc__, formatter_class=layout)
    module.add_arguments(command)
    command.epilog = _OF_FILES if slots_of(command) else None
    command.set_defaults(run=module.run)
    return command


def main(argv: Optional[List[str]] = None) -> int:
    """Runs a command; returns the exit status."""
    argv = _as_options(list(sys.argv[1:] if argv is None else argv))
    try:
        if argv and not argv[0].startswith("-"):
            return _run_all(argv)
        options, _ = split(parser(), argv)
        parser().parse_args(options)  # --help and --version end the program
        parser().print_help(sys.stderr)
        return 2
    except DarkpruneError as error:
        return _failed(str(error), 2)
    except MemoryError:
        return _failed(render("error", "not enough memory for this net", hint="check width and height in [net]"), 2)
    except BrokenPipeError:
        _discard_output()
        return 1
    except OSError as error:  # of the library's files, every one is an error of its own; this is stdout
        _discard_output()
        return _failed(render("error", "cannot write the output: {}".format(error.strerror)), 2)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)


def _as_options(argv: List[str]) -> List[str]:
    """`version`, `help` and `help COMMAND` as the options that they are."""
    if argv == ["version"] or argv == ["help"]:
        return ["--" + argv[0]]
    return [argv[1], "--help"] if len(argv) == 2 and argv[0] == "help" else argv


def _run_all(argv: List[str]) -> int:
    """The worst exit status of the commands that the arguments mean; most mean one."""
    name = one_of(argv[0], [name for name, _ in COMMANDS] + list(VERBS), "command")
    worst = 0
    for words in commands([name] + argv[1:], parser):
        try:
            worst = max(worst, _run(words))
        except DarkpruneError as error:
            worst = _failed(str(error), 2)
    return worst


def _run(words: List[str]) -> int:
    command = parser(words[0])
    words, found = arrange(command, words[1:])
    arguments = command.parse_args(words)
    if found:
        write("using {}\n".format(" ".join(found)), sys.stderr)
    return int(arguments.run(arguments))


def _failed(text: str, status: int) -> int:
    write(text + "\n", sys.stderr)
    return status


def _discard_output() -> None:
    """What is still to be printed goes nowhere, so that the end of the program does not trip over it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
