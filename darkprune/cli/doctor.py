"""Shows what this machine has - readers, CUDA, TensorRT, cameras - and the cure for what is missing.

ok: works; --: not there, needed only if you want it; !!: installed but broken. Exit status 1 if anything is broken.
"""

import argparse

from darkprune.cli.common import print_json, write
from darkprune.machine.findings import ABSENT, BROKEN, OK, findings

_MARKS = {OK: "ok", ABSENT: "--", BROKEN: "!!"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    found = findings()
    broken = any(finding.state == BROKEN for finding in found)
    if arguments.json:
        print_json({"ok": not broken, "checks": [finding._asdict() for finding in found]})
        return 1 if broken else 0
    width = max(len(finding.name) for finding in found)
    for finding in found:
        write("{}  {}  {}\n".format(_MARKS[finding.state], finding.name.ljust(width), finding.text))
        if finding.cure:
            write("    {}  cure: {}\n".format(" " * width, finding.cure))
    return 1 if broken else 0
