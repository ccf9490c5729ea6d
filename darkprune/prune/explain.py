"""Why each filter goes or stays: the reasons behind a plan, layer by layer and block by block."""

from collections import OrderedDict
from typing import Any, Dict, List, Mapping, NamedTuple

import numpy as np

from darkprune.graph.channels import Channels
from darkprune.graph.net import Net
from darkprune.prune.blocks import Block
from darkprune.prune.select import Selection

LayerRow = NamedTuple(
    "LayerRow",
    [
        ("layer", int),  # the original's number
        ("width", int),  # the original's number of the first layer of its tied width
        ("filters", int),
        ("removed", int),
        ("constants", int),
        ("kept", Dict[str, int]),  # reason -> filters that stay for it
    ],
)
BlockRow = NamedTuple("BlockRow", [("shortcut", int), ("score", float), ("removed", bool), ("reason", str)])

BY_SCORE = "its score"


def layer_rows(
    channels: Channels, found: Selection, numbers: Mapping[int, int], unscored: str = "no score"
) -> List[LayerRow]:
    """What becomes of the filters of every layer that makes channels.

    Args:
        channels, found: of the net without the blocks that go. numbers: its layer numbers -> the original's.
        unscored: why a filter has no score.
    """
    constants = np.zeros(channels.size, bool)
    constants[list(found.carriers.values())] = True
    first: Dict[int, int] = {}
    rows, widths = [], channels.widths()
    for layer, sets in channels.producers():
        width = first.setdefault(int(widths[sets[0]]), numbers[layer.index])
        kept: Dict[str, int] = OrderedDict()
        for number in sets[~found.removed[sets]].tolist():
            why = _reason(channels, found, number, unscored)
            kept[why] = kept.get(why, 0) + 1
        gone, stay = found.removed[sets] & ~constants[sets], constants[sets]
        counts = int(np.count_nonzero(gone)), int(np.count_nonzero(stay))
        rows.append(LayerRow(numbers[layer.index], width, int(sets.size), counts[0], counts[1], kept))
    return rows


def _reason(channels: Channels, found: Selection, number: int, unscored: str) -> str:
    pin = channels.pin_reason(number)
    if pin is not None:
        return pin
    if np.isnan(found.scores[number]):
        return unscored
    return found.kept.get(number, BY_SCORE)


def block_rows(blocks: List[Block], chosen: List[Block], passed: Mapping[int, str]) -> List[BlockRow]:
    """What becomes of every shortcut block. `passed`: shortcuts of blocks that cannot go -> why."""
    going = {block.shortcut.index for block in chosen}
    rows = []
    for block in blocks:
        index = block.shortcut.index
        why = passed.get(index) or (block.obstacle if index not in going else None) or BY_SCORE
        rows.append(BlockRow(index, block.score, index in going, "" if index in going else why))
    return rows


def layer_cells(net: Net, rows: List[LayerRow]) -> List[List[str]]:
    """The rows as a table of text with a head: most filters' reason first."""
    cells = [["layer", "type", "tied with", "filters", "go", "constants", "stay", "why they stay"]]
    for row in rows:
        ranked = sorted(row.kept.items(), key=lambda item: (-item[1], item[0]))
        why = ", ".join("{} {}".format(count, reason) for reason, count in ranked)
        tied = "" if row.width == row.layer else str(row.width)
        counts = [row.filters, row.removed, row.constants, sum(row.kept.values())]
        cells.append([str(row.layer), net.layers[row.layer].type, tied] + [str(n) for n in counts] + [why])
    return cells


def as_json(layers: List[LayerRow], blocks: List[BlockRow]) -> Dict[str, Any]:
    """JSON values of both."""
    return {"layers": [row._asdict() for row in layers], "blocks": [row._asdict() for row in blocks]}
