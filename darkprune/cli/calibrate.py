"""Measures the range of every tensor of a net on images and writes OUT, the ranges that its INT8 form is made with.

The images go through the net as inference would show them to it; some hundred of those it was trained with are enough,
labels are not needed. OUT belongs to this pair, at this input size. A calibration that is interrupted goes on where it
was when the same command is given again.
"""

import argparse
import os
from collections import OrderedDict
from contextlib import closing
from typing import Any, Dict, List

from darkprune.backends.registry import RUNNERS, TENSORRT
from darkprune.cli.common import add_common, grouped, notice_texts, print_json, progress, warn, write
from darkprune.cli.running import open_model
from darkprune.darknet.pair import require_writable, write_file
from darkprune.data import image_list
from darkprune.detect.preprocess import require_image_input
from darkprune.edit.resize import resize
from darkprune.errors import MissingDependency, Notice, Unsupported, UsageError, VerifyError, place
from darkprune.evaluate.advice import VARIANTS
from darkprune.evaluate.variants import advise, doubtful
from darkprune.graph.build import load
from darkprune.graph.net import Net
from darkprune.quant import checkpoint, trt_cache
from darkprune.quant.adjustments import Wanted, improve
from darkprune.quant.calibrate import Calibrated, calibrate, preprocessing_of
from darkprune.quant.observe import require_observable
from darkprune.quant.quantization import keep_float
from darkprune.quant.range_methods import ENTROPY, METHODS, Method
from darkprune.quant.ranges import Ranges

QUICK_ROUNDS = 2
_RUNNERS = [name for name in RUNNERS if name != TENSORRT]  # which shows its outputs only


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument(
        "--images", metavar="DIR|LIST", required=True, help="a folder of images, or a file with one path a line"
    )
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the file to write, such as ranges.json")
    parser.add_argument(
        "--method",
        metavar="METHOD",
        default=ENTROPY,
        help=", ".join(METHODS) + ", or percentile:P for another percentage than 99.99 (default: %(default)s)",
    )
    parser.add_argument("--levels", metavar="N", type=int, help="levels of the method entropy (default: 128)")
    parser.add_argument("--count", metavar="N", type=int, help="take the first N images (default: all)")
    parser.add_argument(
        "--keep-float",
        metavar="LAYERS",
        help="numbers of layers that compute on floats, with commas; first-and-heads, which is the default; none",
    )
    parser.add_argument(
        "--equalize",
        metavar="STRENGTH",
        nargs="?",
        const="auto",
        help="make channels alike in range first; strength 0 to 1, by default the one that keeps most of the signal",
    )
    parser.add_argument("--correct-bias", action="store_true", help="correct biases for what rounding adds to means")
    parser.add_argument(
        "--learn-rounding",
        action="store_true",
        help="learn which weights to round up, and correct biases with it: minutes, and most of what can be won",
    )
    parser.add_argument(
        "--auto-keep", metavar="DB", type=float, help="leave layers float until the heads have that signal to noise"
    )
    parser.add_argument("--cache", metavar="FILE", help="write a calibration cache for TensorRT too")
    parser.add_argument(
        "--cache-version",
        metavar="VERSION",
        default=trt_cache.VERSION,
        help="of the TensorRT that is to read the cache (default: %(default)s)",
    )
    parser.add_argument("--runner", choices=_RUNNERS, help="what runs the net (default: the fastest that is installed)")
    parser.add_argument("--width", metavar="W", type=int, help="another input width than the cfg's")
    parser.add_argument("--height", metavar="H", type=int, help="another input height")
    parser.add_argument("--letter-box", action="store_true", help="keep the images' proportions")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT and FILE if they exist")
    parser.add_argument("--no-advice", action="store_true", help="do not measure whether INT8 pays where it may not")
    parser.set_defaults(int8=None, engine=None)  # what runs is float
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    method = Method.parse(arguments.method, arguments.levels)
    trt_cache.version_digits(arguments.cache_version)
    wanted = _wanted(arguments)
    net = _net(arguments)
    kept = keep_float(net, arguments.keep_float)
    images = _images(arguments)
    inputs = [arguments.cfg, arguments.weights, arguments.images] + images
    _require_writable(arguments, inputs)
    with closing(open_model(arguments, lambda model: require_observable(model.runner, model.net))) as model:
        runner = model.runner.name
        made = calibrate(
            model.runner,
            net,
            images,
            method,
            preprocessing_of(net, arguments.letter_box),
            arguments.output + checkpoint.SUFFIX,
            progress("images", "image"),
        )
    made.ranges.keep_float = kept
    said = improve(made.ranges, net, images, method, wanted, runner, progress("layers"))
    notices = net.notices + made.notices + _write_files(arguments, net, made.ranges, method, inputs)
    advice = [] if arguments.no_advice else _advice(net, made.ranges)
    if arguments.json:
        print_json(OrderedDict(_as_dict(arguments, made, runner, notices), adjustments=said, advice=advice))
    else:
        warn(notices)
        write(_text(arguments, made, said) + "".join(line + "\n" for line in advice))
    return 0


