"""Networks of the TensorRT stand-ins, built and executed in numpy: what the tests of our builders share."""

import importlib

import numpy as np

from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.tensorrt_api import load
from darkprune.backends.tensorrt_network import define
from darkprune.engine.precision import Precision
from darkprune.quant.quantization import IMPLICIT, TENSORRT, Quantization
from int8_nets import pictures


class Network(object):
    """An empty network of the stand-in that `import tensorrt` gives."""

    def __init__(self):
        self.api = load("tensorrt")
        self.builder = self.api.trt.Builder(self.api.logger)
        self.network = self.api.network(self.builder)
        self.config = self.builder.create_builder_config()

    def allow(self, batch, inputs):
        """A profile for 1 to `batch` images, of inputs by name."""
        profile = self.builder.create_optimization_profile()
        for name, shape in inputs.items():
            profile.set_shape(name, (1,) + shape[1:], (batch,) + shape[1:], (batch,) + shape[1:])
        self.config.add_optimization_profile(profile)

    def run(self, precision, inputs, seen=None):
        """({name of an output: values}, the plan's description); nothing was amiss in the eyes of the builder.

        Args: inputs: arrays by name. seen: of the stand-in's Program.
        """
        for flag in precision.flags(self.api):
            self.config.set_flag(flag)
        self.api.log.clear()
        data = self.builder.build_serialized_network(self.network, self.config)
        assert data is not None and not self.api.log.messages, list(self.api.log.messages)
        plan = importlib.import_module("tensorrt.plan").read(data)
        program = importlib.import_module("tensorrt.execute").Program(plan, seen=seen)
        numbers = {plan["tensors"][number]["name"]: number for number in plan["inputs"]}
        found = program.run({numbers[name]: values for name, values in inputs.items()})
        return {plan["tensors"][number]["name"]: values for number, values in found.items()}, plan


def heads_of(net, precision, batch):
    """({layer: raw head}, Defined, the plan's description) of a net."""
    made = Network()
    defined = define(made.api, made.network, net, precision, len(batch))
    outputs, plan = made.run(precision, {"data": batch})
    return {index: outputs[name] for index, name in defined.outputs.items()}, defined, plan


def steps_off(net, ranges, half=False):
    """{name: the largest difference in steps} between a stand-in and fakequant, of each rounded tensor; each is
    computed of fakequant's integers."""
    made, batch, expected, found = Network(), pictures(net), {}, {}
    scheme = TENSORRT if made.api.strong else IMPLICIT

    def remember(name, integers):
        expected[name] = integers.copy()

    def compared(name, integers):
        name = name.replace("_quantized", "")
        if name not in expected:
            return None
        found[name] = int(np.abs(expected[name].astype(int) - integers).max())
        return expected[name]

    FakequantRunner(net, ranges, scheme, seen=remember).infer(batch)
    precision = Precision("int8", quantization=Quantization(net, ranges, scheme), half=half)
    defined = define(made.api, made.network, net, precision, len(batch))
    made.run(precision, {"data": batch}, compared)
    assert defined.keep and len(found) >= 0.5 * len(expected)
    return found
