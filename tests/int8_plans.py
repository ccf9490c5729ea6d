"""What a plan of TensorRT-RTX must hold of a quantized net, layer by layer."""

import numpy as np

import plan_bytes
from darkprune.ops.base import WEIGHTS
from darkprune.quant.tensors import output_name

INTEGERS = ("int8", "int8")


def layers_with_weights(quantization):
    """The int8 layers that multiply by weights."""
    policy = quantization.policy
    return [x for x in quantization.net.layers if x.index in policy.int8 and x.op.int8(x) == WEIGHTS]


def kernel(layer):
    """float32 [out, in, h, w] of a layer's weights; h = w = 1 for one that is fully connected."""
    weights = layer.pointers.get("share_index", layer).array("weights")
    return weights if weights.ndim == 4 else weights.reshape(weights.shape + (1, 1))


def missing(plan, quantization, names):
    """What the plan lacks of the int8 layers, or holds beside their integers: "layer 3: ...".

    Args: names: what TensorRT's layers of each layer are called, by its index.
    """
    layers, types = layers_with_weights(quantization), plan_bytes.convolutions(plan)
    found, wanted, arrays = [], [], []
    for layer in layers:
        kinds = [types[name] for name in names[layer.index] if name in types]
        found += [] if kinds == [INTEGERS] else ["layer {}: a convolution of {}".format(layer.index, kinds)]
        for what, there, array in _values(quantization, layer):
            wanted.append(("layer {}: {}".format(layer.index, what), there))
            arrays.append(array)
    for (what, there), is_held in zip(wanted, plan_bytes.held(plan, arrays)):
        found += [] if is_held == there else [what + (" is not there" if there else " is there")]
    return found


def _values(quantization, layer):
    """(what, whether the plan must hold it, the array) for all that tells an int8 layer from others."""
    weights, source = kernel(layer), quantization.tensor(output_name(layer.inputs[0]))
    integers, scales = quantization.weights(layer, weights)
    steps = scales * np.float32(source.scale)
    biases = layer.pointers.get("share_index", layer).array("biases").reshape(-1)
    floats = [(kind, run.astype(kind)) for run in plan_bytes.pieces(weights) for kind in ("float32", "float16")]
    return [
        ("the kernel of integers", True, plan_bytes.integers(integers)),
        ("the scale of each filter", True, steps),
        ("the bias of each filter", True, np.float32(quantization.biases(biases, scales, source) * steps)),
        ("the scale of its input", True, np.float32(1) / np.float32(source.scale)),
    ] + [("a {} kernel".format(kind), False, run) for kind, run in floats]
