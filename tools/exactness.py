"""Measures what pruning changes, per absorb mode and net, and whether the real readers agree with the result.

    python tools/exactness.py [--nets NAME,...] [--write]

Weights are synthetic (tools/make_weights.py: batch-norm statistics of a net's own maps, 75 % of the channel sets
with gamma = 0). The error is the largest difference between the pruned net's raw head logits and those of the
original with gamma = 0 on the removed channels, in standard deviations of the head's logits.
"""

import argparse
import os
import re
import sys
from collections import Counter

import numpy as np
from measured_nets import BUILD, NETS, ROOT, SPECIAL, pair_of, short

from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.registry import open_runner
from darkprune.errors import DarkpruneError, MissingDependency
from darkprune.graph.build import load, totals
from darkprune.graph.channels import Channels
from darkprune.graph.hazards import NAMES
from darkprune.graph.net import heads
from darkprune.graph.save import save
from darkprune.prune.pipeline import prune
from darkprune.prune.select import DEFAULTS, select
from darkprune.verify import Silenced, compare_reader, compare_surgery, numbering, test_batch


def head_error(net, pruned, plan, batch):
    """Largest difference of the heads from the silenced original, in standard deviations of its logits."""
    numbers = numbering(net, pruned, plan)
    indices = heads(pruned)
    reference, hook = Silenced(net, plan).reference("exact")
    expected = NumpyRunner(reference, hook).infer(batch, [numbers[i] for i in indices])
    found = NumpyRunner(pruned).infer(batch, indices)
    return max(float(np.abs(expected[numbers[i]] - found[i]).max() / expected[numbers[i]].std()) for i in indices)


def agreement(runner, prefix, batch):
    """What a reader makes of the written pair: its largest relative error at the heads, or why it cannot read it."""
    cfg, weights = prefix + ".cfg", prefix + ".weights"
    try:
        judge = open_runner(runner, cfg, weights)
        own = load(cfg, None, judge.dialect)
        name = NAMES[judge.dialect] + " "
        doubts = sorted({n.message.replace(name, "") for n in own.notices if n.reader == judge.dialect})
        if doubts:
            return "not known there: " + "; ".join(doubts)
        checks = compare_reader(load(cfg, weights, judge.dialect), judge, batch)
    except MissingDependency:
        raise
    except DarkpruneError as error:
        return "FAILED: " + error.message
    worst = max(check.max_error for check in checks)
    return "{}{:.1e}".format("" if all(c.ok for c in checks) else "FAILED ", worst)


def row(label, pair, batch, options, base):
    """What one pruning gives: a dict of its figures."""
    net = load(*pair)
    result = prune(net, force=True, **options)
    prefix = os.path.join(BUILD, "out")
    save(result.net, prefix, overwrite=True, plan=result.plan)
    checks = compare_surgery(net, result.net, result.plan, batch)
    figures = dict(totals(result.net), label=label, absorb=options["absorb"], before=totals(net))
    figures["more"] = None if base is None else 100.0 * (figures["parameters"] / base - 1)
    figures["sigma"] = head_error(net, result.net, result.plan, batch)
    figures["exact"] = "{} of {}".format(sum(c.ok for c in checks), len(checks)) if options["absorb"] != "bias" else ""
    figures["opencv"], figures["darknet"] = agreement("opencv", prefix, batch), agreement("darknet", prefix, batch)
    sys.stderr.write(line(figures) + "\n")
    return figures


def line(f):
    """Figures as a row of the long table."""
    more = "" if f["more"] is None else "{:+.2f} %".format(f["more"])
    counts = "{:,} | {} | {:,} | {:.3f}".format(f["parameters"], more, f["weights_bytes"], f["bflops"])
    cells = [f["label"], f["absorb"], counts, "{:.1e}".format(f["sigma"]), f["exact"], f["opencv"], f["darknet"]]
    return "| " + " | ".join(cells) + " |"


HEAD = """| {} | absorb | parameters | against none | bytes | BFLOPs | head error, σ | layers exact | OpenCV | Darknet |
|---|---|---|---|---|---|---|---|---|---|
"""


def channel_rows(names):
    """60 % of the removable filters, in the three absorb modes."""
    rows = []
    for name in names:
        pair = pair_of(name)
        batch, base = test_batch(load(*pair)), None
        for mode in ("none", "bias", "exact"):
            rows.append(row(short(name), pair, batch, dict(channels=0.6, absorb=mode), base))
            base = rows[-1]["parameters"] if mode == "none" else base
    return rows


def block_rows():
    """YOLOv3 without 1, 8, 16 and 23 of its shortcut blocks, alone and with 60 % of the channels."""
    pair = pair_of("yolov3")
    rows, batch = [], test_batch(load(*pair))
    for channels in (None, 0.6):
        for blocks in (1, 8, 16, 23):
            label = "{} blocks".format(blocks) + (" and 60 % of the channels" if channels else "")
            rows.append(row(label, pair, batch, dict(channels=channels, blocks=blocks, absorb="exact"), None))
    return rows


