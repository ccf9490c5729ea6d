"""What TensorRT made of each layer, asked of the finished engine where this machine can load it.

The JSON of an engine inspector (TensorRT 8.2 and later, "Engine Inspector" in the developer guide) names each layer it
runs after those of the network that were fused into it, the type of its weights, and how its inputs and outputs lie in
memory, "Format/Datatype".
"""

import json
import re
from typing import Any, Dict, List, NamedTuple, Optional

from darkprune.engine.targets import FP16, FP32, INT8

_OURS = re.compile(r"\bL(\d{3,})_")  # what all our names begin with
_TYPES = (
    (INT8, re.compile(r"int8", re.I)),
    (FP16, re.compile(r"fp16|half", re.I)),
    (FP32, re.compile(r"fp32|float", re.I)),
)
_PRODUCTS = re.compile(r"conv|gemm|matrix", re.I)
_COPIES = re.compile(r"reformat|noop", re.I)  # those are named after the layer that they copy for, and may convert

Inspection = NamedTuple(
    "Inspection",
    [
        ("layers", Dict[int, str]),  # Darknet layer -> what it computes in
        ("reason", Optional[str]),  # why nothing was inspected; None where it was
    ],
)


def inspected(api: Any, plan: Any) -> Inspection:
    """Loads a serialized engine and asks it; never raises for an engine that cannot be asked."""
    trt = api.trt
    if not hasattr(trt, "EngineInspector") or not hasattr(trt.ICudaEngine, "create_engine_inspector"):
        return Inspection({}, "this TensorRT has no engine inspector")
    runtime = trt.Runtime(api.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return Inspection({}, "the engine cannot be loaded here")
    try:
        found = precisions(_layers(trt, engine))
    except (KeyError, TypeError, ValueError):
        return Inspection({}, "the engine inspector says nothing that we can read")
    return Inspection(found, None if found else "the engine inspector tells no types")


def _layers(trt: Any, engine: Any) -> List[Any]:
    """The inspector's "Layers". It goes before its engine, which it does not keep alive until TensorRT 8.6."""
    inspector = engine.create_engine_inspector()
    return json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))["Layers"]


def precisions(layers: List[Any]) -> Dict[int, str]:
    """Darknet layer -> int8, fp16 or fp32, from the "Layers" of an inspector's JSON.

    A layer of the engine counts by the type of its weights, else of its first input or output; where a Darknet layer is
    in several, the first convolution or product counts, else the first that is no mere copy.
    """
    found: Dict[int, str] = {}
    ranks: Dict[int, int] = {}
    for layer in layers:
        if not isinstance(layer, dict):
            continue  # only a name: the engine was built without details
        kind, rank = _type_of(layer), _rank(layer)
        for digits in _OURS.findall(str(layer.get("Name", ""))):
            index = int(digits)
            if kind is not None and rank > ranks.get(index, 0):
                found[index], ranks[index] = kind, rank
    return found


def _rank(layer: Dict[str, Any]) -> int:
    """2 for a convolution or product, 0 for a copy."""
    kind = str(layer.get("LayerType", ""))
    return 2 if _PRODUCTS.search(kind) else 0 if _COPIES.search(kind) else 1


def _type_of(layer: Dict[str, Any]) -> Optional[str]:
    weights = layer.get("Weights")
    texts = [str(weights.get("Type", ""))] if isinstance(weights, dict) else []
    for side in ("Inputs", "Outputs"):
        tensors = layer.get(side) or [None]
        texts += [str(tensors[0].get("Format/Datatype", ""))] if isinstance(tensors[0], dict) else []
    return next((name for text in texts for name, pattern in _TYPES if pattern.search(text)), None)
