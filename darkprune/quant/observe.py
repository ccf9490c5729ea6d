"""The tensors of a net that calibration must see, and how a runner gives them."""

from typing import Any, Dict, List

import numpy as np

from darkprune.errors import Unsupported
from darkprune.graph.net import Net
from darkprune.quant.activation_input import invertible
from darkprune.quant.tensors import INPUT, Tensor, activation_of, ranged_tensors
from darkprune.quant.ties import follows


def measured_tensors(net: Net) -> List[Tensor]:
    """The tensors whose values must be seen: those that need a range, without what has the range of another one, and
    without what an activation reads that can be inverted."""
    found = []
    for tensor in ranged_tensors(net):
        layer = net.layers[tensor.layer] if tensor.layer >= 0 else None
        if layer is None or not (invertible(layer) if tensor.before else follows(layer)):
            found.append(tensor)
    return found


def require_observable(runner: Any, net: Net) -> None:
    """Raises Unsupported for a runner that does not give what an activation reads, where that must be measured."""
    if hasattr(runner, "named"):
        return
    for tensor in measured_tensors(net):
        if tensor.before:
            layer = net.layers[tensor.layer]
            raise Unsupported(
                "the runner {} does not show what the {} of layer {} reads".format(
                    runner.name, activation_of(layer), layer
                ),
                layer.place("activation"),
                "use --runner onnxruntime, torch or numpy",
            )


def observe(runner: Any, batch: np.ndarray, tensors: List[Tensor]) -> Dict[str, np.ndarray]:
    """The tensors by name, for an open runner and a batch [N,C,H,W]: float32 [N,c,h,w]."""
    if hasattr(runner, "named"):
        return dict(runner.named(batch, [tensor.name for tensor in tensors]))
    names = {tensor.layer: tensor.name for tensor in tensors if tensor.name != INPUT}
    found = {names[index]: values for index, values in runner.infer(batch, sorted(names)).items()}
    if any(tensor.name == INPUT for tensor in tensors):
        found[INPUT] = batch
    return found
