"""How sensitive a net is to the pruning of each part: what removing 10..90 % of one tied width, or one shortcut block,
costs while all else stays (Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.2).

Three costs: the damage that is predicted from the arrays; the signal that the heads keep on images, against those of
the whole net; the accuracy on a data set. A part's sensitivity is the mean of its losses over all shares.
"""

from collections import OrderedDict
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.errors import UsageError, place
from darkprune.graph.channels import Channels
from darkprune.graph.key import pair_key
from darkprune.graph.net import Net, heads
from darkprune.prune.blocks import find_blocks
from darkprune.prune.damage import predict
from darkprune.prune.pipeline import prune, round_
from darkprune.prune.remove_blocks import hindrance, remove_blocks, silence
from darkprune.prune.sensitivity_csv import BASELINE, Row, Table, read
from darkprune.quant.sqnr import decibels

WIDTH, BLOCK = "width", "block"
PREDICTED, SIGNAL = "predicted", "signal"  # metrics; others are measured on data: map, top1
NOTHING_LOST = 60.0  # dB of signal over noise from which nothing is lost

Part = NamedTuple(
    "Part",
    [
        ("kind", str),  # WIDTH or BLOCK
        ("layers", Tuple[int, ...]),  # that make the channels of the width; of the block, the shortcut last
    ],
)
Task = NamedTuple("Task", [("part", Part), ("share", float)])
Measure = Callable[[Net], float]
Ranked = NamedTuple(
    "Ranked",
    [
        ("part", Part),
        ("loss", float),  # mean over the shares, 0..1
        ("losses", List[Tuple[float, float]]),  # share, loss
    ],
)


def parts_of(net: Net, absorb: str = "exact") -> List[Part]:
    """The tied widths that hold removable filters, in order, and then the shortcut blocks that can go."""
    sets = Channels(net)
    widths, numbers = OrderedDict(), sets.widths()  # type: Dict[int, List[int]], np.ndarray
    for layer, mine in sets.producers():
        widths.setdefault(int(numbers[mine[0]]), []).append(layer.index)
    free = set(numbers[np.flatnonzero((sets.filters > 0) & (sets.pinned < 0))].tolist())
    found = [Part(WIDTH, tuple(layers)) for width, layers in widths.items() if width in free]
    for block in find_blocks(net):
        if block.obstacle is None and hindrance(net, [block], absorb) is None:
            found.append(Part(BLOCK, tuple(layer.index for layer in block.branch + (block.shortcut,))))
    return found


def tasks_of(parts: Sequence[Part], shares: Sequence[float]) -> List[Task]:
    """What is tried: each width at each share, each block as a whole."""
    found = []
    for part in parts:
        found += [Task(part, share) for share in (shares if part.kind == WIDTH else [1.0])]
    return found


WHOLE = Task(Part(BASELINE, ()), 0.0)  # nothing goes


def without(net: Net, task: Task, options: Dict[str, Any]) -> Tuple[Net, float, int]:
    """The net without that share of one part, the damage that is predicted, and the number of filters removed.

    Args: options: of `prune`, but for what and how much.
    """
    part = task.part
    if part.kind == BASELINE:
        return net, 0.0, 0
    if part.kind == BLOCK:
        block = next(b for b in find_blocks(net) if b.shortcut.index == part.layers[-1])
        quiet = silence(net, [block])
        damage = predict(net, quiet.channels, np.zeros(quiet.channels.size, bool), quiet.muted).total
        filters = sum(layer.shape.channels for layer, _ in quiet.channels.producers() if layer.index in part.layers)
        return remove_blocks(net, [block], options.get("absorb", "exact")), round_(damage), filters
    only = {index: range(net.layers[index].shape.channels) for index in part.layers}
    made = prune(net, channels=task.share, only=only, force=True, **options)
    removed = sum(len(places) for places in made.plan.removed_channels.values())
    return made.net, made.preflight["damage"], removed


