"""Writes a Darknet pair as an ONNX model, and compares it in ONNX Runtime with numpy where that is installed.

The outputs are the raw heads, as every runner gives them, or the last layer. Tensors are called after their layers:
the input is `data`, layer 12 puts out `L012_convolutional`. Batch norm is folded into the weights by the dialect's
formula. Anchors, names of classes and what else decoding needs stand in the model's metadata (darkprune.heads...).
"""

import argparse
from typing import Any, Dict, List, Optional, Union

from darkprune.backends.onnx_file import compare
from darkprune.backends.onnxruntime_ import ANY, import_onnx
from darkprune.cli.common import add_common, grouped, notice_texts, print_json, warn, write
from darkprune.cli.running import class_names
from darkprune.darknet.pair import require_writable, write_file
from darkprune.detect.classifier import class_scores
from darkprune.detect.decode import class_count
from darkprune.edit.resize import resize
from darkprune.errors import MissingDependency, Unsupported, UsageError
from darkprune.graph.build import load
from darkprune.graph.net import Net

DYNAMIC = "dynamic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("-o", "--output", metavar="MODEL.onnx", required=True, help="the file to write")
    parser.add_argument("--batch", metavar="N|dynamic", default="1", help="images at once (default: %(default)s)")
    parser.add_argument("--width", metavar="W", type=int, help="another input width than the cfg's")
    parser.add_argument("--height", metavar="H", type=int, help="another input height")
    parser.add_argument("--names", metavar="FILE", help="names of the classes, one a line")
    parser.add_argument("--data", metavar="DATA", help="a .data file, which tells of the names")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    batch = _batch(arguments.batch)
    inputs = [arguments.cfg, arguments.weights]
    require_writable(arguments.output, inputs, arguments.overwrite)
    import_onnx()
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    if arguments.width is not None or arguments.height is not None:
        net = resize(net, arguments.width, arguments.height)
    names = _names(arguments, net, inputs)
    from darkprune.backends.onnx_model import describe, folded, lower

    lowered = lower(folded(net), None, batch)
    data = lowered.model(describe(net, names)).SerializeToString(deterministic=True)
    write_file(arguments.output, data, inputs, arguments.overwrite)
    layers = {tensor.name: index for index, tensor in lowered.outputs.items()}
    lowered.graph.constants.clear()
    compared = _compared(net, arguments.output, layers, batch)
    notices = [notice for notice in net.notices if notice.reader in (None, net.dialect.name)]
    found = {
        "file": arguments.output,
        "bytes": len(data),
        "batch": arguments.batch,
        "inputs": {x.name: list(x.shape) for x in lowered.graph.inputs},
        "outputs": {x.name: list(x.shape) for x in lowered.graph.outputs},
        "agreement": compared,
        "warnings": notice_texts(notices),
    }
    if arguments.json:
        print_json(found)
    else:
        warn(notices)
        write(_text(found))
    return 1 if compared.get("ok") is False else 0


def _batch(text: str) -> Union[int, str]:
    """The length of the model's first axis."""
    if text == DYNAMIC:
        return ANY
    if not (text.isdigit() and 0 < int(text) < 2**16):
        raise UsageError("--batch {} is no number of images".format(text), hint="use 1 or more, or " + DYNAMIC)
    return int(text)


def _names(arguments: argparse.Namespace, net: Net, inputs: List[str]) -> Optional[List[str]]:
    """The names of the classes; None where there are none, and none were given."""
    try:
        if any(layer.op.detector for layer in net.layers):
            classes = class_count(net)
        else:
            classes = net.layers[class_scores(net)].shape.outputs
    except (UsageError, Unsupported):
        if arguments.names or arguments.data:
            raise
        return None  # no head that tells classes
    found = class_names(arguments, classes, surplus=True, inputs=inputs)
    return None if found == [str(number) for number in range(classes)] else found


def _compared(net: Net, path: str, layers: Dict[str, int], batch: Union[int, str]) -> Dict[str, Any]:
    """How near ONNX Runtime comes to numpy with the written file, as JSON values."""
    try:
        return dict(compare(net, path, layers, batch if isinstance(batch, int) else None)._asdict())
    except MissingDependency as error:
        return {"missing": error.message, "hint": error.hint}


def _text(found: Dict[str, Any]) -> str:
    lines = []
    for kind in ("inputs", "outputs"):
        for name, shape in found[kind].items():
            lines.append("{}  {}  {}".format(kind[:-1].ljust(6), name, " x ".join(str(length) for length in shape)))
    agreement = found["agreement"]
    if "missing" in agreement:
        lines.append("not compared with numpy: {} ({})".format(agreement["missing"], agreement["hint"]))
    else:
        verdict = "agrees with numpy" if agreement["ok"] else "DIFFERS from numpy"
        text = "ONNX Runtime {version} {verdict}: largest error {error:.1e} of {allowed:.1e}"
        lines.append(text.format(verdict=verdict, **agreement))
    return "\n".join(lines) + "\nwrote {}, {} bytes\n".format(found["file"], grouped(found["bytes"]))
