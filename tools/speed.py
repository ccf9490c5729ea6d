"""Measures how much smaller and faster YOLOv3 gets, in OpenCV and in the original Darknet.

    python tools/speed.py [--runners opencv,darknet] [--rounds N] [--threads N] [--write]

YOLOv3 in full width with synthetic weights is pruned, then all pairs are timed in turn. Each process's time is
appended to build/speed/timings.jsonl, so that a run can be stopped and gone on with; --write makes docs/speed.md.
"""

import argparse
import json
import os
import sys
from collections import OrderedDict

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
sys.path.insert(0, os.path.join(ROOT, "tools"))

from measured_nets import pair_of  # noqa: E402

from darkprune.backends.clock import Clock  # noqa: E402
from darkprune.cli.bench import machine  # noqa: E402
from darkprune.evaluate.cost import cost  # noqa: E402
from darkprune.evaluate.latency import Measurement  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402

BUILD = os.path.join(ROOT, "build", "speed")
NET = "yolov3"
CHANNELS = 0.6
ORIGINAL = "original"
VARIANTS = OrderedDict(("{} blocks, round {}".format(b, r), (b, r)) for b in (8, 16) for r in (1, 8, 16))
RUNNERS = ("opencv", "darknet")
TITLES = {"opencv": "OpenCV", "darknet": "Darknet"}

TEXT = """# Size and speed of a pruned YOLOv3

Made by `python tools/speed.py --threads {threads} --rounds {rounds} --write` on a busy machine: {machine}.

YOLOv3 in full width (`cfg/yolov3.cfg`, 416 x 416) with *synthetic* weights of `tools/make_weights.py`: nothing was
learnt, so this page says nothing about accuracy, and sizes and times are those of the shapes. {share:.0f} % of the
removable filters go, with 8 or 16 of the 23 shortcut blocks before them, `--absorb exact`, and widths rounded to
multiples of 1, 8 or 16.

FPS: one image at a time, the forward pass alone, threads: {threads}; from the median of {rounds} fresh processes. All
pairs take turns in each round, and a speed-up is the median of the rounds' ratios to the original. OpenCV {opencv} runs
with fusion and Winograd's algorithm on, after a pass to warm up; Darknet is the original's CPU build, Debian's package,
without one.

"""
SEED = """
Beside each speed-up, in brackets, the least and the most of the rounds. CPU time says how many times less processor
time a pass took, which leaves out the waiting for a processor that others use.

For comparison, a paper on a pruned YOLOv3 of this kind gives 248.0 MB -> 41.5 MB (6.0x smaller) and 5 -> 10 FPS (2x):
others' figures, of a trained net, on another machine.
"""


def pairs():
    """Name -> (cfg, weights) of the original and its pruned pairs, which are made when missing."""
    found = OrderedDict([(ORIGINAL, pair_of(NET))])
    os.makedirs(BUILD, exist_ok=True)
    for name, (blocks, multiple) in VARIANTS.items():
        prefix = os.path.join(BUILD, "{}-{}-{}".format(NET, blocks, multiple))
        if not os.path.exists(prefix + ".cfg"):
            pruned = prune(load(*found[ORIGINAL]), channels=CHANNELS, blocks=blocks, round=multiple, force=True)
            save(pruned.net, prefix, overwrite=True, plan=pruned.plan)
        found[name] = (prefix + ".cfg", prefix + ".weights")
    return found


def measure(models, runners, rounds, threads):
    """Times what is not yet in the file, round after round; returns (name, runner, round) -> (ms, CPU ms)."""
    path = os.path.join(BUILD, "timings.jsonl")
    done = {}
    if os.path.exists(path):
        with open(path) as stream:
            for line in stream:
                name, runner, number, used, spent, cpu = json.loads(line)
                if used == threads:
                    done[name, runner, number] = (spent, cpu)
    clocks = {runner: Clock(warm=int(runner != "darknet"), duration=2.0).as_dict() for runner in runners}
    for number in range(rounds):
        for runner in runners:
            for name, (cfg, weights) in models.items():
                if (name, runner, number) not in done:
                    timing = Measurement(cfg, weights, runner, None, None, threads, clocks[runner]).in_fresh_process()
                    found = (float(np.median(timing.seconds)) * 1e3, timing.cpu * 1e3)
                    done[name, runner, number] = found
                    with open(path, "a") as stream:
                        stream.write(json.dumps([name, runner, number, threads] + list(found)) + "\n")
                    sys.stderr.write("{} {} {}: {:.1f} ms, {:.1f} of the CPU\n".format(number, runner, name, *found))
    return done


def rows(models, runners, rounds, done):
    """The lines of the table."""
    titles = ["pair", "MB", "smaller", "BFLOPs", "fewer"]
    for runner in runners:
        titles += [TITLES[runner] + " FPS", "speed-up", "CPU time"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    costs = OrderedDict((name, cost(load(*paths))) for name, paths in models.items())
    first = costs[ORIGINAL]
    for name, mine in costs.items():
        cells = [name, "{:.1f}".format(mine.weights_bytes / 1e6)]
        cells.append("{:.2f}x".format(first.weights_bytes / mine.weights_bytes))
        cells += ["{:.2f}".format(mine.bflops), "{:.2f}x".format(first.bflops / mine.bflops)]
        for runner in runners:
            times, cpu = _times(done, name, runner, rounds)
            originals, original_cpu = _times(done, ORIGINAL, runner, rounds)
            ratios = originals / times
            spread = "" if name == ORIGINAL else " ({:.1f}..{:.1f})".format(ratios.min(), ratios.max())
            cells += ["{:.3g}".format(1e3 / np.median(times)), "{:.2f}x{}".format(np.median(ratios), spread)]
            cells.append("{:.2f}x".format(np.median(original_cpu / cpu)))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _times(done, name, runner, rounds):
    return np.array([done[name, runner, number] for number in range(rounds)]).T


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runners", default=",".join(RUNNERS))
    parser.add_argument("--rounds", type=int, default=5, help="fresh processes per pair and runner")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs-only", action="store_true", help="make the pairs and stop")
    parser.add_argument("--write", action="store_true", help="write docs/speed.md")
    arguments = parser.parse_args()
    models, runners = pairs(), arguments.runners.split(",")
    if arguments.pairs_only:
        return
    import cv2

    done = measure(models, runners, arguments.rounds, arguments.threads)
    facts = {"machine": machine(), "share": 100 * CHANNELS, "opencv": cv2.__version__}
    text = TEXT.format(threads=arguments.threads, rounds=arguments.rounds, **facts)
    text += "\n".join(rows(models, runners, arguments.rounds, done)) + "\n" + SEED
    sys.stdout.write(text)
    if arguments.write:
        with open(os.path.join(ROOT, "docs", "speed.md"), "w", encoding="utf-8") as stream:
            stream.write(text)


if __name__ == "__main__":
    main()
