"""Shortcut blocks ranked by the criteria of channels, or by the damage that removing each of them does on images.

By a criterion a block is worth the mean over the convolutions of its branch of the mean over their filters, each
layer's values divided by what they grow with (`Criterion.unit`: weights of a filter, size of a map), since here layers
are compared with layers. Of several criteria the ranks of the blocks are combined.

By damage it is worth sum((x - y)^2) / sum(x^2) over all images, with x a raw head of the net and y that of the net
without this block alone; the mean over the heads.
"""

from typing import Callable, Dict, Iterable, Mapping

import numpy as np

from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.net import Net, heads
from darkprune.prune.blocks import Block, find_blocks
from darkprune.prune.combine import combine, parse, ranks
from darkprune.prune.criteria.base import Values
from darkprune.prune.evidence import opened
from darkprune.prune.remove_blocks import hindrance, remove_blocks
from darkprune.prune.score import criterion_of, values_of
from darkprune.prune.select import Options

AT_ONCE = 4  # images

Batches = Callable[[int], Iterable[np.ndarray]]


def by_criterion(net: Net, options: Options, values: Mapping[str, Values], seed: int) -> Dict[int, float]:
    """The score of each block by the index of its shortcut; inf where nothing scores it.

    Args: values: what was measured on the net, by criterion.

    Raises UsageError for a criterion that only compares filters of one layer.
    """
    wanted = parse(options.criterion, options.combine)
    channels, blocks = Channels(net), find_blocks(net)
    rows = []
    for name in wanted.names:
        criterion = criterion_of(name)
        if criterion.unit is None:
            cause = "the criterion {} compares filters within their layer, and so no blocks".format(name)
            raise UsageError(cause, hint="use --block-rank mean, last or damage, or another criterion")
        mine = values[name] if name in values else values_of(net, channels, criterion, seed)
        means = {i: float(v.mean()) / criterion.unit(net.layers[i]) for i, v in mine.items() if v.size}
        rows.append(np.array([_mean(means, block) for block in blocks]))
    found = rows[0]
    if len(rows) > 1:
        found = combine([ranks(row, np.ones(len(row), int)) for row in rows], wanted)
    return {block.shortcut.index: score for block, score in zip(blocks, np.where(np.isnan(found), np.inf, found))}


def _mean(means: Mapping[int, float], block: Block) -> float:
    mine = [means[layer.index] for layer in block.branch if layer.index in means]
    return sum(mine) / len(mine) if mine else float("nan")


def by_damage(
    net: Net, batches: Batches, runner: str = "numpy", absorb: str = "exact", force: bool = False
) -> Dict[int, float]:
    """Noise over signal at the heads without each block, by the index of its shortcut; blocks that cannot go alone
    have none.

    Args: batches: see `darkprune.prune.evidence.measure`. force: also blocks that are no plain sums.
    """
    found: Dict[int, float] = {}
    for block in find_blocks(net):
        free = block.obstacle is None or (force and block.forcible)
        if free and hindrance(net, [block], absorb) is None:
            found[block.shortcut.index] = _damage(net, remove_blocks(net, [block], absorb), batches, runner)
    return found


def _damage(net: Net, shorter: Net, batches: Batches, runner: str) -> float:
    sides = heads(net), heads(shorter)
    noise, signal = np.zeros(len(sides[0])), np.zeros(len(sides[0]))
    with opened(net, runner) as whole, opened(shorter, runner) as cut:
        for batch in batches(AT_ONCE):
            wanted, given = whole.infer(batch, sides[0]), cut.infer(batch, sides[1])
            for number, (first, second) in enumerate(zip(*sides)):
                x = wanted[first].astype(np.float64)
                noise[number] += float(((x - given[second].reshape(x.shape)) ** 2).sum())
                signal[number] += float((x * x).sum())
    return float((noise / np.maximum(signal, 1e-300)).mean())
