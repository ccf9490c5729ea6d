"""Files to net: sections to layers, references to edges, floats to arrays."""

import os
from difflib import get_close_matches
from typing import Any, Dict, List, Optional, Set, Tuple

from darkprune.darknet import cfg as cfg_text
from darkprune.darknet import values
from darkprune.darknet.cfg import CfgDocument, Section
from darkprune.darknet.dialect import DEFAULT, dialect
from darkprune.darknet.pair import recover
from darkprune.darknet.weights import WeightsFile
from darkprune.errors import CfgError, Notice, WeightsError, place
from darkprune.graph.check import check
from darkprune.graph.hazards import hazards
from darkprune.graph.layer import Configured, Layer, Param
from darkprune.graph.net import Net, size
from darkprune.ops.base import ParamSpec
from darkprune.ops.net import NetOptions
from darkprune.ops.registry import EVERY_LAYER, OPS


def load(cfg: str, weights: Optional[str] = None, dialect_name: str = DEFAULT, partial: bool = False) -> Net:
    """The net of a Darknet pair, or of a cfg alone.

    Args:
        cfg, weights: paths; without weights the net has shapes and totals but no values.
        dialect_name: whose arithmetic and defaults apply: alexeyab, pjreddie or opencv.
        partial: accept a file that holds the first layers only, such as `darknet53.conv.74`.

    A write to this pair that was interrupted is finished or undone first.

    Raises CfgError, WeightsError, GraphError, OutputError (for a journal that is not ours).
    """
    recovered = recover(os.path.splitext(str(cfg))[0])
    net = build(cfg_text.read(cfg), dialect_name)
    if recovered:
        net.notices.append(Notice(recovered, place(cfg)))
    if weights is not None:
        attach(net, WeightsFile(weights), partial)
    return net


def build(document: CfgDocument, dialect_name: str = DEFAULT) -> Net:
    """The net of a cfg document, without values. Raises CfgError, GraphError."""
    which = dialect(dialect_name)
    net = Net(document, Configured(document.sections[0], NetOptions(), which.name), which)
    _refuse_empty_input(net)
    if len(document.sections) == 1:
        raise CfgError("[net] is the only section", net.config.place(), "add the layers, or copy the file again")
    for index, section in enumerate(document.sections[1:]):
        layer = Layer(section, _op(section, which.name), which.name, index)
        _refuse_large_numbers(layer)
        _notice_options(net, layer)
        _connect(net, layer)
        net.layers.append(layer)
        _point(net, layer)
    check(net)
    net.notices.extend(hazards(net))
    return net


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
    classes = _classes_that_fit(net, source)
    if classes is not None:
        return "the size fits this cfg with classes={}: use the cfg the weights were trained with".format(classes)
    return "use the cfg the weights were trained with, or copy the file again"


def _classes_that_fit(net: Net, source: WeightsFile) -> Optional[int]:
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
        value = param.value if name.endswith("variance") else None
        if value is not None and (value < 0).any():
            bad = int((value < 0).argmax())
            offset = net.header.size + 4 * ((param.origin or 0) + bad)
            raise WeightsError(
                "negative variance {} at byte {} (layer {}, filter {})".format(value[bad], offset, layer.index, bad),
                place(net.source.path if net.source else "<weights>"),
                "the file is damaged or belongs to another cfg",
            )


def _refuse_empty_input(net: Net) -> None:
    if net.input.shape.outputs > 0:
        return
    missing = [key for key in ("width", "height", "channels") if not net.config[key]]
    raise CfgError(
        "[net] has no {}".format(" and no ".join(missing)),
        net.config.place(),
        "set width, height and channels (or inputs, for a net without images)",
    )


def _op(section: Section, reader: str) -> Any:
    op = OPS.get(section.type)
    if op is not None:
        return op
    if section.type in ("net", "network"):
        cause, cure = "a second [net] section", "remove it"
    else:
        cause = "unknown section [{}]".format(section.type)
        close = get_close_matches(section.type.lower(), list(OPS), 1)
        cure = "did you mean [{}]?".format(close[0]) if close else "remove it; no reader we know runs it"
    raise CfgError(cause, section.place(), cure)


