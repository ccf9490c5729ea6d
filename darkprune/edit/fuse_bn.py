"""Batch norm folded into weights and biases, with the formula of one reader.

    y = gamma * (w * x - mean) / deviation + beta  =  (w * gamma / deviation) * x + (beta - gamma * mean / deviation)

with the deviation of `darkprune.darknet.dialect_epsilon`. In every reader the folded net then computes what that one
did.
"""

from typing import Dict, List

import numpy as np

from darkprune.darknet.dialect_epsilon import Dialect, dialect
from darkprune.errors import GraphError, Notice, Unsupported
from darkprune.graph.layer import Layer, Param
from darkprune.graph.net import Net
from darkprune.ops.base import ParamSpec

_KEYS = ("batch_normalize", "cbn")  # what gives a layer batch norm


def fuse_batch_norm(net: Net, dialect_name: str) -> Net:
    """A net without the batch norm of its convolutional and connected layers; others keep theirs, with a notice.

    Args:
        dialect_name: whose epsilon counts: alexeyab, pjreddie or opencv.

    Arrays are computed in float64 when they are read, and kept as float32. Raises UsageError for an unknown dialect;
    Unsupported for a layer whose batch norm cannot be folded; GraphError where a folded value is not finite.
    """
    which = dialect(dialect_name)
    new = net.copy()
    fused = [layer for layer in net.layers if layer.op.batch_norm(layer)]
    for layer in fused:
        _refuse_obstacles(layer)
    _refuse_uneven_sharing(net)
    for layer in fused:
        twin = new.layers[layer.index]
        for key in _KEYS:
            if layer.text(key) not in (None, "0"):
                twin.set(key, 0)
    new.infer()
    for layer in fused:
        twin = new.layers[layer.index]
        if layer.params:
            twin.params.clear()
            twin.params.update((spec.name, _folded(layer, spec, which)) for spec in twin.op.parameters(twin))
    new.notices.extend(_notices(new, fused))
    return new


def _refuse_obstacles(layer: Layer) -> None:
    """Raises where a factor per filter is no factor of the weights, or arrays are missing."""
    for key in layer.op.peculiar + layer.op.transposing:
        if layer[key]:
            raise Unsupported(
                "the batch norm of layer {} cannot be folded: {}={}".format(layer.index, key, layer[key]),
                layer.place(key),
                "keep the batch norm of this net",
            )


def _refuse_uneven_sharing(net: Net) -> None:
    """Raises where one of two layers with the same arrays has batch norm and the other has not."""
    for layer in net.layers:
        for key, target in layer.pointers.items():
            if layer.op.convolution and layer.op.batch_norm(layer) != target.op.batch_norm(target):
                raise Unsupported(
                    "layers {} and {} share arrays, and only one of them has batch norm".format(
                        target.index, layer.index
                    ),
                    layer.place(key),
                    "keep the batch norm of this net",
                )


def _folded(layer: Layer, spec: ParamSpec, which: Dialect) -> Param:
    def load() -> np.ndarray:
        old: Dict[str, np.ndarray] = {
            name: layer.array(name).astype(np.float64) for name in ("scales", "mean", "variance", spec.name)
        }
        factor = old["scales"] / (np.sqrt(old["variance"] + which.inside) + which.outside)
        if spec.name == "biases":
            array = old["biases"] - factor * old["mean"]
        else:
            array = old[spec.name] * factor.reshape([-1] + [1] * (len(spec.shape) - 1))
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise GraphError(
                "the folded {} of layer {} are too large for float32".format(spec.name, layer.index),
                layer.place("batch_normalize"),
                "a variance is near 0; keep the batch norm of this net",
            )
        return array

    return Param(spec, load)


def _notices(net: Net, fused: List[Layer]) -> List[Notice]:
    found = []
    if not fused:
        found.append(Notice("no layer has a batch norm that could be folded", net.config.place()))
    for layer in net.layers:
        if any(spec.name.endswith("variance") for spec in layer.op.parameters(layer)):
            found.append(
                Notice(
                    "layer {} [{}] keeps its batch norm: only convolutional and connected layers can fold it".format(
                        layer.index, layer.type
                    ),
                    layer.place(),
                )
            )
    return found
