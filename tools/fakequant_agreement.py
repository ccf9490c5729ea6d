"""Runs INT8 nets in fakequant and in ONNX Runtime, and compares every tensor of integers.

    python tools/fakequant_agreement.py [--nets NAME,...] [--write]

Yolo-Fastest 1.1 has its trained weights, YOLOv3 (at 416 x 416) synthetic ones. The ranges are the extreme values on
two synthetic pictures; a third one is run. A net runs twice: from the picture, and with the integers that float layers
make taken from ONNX Runtime, since floats are added up in another order there, and deep nets with synthetic weights
amplify one step. "+ first" is a net whose first convolution computes on integers too. Exit status 1 where a tensor of
the second run is more than one step away. --write puts the table into docs/results.md.
"""

import argparse
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

import numpy as np  # noqa: E402
import results  # noqa: E402
from torch_agreement import pair  # noqa: E402

from darkprune.backends.fakequant_ import FakequantRunner  # noqa: E402
from darkprune.backends.numpy_ops import NumpyBuilder  # noqa: E402
from darkprune.backends.onnxruntime_ import import_onnxruntime, quiet, session  # noqa: E402
from darkprune.backends.watching import named  # noqa: E402
from darkprune.edit.resize import resize  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.quant.float_layers import default_float  # noqa: E402
from darkprune.quant.quantization import Quantization  # noqa: E402
from darkprune.quant.ranges import Range, Ranges  # noqa: E402
from darkprune.quant.tensors import INPUT, output_name, ranged_tensors  # noqa: E402
from darkprune.verify import test_batch  # noqa: E402

NETS = {"yolo-fastest-1.1": None, "yolov3": 416}  # the input size, None: the cfg's
FIRST = " + first"
PART, TOOL = "fakequant", "fakequant_agreement.py"
HEAD = "| net | weights | tensors | equal from the picture | most steps | equal from the same floats | most steps |\n"


def measured(net, keep_float):
    """The Ranges of the extreme values on two pictures."""
    batch = np.concatenate([test_batch(net, seed=seed) for seed in (1, 2)])
    names = [tensor.name for tensor in ranged_tensors(net)]
    ranges = Ranges(net)
    ranges.keep_float = keep_float
    for name, values in named(net, NumpyBuilder(net.dialect.name), batch, names).items():
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        ranges.tensors[name] = Range(low, high, max(-low, high))
    return ranges


def in_onnxruntime(net, ranges, batch):
    """{name: integers} of every rounded tensor."""
    from darkprune.backends.onnx_int8 import with_integers

    model, names = with_integers(Quantization(net, ranges), len(batch))
    runtime = import_onnxruntime()
    opened = session(runtime, model.SerializeToString(), quiet(runtime))
    order = sorted(set(names.values()))
    found = dict(zip(order, opened.run(order, {INPUT: batch})))
    return {name: found[tensor] for name, tensor in names.items()}


def compare(net, ranges, batch, expected, given):
    """(share of equal integers, largest difference in steps) over all tensors.

    `given`: what float layers made is taken from `expected`, and does not count.
    """
    counts, largest = np.zeros(2, np.int64), 0
    policy = Quantization(net, ranges).policy
    theirs = {INPUT} | {output_name(layer) for layer in net.layers if layer.index not in policy.int8}

    def seen(name, x):
        nonlocal largest
        if given and name in theirs:
            return expected[name]
        difference = np.abs(x.astype(np.int16) - expected[name])
        counts[:] += (np.count_nonzero(difference == 0), difference.size)
        largest = max(largest, int(difference.max()))
        return None

    FakequantRunner(net, ranges, seen=seen).infer(batch, [len(net.layers) - 1])
    return counts[0] / counts[1], largest


def row(name, size, first):
    """(the net's row of the table, the largest step of the second run)."""
    cfg, weights, what = pair(name)
    net = load(cfg, weights)
    net = net if size is None else resize(net, size, size)
    keep_float = default_float(net)
    ranges = measured(net, [index for index in keep_float if index > 0 or not first])
    batch = test_batch(net, seed=9)
    expected = in_onnxruntime(net, ranges, batch)
    cells, largest = [name + FIRST * first, what, len(expected)], 0
    for given in (False, True):
        share, largest = compare(net, ranges, batch, expected, given)
        cells += ["all" if share == 1 else "{:.5f} %".format(100 * share), largest]
    return "| {} |\n".format(" | ".join(map(str, cells))), largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help="comma list (default: all)")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    arguments = parser.parse_args()
    rows, worst = [], 0
    for name in arguments.nets.split(","):
        for first in (False, True):
            text, largest = row(name, NETS.get(name), first)
            rows.append(text)
            worst = max(worst, largest)
            print(text.strip(), flush=True)
    if arguments.write:
        results.write(PART, TOOL, HEAD + "|---|---|---|---|---|---|---|\n" + "".join(rows))
    return 1 if worst > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
