"""Training that starts from what another pair has learnt: its first layers, or all but its classes."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.darknet.weights import NEW_HEADER, WeightsFile
from darkprune.edit.classes import set_classes
from darkprune.errors import GraphError, UsageError, WeightsError, place
from darkprune.graph.attach_weights import attach, classes_that_fit
from darkprune.graph.build import load
from darkprune.graph.channels import Channels
from darkprune.graph.key import require_finite
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.base import ParamSpec
from darkprune.train.random_weights import start

TAKEN, CUT, FRESH = "taken", "cut", "fresh"

Fate = NamedTuple(
    "Fate",
    [
        ("layer", int),  # number in the cfg
        ("type", str),
        ("fate", str),  # taken, cut (only the rows that are not of classes) or fresh
        ("why", str),  # it is not taken whole; else empty
    ],
)
Partial = NamedTuple("Partial", [("net", Net), ("layers", List[Fate])])  # of each layer that has arrays

Rows = Tuple[np.ndarray, np.ndarray]  # filters of the new net, and those of the source that mean the same


def read_source(net: Net, weights: str, cfg: Optional[str] = None) -> Net:
    """The net that a weights file holds, for `adopt`.

    Args:
        cfg: what the weights belong to. Without it they are of `net`'s cfg, of its first layers only (such as
            yolov4.conv.137), or of the same cfg with another number of classes.

    Raises WeightsError for a file that fits none of these.
    """
    dialect = net.dialect.name
    if cfg is not None:
        return load(cfg, weights, dialect, partial=True)
    source, file = _without_values(net), WeightsFile(weights)
    try:
        attach(source, file, partial=True)
        return source
    except WeightsError:
        classes = classes_that_fit(net, file)
        if not classes:
            raise
    try:
        source = set_classes(_without_values(net), classes)
        attach(source, file)
    except (GraphError, UsageError) as error:
        cause = "the file seems to be of a net with {} classes, but {}".format(classes, error.message)
        raise WeightsError(cause, place(weights), "give the cfg that these weights belong to") from error
    return source


def adopt(net: Net, source: Net, seed: int, objectness: Optional[float] = None) -> Partial:
    """The net with random weights as `start` makes them, but for the layers whose arrays `source` has learnt.

    Layers are compared in order, by index. One of the same type whose arrays have the same shapes is taken whole; the
    layer that feeds a detection head of as many anchors but other classes keeps its rows of boxes and objectness, as
    those mean the same; any other layer starts afresh. The first layer of another type ends it: behind it the indices
    no longer mean the same.

    Raises UsageError where nothing fits, WeightsError where a value of the source is not finite.
    """
    require_finite(source)
    new, fates = start(net, seed, objectness), []
    rows, differ = _rows(new, source), None
    for layer in new.layers:
        other = source.layers[layer.index] if layer.index < len(source.layers) else None
        if differ is None and (other is None or other.op is not layer.op):
            differ = layer.number
        specs = layer.op.parameters(layer)
        if not specs:
            continue
        if differ is not None or other is None:
            fates.append(Fate(layer.number, layer.type, FRESH, "the nets differ from layer {} on".format(differ)))
        elif layer.index >= source.loaded:
            fates.append(
                Fate(layer.number, layer.type, FRESH, "the weights end with layer {}".format(source.loaded - 1))
            )
        else:
            fates.append(_take(layer, other, rows.get(layer.index)))
    if all(fate.fate == FRESH for fate in fates):
        cause = "no layer of {} fits the net".format(source.source.path if source.source else source.document.path)
        raise UsageError(cause, net.config.place(), "give weights of the same layers, or train without --partial")
    return Partial(new, fates)


def describe(layers: List[Fate]) -> List[str]:
    """One line for each stretch of layers with the same fate, for logs."""
    lines: List[str] = []
    stretch: List[Fate] = []
    for fate in layers + [Fate(-1, "", "", "")]:
        if stretch and fate[2:] != stretch[0][2:]:
            first, last, why = stretch[0].layer, stretch[-1].layer, stretch[0].why
            where = "layer {}".format(first) if first == last else "layers {} to {}".format(first, last)
            lines.append("{} {}{}".format(where, stretch[0].fate, ": " + why if why else ""))
            stretch = []
        stretch.append(fate)
    return lines


def _take(layer: Layer, other: Layer, rows: Optional[Rows]) -> Fate:
    """Copies what fits from the other layer."""
    mine = {spec.name: spec for spec in layer.op.parameters(layer)}
    theirs = {spec.name: spec for spec in other.op.parameters(other)}
    if rows is None:
        shapes = [{name: (spec.axes, spec.shape) for name, spec in specs.items()} for specs in (mine, theirs)]
        if shapes[0] != shapes[1]:
            return Fate(layer.number, layer.type, FRESH, "its arrays have other shapes")
        for name in mine:
            layer.set_param(name, other.array(name))
        return Fate(layer.number, layer.type, TAKEN, "")
    for name, spec in mine.items():
        if name not in theirs or "out" not in spec.axes or not _alike(spec, theirs[name]):
            return Fate(layer.number, layer.type, FRESH, "its arrays have other shapes")
    for name, spec in mine.items():
        axis = spec.axes.index("out")
        array = np.moveaxis(layer.array(name).copy(), axis, 0)
        array[rows[0]] = np.moveaxis(other.array(name), axis, 0)[rows[1]]
        layer.set_param(name, np.moveaxis(array, 0, axis))
    why = "{} of its {} rows are new, those of classes".format(
        layer.shape.channels - rows[0].size, layer.shape.channels
    )
    return Fate(layer.number, layer.type, CUT, why)


def _alike(spec: ParamSpec, other: ParamSpec) -> bool:
    """Whether two arrays differ at most in the number of their filters."""
    if spec.axes != other.axes or spec.groups != other.groups:
        return False
    return all(a == b or axis == "out" for axis, a, b in zip(spec.axes, spec.shape, other.shape))


def _rows(net: Net, source: Net) -> Dict[int, Rows]:
    """Layer index -> its filters that mean boxes and objectness, for what feeds heads whose classes differ."""
    found: Dict[int, Rows] = {}
    channels = Channels(net), Channels(source)
    for pair in zip(net.layers, source.layers):
        mine, theirs = [head.op.head_channels(head) for head in pair]
        if pair[0].op is not pair[1].op or not mine or not theirs or mine[0] != theirs[0] or mine == theirs:
            continue
        labels = [_lasting(c.output(head.inputs[0]), *of) for c, head, of in zip(channels, pair, (mine, theirs))]
        owners = [c.owner[kept] for c, kept in zip(channels, labels)]
        places = [c.place[kept] for c, kept in zip(channels, labels)]
        for index in np.unique(owners[0]).tolist():
            fed = (owners[0] == index) & (owners[1] == index)
            found[index] = places[0][fed], places[1][fed]
    return found


def _lasting(labels: np.ndarray, anchors: int, classes: int) -> np.ndarray:
    """Those of a head's channels that are not of classes."""
    blocks = labels.reshape(anchors, -1)
    lasting: np.ndarray = blocks[:, : blocks.shape[1] - classes].reshape(-1)
    return lasting


def _without_values(net: Net) -> Net:
    bare = net.copy()
    bare.source, bare.header, bare.loaded = None, NEW_HEADER, 0
    for layer in bare.layers:
        layer.params.clear()
    return bare
