"""What training minimises, one file a kind of head."""

from typing import Any, Dict, List

from darkprune.errors import Unsupported
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.detection import DetectionTraining
from darkprune.ops.head_training import ClassTraining, original, real, refuse
from darkprune.ops.region import RegionTraining
from darkprune.ops.yolo import YoloTraining
from darkprune.train.losses.base import HeadLoss, LossParts
from darkprune.train.losses.classifier import ClassifierLoss
from darkprune.train.losses.detection import DetectionLoss
from darkprune.train.losses.region import RegionLoss
from darkprune.train.losses.yolo import YoloLoss

__all__ = ["HeadLoss", "LossParts", "losses_of"]

# Options of [net] by which AlexeyAB's Darknet changes deltas, or trains something else.
_REFUSED = (
    "badlabels_rejection_percentage",
    "num_sigmas_reject_badlabels",
    "equidistant_point",
    "adversarial_lr",
    "contrastive",
    "unsupervised",
)


def losses_of(net: Net, box_gradient: str = "darknet") -> Dict[int, HeadLoss]:
    """The losses of a net's heads, by the index of the layer whose output (of NetModule.forward) each takes.

    That is the head itself for heads that find objects, and for classifiers the layer before the [softmax].

    Args:
        box_gradient: of boxes with an iou_loss: "darknet" or "loss"; see YoloLoss.

    Raises Unsupported for a head or an option that cannot be trained, and for a net without any; CfgError for an option
    that makes no sense.
    """
    if not original(net.config):
        for key in _REFUSED:
            refuse(net.config, key, "take it out, or train this net in Darknet")
    found: Dict[int, HeadLoss] = {}
    chains: Dict[int, List[Layer]] = {}
    for layer in net.layers:
        options = layer.op.training(layer)
        if isinstance(options, YoloTraining):
            found[layer.index] = YoloLoss(layer, box_gradient)
        elif isinstance(options, RegionTraining):
            found[layer.index] = RegionLoss(layer)
        elif isinstance(options, DetectionTraining):
            found[layer.index] = DetectionLoss(layer)
        elif isinstance(options, ClassTraining):
            _extend(chains, layer)
    smoothing = 0.0 if original(net.config) else real(net.config, "label_smooth_eps", 0.0)
    for index, layers in chains.items():
        if any(layer.op.training(layer).weight for layer in layers):
            found[index] = ClassifierLoss(layers, smoothing)
    if not found:
        hint = "end it with [yolo], [region], [detection], [softmax] or [cost]"
        raise Unsupported("this net has nothing to train on", net.config.place(), hint)
    return found


def _extend(chains: Dict[int, List[Layer]], layer: Layer) -> None:
    """Puts a classifier's layer behind those that it follows on directly."""
    source: Any = layer.inputs[0]
    for layers in chains.values():
        if layers[-1] is source:
            layers.append(layer)
            return
    if not isinstance(source, Layer):
        raise Unsupported("[{}] reads the image itself".format(layer.type), layer.place(), "put layers before it")
    chains[source.index] = [layer]
