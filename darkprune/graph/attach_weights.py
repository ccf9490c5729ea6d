"""Gives a net the values of a weights file, after the file's size was compared with what the cfg implies."""

from typing import List, Optional

import numpy as np

from darkprune.darknet.weights import WeightsFile
from darkprune.errors import CfgError, WeightsError, place
from darkprune.graph.layer import Layer, Param
from darkprune.graph.net import Net, size
from darkprune.ops.base import ParamSpec


def attach(net: Net, source: WeightsFile, partial: bool = False) -> None:
    """Gives the net the values of a weights file. Raises WeightsError when its size is not the cfg's."""
    loaded = covered_layers(net, source, partial)
    position = 0
    for layer, spec in net.specs(loaded):
        reason = layer.op.unreadable(layer)
        if reason:
            raise CfgError(reason[1], layer.place(reason[0]), "remove the option, or save the weights without it")
        layer.params[spec.name] = file_param(source, spec, position)
        position += size(spec.shape)
    net.source, net.header, net.loaded = source, source.header, loaded
    for layer in net.layers[:loaded]:
        _refuse_negative_variance(net, layer)


def file_param(source: WeightsFile, spec: ParamSpec, start: int) -> Param:
    """The parameter at float number `start` of a weights file, read when asked for."""
    if spec.transposable and source.header.transposed:
        shape = spec.shape[::-1]
        return Param(spec, lambda: source.read(start, shape).T, start)
    return Param(spec, lambda: source.read(start, spec.shape), start)


def covered_layers(net: Net, source: WeightsFile, partial: bool) -> int:
    """How many leading layers the file holds: all of them, or fewer where `partial` allows it."""
    total, sums = 0, []
    for layer in net.layers:
        total += sum(size(spec.shape) for spec in layer.op.parameters(layer))
        sums.append(total)
    if source.floats == total:
        return len(net.layers)
    if source.floats in sums[:-1]:
        count = sums.index(source.floats) + 1
        last = len(sums) - sums[::-1].index(source.floats)
        if partial:
            return last
        raise WeightsError(
            "the file ends with layer {} of {}: a partial file (.conv.{})".format(count - 1, len(sums), last),
            place(source.path),
            "give the full weights; only inspect --partial takes a part of them",
        )
    raise WeightsError(_mismatch(net, source, total, sums), place(source.path), _mismatch_cure(net, source, total))


def _mismatch(net: Net, source: WeightsFile, total: int, sums: List[int]) -> str:
    expected = source.header.size + 4 * total
    if source.floats > total:
        return "{} bytes are left at byte {}: the cfg needs {} bytes, the file has {}".format(
            source.size - expected, expected, expected, source.size
        )
    first = next(i for i, value in enumerate(sums) if value > source.floats)
    return "the file ends at byte {} inside layer {} [{}]: the cfg needs {} bytes".format(
        source.size, first, net.layers[first].type, expected
    )


def _mismatch_cure(net: Net, source: WeightsFile, total: int) -> str:
    classes = classes_that_fit(net, source)
    if classes is not None:
        return "the size fits this cfg with classes={}: use the cfg the weights were trained with".format(classes)
    return "use the cfg the weights were trained with, or copy the file again"


def classes_that_fit(net: Net, source: WeightsFile) -> Optional[int]:
    """The number of classes with which the heads' convolutions would make the sizes agree."""
    per_class = extra = 0
    current = None
    for layer in net.layers:
        heads = layer.op.head_channels(layer)
        producer = layer.inputs[0] if layer.inputs else None
        if heads is None or producer is None or not isinstance(producer, Layer):
            continue
        current = heads[1]
        per_filter = sum(size(s.shape) for s in producer.op.parameters(producer)) // max(1, producer.shape.c)
        per_class += heads[0] * per_filter
        extra += heads[0] * per_filter * current
    if not per_class or current is None:
        return None
    rest = source.floats - (net.count_parameters() - extra)
    return rest // per_class if rest > 0 and rest % per_class == 0 else None


def _refuse_negative_variance(net: Net, layer: Layer) -> None:
    for name, param in layer.params.items():
        if not name.endswith("variance"):
            continue
        value = param.value
        with np.errstate(invalid="ignore"):  # a nan, for which numpy of 2017 warns
            negative = value < 0
        if negative.any():
            bad = int(negative.argmax())
            offset = net.header.size + 4 * ((param.origin or 0) + bad)
            raise WeightsError(
                "negative variance {} at byte {} (layer {}, filter {})".format(value[bad], offset, layer.index, bad),
                place(net.source.path if net.source else "<weights>"),
                "the file is damaged or belongs to another cfg",
            )
