"""What tools/engine_agreement.py compares: a net as stand-ins for TensorRT recorded it, numpy and fakequant."""

import importlib

import numpy as np
from engine_agreement_page import RELEASES
from fakequant_agreement import measured

from darkprune.backends import tensorrt_api
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.tensorrt_network import define, folded
from darkprune.engine.precision import Precision
from darkprune.graph.net import heads
from darkprune.quant.float_layers import default_float
from darkprune.quant.quantization import IMPLICIT, TENSORRT
from darkprune.quant.tensors import output_name
from darkprune.verify import SURGERY, allow_noise, check, moved, test_batch
from stand_ins.loading import stand_in

SCHEMES = {"8.2": IMPLICIT, "10.3": TENSORRT}
GPU = "xavier"  # both releases know it, and it has INT8 units


class Recorded(object):
    """A net as a stand-in recorded it, built, and ready to run.

    Attributes: within: the names of the tensors that fusion left unrounded in the last run.
    """

    def __init__(self, trt, net, precision):
        api = tensorrt_api.load("tensorrt")
        api.log.clear()
        builder = trt.Builder(api.logger)
        network, config = api.network(builder), builder.create_builder_config()
        self.defined = define(api, network, net, precision)
        for flag in precision.flags(api):
            config.set_flag(flag)
        plan = api.required(builder.build_serialized_network(network, config), "build the engine")
        self.warnings = api.log.warnings
        self.plan, self._execute = importlib.import_module("tensorrt.plan").read(plan), "tensorrt.execute"

    def run(self, batch, **options):
        """The heads by layer index; options of the stand-in's Program."""
        program = importlib.import_module(self._execute).Program(self.plan, **options)
        self.within = {self.plan["tensors"][number]["name"] for number in program.inner}
        found = program.run({self.plan["inputs"][0]: batch})
        named = {self.plan["tensors"][number]["name"]: y for number, y in found.items()}
        return {index: named[name] for index, name in self.defined.outputs.items()}


def worst(found, expected):
    """The largest error of the heads, relative to each one's largest value."""
    return max(check("engines", "", i, y, found[i].reshape(y.shape), 0.0).max_error for i, y in expected.items())


def held(net):
    """The net with its batch norm folded, as TensorRT gets it, and its arrays in memory: each is read often."""
    found = folded(net)
    for layer in found.layers:
        for name in list(layer.params):
            layer.set_param(name, layer.array(name))
    return found


def compare(row, net, batch, shown):
    """Fills the row of a net that has values; `shown`: also with what is not judged."""
    expected = NumpyRunner(net).infer(batch)
    checks_of_noise = _Noise(net, batch)
    net = held(net)
    for release, folder in RELEASES:
        with stand_in(folder, GPU) as trt:
            _compare_fp32(row, trt, release, net, batch, expected, checks_of_noise)
            if shown:
                found = Recorded(trt, net, Precision("fp16")).run(batch)
                row["fp16"][release] = worst(found, {index: expected[index] for index in heads(net)})
    del expected
    ranges = measured(net, default_float(net))
    for release, folder in RELEASES:
        with stand_in(folder, GPU) as trt:
            _compare_int8(row, trt, release, net, ranges, shown)


class _Noise(object):
    """What each layer moves in numpy when all tensors move in the last bit; computed once, if at all."""

    def __init__(self, net, batch):
        self.net, self.batch, self.found = net, batch, None

    def __call__(self):
        if self.found is None:
            first = NumpyRunner(self.net).infer(self.batch)
            other = NumpyRunner(self.net, lambda layer, y: moved(y)).infer(moved(self.batch))
            self.found = {i: check("noise", "numpy", i, first[i], other[i], 0.0).max_error for i in first}
        return self.found


def _compare_fp32(row, trt, release, net, batch, expected, noise):
    numbers, checks = {output_name(layer): layer.index for layer in net.layers}, {}

    def made(name, found):
        index = numbers.get(name)
        if index is not None and found.size == expected[index].size:
            y = expected[index]
            checks[index] = check("engines", release, index, y, np.asarray(found).reshape(y.shape), SURGERY)

    recorded = Recorded(trt, net, Precision("fp32"))
    for index, found in recorded.run(batch, made=made).items():
        y = expected[index]
        checks[index] = check("engines", release, index, y, found.reshape(y.shape), SURGERY)
    done = allow_noise(list(checks.values()), noise)
    row["fp32"][release] = [sum(c.ok for c in done), len(done), max(c.max_error for c in done)]
    text = "{}: layer {} differs by {:.1e}, {:.1e} allowed"
    row["failures"] += [text.format(release, c.layer, c.max_error, c.tolerance) for c in done if not c.ok][:1]
    over = [c.tolerance for c in done if c.ok and c.max_error > SURGERY]
    if over and not any("float noise" in remark for remark in row["remarks"]):
        row["remarks"].append("within the float noise, {:.0e}".format(max(over)))
    row["failures"] += recorded.warnings[:1]


def _compare_int8(row, trt, release, net, ranges, shown):
    batch, scheme, expected = test_batch(net, seed=9), SCHEMES[release], {}

    def keep(name, x):
        expected.setdefault(name, x)

    runner = FakequantRunner(net, ranges, scheme, seen=keep)
    if not runner.quantization.policy.int8:
        return
    _round_once(runner.quantization)
    reference = runner.infer(batch, heads(net))
    precision = Precision("int8", (), runner.quantization, half=False)
    recorded = Recorded(trt, net, precision)
    steps = _Steps(expected)
    recorded.run(batch, seen=steps)
    lost, within = steps.lost(net), recorded.within
    entry = {"tensors": len(steps.names), "share": steps.equal / float(steps.count), "steps": steps.most}
    row["int8"][release] = entry
    if shown:
        entry["free"] = worst(recorded.run(batch), reference)
        entry["leaky apart"] = worst(recorded.run(batch, leaky=False), reference)
        entry["nothing fused"] = worst(recorded.run(batch, fuse=False), reference)
    if steps.most > 1:
        row["failures"].append("{}: {} is {} steps away".format(release, steps.where, steps.most))
    row["failures"] += recorded.warnings[:1]
    row["failures"] += ["{}: {} was not rounded".format(release, name) for name in lost - within][:1]
    if lost & within:
        what = "{}: {} tensors that fakequant rounds lie within an element-wise layer"
        row["remarks"].append(what.format(release, len(lost & within)))


def _round_once(quantization):
    """The weights of a layer are rounded once for both that compute with them."""
    plain, known = quantization.weights, {}

    def weights(layer, values):
        if layer.index not in known:
            known[layer.index] = plain(layer, values)
        return known[layer.index]

    quantization.weights = weights


class _Steps(object):
    """Compares integers with those of fakequant, and goes on with fakequant's."""

    def __init__(self, expected):
        self.expected, self.names = expected, set()
        self.equal = self.count = self.most = 0
        self.where = ""

    def __call__(self, name, x):
        name = name[: -len("_quantized")] if name.endswith("_quantized") else name
        other = self.expected.get(name)
        if other is None:
            return None
        difference = np.abs(x.astype(np.int16) - other)
        self.names.add(name)
        self.equal += int(np.count_nonzero(difference == 0))
        self.count += difference.size
        if difference.max() > self.most:
            self.most, self.where = int(difference.max()), name
        return other

    def lost(self, net):
        """Tensors that fakequant rounds and the engine never did, but for those that are others by another name."""
        same = {output_name(x) for x in net.layers if x.type in ("route", "dropout") and len(x.inputs) == 1}
        return set(self.expected) - self.names - same
