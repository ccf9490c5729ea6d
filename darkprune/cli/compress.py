"""Trains, sparsifies, prunes and fine-tunes a net as a small config file says, and reports every stage.

    [model]                     [sparsify]           [prune]                [finetune]
    cfg = net.cfg               epochs = 80          channels = 0.6         epochs = 40
    data = set.data             strength = 10        steps = 2              distill = yes
    [train]                                                                 [output]
    epochs = 150                                                            folder = runs/net

In place of channels, a budget: parameters, bflops or bytes (a number, or a share such as 20 %). With max_drop beside
it, the rounds (steps) end where a round, fine-tuned, has lost more points of AP50 or top-1 than that, compared with the
first stage; the pair before that round is the result. Without [finetune], max_drop alone finds how much may go. [prune]
also takes blocks, absorb, scope, group, criterion, round, min_keep, recalibrate (training images for new statistics).
[train], [sparsify] and [finetune] take any option of [net]; [run] takes seed, device, workers, bfloat16, every and
save_every. Without [train], the weights of [model] are the start.

Each stage leaves a pair in a folder of its own in FOLDER, and a line in results.csv; report.md shows them. Killed at
any moment, --resume goes on, and ends with the same pairs.
"""

import argparse
import json
import sys

from darkprune.cli.common import notice_texts, print_json, warn, write
from darkprune.compress import report
from darkprune.compress.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("config", metavar="CONFIG", help="the config file")
    parser.add_argument("--resume", action="store_true", help="go on with what stands in the output folder")
    parser.add_argument("--ignore-problems", action="store_true", help="go on without what is wrong with the data set")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    config = Config.read(arguments.config)
    from darkprune.cli.train import require_training

    require_training()
    from darkprune.compress.loop import Loop

    loop = Loop(config, arguments.resume, arguments.ignore_problems)
    warn(loop.notices)
    shown = len(loop.notices)

    rows = loop.run(lambda line: write(line, sys.stderr))
    if arguments.json:
        fields = json.loads(report.as_json(rows, loop.kept))
        print_json(dict(fields, warnings=notice_texts(loop.notices)))
    else:
        warn(loop.notices[shown:])
        write(report.as_markdown(rows, loop.kept))
    return 0