def _refuse_large_numbers(layer: Layer) -> None:
    """Raises CfgError for an integer beyond 32 bits, also in an option that only other dialects read."""
    kinds = {o.name: o.kind for o in layer.op.options}
    for option in layer.section.options:
        if option.value is not None and kinds.get(option.key) in ("int", "ints"):
            try:
                values.int_list(option.value)
            except ValueError as error:
                cause, where = "{}: {}".format(option.key, error), layer.place(option.key)
                raise CfgError(cause, where, "use a smaller number") from error


def _notice_options(net: Net, layer: Layer) -> None:
    """Unknown and repeated options: every reader treats them in its own way."""
    known = {o.name for o in layer.op.options} | set(layer.op.passive.split()) | EVERY_LAYER
    seen: Set[str] = set()
    for option in layer.section.options:
        if option.key not in known and option.key not in seen:
            close = get_close_matches(option.key, sorted(known), 1)
            where = place(layer.section.path, option.number, option.raw.rstrip("\r"), 0, len(option.raw.rstrip()))
            cure = "did you mean {}?".format(close[0]) if close else "Darknet ignores it; Darknet V5 refuses the file"
            net.notices.append(Notice("[{}] has no option {!r}".format(layer.type, option.key), where, cure))
        seen.add(option.key)
    for option in layer.section.duplicates():
        net.notices.append(
            Notice(
                "{} is set twice with different values".format(option.key),
                place(layer.section.path, option.number, option.raw.rstrip("\r"), 0, len(option.raw.rstrip())),
                "Darknet takes the first, OpenCV the last; keep one",
                "opencv",
            )
        )


def _connect(net: Net, layer: Layer) -> None:
    """Turns the layer's references into edges."""
    before: Any = net.layers[-1] if net.layers else net.input
    if layer.op.implicit:
        layer.inputs.append(before)
    for key in layer.op.references:
        for reference in layer.op.referenced(layer, key):
            layer.inputs.append(_resolve(net, layer, key, reference))


def _point(net: Net, layer: Layer) -> None:
    for key in layer.op.pointers:
        text = layer.text(key)
        if text is not None and layer.op.points(layer, key):
            layer.pointers[key] = _resolve(net, layer, key, values.atoi(text))


def _resolve(net: Net, layer: Layer, key: str, reference: int) -> Layer:
    index = reference if reference >= 0 else layer.index + reference
    if 0 <= index < layer.index:
        return net.layers[index]
    shown = "[{}] {}={}".format(layer.type, key, reference)
    if index < 0:
        cause = "{} reaches before layer 0".format(shown)
    elif index == layer.index:
        cause = "{} is the layer itself".format(shown)
    else:
        cause = "{} comes later or does not exist".format(shown)
    if layer.index == 0:
        cure = "this is layer 0; it has no earlier layer"
    else:
        both = "-1 or 0" if layer.index == 1 else "-1..-{} or 0..{}".format(layer.index, layer.index - 1)
        cure = "this is layer {}; use {}".format(layer.index, both)
    raise CfgError(cause, _reference_place(layer, key, reference), cure)


def _reference_place(layer: Layer, key: str, reference: int) -> Any:
    where = layer.place(key)
    if where.text and where.column is not None:
        column = where.text.find(str(reference), where.column)
        if column >= 0:
            return place(where.path, where.line, where.text, column, len(str(reference)))
    return where


def totals(net: Net) -> Dict[str, Any]:
    """Counts of a net: layers, channels (filters of convolutions), parameters, weights_bytes, bflops."""
    return {
        "layers": len(net.layers),
        "channels": sum(layer.shape.c for layer in net.layers if layer.type == "convolutional"),
        "parameters": net.count_parameters(),
        "weights_bytes": net.weights_bytes(),
        "bflops": round(net.bflops(), 3),
    }


Pair = Tuple[str, str]
