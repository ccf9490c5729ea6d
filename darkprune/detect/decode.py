"""From the raw outputs of the detection heads to boxes: the same for every runner.

What a head's values mean says its layer type (`Op.decode`). The options that matter here count in every runner, also
where its own decoder would not know them.
"""

from typing import Container, Dict, List

import numpy as np

from darkprune.errors import GraphError, Unsupported, UsageError, place
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.heads import Candidates

__all__ = ["Candidates", "class_count", "decode", "detection_heads", "head_source"]


def detection_heads(net: Net) -> List[Layer]:
    """The layers that find objects. Raises UsageError where the net has none, GraphError where they disagree about
    the number of classes."""
    found = [layer for layer in net.layers if layer.op.detector]
    if not found:
        raise UsageError(
            "the net has no detection head such as [yolo]",
            place(net.document.path),
            "darkprune classify takes nets that name whole images",
        )
    for layer in found[1:]:
        if layer["classes"] != found[0]["classes"]:
            raise GraphError(
                "layer {} has {} classes, layer {} has {}".format(
                    layer.number, layer["classes"], found[0].number, found[0]["classes"]
                ),
                layer.place("classes"),
                "all heads of a net need the same classes",
            )
    return found


def class_count(net: Net) -> int:
    """The number of classes of the net's heads. Errors as `detection_heads`."""
    return int(detection_heads(net)[0]["classes"])


def head_source(layer: Layer, outputs: Container[int]) -> int:
    """The layer whose raw output a head decodes. Raises Unsupported where that is none of `outputs`."""
    source = layer.inputs[0].index
    if source not in outputs:
        raise Unsupported(
            "layer {} reads another head or loss, or is read itself".format(layer.number),
            layer.place(),
            "let heads end their branches",
        )
    return int(source)


def decode(net: Net, outputs: Dict[int, np.ndarray], threshold: float) -> List[Candidates]:
    """What each image of a batch may show.

    Args:
        outputs: the raw outputs by layer, float32 [N, c, h, w], as `Model.raw_heads` gives them.
        threshold: Darknet's -thresh: for the objectness, and for objectness x class.

    Returns:
        One Candidates per image: head by head, cell by cell, anchor by anchor. Raises as `detection_heads`, and
        Unsupported for a head that we cannot decode.
    """
    size = net.input.shape
    parts = []
    for layer in detection_heads(net):
        parts.append(layer.op.decode(layer, outputs[head_source(layer, outputs)], size, threshold))
    return [Candidates(*[np.concatenate(arrays) for arrays in zip(*heads)]) for heads in zip(*parts)]
