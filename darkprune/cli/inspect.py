"""Shows a Darknet net: its layer table in Darknet's own columns, and its totals.

With weights, their size is checked against the cfg first, and that every value is finite.
"""

import argparse
from typing import Any, Dict, Optional

from darkprune.cli.common import add_common, grouped, notice_texts, print_json, warn, write
from darkprune.darknet.weights import Header
from darkprune.graph.build import load, totals
from darkprune.graph.key import require_finite
from darkprune.graph.net import Net, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS", nargs="?")
    parser.add_argument("--partial", action="store_true", help="accept weights of the first layers only (.conv.N)")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    net = load(arguments.cfg, arguments.weights, arguments.dialect, arguments.partial)
    require_finite(net)
    if arguments.json:
        print_json(as_dict(net))
    else:
        warn(net.notices)
        write(as_text(net))
    return 0


def as_dict(net: Net) -> Dict[str, Any]:
    """What --json prints."""
    sums = totals(net)
    return {
        "layers": sums["layers"],
        "convolutional": sum(layer.op.convolution for layer in net.layers),
        "parameters": sums["parameters"],
        "weights_bytes": sums["weights_bytes"],
        "bflops": sums["bflops"],
        "header": _header(net.header if net.source else None),
        "layers_with_values": net.loaded,
        "dialect": net.dialect.name,
        "layer_list": [_layer(net, layer) for layer in net.layers],
        "warnings": notice_texts(net.notices),
    }


def _header(header: Optional[Header]) -> Optional[Dict[str, Any]]:
    if header is None:
        return None
    version = "{}.{}.{}".format(header.major, header.minor, header.revision)
    return {"version": version, "seen": header.seen, "bytes": header.size, "transposed": header.transposed}


def _layer(net: Net, layer: Any) -> Dict[str, Any]:
    shape = layer.shape
    return {
        "index": layer.index,
        "type": layer.type,
        "inputs": [source.index for source in layer.inputs],
        "output": [shape.w, shape.h, shape.c],
        "outputs": shape.outputs,
        "parameters": sum(size(spec.shape) for spec in layer.op.parameters(layer)),
        "arrays": [[spec.name, list(spec.shape)] for spec in layer.op.parameters(layer)],
    }


def as_text(net: Net) -> str:
    """Darknet's layer table and totals."""
    lines = ["   layer   filters  size/strd(dil)      input                output"]
    for layer in net.layers:
        lines.append("{:4d} {}".format(layer.index, layer.op.describe(layer)))
    sums = totals(net)
    lines.append("Total BFLOPS {:.3f}".format(net.bflops()))
    lines.append(
        "{} layers, {} convolutional, {} parameters, {} bytes of weights".format(
            sums["layers"],
            sum(layer.op.convolution for layer in net.layers),
            grouped(sums["parameters"]),
            grouped(sums["weights_bytes"]),
        )
    )
    if net.source:
        header = net.header
        lines.append(
            "weights: version {}.{}.{}, {} images seen, {} bytes of header{}".format(
                header.major,
                header.minor,
                header.revision,
                grouped(header.seen),
                header.size,
                ", transposed" if header.transposed else "",
            )
        )
    if net.partial:
        lines.append("partial: values for the first {} layers".format(net.loaded))
    return "\n".join(lines) + "\n"
