"""What pruning leaves to INT8: pairs pruned with each way to absorb constants, quantised. Called by int8_accuracy.py.

The signal at the heads, in dB, of a pruned pair's INT8 form: against its own FP32, and against the net that pruning
is to compute, the original with the removed filters silenced (darkprune.prune.masked). Ranges: max, of 16 images of
train2017.
"""

import functools
import os

import int8_accuracy
import measured_nets
from trained_models import data_file, pair_of, table

from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner
from darkprune.backends.registry import open_int8_runner
from darkprune.data import image_list
from darkprune.data.data_file import DataFile
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.prune.masked import masked
from darkprune.prune.pipeline import prune
from darkprune.quant import adjustments, sqnr
from darkprune.quant.calibrate import preprocessing_of, ranges_of
from darkprune.quant.quantization import keep_float
from darkprune.quant.range_methods import Method
from darkprune.quant.ranges import Ranges

NETS = {"yolov3-tiny, synthetic weights": 0.5, "yolo-fastest-1.1": 0.1}  # the share of channels that goes
ABSORB = ("exact", "none", "bias")
IMAGES = 16


def run():
    """Rows of every net and way."""
    images = image_list.read(DataFile.read(data_file()).require("train"))[:IMAGES]
    for name, share in NETS.items():
        pair = pair_of(name) if "," not in name else measured_nets.pair_of("yolov3-tiny")
        for absorb in ABSORB:
            key = {"kind": "pruned", "model": name, "absorb": absorb, "share": share}
            int8_accuracy.measure(key, functools.partial(_measured, pair, share, absorb, images))


def _measured(pair, share, absorb, images):
    original = load(*pair)
    made = prune(original, channels=share, absorb=absorb, force=True)
    prefix = os.path.join(int8_accuracy.BUILD, "pruned")
    save(made.net, prefix, True)
    net = load(prefix + ".cfg", prefix + ".weights")
    made.plan.options["absorb"] = "exact"  # the same reference for all: removed filters emit what they did
    silenced = masked(original, made.plan)
    ranges = Ranges(net)
    ranges.keep_float, ranges.preprocessing = keep_float(net, None), preprocessing_of(net)
    histograms = adjustments.measured(net, ranges.adjustments, images, ranges.preprocessing, OnnxRuntimeRunner)
    ranges.tensors = ranges_of(net, histograms, Method.parse("max"))
    held = adjustments.batches(net, images, ranges.preprocessing)
    found = {"zero_filters": _zero_filters(net)}
    with open_int8_runner("onnxruntime", net, ranges) as rounded, OnnxRuntimeRunner(net) as real:
        found["own"] = round(sqnr.of_heads(net, real, rounded, held), 2)
        with OnnxRuntimeRunner(silenced) as reference:
            found["fp32"] = round(_against(reference, silenced, real, net, held), 2)
            found["int8"] = round(_against(reference, silenced, rounded, net, held), 2)
    return found


def _against(reference, silenced, runner, net, held):
    """As sqnr.of_heads, where the heads have other numbers in both nets."""
    pairs = list(zip(sqnr.heads(silenced), sqnr.heads(net)))
    return sqnr.of_heads(silenced, reference, _Renumbered(runner, pairs), held)


class _Renumbered:
    def __init__(self, runner, pairs):
        self.runner, self.pairs = runner, pairs

    def infer(self, batch, layers):
        found = self.runner.infer(batch, [mine for _, mine in self.pairs])
        return {theirs: found[mine] for theirs, mine in self.pairs}


def _zero_filters(net):
    """Filters without weights: the constant channels."""
    found = 0
    for layer in net.layers:
        if "weights" in layer.params and layer.op.convolution:
            weights = layer.array("weights")
            found += int((abs(weights.reshape(len(weights), -1)).max(axis=1) == 0).sum())
    return found


def page():
    """The part of docs/results.md."""
    lines = []
    for row in int8_accuracy.rows("pruned"):
        numbers = ["{:.1f}".format(row[name]) for name in ("own", "fp32", "int8")]
        shares = "{:.0f} %".format(100 * row["share"])
        lines.append([row["model"], shares, row["absorb"], str(row["zero_filters"])] + numbers)
    titles = ["net", "channels removed", "absorb", "filters without weights", "INT8 against its own FP32, dB"]
    titles += ["FP32 against the silenced original, dB", "INT8 against the silenced original, dB"]
    return table(titles, lines)
