"""Files to net: sections to layers, references to edges, floats to arrays."""

import os
from difflib import get_close_matches
from typing import Any, Dict, Optional, Set

from darkprune.darknet import cfg as cfg_text
from darkprune.darknet import values
from darkprune.darknet.cfg import CfgDocument, Section
from darkprune.darknet.dialect_epsilon import DEFAULT, dialect
from darkprune.darknet.pair import recover
from darkprune.darknet.weights import WeightsFile
from darkprune.errors import CfgError, Notice, place
from darkprune.graph.attach_weights import attach
from darkprune.graph.check import check
from darkprune.graph.hazards import hazards, header_hazards
from darkprune.graph.layer import Configured, Layer
from darkprune.graph.net import Net
from darkprune.graph.references import connect, point
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
        net.notices.extend(header_hazards(net))
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
        connect(net, layer)
        net.layers.append(layer)
        point(net, layer)
    check(net)
    net.notices.extend(hazards(net))
    return net


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


def totals(net: Net) -> Dict[str, Any]:
    """Counts of a net: layers, channels (filters of convolutions), parameters, weights_bytes, bflops."""
    return {
        "layers": len(net.layers),
        "channels": sum(layer.shape.c for layer in net.layers if layer.op.convolution),
        "parameters": net.count_parameters(),
        "weights_bytes": net.weights_bytes(),
        "bflops": round(net.bflops(), 3),
    }
