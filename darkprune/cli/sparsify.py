"""Makes the smallest weights of a Darknet pair exact zeros (unstructured magnitude pruning) and writes OUT.cfg and
OUT.weights.

The cfg stays as it is, byte for byte, and so does all of the weights file but the weights that go. Whatever reads the
pair reads the new one, and takes as long as before: these zeros are multiplied like other numbers. The file is smaller
once it is compressed. For speed remove whole channels, with darkprune prune. To learn again what was lost, train the
new pair with darkprune train --keep-zeros.
"""

import argparse
from collections import OrderedDict
from typing import Any, Dict

from darkprune.cli.common import add_common, grouped, notice_texts, print_json, table, warn, write
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.graph.save import save
from darkprune.prune.weight_sparsity import (
    SCOPES,
    Sparsified,
    gzip_bytes,
    layers_to_skip,
    masked_bytes,
    sparsify,
)

NO_SPEED = (
    "No dense runtime (Darknet, OpenCV, ONNX Runtime, TensorRT) gains speed by these zeros: it multiplies them as it "
    "does other weights."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="prefix of the files to write")
    parser.add_argument(
        "--sparsity", metavar="S", type=float, required=True, help="share of the weights that is zero then: 0.8"
    )
    parser.add_argument(
        "--scope",
        choices=SCOPES,
        default=SCOPES[0],
        help="one threshold for all weights, or the same share of each layer (default: %(default)s)",
    )
    parser.add_argument(
        "--skip",
        metavar="LAYERS",
        action="append",
        default=[],
        help="numbers of layers that keep all their weights, with commas; they do not count in the share",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    made = sparsify(net, arguments.sparsity, arguments.scope, layers_to_skip(net, arguments.skip))
    inputs = [arguments.cfg, arguments.weights]
    save(made.net, arguments.output, arguments.overwrite, None, inputs, cfg=net.document.to_bytes())
    fields = _fields(net, made, arguments)
    notices = net.notices + made.notices
    if arguments.json:
        print_json(dict(fields, warnings=notice_texts(notices)))
    else:
        warn(notices)
        write(_text(fields))
    return 0


def _fields(net: Net, made: Sparsified, arguments: argparse.Namespace) -> Dict[str, Any]:
    files = [arguments.output + suffix for suffix in (".cfg", ".weights")]
    weights, zeros = (sum(getattr(row, key) for row in made.rows) for key in ("weights", "zeros"))
    size = net.weights_bytes()
    return OrderedDict(
        [
            ("sparsity", zeros / float(weights)),
            ("weights", weights),
            ("zeros", zeros),
            ("zeros_before", sum(row.before for row in made.rows)),
            ("parameters", net.count_parameters()),
            ("bytes", size),
            ("gzip_bytes_before", gzip_bytes(arguments.weights)),
            ("gzip_bytes", gzip_bytes(files[1])),
            ("mask_bytes", masked_bytes(made.rows, size)),
            ("note", NO_SPEED),
            ("layers", [row._asdict() for row in made.rows]),
            ("files", files),
        ]
    )


def _text(fields: Dict[str, Any]) -> str:
    rows = [["layer", "", "weights", "zeros before", "zeros", "", "up to"]]
    for row in fields["layers"]:
        cells = [str(row["layer"]), row["type"]] + [grouped(row[key]) for key in ("weights", "before", "zeros")]
        share = "{:.1%}".format(row["zeros"] / float(row["weights"]))
        rows.append(cells + [share, "{:.6f}".format(row["threshold"]) if row["threshold"] else "-"])
    text = table(rows, left=(1,)) + "\n"
    text += "{:.2%} of {} weights are zeros, {:.2%} of all {} parameters\n".format(
        fields["sparsity"],
        grouped(fields["weights"]),
        fields["zeros"] / float(fields["parameters"]),
        grouped(fields["parameters"]),
    )
    sizes = [["weights file", "bytes", ""]]
    for words, key in (
        ("as it is, before and now", "bytes"),
        ("compressed by gzip, before", "gzip_bytes_before"),
        ("compressed by gzip, now", "gzip_bytes"),
        ("a bit for each weight and those that are left", "mask_bytes"),
    ):
        sizes.append([words, grouped(fields[key]), "{:.1%}".format(fields[key] / float(fields["bytes"]))])
    return text + table(sizes) + fields["note"] + "\nwrote " + " ".join(fields["files"]) + "\n"