def kept_row(name):
    """What becomes of the dead channel sets when exactly these are asked for: a row of the last table."""
    net = load(*pair_of(name))
    sets = Channels(net)
    scores = select(net, sets, DEFAULTS).scores
    free = (sets.filters > 0) & (sets.pinned < 0)
    dead = free & (scores == 0)
    share = float(sets.filters[dead].sum()) / sets.filters[free & ~np.isnan(scores)].sum()
    found = select(net, sets, DEFAULTS._replace(channels=share))
    constants = set(found.carriers.values())
    kept = dead & ~found.removed
    why = Counter(_kind(found.kept.get(n, "above the threshold")) for n in np.flatnonzero(kept).tolist())
    counts = [int(dead.sum()), int((dead & found.removed).sum()) - len(constants), len(constants), int(kept.sum())]
    reasons = "; ".join("{} {}".format(count, reason) for reason, count in why.most_common())
    text = "| {} | {} | {} |".format(short(name), " | ".join(map(str, counts)), reasons)
    sys.stderr.write(text + "\n")
    return text


def _kind(reason):
    """A reason without the numbers of its layers."""
    return re.sub(r"(layer|route|shortcut) \d+", r"\1", reason)


KEPT = """| net | dead | go | stay as constants | kept | why kept |
|---|---|---|---|---|---|
"""


def short_table(rows):
    """The README's table: one row a net."""
    lines = [
        "| net | parameters | BFLOPs | error with bias | error, exact | parameters that exactness costs | exact in |",
        "|---|---|---|---|---|---|---|",
    ]
    for bias, exact in zip(rows[1::3], rows[2::3]):
        before = exact["before"]
        readers = ["numpy"] + [r for r in ("OpenCV", "Darknet") if exact[r.lower()][:1].isdigit()]
        lines.append(
            "| {} | {:.2f} M -> {:.2f} M | {:.2f} -> {:.2f} | {:.1g} σ | {:.1g} σ | {:+.2f} % | {} |".format(
                exact["label"], before["parameters"] / 1e6, exact["parameters"] / 1e6, before["bflops"],
                exact["bflops"], bias["sigma"], exact["sigma"], exact["more"], ", ".join(readers),
            )
        )  # fmt: skip
    return "\n".join(lines) + "\n"


SPECIAL_TEXT = """
## Other layers

The same for nets with squeeze and excitation, depthwise and grouped convolutions, and sums that are uneven or weighted.
"""
KEPT_TEXT = """
## What exact mode keeps

Exactly the dead channel sets are asked for. A set is kept where no reader could take over what it emits; a constant
channel takes the place of one that went.

"""


def document(names):
    """The text of docs/exactness.md and the rows of its first table."""
    plain, special = [n for n in names if n in NETS], [n for n in names if n not in NETS]
    rows, others = channel_rows(plain), channel_rows(special)
    text = "# What pruning changes\n\nMade by `python tools/exactness.py --write`.\n\n"
    text += "\n".join(words.strip() for words in __doc__.strip().splitlines()[4:]) + "\n\n"
    text += "The columns OpenCV and Darknet give the largest error of the written pair's raw heads in that reader, "
    text += "relative to the\nhead's largest value, against the numpy reference in the reader's own dialect.\n\n"
    text += "Every mode removes the same share of the filters that it may remove. Exact mode may not remove some, and "
    text += "takes others in\nplace of its constants: it can end with more parameters than none, or with fewer.\n"
    if rows:
        text += "\n## 60 % of the removable filters\n\n" + HEAD.format("net") + "\n".join(map(line, rows)) + "\n"
    if others:
        text += SPECIAL_TEXT + "\n" + "\n".join(map(described, special)) + "\n\n"
        text += HEAD.format("net") + "\n".join(map(line, others)) + "\n"
    if "yolov3" in names:
        blocks = block_rows()
        text += "\n## Shortcut blocks\n\n" + HEAD.format("YOLOv3 without") + "\n".join(map(line, blocks)) + "\n"
    return text + KEPT_TEXT + KEPT + "\n".join(map(kept_row, names)) + "\n", rows


def described(name):
    """A list entry that says what a net is here for, and at which size it is run."""
    source = SPECIAL.get(name)
    if source is None:
        return "- " + short(name)
    return "- {}: {}{}".format(name, source.what, ", at {0} x {0}".format(source.size) if source.size else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(list(NETS) + list(SPECIAL)), help="names, or paths of cfgs")
    parser.add_argument("--write", action="store_true", help="write docs/exactness.md and the table in README.md")
    arguments = parser.parse_args()
    text, rows = document(arguments.nets.split(","))
    sys.stdout.write(text)
    if arguments.write:
        with open(os.path.join(ROOT, "docs", "exactness.md"), "w", encoding="utf-8") as stream:
            stream.write(text)
        write_readme(short_table(rows))


def write_readme(table):
    """Puts the table between its marks."""
    path = os.path.join(ROOT, "README.md")
    with open(path, encoding="utf-8") as stream:
        before, rest = stream.read().split("<!-- exactness: written by tools/exactness.py -->\n")
    after = rest.split("<!-- end -->", 1)[1]
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(before + "<!-- exactness: written by tools/exactness.py -->\n" + table + "<!-- end -->" + after)


if __name__ == "__main__":
    main()
