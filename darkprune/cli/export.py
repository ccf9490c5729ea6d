"""Writes a Darknet pair as an ONNX model, and compares it in ONNX Runtime with numpy where that is installed.

The outputs are the raw heads, as every runner gives them, or the last layer. Tensors are called after their layers:
the input is `data`, layer 12 puts out `L012_convolutional`. Batch norm is folded into the weights by the dialect's
formula. Anchors, names of classes and what else decoding needs stand in the model's metadata (darkprune.heads...).

With --decode the outputs are `boxes` [N, n, 4] (cx, cy, w, h as shares of the net's input) and `scores` [N, n, classes]
(objectness x class) instead, n boxes of all heads. With --nms they are `detections` [M, 7] (image, class, score, cx,
cy, w, h; M objects of all images) and `selected` [M, 3] (image, class, number of the box).

With --int8 most layers compute on 8-bit integers, which the graph says by pairs of QuantizeLinear and
DequantizeLinear: uint8 between layers, int8 weights with a scale for each filter, as ONNX Runtime likes it on x86;
with --target tensorrt int8 between layers too, symmetric, and nothing rounded between a layer and its activation.

With --deepstream -o is a folder: a model that decodes its boxes, the settings of DeepStream's Gst-nvinfer for it, the
labels, the source of the parser that nvinfer needs and, with --int8, a calibration table.
"""

import argparse
import re
from typing import Any, Dict, List, Optional, Tuple, Union

from darkprune.backends.channel_padding import Padded
from darkprune.backends.onnx_file import compare
from darkprune.backends.onnxruntime_ import ANY, import_onnx
from darkprune.cli import export_deepstream as deepstream
from darkprune.cli.common import add_common, grouped, notice_texts, print_json, warn, write
from darkprune.cli.running import class_names
from darkprune.darknet.pair import require_writable, write_file
from darkprune.detect.classifier import class_scores
from darkprune.detect.decode import class_count
from darkprune.detect.detector import NMS, THRESHOLD
from darkprune.edit.resize import resize
from darkprune.errors import MissingDependency, Notice, Unsupported, UsageError
from darkprune.graph.build import load
from darkprune.graph.key import require_finite
from darkprune.graph.net import Net, heads
from darkprune.machine.processor import saturation_notices
from darkprune.quant import trt_cache
from darkprune.quant.quantization import ONNXRUNTIME, SCHEMES, Quantization
from darkprune.quant.ranges import Ranges

