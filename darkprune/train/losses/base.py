"""What all losses share: their result, and deltas as gradients.

Darknet states no loss: each head fills in `delta`, the negative gradient for the values it reads, by rules of its own
(one object takes over what another left, deltas of boxes are averaged...). So a loss here computes deltas as Darknet
does, in closed form, and hands them to autograd; the number that goes with them is the function whose gradient they
are, where there is one.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from darkprune.data.labels import Truth
from darkprune.errors import UsageError

LossParts = NamedTuple(
    "LossParts",
    [
        ("total", Tensor),  # a number: the sum over the images
        ("parts", Dict[str, float]),  # for the log; each of them is a sum over the images, too
    ],
)
LossParts.__doc__ = """A loss, and what it is made of.

Of heads that find objects the parts are: box, objectness and classes (the loss's parts), objects (pairs of an object
and an anchor that is to find it), iou (the sum of those pairs' IoUs), recall50 and recall75 (those of an IoU above 0.5
and 0.75), and delta (Darknet's cost: the sum of the squared deltas). Of classifiers: classes, and top1 (right images).
"""


class HeadLoss:
    """What one head trains on: called with its raw values, gives the loss and its gradient.

    Attributes:
        layer: the head. options: its `op.training(layer)`.
        seen: images trained on so far, those of the batch at hand included, which [region] starts by; whoever trains
            sets it. None: many.
    """

    def __init__(self, layer: Any) -> None:
        self.layer, self.options = layer, layer.op.training(layer)
        self.seen: Optional[int] = None

    def __call__(self, raw: Tensor, targets: Any, size: Tuple[int, int]) -> LossParts:
        """The loss of a batch.

        Args:
            raw: float32 [N, C, h, w], what the head reads.
            targets: of N images: Truths for heads that find objects, int64 [N] for classifiers.
            size: width and height of the net's input, in pixels.

        Raises UsageError for a class that the head has not.
        """
        with torch.no_grad():
            delta, value, parts = self.deltas(raw.detach(), targets, size)
        total = _Surrogate.apply(raw, value, delta.reshape(raw.shape))
        return LossParts(total, parts)

    def deltas(self, raw: Tensor, targets: Any, size: Tuple[int, int]) -> Tuple[Tensor, Tensor, Dict[str, float]]:
        """(deltas of as many values as `raw` in that order, loss, parts of the loss)."""
        raise NotImplementedError


class _Surrogate(torch.autograd.Function):
    """A number whose gradient is the negated deltas."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, value: Tensor, delta: Tensor) -> Tensor:
        ctx.save_for_backward(delta)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (delta,) = ctx.saved_tensors
        return delta * -gradients[0], None, None


Objects = NamedTuple(
    "Objects",
    [
        ("image", np.ndarray),  # int64 [n], ascending: the number of each object's image
        ("kind", np.ndarray),  # int64 [n]: its class
        ("box", np.ndarray),  # float32 [n, 4]: cx, cy, w, h as shares of the image
    ],
)


def objects_of(targets: List[Truth], limit: int, classes: int, names: Tuple[int, ...] = ()) -> Objects:
    """The objects of all images that count: the first `limit` of each, up to one whose x is 0, as in Darknet.

    Objects without area are left out. names: class of the labels -> class of the head. Raises UsageError for a class
    that there is none of.
    """
    found = []
    for number, truth in enumerate(targets):
        box, kind = truth.boxes[:limit].astype(np.float32), truth.classes[:limit]
        stop = np.flatnonzero(box[:, 0] == 0)
        end = stop[0] if len(stop) else len(box)
        whole = np.flatnonzero((box[:end, 2:] > 0).all(axis=1))
        found.append((np.full(len(whole), number, np.int64), kind[whole], box[whole]))
    image, kind, box = (np.concatenate(column) for column in zip(*found)) if found else _nothing()
    known = len(names) if names else classes
    if ((kind < 0) | (kind >= known)).any():
        wrong = int(kind[(kind < 0) | (kind >= known)][0])
        raise UsageError(
            "an object has class {}, but the head knows 0 to {}".format(wrong, known - 1),
            hint="train on data of the net's classes, or give the net those of the data (darkprune edit)",
        )
    return Objects(image, np.array(names, np.int64)[kind] if names else kind.astype(np.int64), box)


def _nothing() -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.float32)


def squared(delta: Tensor) -> float:
    """The sum of the squares: what Darknet prints as a head's loss."""
    flat = delta.reshape(-1)
    return float(torch.dot(flat, flat))


def cross_entropy(logits: Tensor, wanted: Any) -> Tensor:
    """Binary cross-entropy of each logistic value, from the raw value."""
    return torch.nn.functional.softplus(logits) - logits * wanted


def recalls(iou: Tensor) -> Dict[str, float]:
    """What the log says of the IoUs [n] of pairs of an object and an anchor that is to find it."""
    found = torch.stack([iou.sum(), (iou > 0.5).sum(), (iou > 0.75).sum()]).tolist()
    return {"objects": float(len(iou)), "iou": found[0], "recall50": found[1], "recall75": found[2]}
