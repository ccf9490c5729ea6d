"""What is measured of every stage's pair: accuracy, cost, zeros."""

import importlib.util
from collections import OrderedDict
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np

from darkprune.backends.model import NetModel
from darkprune.data.data_file import DataFile
from darkprune.data.data_set import DetectionSet
from darkprune.data.labels import Truth
from darkprune.evaluate.classification import evaluate_classifier
from darkprune.evaluate.cost import cost
from darkprune.evaluate.detector import evaluate_detector, find_difficult, read_difficult
from darkprune.graph.key import pair_key
from darkprune.graph.net import Net

AT_ONCE = 8  # images

Data = NamedTuple(
    "Data",
    [
        ("train", Any),  # DetectionSet or ClassificationSet
        ("valid", Any),
        ("difficult", Optional[List[Truth]]),  # objects of `valid` that need not be found
    ],
)


def difficult_of(data: DataFile, valid: Any) -> Optional[List[Truth]]:
    """The difficult objects of a DetectionSet. Raises UsageError."""
    if not isinstance(valid, DetectionSet):
        return None
    paths = find_difficult(data, len(valid.images))
    return None if paths is None else read_difficult(paths, len(valid.names))


def accuracy(net: Net, data: Data, device: str, with_coco: bool = False) -> Dict[str, float]:
    """In 0..1. Of a detector: map (Darknet's, at IoU 0.5), and by COCO's rule ap50 and ap; else top1 and top5."""
    model: Any = NetModel(net, device)
    if not isinstance(data.valid, DetectionSet):
        found = evaluate_classifier(model, data.valid, batch=AT_ONCE)
        return OrderedDict([("top1", found.top1), ("top5", found.top5)])
    result = evaluate_detector(model, data.valid, data.difficult, batch=AT_ONCE, with_coco=with_coco)
    values = [("map", result.map.map)]
    if result.coco is not None:
        values += [("ap50", result.coco.ap50), ("ap", result.coco.ap)]
    return OrderedDict(values)


def main_accuracy(data: Data, device: str) -> Callable[[Net], float]:
    """What measures the accuracy by which it is decided how far to prune: map or top1."""
    return lambda net: float(next(iter(accuracy(net, data, device).values())))


def row(net: Net, data: Data, device: str) -> Dict[str, Any]:
    """All that is measured of a pair."""
    with_coco = importlib.util.find_spec("faster_coco_eval") is not None
    found: Dict[str, Any] = OrderedDict((k, round(v, 6)) for k, v in accuracy(net, data, device, with_coco).items())
    costs = cost(net)
    found.update(parameters=costs.parameters, bytes=costs.weights_bytes, bflops=round(costs.bflops, 6))
    found.update(zeros=round(exact_zeros(net), 6), key=pair_key(net))
    return found


def exact_zeros(net: Net) -> float:
    """The share of all gammas of batch norm that are exactly 0."""
    gammas = [layer.array("scales") for layer in net.layers if layer.has("scales")]
    count = sum(values.size for values in gammas)
    return sum(int(np.count_nonzero(values == 0)) for values in gammas) / float(count) if count else 0.0
