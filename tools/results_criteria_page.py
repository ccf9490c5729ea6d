"""The tables that tools/results_criteria.py makes of its rows."""

import os

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
    """The criteria of the highest mean accuracy after training, over all nets and shares, with the first seed."""
    found = [row for row in rows() if row["seed"] == "0" and int(row["share"]) in SHARES]
    means = {}
    for name in _criteria(found):
        mine = [float(row["after"]) for row in found if row["criterion"] == name]
        if name != CONTROL and len(mine) == len(NETS) * len(SHARES):
            means[name] = np.mean(mine)
    return sorted(means, key=lambda name: -means[name])[:count]


def _mean(values):
    return "{:.2f}".format(np.mean(list(values.values()))) if values else ""


def grid():
    """A table for each net: top-1 by criterion and share, pruned and trained again."""
    found = rows()
    if not found:
        return EMPTY
    before, after = _accuracy(found, "before"), _accuracy(found, "after")
    text = ""
    for net in NETS:
        whole = after.get((net, BASE, 0), {})
        if not whole:
            continue
        seeds = {row["seed"] for row in found if row["net"] == net}
        text += "\n**{}**, unpruned: {} (mean of {} seeds)\n\n".format(net, _mean(whole), len(seeds))
        text += "| criterion | seeds |"
        shares = sorted(SHARES)
        text += "".join(" {} % gone | trained |".format(share) for share in shares)
        text += "\n|---|---|" + "---|---|" * len(shares) + "\n"
        for name in _criteria(found):
            parts = [after.get((net, name, share), {}) for share in shares]
            cells = [name, str(max(len(part) for part in parts))]
            for share, part in zip(shares, parts):
                cells += [_mean(before.get((net, name, share), {})), _mean(part)]
            text += "| {} |\n".format(" | ".join(cells))
    return text.lstrip("\n")


def gains():
    """What each criterion has over the control after training, and where that is more than chance."""
    found = rows()
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
                word = "yes" if apart.mean() > chance else "no"
                each = ", ".join("{:+.2f}".format(value) for value in apart)
                cells = [net, "{} %".format(share), name, each, "{:+.2f}".format(apart.mean()), "{:.2f}".format(chance)]
                lines.append("| {} |".format(" | ".join(cells + [word])))
    return "\n".join(lines) + "\n" if len(lines) > 2 else EMPTY


def spread(apart):
    """How far the mean of paired differences may be off by chance: half of its 95 % interval, by Student's t."""
    quantile = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}[len(apart)]
    return quantile * apart.std(ddof=1) / len(apart) ** 0.5


def claims():
    """What other texts report, and ours by the same method."""
    found = {(row["net"], row["criterion"], int(row["share"])): row for row in rows() if row["seed"] == "0"}
    lines = ["| method | reported: net and data, gone, loss in points | ours: net | parameters gone | weights not zero "
             "| BFLOPs left | unpruned | pruned | trained | loss in points |"]  # fmt: skip
    lines.append("|---" * 10 + "|")
    for method, reported, key in CLAIMS:
        row, first = found.get(key), found.get((key[0], BASE, 0))
        if row and first:
            lines.append("| {} | {} | {} |".format(method, reported, " | ".join(_against(row, first))))
    return "\n".join(lines) + "\n" if len(lines) > 2 else EMPTY


def _against(row, first):
    """Cells: what a row's net lost beside the unpruned one."""
    whole, left = (int(net["parameters"]) for net in (first, row))
    cells = [row["net"], "{:.0f} %".format(100 * (1 - left / whole))]
    cells.append("{:.0f} %".format(100 * (left - int(row["zeros"])) / left))
    cells.append("{:.0f} %".format(100 * float(row["bflops"]) / float(first["bflops"])))
    cells += ["{:.2f}".format(100 * float(value)) for value in (first["after"], row["before"], row["after"])]
    return cells + ["{:+.2f}".format(100 * (float(row["after"]) - float(first["after"])))]


PARTS = {"criteria": grid, "criteria-gains": gains, "criteria-claims": claims}
