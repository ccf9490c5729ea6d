"""Engines that TensorRT-RTX builds without a GPU: plans hold our integers, scales, biases, and no others.

YOLOs at a small input size, as they are and pruned to odd widths; weights are synthetic but Yolo-Fastest's.
"""

import sys
from collections import OrderedDict

import numpy as np
import pytest

import int8_nets
import int8_plans
import need
import plan_bytes
import tool
from darkprune.edit.resize import resize
from darkprune.engine.build import Build, Request
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.graph.write import cfg_bytes
from darkprune.prune.pipeline import prune
from darkprune.quant.quantization import TENSORRT, Quantization, pack

pytestmark = pytest.mark.skipif(sys.version_info < (3, 8), reason="TensorRT-RTX needs a newer Python")

SIDE = 96
OWN = ("yolov3-tiny", "yolov4-tiny", "yolov3-spp")
TRAINED = "yolo-fastest-1.1"
FORMS = ("whole", "pruned")
CASES = [(name, form) for name in OWN + (TRAINED,) for form in FORMS]
KINDS = {"fp32": "float32", "fp16": "float16"}
LISTED = {"fp32": ("float", "float"), "fp16": ("half", "half")}


class Nets(object):
    """The nets by name and form, and their plans: each is made once."""

    def __init__(self, folder):
        self.folder, self.nets, self.plans = folder, {}, OrderedDict()

    def net(self, name, form):
        if (name, form) not in self.nets:
            self.nets[name, form] = self._whole(name) if form == "whole" else self._pruned(name)
        return self.nets[name, form]

    def _whole(self, name):
        if name == TRAINED:
            stem = str(need.shared() / "models" / TRAINED / TRAINED)
            return resize(load(stem + ".cfg", stem + ".weights"), SIDE, SIDE)
        cfg, weights = [str(self.folder / (name + suffix)) for suffix in (".cfg", ".weights")]
        with open(cfg, "wb") as stream:
            stream.write(cfg_bytes(resize(load(str(need.ROOT / "cfg" / (name + ".cfg"))), SIDE, SIDE)))
        tool.load("make_weights").make(cfg, weights, dead=0.6, calibrate=name != "yolov3-spp")
        return load(cfg, weights)

    def _pruned(self, name):
        prefix = str(self.folder / (name + "-pruned"))
        save(prune(self.net(name, "whole"), channels=0.6, force=True).net, prefix)
        return load(prefix + ".cfg", prefix + ".weights")

    def built(self, name, form, precision):
        """(the plan, the names of TensorRT's layers by layer, the Quantization of an int8 one)."""
        if (name, form, precision) not in self.plans:
            net = self.net(name, form)
            ranges = int8_nets.measured(net) if precision == "int8" else None
            done = Build(net, Request(precision, "rtx"), ranges).run()
            names = {row["layer"]: row["tensorrt"] for row in done.report.fields["layers"]}
            quantization = None if ranges is None else Quantization(net, ranges, TENSORRT)
            self.plans[name, form, precision] = bytes(done.plan), names, quantization
        return self.plans[name, form, precision]


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    need.tensorrt_rtx()
    return Nets(tmp_path_factory.mktemp("nets"))


@pytest.mark.parametrize("name, form", CASES)
def test_an_int8_plan_holds_our_integers(nets, name, form):
    plan, names, quantization = nets.built(name, form, "int8")
    assert int8_plans.missing(plan, quantization, names) == []
    types = list(plan_bytes.convolutions(plan).values())
    count = len(int8_plans.layers_with_weights(quantization))
    assert types.count(int8_plans.INTEGERS) == count >= 10
    floats = len([layer for layer in quantization.net.layers if layer.op.convolution]) - count
    assert types.count(LISTED["fp16"]) == floats == len(types) - count


