"""Holds the damage that `prune` predicts against what really happens to a trained detector's heads.

    python tools/damage.py CFG WEIGHTS IMAGE... [--write]

The real damage is the share of the heads' variance that the pruned net gets wrong on the images:
mean((original - pruned)^2) / variance(original), at the worst head; 0 is no change, 1 or more is nothing left.
"""

import argparse
import os
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from darkprune.backends.numpy_ import NumpyRunner  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.net import heads  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402
from darkprune.verify import numbering, test_batch  # noqa: E402

STEPS = [dict(channels=share, scope=scope) for scope in ("global", "layer") for share in (0.01, 0.02, 0.05, 0.1, 0.2)]
STEPS += [dict(blocks=count) for count in (1, 2, 3, 5, 8)]


def real_damage(net, pruned, batches):
    """The worst head's share of variance that is wrong, mean over the images."""
    numbers, indices = numbering(net, pruned.net, pruned.plan), heads(pruned.net)
    shares = []
    for batch in batches:
        before = NumpyRunner(net).infer(batch, [numbers[i] for i in indices])
        after = NumpyRunner(pruned.net).infer(batch, indices)
        shares.append(
            max(float(np.mean((before[numbers[i]] - after[i]) ** 2) / before[numbers[i]].var()) for i in indices)
        )
    return sum(shares) / len(shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cfg")
    parser.add_argument("weights")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--write", action="store_true", help="write docs/damage.md")
    arguments = parser.parse_args()
    net = load(arguments.cfg, arguments.weights)
    batches = [test_batch(net, path) for path in arguments.images]
    lines = ["| pruned by | predicted damage | real damage |", "|---|---|---|"]
    for step in STEPS:
        pruned = prune(net, force=True, **step)
        words = ", ".join("{} {}".format(key, value) for key, value in sorted(step.items()))
        lines.append(
            "| {} | {:.3f} | {:.3f} |".format(words, pruned.preflight["damage"], real_damage(net, pruned, batches))
        )
        sys.stderr.write(lines[-1] + "\n")
    name = os.path.splitext(os.path.basename(arguments.cfg))[0]
    text = "# Predicted and real damage\n\n"
    text += "Made by `python tools/damage.py CFG WEIGHTS IMAGE... --write`, "
    text += "here for {} with {} images.\n\n".format(name, len(batches))
    text += " ".join(line.strip() for line in __doc__.strip().splitlines()[4:]) + "\n\n" + "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        with open(os.path.join(ROOT, "docs", "damage.md"), "w", encoding="utf-8") as stream:
            stream.write(text)


if __name__ == "__main__":
    main()