def _write_files(
    arguments: argparse.Namespace, net: Net, ranges: Ranges, method: Method, inputs: List[str]
) -> List[Notice]:
    """Writes the cache and then the ranges, with which the calibration is done; returns what is to be said of them."""
    text = ranges.to_bytes()
    if arguments.cache:
        cache = trt_cache.cache_of(net, ranges.tensors, method, arguments.cache_version)
        write_file(arguments.cache, trt_cache.to_bytes(cache), inputs, arguments.overwrite)
    write_file(arguments.output, text, inputs, arguments.overwrite)
    if not (arguments.cache and ranges.adjustments.factors):
        return []
    cause = "the cache fits the equalised net, not the weights in the file"
    hint = "use it with what darkprune export --int8 --target tensorrt writes, or calibrate without --equalize"
    return [Notice(cause, place(arguments.cache), hint)]


def _advice(net: Net, ranges: Ranges) -> List[str]:
    """What a quick measurement says of a net that INT8 may not suit; nothing of others."""
    if not doubtful(net):
        return []
    try:
        return advise(net, ranges, rounds=QUICK_ROUNDS, variants=VARIANTS[:3], progress=progress("processes")).lines()
    except (MissingDependency, Unsupported, VerifyError) as error:
        return ["whether INT8 pays for this net was not measured: {}".format(error.message)]


def _wanted(arguments: argparse.Namespace) -> Wanted:
    """What is to be done besides measuring. Raises UsageError for a strength beyond 0 to 1."""
    strengths = None
    if arguments.equalize not in (None, "auto"):
        try:
            strengths = [float(arguments.equalize)]
        except ValueError:
            strengths = [-1.0]
        if not 0 <= strengths[0] <= 1:
            cause = "--equalize {} is no strength".format(arguments.equalize[:40])
            raise UsageError(cause, hint="use 0 to 1, such as 0.5, or give no number: it is then chosen")
    return Wanted(
        arguments.equalize is not None,
        strengths,
        arguments.correct_bias,
        arguments.learn_rounding,
        arguments.auto_keep,
    )


def _net(arguments: argparse.Namespace) -> Net:
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    if arguments.width is not None or arguments.height is not None:
        net = resize(net, arguments.width, arguments.height)
    require_image_input(net)
    return net


def _images(arguments: argparse.Namespace) -> List[str]:
    """The images to take. Raises UsageError where there are fewer than asked for."""
    found, count = image_list.read(arguments.images), arguments.count
    if count is None:
        return found
    if count < 1:
        raise UsageError("--count {} is no number of images".format(count), hint="use 1 or more")
    if len(found) < count:
        cause = "{} images are here, {} were asked for".format(len(found), count)
        raise UsageError(cause, place(arguments.images), "give more images, or a smaller --count")
    return found[:count]


def _require_writable(arguments: argparse.Namespace, inputs: List[str]) -> None:
    require_writable(arguments.output, inputs, arguments.overwrite)
    if arguments.cache:
        require_writable(arguments.cache, inputs, arguments.overwrite)
        if os.path.realpath(arguments.cache) == os.path.realpath(arguments.output):
            raise UsageError("--cache and -o name the same file", place(arguments.cache), "give two names")


def _files(arguments: argparse.Namespace) -> List[str]:
    return [arguments.output] + ([arguments.cache] if arguments.cache else [])


def _as_dict(arguments: argparse.Namespace, made: Calibrated, runner: str, notices: List[Notice]) -> Dict[str, Any]:
    ranges = made.ranges
    return OrderedDict(
        [
            ("method", ranges.method),
            ("tensors", len(ranges.tensors)),
            ("images", ranges.images),
            ("resumed", made.resumed),
            ("runner", runner),
            ("preprocessing", ranges.preprocessing),
            ("keep_float", ranges.keep_float),
            ("files", _files(arguments)),
            ("warnings", notice_texts(notices)),
        ]
    )


def _text(arguments: argparse.Namespace, made: Calibrated, said: List[str]) -> str:
    ranges, settings = made.ranges, dict(made.ranges.method)
    name = settings.pop("name")
    shown = ", ".join("{} {}".format(value, key) for key, value in settings.items())
    text = "ranges of {} tensors from {} images, by {}{}\n".format(
        len(ranges.tensors), grouped(ranges.images), name, " ({})".format(shown) if shown else ""
    )
    if made.resumed:
        text += "{} of the images had been counted before\n".format(grouped(made.resumed))
    return text + "".join(line + "\n" for line in said) + "wrote " + " ".join(_files(arguments)) + "\n"
