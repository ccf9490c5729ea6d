"""Measures how far INT8 nets are from their FP32 ones in accuracy, with everything that holds it.

    python tools/int8_accuracy.py choose [--models NAME...]     on images of train2017: signal at the heads
    python tools/int8_accuracy.py validate [--models NAME...]   on images of val2017: AP, once for each row
    python tools/int8_accuracy.py pruned
    python tools/int8_accuracy.py --write

Nets are calibrated on the first 128 images of COCO's train2017; first and head convolutions stay float. What is chosen
there - the recipe - is the combination with the best signal at the heads, in dB, on every fourth of these images, and
is fixed before any image of val2017 is seen: `choose` writes its rows to docs/int8-accuracy.jsonl, `validate` reads
them. AP is what `darkprune eval --runner onnxruntime --int8 RANGES` measures on the first 128 images of val2017.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import int8_bootstrap as bootstrap  # noqa: E402
from trained_models import BUILD, MODELS, ROOT, data_file, pair_of  # noqa: E402

from darkprune.backends.model import Model  # noqa: E402
from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner  # noqa: E402
from darkprune.backends.registry import open_int8_runner  # noqa: E402
from darkprune.data import image_list  # noqa: E402
from darkprune.data.data_file import DataFile  # noqa: E402
from darkprune.data.data_set import read_detection  # noqa: E402
from darkprune.evaluate.detector import evaluate_detector  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.quant import adjustments, equalize, sqnr  # noqa: E402
from darkprune.quant.calibrate import preprocessing_of, ranges_of  # noqa: E402
from darkprune.quant.quantization import keep_float  # noqa: E402
from darkprune.quant.range_methods import Method  # noqa: E402
from darkprune.quant.ranges import Ranges  # noqa: E402

ROWS = os.path.join(ROOT, "docs", "int8-accuracy.jsonl")
METHODS = ("entropy", "max", "percentile", "mse")
STRENGTHS = (0.0, 0.25, 0.5, 1.0)
# rounding: learned, with the bias corrected; kept: that, behind more layers left float
PLAIN, BIAS, ROUNDING, KEPT = CORRECTIONS = ("none", "bias", "rounding", "kept")
GAIN = 6.0  # dB by which the layers left float raise the signal at the heads: half the noise
WORDS = {PLAIN: "", BIAS: "bias correction", ROUNDING: "learned rounding", KEPT: "{} layers float, learned rounding"}
TOOL = "int8_accuracy.py"


def rows(kind):
    """The rows of a kind (choice, accuracy, pruned) that were measured."""
    if not os.path.exists(ROWS):
        return []
    with open(ROWS, encoding="utf-8") as stream:
        found = [json.loads(line) for line in stream]
    return [row for row in found if row["kind"] == kind]


def measure(key, function):
    """Appends the row of `key` with what `function` gives, unless it is there."""
    for row in rows(key["kind"]):
        if all(row.get(name) == value for name, value in key.items()):
            return row
    row = dict(key, **function())
    with open(ROWS, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, sort_keys=True) + "\n")
    sys.stderr.write(json.dumps(row, sort_keys=True) + "\n")
    return row


class Bench:
    """A model with its calibration images; ranges are kept in the build folder."""

    def __init__(self, model):
        self.model, self.pair = model, pair_of(model)
        self.net = load(*self.pair)
        self.images = image_list.read(DataFile.read(data_file()).require("train"))
        self.few = self.images[::4]
        self.preprocessing = preprocessing_of(self.net)
        self._histograms, self._maxima, self._held, self._real = {}, None, None, None

    def held(self):
        if self._held is None:
            self._held = adjustments.batches(self.net, self.few, self.preprocessing)
        return self._held

    def factors(self, strength):
        if not strength:
            return {}
        if self._maxima is None:
            with OnnxRuntimeRunner(self.net) as runner:
                self._maxima = equalize.channel_maxima(self.net, runner, self.held())
        return equalize.factors(self.net, self._maxima, strength)

    def ranges(self, strength, method, correction):
        """The Ranges of a combination."""
        path = os.path.join(BUILD, "{}-{}-{}-{}.json".format(self.model, strength, method, correction))
        if os.path.exists(path):
            return Ranges.read(path)
        if correction == PLAIN:
            found = self._plain(strength, method)
        else:
            found = self.ranges(strength, method, PLAIN)
            if correction == KEPT:
                aim = self.signal(strength, method, PLAIN)["db"] + GAIN
                adjustments.leave_float(found, self.net, self.held(), aim, "onnxruntime", iter)
            change = adjustments.correct_bias if correction == BIAS else adjustments.learn_rounding
            change(found, self.net, self.held(), "torch")
        with open(path, "wb") as stream:
            stream.write(found.to_bytes())
        return found

    def _plain(self, strength, method):
        found = Ranges(self.net)
        found.keep_float, found.preprocessing = keep_float(self.net, None), self.preprocessing
        found.adjustments = adjustments.with_factors(self.factors(strength))
        if strength not in self._histograms:
            self._histograms[strength] = adjustments.measured(
                self.net, found.adjustments, self.images, self.preprocessing, OnnxRuntimeRunner
            )
        chosen = Method.parse(method)
        found.tensors = ranges_of(self.net, self._histograms[strength], chosen)
        found.method, found.images = chosen.to_dict(), len(self.images)
        return found

    def signal(self, strength, method, correction):
        """The SQNR at the heads in dB, on the few images."""
        rounded = open_int8_runner("onnxruntime", self.net, self.ranges(strength, method, correction))
        if self._real is None:
            self._real = _Recorded(self.net, self.held())
        with rounded:
            return {"db": round(sqnr.of_heads(self.net, self._real, rounded, self.held()), 3)}

    def kept(self, combination):
        """How many layers with weights are left float."""
        return {"float": len(self.ranges(*combination).keep_float)}

    def accuracy(self, ranges):
        """AP50 and AP on val2017, and what the bootstrap needs."""
        examples = read_detection(DataFile.read(data_file()))
        with Model(*self.pair, "onnxruntime", int8=ranges) as model:
            found = evaluate_detector(model, examples)
        return {"ap50": found.coco.ap50, "ap": found.coco.ap}, bootstrap.matches(examples, found.found)


class _Recorded:
    """The heads of a net, run once."""

    def __init__(self, net, batches):
        with OnnxRuntimeRunner(net) as runner:
            self.found = [(batch, runner.infer(batch, sqnr.heads(net))) for batch in batches]

    def infer(self, batch, layers):
        return next(found for known, found in self.found if known is batch)


def choose(models):
    """Rows of the signal at the heads: every method with every strength, then the corrections of the best."""
    for model in models:
        bench = Bench(model)
        for strength in STRENGTHS:
            for method in METHODS:
                _choice(bench, strength, method, PLAIN)
        strength, method, _ = recipe(model)
        for correction in (BIAS, ROUNDING, KEPT):
            _choice(bench, strength, method, correction)


def _choice(bench, strength, method, correction):
    key = {"kind": "choice", "model": bench.model, "strength": strength, "method": method, "correction": correction}
    return measure(key, lambda: bench.signal(strength, method, correction))


def recipe(model):
    """(strength, method, correction): the combination with the best signal at the heads on training images."""
    found = [row for row in rows("choice") if row["model"] == model]
    best = max(found, key=lambda row: row["db"])
    return best["strength"], best["method"], best["correction"]


def combinations(model):
    """What is validated, the recipe first: every method as it is, equalised, and corrected."""
    first = recipe(model)
    strength = first[0] or 0.5
    found = [first, (first[0], first[1], BIAS), (strength, first[1], ROUNDING), (strength, first[1], BIAS)]
    for name in METHODS:
        found += [(0.0, name, PLAIN), (strength, name, PLAIN)]
    for name in METHODS:
        found += [(strength, name, BIAS), (strength, name, ROUNDING)]
    return [one for number, one in enumerate(found) if one not in found[:number]]


def validate(models):
    """Rows of AP on val2017, the recipe's first."""
    for model in models:
        bench = Bench(model)
        _accuracy(bench, None)
        for combination in combinations(model):
            _accuracy(bench, combination)


def _accuracy(bench, combination):
    strength, method, correction = combination or (0.0, "fp32", PLAIN)
    key = {"kind": "accuracy", "model": bench.model, "strength": strength, "method": method, "correction": correction}

    def function():
        ranges = None if combination is None else bench.ranges(*combination)
        found, matches = bench.accuracy(ranges)
        path = os.path.join(BUILD, bench.model + "-fp32.npz")
        if combination is None:
            bootstrap.save(path, matches)
            return found
        low, high = bootstrap.interval(bootstrap.read(path), matches)
        if correction == KEPT:
            found.update(bench.kept(combination))
        return dict(found, low=round(low, 5), high=round(high, 5))

    return measure(key, function)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=("choose", "validate", "pruned"))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--write", action="store_true", help="write the tables of docs/results.md")
    arguments = parser.parse_args()
    os.makedirs(BUILD, exist_ok=True)
    if arguments.stage == "choose":
        choose(arguments.models)
    if arguments.stage == "validate":
        validate(arguments.models)
    if arguments.stage == "pruned":
        import int8_pruned  # which imports this module

        int8_pruned.run()
    if arguments.write:
        import int8_accuracy_page

        int8_accuracy_page.write()


if __name__ == "__main__":
    main()