@pytest.mark.parametrize("name, form", [case for case in CASES if case[0] != "yolov3-spp"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_plan_holds_floats_of_its_type_alone(nets, name, form, precision):
    plan, names, _ = nets.built(name, form, precision)
    assert set(plan_bytes.convolutions(plan).values()) == {LISTED[precision]}
    layers = [layer for layer in nets.built(name, form, "int8")[2].net.layers if layer.op.convolution]
    runs = [run for layer in layers for run in plan_bytes.pieces(int8_plans.kernel(layer))]
    held = {kind: plan_bytes.held(plan, [run.astype(kind) for run in runs]) for kind in KINDS.values()}
    kind, other = sorted(KINDS.values(), key=lambda name: name != KINDS[precision])
    assert [a or b for a, b in zip(held[kind][::2], held[kind][1::2])] == [True] * len(layers)
    assert not any(held[other])


def test_int8_plans_are_small(nets):
    """Where weights are most of a plan: each int8 layer brings about 0.2 MB of code."""
    for name in ("yolov3-tiny", "yolov4-tiny"):
        small, large = [len(nets.built(name, "whole", precision)[0]) for precision in ("int8", "fp32")]
        assert small < 0.45 * large, name


@pytest.mark.parametrize("name", OWN)
def test_pruned_nets_are_odd_and_carry_constants(nets, name):
    """So the int8 plans above hold filters without weights, and channels that fill no vector of 4."""
    layers = int8_plans.layers_with_weights(nets.built(name, "pruned", "int8")[2])
    kernels = [int8_plans.kernel(layer) for layer in layers]
    assert any(len(kernel) % 2 for kernel in kernels) and any(kernel.shape[1] % 4 for kernel in kernels)
    assert any((kernel.reshape(len(kernel), -1) == 0).all(axis=1).any() for kernel in kernels)


def test_another_nets_integers_are_missed(nets):
    plan, names, _ = nets.built("yolov3-tiny", "pruned", "int8")
    quantization = nets.built("yolov4-tiny", "pruned", "int8")[2]
    count = len(int8_plans.layers_with_weights(quantization))
    found = int8_plans.missing(plan, quantization, {layer: names.get(layer, []) for layer in range(100)})
    for what in ("kernel of integers", "scale of each filter", "bias of each filter"):
        assert sum(what in text for text in found) == count


def test_learned_rounding_is_in_the_plan(nets):
    net = nets.net("yolov3-tiny", "pruned")
    plain = nets.built("yolov3-tiny", "pruned", "int8")[2]
    layer = int8_plans.layers_with_weights(plain)[3]
    nearest = plain.weights(layer, int8_plans.kernel(layer))[0]
    ranges = int8_nets.measured(net)
    ranges.adjustments.rounding[layer.index] = pack(np.random.RandomState(0).uniform(size=nearest.shape) < 0.5)
    done = Build(net, Request("int8", "rtx"), ranges).run()
    names = {row["layer"]: row["tensorrt"] for row in done.report.fields["layers"]}
    learned = Quantization(net, ranges, TENSORRT)
    assert (learned.weights(layer, int8_plans.kernel(layer))[0] != nearest).mean() > 0.1
    assert int8_plans.missing(bytes(done.plan), learned, names) == []
    (lacking,) = int8_plans.missing(bytes(done.plan), plain, names)
    assert lacking == "layer {}: the kernel of integers is not there".format(layer.index)


def test_the_integers_by_hand(nets):
    """From the arrays of the files: batch norm folded, each filter over its largest weight."""
    plan, names, quantization = nets.built("yolov4-tiny", "whole", "int8")
    net = nets.net("yolov4-tiny", "whole")
    layer = int8_plans.layers_with_weights(quantization)[5].index
    scales, variance, weights = [net.layers[layer].array(name) for name in ("scales", "variance", "weights")]
    weights = weights * (scales / np.sqrt(variance + 1e-5))[:, None, None, None]
    steps = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
    rounded = np.rint(weights / np.where(steps > 0, steps, 1))
    assert plan_bytes.holds(plan, plan_bytes.integers(rounded.astype(np.int8)))
