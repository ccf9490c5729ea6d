"""Ranges of small nets for tests: the smallest and the largest values on pictures, without the calibrator."""

import os
import shutil
import tempfile
from collections import Counter

import numpy as np

import need
from darkprune.backends.fakequant_ import FakequantRunner
from darkprune.backends.forward import forward
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.quant.float_layers import default_float
from darkprune.quant.quantization import Quantization
from darkprune.quant.ranges import Range, Ranges
from darkprune.quant.tensors import INPUT, before_name, output_name, ranged_tensors
from darkprune.verify import test_batch


class _Watching(NumpyBuilder):
    """Remembers what the activation of each layer reads."""

    def __init__(self, dialect):
        super(_Watching, self).__init__(dialect)
        self.before = {}

    def activation(self, x, name):
        self.before[self.layer] = x
        return super(_Watching, self).activation(x, name)


def pictures(net, count=2, seed=3):
    """float32 [count,C,H,W]."""
    return np.concatenate([test_batch(net, seed=seed + i) for i in range(count)])


def measured(net, batch=None, keep_float=None):
    """The Ranges of a net: low and high are the extreme values, amax the farther one."""
    batch = pictures(net) if batch is None else batch
    builder, found = _Watching(net.dialect.name), {INPUT: batch}
    before = {}

    def hook(layer, y):
        found[output_name(layer)] = y
        before[before_name(layer)] = builder.before.get(layer.index)
        return y

    forward(net, builder, batch, hook=hook)
    ranges = Ranges(net)
    ranges.keep_float = default_float(net) if keep_float is None else list(keep_float)
    for tensor in ranged_tensors(net):
        values = before[tensor.name] if tensor.before else found[tensor.name]
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        ranges.tensors[tensor.name] = Range(low, high, max(-low, high))
    return ranges


def in_onnxruntime(net, ranges, batch):
    """{name: integers} of all rounded tensors, as ONNX Runtime computes them; and what it made of the graph."""
    from darkprune.backends.onnx_int8 import with_integers

    runtime = need.onnxruntime()
    model, names = with_integers(Quantization(net, ranges), len(batch))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    order = sorted(set(names.values()))
    found = dict(zip(order, session.run(order, {INPUT: batch})))
    return {name: found[tensor] for name, tensor in names.items()}


def optimised(quantization, batch=1):
    """Counts of the types of the nodes that ONNX Runtime runs of an INT8 net."""
    from darkprune.backends.onnx_int8 import lowering

    runtime, folder = need.onnxruntime(), tempfile.mkdtemp()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = os.path.join(folder, "optimised.onnx")
    try:
        model = lowering(quantization)(None, batch).model()
        runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        nodes = need.onnx().load(options.optimized_model_filepath).graph.node
    finally:
        shutil.rmtree(folder)
    return Counter(node.op_type for node in nodes)


def differences(net, ranges, batch, alone=False):
    """{name: the largest difference in steps} of fakequant against ONNX Runtime.

    What was rounded from floats is replaced by ONNX Runtime's integers; `alone`: every tensor is, behind its layer.
    """
    expected, found = in_onnxruntime(net, ranges, batch), {}

    def seen(name, x):
        assert x.dtype == expected[name].dtype and x.shape == expected[name].shape
        found[name] = int(np.abs(x.astype(int) - expected[name]).max())
        layer = -1 if name == INPUT else int(name[1:4])
        if alone or layer not in runner.quantization.policy.int8:
            return expected[name]
        return None

    runner = FakequantRunner(net, ranges, seen=seen)
    runner.infer(batch)
    assert sorted(found) == sorted(expected)
    return found