DYNAMIC = "dynamic"
PADDINGS = range(1, 257)  # multiples of channels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("-o", "--output", metavar="MODEL.onnx", required=True, help="the file to write")
    parser.add_argument("--deepstream", action="store_true", help="write a folder that DeepStream's nvinfer takes")
    parser.add_argument("--batch", metavar="N|dynamic", default="1", help="images at once (default: %(default)s)")
    parser.add_argument("--decode", action="store_true", help="boxes and scores in place of raw heads")
    parser.add_argument("--nms", action="store_true", help="suppress overlapping boxes too, class by class (IoU)")
    for option, default, of in (("--thresh", THRESHOLD, "of the scores"), ("--nms-thresh", NMS, "of the IoU")):
        explained = "with --nms or --deepstream, {} (default: {})".format(of, default)
        parser.add_argument(option, type=float, metavar="T", help=explained)
    parser.add_argument(
        "--pad-channels",
        metavar="N",
        type=int,
        default=1,
        help="widen convolutions by zeros to a multiple of N filters, which changes no result; "
        "16 is faster on x86 where many are no multiple of 16",
    )
    parser.add_argument(
        "--int8", metavar="RANGES", help="compute on 8-bit integers, with the ranges of darkprune calibrate"
    )
    parser.add_argument("--target", choices=sorted(SCHEMES), help="with --int8, for what (default: onnxruntime)")
    parser.add_argument("--width", metavar="W", type=int, help="another input width than the cfg's")
    parser.add_argument("--height", metavar="H", type=int, help="another input height")
    parser.add_argument("--names", metavar="FILE", help="names of the classes, one a line")
    parser.add_argument("--data", metavar="DATA", help="a .data file, which tells of the names")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.add_argument(
        "--cache-version",
        metavar="V",
        default=trt_cache.VERSION,
        help="with --deepstream, the TensorRT that is to read the table (default: %(default)s)",
    )
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    batch = _batch(arguments.batch)
    _check(arguments)
    inputs = [arguments.cfg, arguments.weights] + ([arguments.int8] if arguments.int8 is not None else [])
    if not arguments.deepstream:
        require_writable(arguments.output, inputs, arguments.overwrite)
    import_onnx()
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    require_finite(net)
    if arguments.width is not None or arguments.height is not None:
        net = resize(net, arguments.width, arguments.height)
    if arguments.deepstream:
        return deepstream.run(arguments, net, int(arguments.batch), inputs)
    ranges = None if arguments.int8 is None else Ranges.read(arguments.int8)
    names = _names(arguments, net, inputs)
    notices = [notice for notice in net.notices if notice.reader in (None, net.dialect.name)]
    lowered, said, before_nms = _lowered(arguments, net, ranges, batch, notices)
    from darkprune.backends.onnx_model import describe

    data = lowered.model(dict(describe(net, names), **said)).SerializeToString(deterministic=True)
    write_file(arguments.output, data, inputs, arguments.overwrite)
    layers = {tensor.name: index for index, tensor in lowered.outputs.items()}
    lowered.graph.constants.clear()
    scheme = SCHEMES[arguments.target or ONNXRUNTIME.name]
    compared = _compared(net, arguments.output, layers, batch, "decoded" in said, before_nms, ranges, scheme)
    found = {
        "file": arguments.output,
        "bytes": len(data),
        "batch": arguments.batch,
        "inputs": {x.name: list(x.shape) for x in lowered.graph.inputs},
        "outputs": {x.name: list(x.shape) for x in lowered.graph.outputs},
        "agreement": dict(compared, judge="numpy" if ranges is None else "fakequant"),
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
    if not (re.match(r"[0-9]{1,5}\Z", text) and 0 < int(text) < 2**16):
        raise UsageError("--batch {} is no number of images".format(text), hint="use 1 or more, or " + DYNAMIC)
    return int(text)


def _check(arguments: argparse.Namespace) -> None:
    """Raises UsageError for options that make no sense."""
    if arguments.deepstream:
        deepstream.check(arguments)
    if arguments.pad_channels not in PADDINGS:
        cause = "--pad-channels {} is no useful multiple".format(arguments.pad_channels)
        raise UsageError(cause, hint="use {} to {}".format(PADDINGS[0], PADDINGS[-1]))
    if arguments.target and arguments.int8 is None:
        raise UsageError("--target is for --int8", hint="give --int8 RANGES, or leave it out")
    for option in ("thresh", "nms_thresh"):
        if getattr(arguments, option) is not None and not (arguments.nms or arguments.deepstream):
            raise UsageError("--{} is for --nms".format(option.replace("_", "-")), hint="give --nms, or leave it out")


def _lowered(
    arguments: argparse.Namespace, net: Net, ranges: Optional[Ranges], batch: Union[int, str], notices: List[Notice]
) -> Tuple[Any, Dict[str, Any], Optional[bytes]]:
    """(the graph with the outputs that are asked for; what it says about them; without NMS, where there is NMS). Adds
    notices."""
    from darkprune.backends.onnx_decode import add_decoding, add_nms, overlap_notice
    from darkprune.backends.onnx_model import folded, lower

    multiple, decode, before_nms = arguments.pad_channels, arguments.decode or arguments.nms, None
    said: Dict[str, Any] = {}
    if ranges is not None:
        from darkprune.backends.onnx_int8 import lowering

        quantization = Quantization(net, ranges, SCHEMES[arguments.target or ONNXRUNTIME.name])
        if not quantization.policy.int8:
            hint = "calibrate with other layers in --keep-float"
            notices.append(Notice("no layer computes on integers: all that could are kept float", hint=hint))
        lowered = lowering(quantization, multiple=multiple)(None, batch)
        said["target"] = quantization.scheme.name
        said["int8"] = {"method": ranges.method, "images": ranges.images, "keep_float": ranges.keep_float}
        said["preprocessing"] = ranges.preprocessing
        notices += saturation_notices() if quantization.scheme == ONNXRUNTIME else []
    else:
        lowered = lower(folded(net), None, batch, None if multiple == 1 else lambda b: Padded(b, multiple, heads(net)))
    if decode:
        add_decoding(lowered)
        said["decoded"] = {"boxes": "cx, cy, w, h as shares of the input", "scores": "objectness x class"}
    if arguments.nms:
        before_nms = lowered.model(check=False).SerializeToString()
        threshold = THRESHOLD if arguments.thresh is None else arguments.thresh
        nms = NMS if arguments.nms_thresh is None else arguments.nms_thresh
        add_nms(lowered, threshold, nms)
        said["nms"] = {"thresh": threshold, "nms_thresh": nms, "overlap": "IoU"}
        notice = overlap_notice(net)
        notices += [] if notice is None else [notice]
    return lowered, said, before_nms


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


def _compared(net: Net, path: str, layers: Dict[str, int], batch: Union[int, str], *decoded: Any) -> Dict[str, Any]:
    """How near ONNX Runtime comes to numpy with the written file, as JSON values."""
    try:
        return dict(compare(net, path, layers, batch if isinstance(batch, int) else None, *decoded)._asdict())
    except MissingDependency as error:
        return {"missing": error.message, "hint": error.hint}


def _text(found: Dict[str, Any]) -> str:
    lines = []
    for kind in ("inputs", "outputs"):
        for name, shape in found[kind].items():
            lines.append("{}  {}  {}".format(kind[:-1].ljust(6), name, " x ".join(str(length) for length in shape)))
    agreement = found["agreement"]
    if "missing" in agreement:
        lines.append("not compared with {judge}: {missing} ({hint})".format(**agreement))
    else:
        verdict = "agrees with" if agreement["ok"] else "DIFFERS from"
        text = "ONNX Runtime {version} {verdict} {judge}: largest error {error:.1e} of {allowed:.1e}"
        lines.append(text.format(verdict=verdict, **agreement))
    return "\n".join(lines) + "\nwrote {}, {} bytes\n".format(found["file"], grouped(found["bytes"]))
