"""The program `darkprune`: finds the command, and turns the user's errors into messages and exit status 2.

Exit status: 0 fine, 1 a check failed, 2 the input is at fault. A traceback is always a bug of ours.
"""

import argparse
import importlib
import os
import sys
from contextlib import suppress
from typing import List, Optional

from darkprune.cli.common import write
from darkprune.errors import DarkpruneError, render
from darkprune.version import __version__

# Command -> what it is for; the module darkprune.cli.<command> has `add_arguments` and `run`.
COMMANDS = (
    ("inspect", "show a net's layers, sizes and totals, as Darknet prints them"),
    ("prune", "remove channels and shortcut blocks; write a smaller pair"),
    ("edit", "change input size, options, classes or batch norm; cut a prefix; write a new pair"),
    ("recalibrate", "estimate batch-norm statistics anew from images: recovery after pruning without training"),
    ("verify", "prove that a pair computes what it should, in the real readers too"),
)


def parser(chosen: Optional[str] = None) -> argparse.ArgumentParser:
    """The parser of the command line; with `chosen`, only that command's module is imported."""
    top = argparse.ArgumentParser(prog="darkprune", description="Prunes Darknet .cfg/.weights pairs.")
    top.add_argument("--version", action="version", version="darkprune " + __version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    names = [name for name, _ in COMMANDS]
    for name, purpose in COMMANDS:
        if chosen in names and name != chosen:
            commands.add_parser(name, help=purpose)
            continue
        module = importlib.import_module("darkprune.cli." + name)
        command = commands.add_parser(
            name,
            help=purpose,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


def main(argv: Optional[List[str]] = None) -> int:
    """Runs a command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    top = parser(argv[0] if argv else None)
    arguments = top.parse_args(argv)
    if arguments.command is None:
        top.print_help(sys.stderr)
        return 2
    try:
        return int(arguments.run(arguments))
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


def _failed(text: str, status: int) -> int:
    write(text + "\n", sys.stderr)
    return status


def _discard_output() -> None:
    """What is still to be printed goes nowhere, so that the end of the program does not trip over it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
