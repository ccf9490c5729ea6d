"""Which type each layer of a plan computes in, and which tensors are never rounded because two layers became one.

Strongly typed networks say it all (Developer Guide, "Strongly Typed Networks": types follow from those of the inputs).
In weakly typed ones the builder chooses by speed. Here it always chooses the narrowest type that it may:

- INT8 (BuilderFlag.INT8: "Enable Int8 layer selection, with FP32 fallback with FP16 fallback if kFP16 also specified")
  where the device has it, the layer's type has int8 implementations (Support Matrix 8.2, "Layers and precision"), every
  tensor that it reads and makes has a range ("expect fall back to non-int8 implementation for any layer consuming or
  producing given tensor"), and nothing asks for floats;
- else HALF, with BuilderFlag.FP16, where nothing asks for FLOAT.

ILayer::setPrecision counts only with OBEY_ or PREFER_PRECISION_CONSTRAINTS, or STRICT_TYPES, which stands for the
latter (NvInfer.h: without them "TensorRT could still choose a non-conforming fastest implementation").

Fusions (Developer Guide, "Types of Fusions"): a convolution with the ReLU or Clip that reads it; "Two or more adjacent
PointWise layers can be fused into a single PointWise layer", of activations, element-wise and unary operations and
constants of one value. LeakyReLU is not in that list; a maintainer says that it is fused in int8 on Turing and Ampere
and elsewhere perhaps not (NVIDIA/TensorRT issue 2134): `leaky=False` is the other case, `fuse=False` no fusion at all.
"""

from tensorrt.types import FLOATS

INT8_KINDS = """activation concatenation constant convolution elementwise identity padding pooling resize scale shuffle
slice unary""".split()
POINTWISE = ("activation", "elementwise", "unary")
CONSTRAINTS = ("OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS", "STRICT_TYPES")
LOGIC = ("AND", "OR", "XOR", "EQUAL", "GREATER", "LESS")


def readers(plan):
    """{tensor: the layers that read it, by number}."""
    found = {}
    for index, layer in enumerate(plan["layers"]):
        for tensor in layer["inputs"]:
            found.setdefault(tensor, []).append(index)
    return found


def precisions(plan):
    """The type's name for each layer."""
    if plan["strong"]:
        return [plan["tensors"][layer["output"]]["dtype"] for layer in plan["layers"]]
    return [_weak(plan, layer) for layer in plan["layers"]]


def _weak(plan, layer):
    tensors = [plan["tensors"][t] for t in layer["inputs"] + [layer["output"]] if t is not None]
    kind = plan["tensors"][layer["output"]]["dtype"]
    if layer["kind"] in ("quantize", "dequantize") or kind not in FLOATS:
        return kind
    obeyed = any(flag in plan["flags"] for flag in CONSTRAINTS)
    asked = layer["precision"] if obeyed else None
    wanted = layer["wanted"] if obeyed else None
    if asked in (None, "INT8") and wanted in (None, "INT8") and _may_be_int8(plan, layer, tensors):
        return "INT8"
    if asked == "FLOAT" or "FP16" not in plan["flags"]:
        return "FLOAT"
    return "HALF"


def _may_be_int8(plan, layer, tensors):
    if "INT8" not in plan["flags"] or not plan["fast_int8"] or layer["kind"] not in INT8_KINDS:
        return False
    if layer["kind"] == "elementwise" and layer["params"]["op"] in LOGIC:
        return False
    return all(tensor["range"] is not None for tensor in tensors if tensor["dtype"] in FLOATS)


def inner(plan, chosen, fuse=True, leaky=True):
    """The tensors that lie within one layer after fusion, so that nothing rounds them."""
    found, read = set(), readers(plan)
    if plan["strong"] or not fuse:
        return found
    merged = set()  # activations that became part of a convolution
    for index, layer in enumerate(plan["layers"]):
        following = _only_reader(plan, read, layer["output"])
        if following is None or chosen[index] != "INT8" or chosen[following] != "INT8":
            continue
        other = plan["layers"][following]
        if layer["kind"] == "convolution" and _into_convolution(other, leaky):
            found.add(layer["output"])
            merged.add(following)
        elif layer["kind"] in POINTWISE and other["kind"] in POINTWISE and index not in merged:
            shapes = [plan["tensors"][t["output"]]["shape"] for t in (layer, other)]
            if shapes[0] == shapes[1]:
                found.add(layer["output"])
    return found


def _into_convolution(layer, leaky):
    kinds = ("RELU", "CLIP") + (("LEAKY_RELU",) if leaky else ())
    return layer["kind"] == "activation" and layer["params"]["type"] in kinds


def _only_reader(plan, read, tensor):
    """The one layer that reads a tensor which is no output; else None."""
    which = set(read.get(tensor, []))
    return which.pop() if len(which) == 1 and tensor not in plan["outputs"] else None
