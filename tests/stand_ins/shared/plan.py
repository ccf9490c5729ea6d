"""Engines as bytes: a container of their own, JSON and arrays. And a network as such a plan."""

import io
import json
import struct

import numpy as np

MAGIC = b"not a TensorRT plan: stand-in\n"


def describe(network, config, header):
    """What is kept of a network: a dict of JSON values, and its arrays in the order in which they are named."""
    tensors, numbers = [], {}
    for tensor in list(network._inputs) + [layer._output for layer in network._layers]:
        numbers[tensor] = len(tensors)
        entry = {"name": tensor.name, "dtype": tensor.dtype.name, "shape": network._shape(tensor)}
        entry["range"] = tensor._range
        tensors.append(entry)
    layers, arrays = [], []
    for layer in network._layers:
        weights = layer._arrays()
        entry = {"kind": layer.KIND, "name": layer.name, "params": layer._params(), "weights": sorted(weights)}
        entry["inputs"] = [None if tensor is None else numbers[tensor] for tensor in layer._inputs]
        entry["output"] = numbers[layer._output]
        entry["precision"] = None if layer._precision is None else layer._precision.name
        entry["wanted"] = None if layer._wanted is None else layer._wanted.name
        layers.append(entry)
        arrays += [weights[role] for role in sorted(weights)]
    plan = dict(header, tensors=tensors, layers=layers, strong=network._strong)
    plan["inputs"] = [numbers[tensor] for tensor in network._inputs]
    plan["outputs"] = [numbers[tensor] for tensor in network._outputs]
    plan["profiles"] = [profile._ranges() for profile in config._profiles]
    plan["flags"] = [flag.name for flag in config._flags()]
    return plan, arrays


def write(plan, arrays):
    """The bytes of a plan."""
    text = json.dumps(plan, sort_keys=True).encode("utf-8")
    stream = io.BytesIO()
    stream.write(MAGIC + struct.pack("<Q", len(text)) + text)
    for array in arrays:
        np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def read(data):
    """(plan, arrays) of such bytes, the arrays of each layer by role under "arrays". Raises ValueError."""
    data = bytes(data)
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + 8:
        raise ValueError("the engine plan file is not of this library")
    (length,) = struct.unpack_from("<Q", data, len(MAGIC))
    start = len(MAGIC) + 8
    if len(data) < start + length:
        raise ValueError("the engine plan file is truncated")
    plan = json.loads(data[start : start + length].decode("utf-8"))
    stream = io.BytesIO(data[start + length :])
    for layer in plan["layers"]:
        layer["arrays"] = {role: np.load(stream, allow_pickle=False) for role in layer["weights"]}
    if stream.read(1):
        raise ValueError("the engine plan file has bytes behind its end")
    return plan
