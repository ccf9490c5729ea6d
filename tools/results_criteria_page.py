"""The tables that tools/results_criteria.py makes of its rows."""

import os
import re

import numpy as np
from kept_rows import read
from results_criteria_steps import APOZ, BASE, NETS, PARALLEL, SHARES, SINGLE

from darkprune.prune.criteria import CRITERIA

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROWS = os.path.join(ROOT, "docs", "criteria.csv")
COLUMNS = ("seed", "net", "criterion", "share", "parameters", "zeros", "bflops", "before", "after")
COLUMNS += ("seconds", "commit", "command")
CONTROL = "random"
BEST = 4
FIRST = "0"  # the seed of the whole grid, which chooses the best
SEEDS = 10  # there may be
QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # Student's t, 97.5 %, of 1, 2... degrees
CLAIMS = (  # method, what is reported elsewhere, and our row: net, criterion, share
    ("entropy of the maps", "ResNet, ImageNet: 55 % of parameters and operations, -4.13", ("resnet", "entropy", 55)),
    ("entropy of the maps", "DenseNet, CIFAR-10: 64 %, -0.22", ("densenet", "entropy", 64)),
    ("filter similarity", "ResNet-56, CIFAR-10: -1.28", ("resnet", "similarity", 50)),
    ("both in parallel", "65 %, -0.51", ("resnet", PARALLEL, 65)),
    ("both in parallel", "65 %, -0.51", ("densenet", PARALLEL, 65)),
    ("APoZ, convolutions and connected layers, 6 rounds", "VGG: 61 % (2.59 times smaller)", ("vgg", APOZ, 61)),
    ("single weights", "LeNet", ("lenet", SINGLE, 80)),
    ("single weights", "LeNet", ("lenet", SINGLE, 90)),
    ("single weights", "LeNet", ("lenet", SINGLE, 95)),
)
EMPTY = "Nothing was measured yet.\n"


def rows():
    """All rows, as measured, in order."""
    return read(ROWS)


def _accuracy(found, column):
    """{(net, criterion, share): {seed: top-1 in points}}"""
    table = {}
    for row in found:
        if row[column]:
            key = row["net"], row["criterion"], int(row["share"])
            table.setdefault(key, {})[row["seed"]] = 100 * float(row[column])
    return table


def _criteria(found):
    there = {row["criterion"] for row in found}
    return [name for name in list(CRITERIA) + [PARALLEL] if name in there]


def best(count=BEST):
    """The criteria of the highest mean accuracy after training, over all nets and shares, with the first seed; none
    while rows are missing."""
    found = [row for row in rows() if row["seed"] == FIRST and int(row["share"]) in SHARES and row["net"] in NETS]
    means = {}
    for name in list(CRITERIA) + [PARALLEL]:
        mine = [float(row["after"]) for row in found if row["criterion"] == name]
        if len(mine) < len(NETS) * len(SHARES):
            return []
        if name != CONTROL:
            means[name] = np.mean(mine)
    return sorted(means, key=lambda name: -means[name])[:count]


def grid():
    """A table for each net: top-1 by criterion and share, pruned and trained again, with the first seed."""
    found = [row for row in rows() if row["seed"] == FIRST]
    before, after = _accuracy(found, "before"), _accuracy(found, "after")
    text = ""
    for net in NETS:
        if (net, BASE, 0) not in after:
            continue
        text += "\n**{}**, unpruned: {:.2f}\n\n| criterion |".format(net, after[net, BASE, 0][FIRST])
        shares = sorted(SHARES)
        text += "".join(" {} % gone | trained |".format(share) for share in shares)
        text += "\n|---|" + "---|---|" * len(shares) + "\n"
        for name in _criteria(found):
            cells = [name]
            for share in shares:
                for table in (before, after):
                    value = table.get((net, name, share), {}).get(FIRST)
                    cells.append("" if value is None else "{:.2f}".format(value))
            text += "| {} |\n".format(" | ".join(cells))
    return text.lstrip("\n") or EMPTY


def gains():
    """What the best criteria have over the control after training, with seeds that did not choose them, and where that
    is more than chance."""
    found = [row for row in rows() if row["seed"] != FIRST]
    after = _accuracy(found, "after")
    lines = ["| net | gone | criterion | over random, each seed | mean | spread | beyond it |", "|---" * 7 + "|"]
    for net in NETS:
        for share in sorted(SHARES):
            control = after.get((net, CONTROL, share), {})
            for name in _criteria(found):
                mine = after.get((net, name, share), {})
                paired = sorted(set(mine) & set(control))
                if name == CONTROL or len(paired) < 3:
                    continue
                apart = np.array([mine[seed] - control[seed] for seed in paired])
                chance = spread(apart)
                word = "no" if abs(apart.mean()) <= chance else "yes" if apart.mean() > 0 else "worse"
                each = ", ".join("{:+.2f}".format(value) for value in apart)
                cells = [net, "{} %".format(share), name, each, "{:+.2f}".format(apart.mean()), "{:.2f}".format(chance)]
                lines.append("| {} |".format(" | ".join(cells + [word])))
    if len(lines) == 2:
        return "Fewer than three seeds were measured yet.\n"
    text = "\n\nThese are {} intervals of 95 %: {:.1f} of them would be beyond the spread if nothing were.\n"
    return "\n".join(lines) + text.format(len(lines) - 2, 0.05 * (len(lines) - 2))


def spread(apart):
    """How far the mean of paired differences may be off by chance: half of its 95 % interval, by Student's t."""
    return QUANTILES[len(apart) - 2] * apart.std(ddof=1) / len(apart) ** 0.5


def claims():
    """What other texts report, and ours by the same method."""
    found = {(row["net"], row["criterion"], int(row["share"])): row for row in rows() if row["seed"] == FIRST}
    titles = ["method", "reported: net and data, gone, loss in points", "ours: net", "parameters gone"]
    titles += ["not zero of the rest", "BFLOPs left", "unpruned", "pruned", "trained", "epochs", "loss in points"]
    lines = ["| {} |".format(" | ".join(titles))]
    lines.append("|---" * 11 + "|")
    for method, reported, key in CLAIMS:
        row, first = found.get(key), found.get((key[0], BASE, 0))
        if row and first:
            lines.append("| {} | {} | {} |".format(method, reported, " | ".join(_against(row, first))))
    return "\n".join(lines) + "\n" if len(lines) > 2 else EMPTY


def _against(row, first):
    """Cells: what a row's net lost beside the unpruned one."""
    whole, left = (int(net["parameters"]) for net in (first, row))
    cells = [row["net"], "{:.0f} %".format(100 * (1 - left / whole))]
    cells.append("{:.0f} %".format(100 * (left - int(row["zeros"])) / left) if row["criterion"] == SINGLE else "")
    cells.append("{:.0f} %".format(100 * float(row["bflops"]) / float(first["bflops"])))
    for value in (first["after"], row["before"], row["after"]):
        cells.append("{:.2f}".format(100 * float(value)) if value else "")
    epochs = re.findall(r"--epochs (\d+)", row["command"])
    cells.append(str(sum(map(int, epochs))))
    return cells + ["{:+.2f}".format(100 * (float(row["after"]) - float(first["after"])))]


PARTS = {"criteria": grid, "criteria-gains": gains, "criteria-claims": claims}
