"""Times nets in ONNX Runtime as FP32 and as INT8, as they are and with padded channels, and what is recommended.

    python tools/int8_speed.py [--nets NAME,...] [--threads N] [--rounds N] [--write]

Files are what `darkprune export` writes; every time is of a fresh process, and the files of a net take turns. Weights
are synthetic but Yolo-Fastest's, and so are the images that ranges are measured on: that changes no time.
"""

import argparse
import os
import sys
from collections import OrderedDict

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from make_weights import make, pictures  # noqa: E402
from measured_nets import DEBIAN, ROOT, SHARED, pair_of  # noqa: E402
from results import write  # noqa: E402

from darkprune.backends.clock import Clock  # noqa: E402
from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner  # noqa: E402
from darkprune.cli.bench import machine  # noqa: E402
from darkprune.evaluate.advice import MANY, PLAIN, VARIANTS, Advice, Variant, thin_share, timed, title  # noqa: E402
from darkprune.evaluate.variants import measure, write_models  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402
from darkprune.quant.quantization import keep_float  # noqa: E402
from darkprune.quant.ranges import Range, Ranges  # noqa: E402
from darkprune.quant.tensors import ranged_tensors  # noqa: E402

BUILD = os.path.join(ROOT, "build", "int8-speed")
THREADS, ROUNDS, IMAGES = 2, 5, 2
INT8 = Variant(True, 1)
FORMS = VARIANTS[:3]  # padded INT8 is left to bench
CLOCK = Clock(warm=3, least=5, duration=0.4)
PRUNED = "yolov3, 60 % pruned"


def _own(name):
    return lambda: pair_of(name)


def _made(cfg, name):
    def pair():
        weights = os.path.join(BUILD, name + ".weights")
        if not os.path.exists(weights):
            make(cfg, weights)
        return cfg, weights

    return pair


def _trained(name):
    def pair():
        stem = os.path.join(SHARED, "models", "yolo-fastest-1.1", name)
        if not os.path.exists(stem + ".weights"):
            sys.exit("error: {}.weights is not there; DARKPRUNE_SHARED names the folder".format(stem))
        return stem + ".cfg", stem + ".weights"

    return pair


def _pruned():
    prefix = os.path.join(BUILD, "yolov3-pruned")
    if not os.path.exists(prefix + ".cfg"):
        result = prune(load(*pair_of("yolov3")), channels=0.6, round=16, force=True)
        save(result.net, prefix, overwrite=True, plan=result.plan)
    return prefix + ".cfg", prefix + ".weights"


# name -> (what makes its pair, most that INT8 may take of FP32's time)
NETS = OrderedDict(
    [
        ("yolov3", (_own("yolov3"), 0.33)),
        (PRUNED, (_pruned, None)),
        ("alexnet-fashion", (_made(os.path.join(ROOT, "cfg", "alexnet-fashion.cfg"), "alexnet-fashion"), 0.25)),
        ("resnet50", (_made(os.path.join(DEBIAN, "resnet50.cfg"), "resnet50"), 0.36)),
        ("yolov4-tiny", (_own("yolov4-tiny"), 0.40)),
        ("yolo-fastest-1.1", (_trained("yolo-fastest-1.1"), None)),
        ("yolo-fastest-1.1-xl", (_trained("yolo-fastest-1.1-xl"), None)),
    ]
)


def synthetic_ranges(net):
    """Ranges of a net's tensors over IMAGES pictures of gradients, blocks and noise."""
    shape, tensors = net.input.shape, [tensor.name for tensor in ranged_tensors(net)]
    images = pictures(shape.c, shape.h, shape.w, np.random.RandomState(1))[:IMAGES]
    runner = OnnxRuntimeRunner(net, THREADS)
    runner.open()
    found = Ranges(net)
    found.keep_float = keep_float(net, None)
    for image in images:
        for name, values in runner.named(image[None], tensors).items():
            before = found.tensors.get(name, Range(0.0, 0.0, 0.0))
            low, high = min(before.low, float(values.min())), max(before.high, float(values.max()))
            found.tensors[name] = Range(low, high, max(-low, high))
    runner.close()
    return found


def models(name):
    """The net and its ONNX files by variant, which are made anew; padded ones only where INT8 may not pay."""
    net = load(*NETS[name][0]())
    folder = os.path.join(BUILD, name.split(",")[0] + "-onnx" + ("-pruned" if name == PRUNED else ""))
    os.makedirs(folder, exist_ok=True)
    for file in os.listdir(folder):
        os.remove(os.path.join(folder, file))
    wanted = FORMS if thin_share(net) >= MANY else (PLAIN, INT8)
    return net, write_models(net, synthetic_ranges(net), wanted, folder)


def row(name, net, advice):
    """A row of the table."""
    goal = NETS[name][1]
    cells = [name, "{} x {}".format(net.input.shape.w, net.input.shape.h), "{:.2f}".format(_gmacs(net))]
    times = {found.variant: "{:.2f} ({:.2f})".format(found.median_ms, found.min_ms) for found in advice.times}
    cells += [times.get(variant, "-") for variant in FORMS]
    cells += ["{:.3f}".format(advice.of(INT8).ratio), "-" if goal is None else "{:.2f}".format(goal)]
    cells += [title(advice.best.variant), "{:.2f}".format(advice.best.ratio)]
    return "| " + " | ".join(cells) + " |\n"


def _gmacs(net):
    return sum(layer.op.macs(layer) for layer in net.layers) / 1e9


def table(measured, threads, rounds):
    """The text in docs/results.md: of (name, net, Advice)."""
    forms = [title(variant) for variant in FORMS]
    head = ["net", "input", "GMAC"] + forms + ["INT8 / FP32", "goal", "recommended", "its time / FP32"]
    text = "| {} |\n|{}\n".format(" | ".join(head), "---|" * len(head))
    text += "".join(row(*entry) for entry in measured)
    text += "\nMilliseconds: the median of {} processes' medians, the least in brackets; a ratio is the median of "
    text += "the rounds' ratios. {}, {} threads.\n"
    text = text.format(rounds, machine(), threads)
    found = {name: advice for name, _, advice in measured}
    if "yolov3" in found and PRUNED in found:
        whole, least = found["yolov3"].of(PLAIN), found[PRUNED].of(INT8)
        times = (whole.median_ms / least.median_ms, whole.min_ms / least.min_ms)
        text += "\nYOLOv3 with 60 % of its filters pruned, in INT8, is {:.1f} times as fast ".format(times[0])
        text += "as the whole net in FP32 (medians; {:.1f} by the least times).\n".format(times[1])
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=";".join(NETS), help="names, with ; between them")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    arguments = parser.parse_args()
    os.makedirs(BUILD, exist_ok=True)
    measured = []
    for name in arguments.nets.split(";"):
        net, files = models(name)
        times = timed(measure(files, arguments.threads, arguments.rounds, CLOCK))
        measured.append((name, net, Advice(times, thin_share(net))))
        sys.stderr.write(row(*measured[-1]))
    text = table(measured, arguments.threads, arguments.rounds)
    sys.stdout.write(text)
    if arguments.write:
        write("int8-speed", "int8_speed.py", text)


if __name__ == "__main__":
    main()
