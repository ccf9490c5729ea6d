"""What training minimises, one file a kind of head."""

from typing import Any, Dict

from darkprune.graph.net import Net
from darkprune.train.losses.yolo import YoloLoss


def losses_of(net: Net, box_gradient: str = "loss") -> Dict[int, Any]:
    """The loss of each head, by layer index."""
    return {layer.index: YoloLoss(layer) for layer in net.layers if layer.op.detector}