def row_of(net: Net, task: Task, options: Dict[str, Any], measure: Optional[Measure], head: Row) -> Row:
    """The row of one task.

    Args: measure: value of a pruned net; None where the predicted damage is all. head: the fields all rows share.
    """
    pruned, damage, removed = without(net, task, options)
    value = None if measure is None else float("{:.6g}".format(measure(pruned)))
    parameters = pruned.count_parameters()
    return head._replace(
        kind=task.part.kind,
        layers=task.part.layers,
        share=task.share,
        removed=removed,
        parameters=parameters,
        predicted=damage,
        value=value,
    )


class HeadSignal:
    """The signal over noise, in dB, that heads keep of those of the whole net on the same inputs; the mean of heads.

    Args:
        net: the whole one. batches: float32 [n,C,H,W] each; they are held in memory, as its heads are.
        run: the raw heads, in order, of a net for these batches: one list of arrays for each.
    """

    def __init__(
        self,
        net: Net,
        batches: Sequence[np.ndarray],
        run: Callable[[Net, Sequence[np.ndarray]], List[List[np.ndarray]]],
    ) -> None:
        self._batches, self._run = batches, run
        self._wanted = run(net, batches)

    def __call__(self, net: Net) -> float:
        count = len(heads(net))
        signal, noise = np.zeros(count), np.zeros(count)
        for wanted, found in zip(self._wanted, self._run(net, self._batches)):
            for head, (x, y) in enumerate(zip(wanted, found)):
                x = x.astype(np.float64)
                signal[head] += float((x * x).sum())
                noise[head] += float(((x - y) ** 2).sum())
        return float(np.mean([decibels(signal[head], noise[head]) for head in range(count)]))


def loss_of(row: Row, baseline: Optional[float]) -> float:
    """What a row says is lost, 0..1: predicted damage; the noise's share of signal and noise; or accuracy below the
    baseline, 0 where it is above."""
    if row.value is None:
        return row.predicted
    if row.metric == SIGNAL:
        return float(1.0 / (1.0 + 10.0 ** (min(row.value, NOTHING_LOST) / 10.0)))
    return max(0.0, (baseline or 0.0) - row.value)


def ranked(table: Table, shares: Optional[Sequence[float]] = None) -> List[Ranked]:
    """The parts of a table, the most sensitive first, each by the mean of its losses.

    Args: shares: of widths, that count; None for those that every width of the table has.
    """
    if shares is None:
        each = OrderedDict()  # type: Dict[Tuple[int, ...], set]
        for row in table.rows:
            if row.kind == WIDTH:
                each.setdefault(row.layers, set()).add(row.share)
        shares = list(set.intersection(*each.values())) if each else []
    groups = OrderedDict()  # type: Dict[Part, List[Tuple[float, float]]]
    for row in table.rows:
        if row.kind == BLOCK or (row.kind == WIDTH and row.share in shares):
            groups.setdefault(Part(row.kind, row.layers), []).append((row.share, loss_of(row, table.baseline)))
    found = [
        Ranked(part, sum(loss for _, loss in losses) / len(losses), sorted(losses)) for part, losses in groups.items()
    ]
    return sorted(found, key=lambda one: (-one.loss, one.part))


def losses(path: str, net: Net) -> Dict[Tuple[int, ...], float]:
    """Layers of each tied width -> its sensitivity, of a table of `net`, over the shares that every width has there.

    Raises UsageError for that of another pair, and for one that has no share of every width.
    """
    table = read(path)
    if table.rows and table.rows[0].pair != short_key(net):
        raise UsageError("this sensitivity is of another pair", place(path), "measure that of this pair")
    found = {one.part.layers: one.loss for one in ranked(table) if one.part.kind == WIDTH}
    missing = [part.layers for part in parts_of(net) if part.kind == WIDTH and part.layers not in found]
    if missing:
        cause = "no share was measured of every tied width, such as that of layer {}".format(missing[0][0])
        raise UsageError(cause, place(path), "run darkprune sensitivity again: it goes on where it was ended")
    return found


def short_key(net: Net) -> str:
    """The beginning of the pair's key."""
    return pair_key(net)[:16]
