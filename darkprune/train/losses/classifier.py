"""The losses of classifiers: [softmax], [logistic] and [cost], alone or one behind the other."""

from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor

from darkprune.errors import UsageError
from darkprune.ops.head_training import ClassTraining
from darkprune.train.losses.base import HeadLoss, cross_entropy


class ClassifierLoss(HeadLoss):
    """Darknet's deltas for the values that the first of the layers reads.

    A [cost] behind [softmax] adds its delta to that of the softmax, as in Darknet, which passes it on as if the softmax
    were not there: both pull alike. No delta is divided by the temperature. [logistic] and [softmax] have the gradients
    of cross-entropies, [cost] those of half its squared distances (smooth: bounded by 1; L1: signs). The original
    Darknet has the wrong sign for bounded ones of type=smooth; here it is right.

    Args:
        layers: [softmax], [logistic] and [cost], in the order of the net.
        smoothing: label_smooth_eps of [net]: what the right class gives away to the others.
    """

    def __init__(self, layers: List[Any], smoothing: float = 0.0) -> None:
        super().__init__(layers[0])
        self.chain: List[ClassTraining] = [layer.op.training(layer) for layer in layers]
        self.smoothing = smoothing

    def deltas(self, raw: Tensor, targets: Any, size: Tuple[int, int]) -> Tuple[Tensor, Tensor, Dict[str, float]]:
        flat = raw.reshape(len(raw), -1)
        kind = torch.as_tensor(targets, device=raw.device).long()
        count = flat.shape[1]
        if len(kind) and not 0 <= int(kind.min()) <= int(kind.max()) < count:
            wrong = int(kind.max() if int(kind.max()) >= count else kind.min())
            hint = "train on data of the net's classes, or give the net those of the data (darkprune edit)"
            raise UsageError("an image has class {}, but the net knows 0 to {}".format(wrong, count - 1), hint=hint)
        wanted = torch.full_like(flat, self.smoothing / max(1, count - 1))
        wanted.scatter_(1, kind[:, None], 1 - self.smoothing)
        values, delta, value = flat, torch.zeros_like(flat), flat.new_zeros(())
        for one in self.chain:
            values, away, lost = _LOSSES[one.kind](one, values, wanted)
            scale = torch.where(wanted > 0, 1.0, one.others) * one.weight if one.others != 1 else one.weight
            delta += scale * away
            value = value + (scale * lost).sum()
        right = float((flat.argmax(dim=1) == kind).sum())
        return delta, value, {"classes": float(value), "top1": right}


_Result = Tuple[Tensor, Tensor, Tensor]  # what the layer puts out, its deltas, and the loss of each value


def _softmax(one: ClassTraining, x: Tensor, wanted: Tensor) -> _Result:
    logs = torch.log_softmax(x.reshape(len(x), one.groups, -1) / one.temperature, dim=2).reshape(x.shape)
    return torch.exp(logs), wanted - torch.exp(logs), -wanted * logs


def _logistic(one: ClassTraining, x: Tensor, wanted: Tensor) -> _Result:
    found = torch.sigmoid(x)
    return found, wanted - found, cross_entropy(x, wanted)


def _squared(one: ClassTraining, x: Tensor, wanted: Tensor) -> _Result:
    return x, wanted - x, 0.5 * (wanted - x) ** 2


def _smooth(one: ClassTraining, x: Tensor, wanted: Tensor) -> _Result:
    away = wanted - x
    return x, away.clamp(-1, 1), torch.nn.functional.smooth_l1_loss(x, wanted, reduction="none")


def _absolute(one: ClassTraining, x: Tensor, wanted: Tensor) -> _Result:
    away = wanted - x
    return x, torch.where(away > 0, 1.0, -1.0).to(x), away.abs()


_LOSSES = {
    "softmax": _softmax,
    "logistic": _logistic,
    "sse": _squared,
    "seg": _squared,
    "smooth": _smooth,
    "L1": _absolute,
}
