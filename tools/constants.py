"""Measures how large the weights are that carry constants, beside the other weights of their layer.

    python tools/constants.py [--nets NAME,...] [--write]

A weight that is much larger than the rest makes the steps of an INT8 layer coarse for all. The value v of a constant
channel is therefore the smallest power of two for which no carried weight exceeds the largest other weight of the
reader, but never more than amax, the estimated range |beta| + 3 |gamma| of the map that the constant lives in.
"""

import argparse
import os
import sys
from typing import NamedTuple

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
sys.path.insert(0, os.path.join(ROOT, "tools"))

from measured_nets import NETS, SPECIAL, pair_of, short  # noqa: E402

from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.channels import Channels  # noqa: E402
from darkprune.ops.common import activated  # noqa: E402
from darkprune.prune.emission import joined, walk  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402

Carried = NamedTuple(
    "Carried",
    [
        ("layer", int),  # the padded reader, in the pruned net; of a grouped convolution, one group of it
        ("constant", int),  # channel set of the constant
        ("source", int),  # the layer that emits it
        ("ratio", float),  # largest carried weight over the reader's largest other weight
        ("by_filter", float),  # the same within a filter, at the worst one
        ("value", float),  # that the constant's filter emits
        ("arrives", float),  # at the reader
        ("amax", float),  # estimated range of the map in which the filter lies
    ],
)


def constants_of(net, channels):
    """bool by set: what can only be a constant channel, all of whose filters have no weights, gamma 0 and mean 0."""
    found = np.zeros(channels.size, bool)
    for layer, sets in channels.producers():
        if layer.has("scales"):
            silent = (layer.array("scales") == 0) & (layer.array("mean") == 0) & (layer.array("variance") == 1)
            weights = layer.array("weights").reshape(sets.size, -1)
            found[sets[silent & ~weights.any(axis=1)]] = True
    return found


def carried_weights(net):
    """A `Carried` for each padded reader of a constant channel in a pruned net. It knows nothing of the plan."""
    channels = Channels(net)
    constants = constants_of(net, channels)
    emissions = walk(net, channels, constants).emissions
    found = []
    for layer in net.layers:
        absorber = layer.op.absorber(layer)
        if absorber is None or not absorber.padded or "weights" not in layer.params:
            continue
        labels, arrives = channels.axes[layer.index]["in"], joined(emissions, layer)
        if absorber.groups == labels.size > 1:
            continue  # depthwise: the constant's own filter
        weights = np.abs(layer.array("weights"))
        largest = weights.reshape(weights.shape[0], weights.shape[1], -1).max(axis=2)
        for part, columns in zip(np.split(largest, absorber.groups), np.split(np.arange(labels.size), absorber.groups)):
            mine = constants[channels.sets[labels[columns]]]
            others = part[:, ~mine].max(axis=1)
            for column in np.flatnonzero(mine & part.any(axis=0)).tolist():
                label, heard = labels[columns[column]], others > 0
                ratios = part[:, column].max() / others.max(), (part[heard, column] / others[heard]).max()
                source, value, amax = emitter(net, channels, constants, label)
                numbers = [float(v) for v in ratios + (value, arrives[columns[column]], amax)]
                found.append(Carried(layer.index, int(channels.sets[label]), source.index, *numbers))
    return found


def emitter(net, channels, constants, label):
    """(layer, value, amax): what emits the constant of a label, how much, and the estimated range of that map."""
    first = channels.added[label]  # of filters whose maps are added up, this one emits it, the others 0
    layer, place = net.layers[channels.owner[first]], int(channels.place[first])
    live = ~constants[channels.sets[channels.outputs[layer.index]]]
    amax = (np.abs(layer.array("biases")) + 3 * np.abs(layer.array("scales")))[live].max()
    return layer, activated(layer, layer.array("biases")[place : place + 1])[0], amax  # its filter has no weights


HEAD = """| net | constants | readers | largest ratio | over 1 | over 1 without need | largest ratio within a filter |
|---|---|---|---|---|---|---|
"""
LIST = """| net | reader | ratio | v | arrives as | amax |
|---|---|---|---|---|---|
"""
TEXT = """
60 % of the removable filters of each net are pruned with `--absorb exact`. A ratio is that of a reader's largest
carried weight to its largest other weight; of a grouped convolution each group that gets a constant is a reader. "Over
1 without need": v could have been doubled within amax. The last column takes the ratio filter by filter, which is what
counts where each filter has an INT8 step of its own. A net without constants has no padded reader that got one.

"""


def measure(name):
    """The pruned net's `Carried`, and its row of the first table."""
    net = load(*pair_of(name))
    found = carried_weights(prune(net, channels=0.6, force=True).net)
    over = [item for item in found if item.ratio > 1]
    needless = [item for item in over if 2 * item.value <= item.amax]
    counts = [len({item.constant for item in found}), len(found)]
    cells = [short(name)] + [str(count) for count in counts]
    cells.append("{:.2f}".format(max(item.ratio for item in found)) if found else "")
    cells += [str(len(over)), str(len(needless))]
    cells.append("{:.2f}".format(max(item.by_filter for item in found)) if found else "")
    text = "| " + " | ".join(cells) + " |"
    sys.stderr.write(text + "\n")
    return found, text


def listed(name, item):
    """The row of a reader in the second table."""
    values = ["{:.2f}".format(item.ratio)] + ["{:.3g}".format(v) for v in (item.value, item.arrives, item.amax)]
    return "| {} | layer {} | {} |".format(short(name), item.layer, " | ".join(values))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(list(NETS) + list(SPECIAL)), help="names, or paths of cfgs")
    parser.add_argument("--write", action="store_true", help="write docs/constants.md")
    arguments = parser.parse_args()
    measured = [(name, measure(name)) for name in arguments.nets.split(",")]
    over = [listed(name, item) for name, (found, _) in measured for item in found if item.ratio > 1]
    text = "# The weights that carry constants\n\nMade by `python tools/constants.py --write`.\n\n"
    text += "\n".join(words.strip() for words in __doc__.strip().splitlines()[4:]) + "\n"
    text += TEXT + HEAD + "".join(row + "\n" for _, (_, row) in measured)
    if over:
        text += "\n## Ratios over 1\n\n" + LIST + "".join(row + "\n" for row in over)
    sys.stdout.write(text)
    if arguments.write:
        with open(os.path.join(ROOT, "docs", "constants.md"), "w", encoding="utf-8") as stream:
            stream.write(text)


if __name__ == "__main__":
    main()
