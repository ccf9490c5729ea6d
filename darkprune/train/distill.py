"""Distillation: a net learns what another one, its teacher, makes of the same images (Hinton et al., 2015).

    distillation = Distillation(student, teacher)     # nets of the same heads, such as a pruned one and its original
    raw = module(batch, distillation.student_layers)
    known = teacher_module(batch, distillation.teacher_layers)      # in eval mode, without gradients
    loss = distillation(raw, known, targets, size).total

Of detection heads every anchor learns the teacher's objectness (cross-entropy with a soft target), and, weighted by
that objectness, its box and its classes: where the teacher sees nothing, its boxes mean nothing (Chen et al.,
"Learning Efficient Object Detection Models with Knowledge Distillation", 2017, has the weights from the labels
instead). Boxes differ by their centres in cells and the logarithms of their sizes, squared, as in Darknet's own loss.
Classes of both kinds of nets are compared at a temperature T, times T squared, so that the gradients keep their size.
All terms are zero where student and teacher agree. What a head's values mean comes from `Op.decoding`.
"""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from darkprune.errors import UsageError
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.base import image
from darkprune.ops.heads import Decoding
from darkprune.prune.plan import Plan
from darkprune.train.feature_hints import Hint, find_hints

Options = NamedTuple(
    "Options",
    [
        ("weight", float),  # of the whole, beside the loss of the labels
        ("temperature", float),  # of classes
        ("objectness", float),  # weights of single terms
        ("boxes", float),
        ("classes", float),
        ("hints", float),
    ],
)
DEFAULTS = Options(1.0, 2.0, 1.0, 1.0, 1.0, 1.0)

Distilled = NamedTuple(
    "Distilled",
    [
        ("total", Tensor),  # a number: the sum over the images
        ("parts", Dict[str, float]),  # for the log: distill_objectness, distill_boxes, distill_classes, distill_hints
    ],
)
UNIT = image(1, 1, 1)  # anchors of heads whose anchors are in pixels then stay in pixels
FLAT = 1e-6  # sizes that are no logarithms are at least this


class Distillation:
    """What keeps a student near its teacher.

    Args:
        student, teacher: nets of the same input size, heads, anchors and classes.
        options: weights of the terms.
        hints: numbers of layers of the teacher whose maps the student's are to be like (see feature_hints.py).
        plan: by which the student was pruned from the teacher, to match layers and channels of hints.

    Attributes:
        student_layers, teacher_layers: the layers whose outputs a call needs.

    Raises UsageError where the nets do not match, or an option is out of range.
    """

    def __init__(
        self,
        student: Net,
        teacher: Net,
        options: Options = DEFAULTS,
        hints: Sequence[int] = (),
        plan: Optional[Plan] = None,
    ) -> None:
        _check(options)
        _require_alike(student, teacher)
        self.options = options
        self._heads = [_Pair(*pair) for pair in zip(_ends(student), _ends(teacher))]
        self._hints: List[Hint] = find_hints(student, teacher, hints, plan)
        of_hints = [[hint.student for hint in self._hints], [hint.teacher for hint in self._hints]]
        self.student_layers = sorted({pair.indices[0] for pair in self._heads}.union(of_hints[0]))
        self.teacher_layers = sorted({pair.indices[1] for pair in self._heads}.union(of_hints[1]))

    def __call__(
        self, raw: Dict[int, Tensor], known: Dict[int, Tensor], targets: Any, size: Tuple[int, int]
    ) -> Distilled:
        """The loss of a batch.

        Args:
            raw, known: outputs [N, C, h, w] of student_layers and teacher_layers, by layer index.
            targets, size: as for the losses of heads; they are not looked at.
        """
        terms: Dict[str, Tensor] = {}
        for pair in self._heads:
            mine, theirs = raw[pair.indices[0]].float(), known[pair.indices[1]].float().detach()
            for name, value in pair.terms(mine, theirs, self.options.temperature).items():
                terms[name] = terms[name] + value if name in terms else value
        if self._hints:
            terms["hints"] = torch.stack(
                [hint(raw[hint.student].float(), known[hint.teacher].float().detach()) for hint in self._hints]
            ).sum()
        for name in terms:
            terms[name] = terms[name] * (self.options.weight * getattr(self.options, name))
        parts = {"distill_" + name: float(value.detach()) for name, value in terms.items()}
        return Distilled(torch.stack(list(terms.values())).sum(), parts)

    def state(self) -> Dict[str, np.ndarray]:
        """What a checkpoint must hold: nothing, since nothing here learns."""
        return {}

    def restore(self, state: Dict[str, np.ndarray]) -> None:
        """Goes on from `state`."""


class _Pair:
    """A head of the student and that of the teacher; `indices` are those of the layers with their raw values."""

    def __init__(self, student: Layer, teacher: Layer) -> None:
        self.decoding: Optional[Decoding] = None
        layers = [student, teacher]
        if student.op.head_channels(student):
            self.decoding = _decoding(student)
        else:
            self.temperature = student["temperature"]
            layers = [student.inputs[0], teacher.inputs[0]]
        self.indices = [layer.index for layer in layers]

    def terms(self, mine: Tensor, theirs: Tensor, temperature: float) -> Dict[str, Tensor]:
        """Sums over the images."""
        if self.decoding is None:
            logits = [raw.flatten(1) / self.temperature for raw in (mine, theirs)]
            return {"classes": _divergence(logits[0], logits[1], 1, temperature).sum()}
        how, anchors = self.decoding, len(self.decoding.anchors)
        cells = [raw.reshape(len(raw), anchors, -1, raw.shape[2], raw.shape[3]) for raw in (mine, theirs)]
        spot = how.entries - 1
        sure = _active(cells[1][:, :, spot], how.activation)
        found = {
            "objectness": _apart(cells[0][:, :, spot], cells[1][:, :, spot], how.activation).sum(),
            "boxes": (sure.unsqueeze(2) * _boxes_apart(cells[0], cells[1], how)).sum(),
        }
        kinds = [cell[:, :, how.entries :] for cell in cells]
        if kinds[0].shape[2]:
            if how.classes == "softmax":
                apart = _divergence(kinds[0], kinds[1], 2, temperature)
            else:
                apart = _apart(kinds[0], kinds[1], how.classes, temperature).sum(2)
            found["classes"] = (sure * apart).sum()
        return found


def _boxes_apart(mine: Tensor, theirs: Tensor, how: Decoding) -> Tensor:
    """Half the squared differences [N, A, values, h, w] of centres, in cells, of log sizes, and of deviations."""
    x, y, w, h = how.coordinates
    parts = []
    for index in (x, y):
        parts.append([_active(cells[:, :, index], how.activation) * how.stretch for cells in (mine, theirs)])
    for index in (w, h):
        parts.append([_log_size(cells[:, :, index], how.sizes) for cells in (mine, theirs)])
    for index in how.deviations:
        parts.append([_active(cells[:, :, index], how.activation) for cells in (mine, theirs)])
    return torch.stack([0.5 * (a - b).square() for a, b in parts], 2)


def _log_size(raw: Tensor, sizes: str) -> Tensor:
    """The logarithm of what anchors are multiplied by."""
    if sizes == "exp":
        return raw
    return raw.abs().clamp(min=FLAT).log() * (2 if sizes == "square" else 1)


def _active(raw: Tensor, activation: str) -> Tensor:
    return raw.sigmoid() if activation == "logistic" else raw


def _apart(mine: Tensor, theirs: Tensor, activation: str, temperature: float = 1.0) -> Tensor:
    """Divergence of two probabilities per value, from raw values; half the squared difference of linear ones."""
    if activation != "logistic":
        return 0.5 * (mine - theirs).square()
    mine, theirs = mine / temperature, theirs / temperature
    wanted = theirs.sigmoid()
    cross = functional.softplus(mine) - mine * wanted
    return (cross - (functional.softplus(theirs) - theirs * wanted)) * temperature**2


def _divergence(mine: Tensor, theirs: Tensor, axis: int, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of two softmax distributions, times the temperature squared."""
    mine, theirs = (mine / temperature).log_softmax(axis), (theirs / temperature).log_softmax(axis)
    return (theirs.exp() * (theirs - mine)).sum(axis) * temperature**2


# ---- what matches


def _ends(net: Net) -> List[Layer]:
    return [la for la in net.layers if la.op.head_channels(la)] or [la for la in net.layers if la.op.classifier]


def _decoding(head: Layer) -> Decoding:
    """What the head's values mean, whatever the size of the input. Raises Unsupported."""
    return head.op.decoding(head, UNIT)


def _require_alike(student: Net, teacher: Net) -> None:
    """Raises UsageError where the heads of two nets do not mean the same."""
    shapes = [net.input.shape[:3] for net in (student, teacher)]
    ends = [_ends(net) for net in (student, teacher)]
    if shapes[0] != shapes[1]:
        cause = "the teacher's input is {} x {} x {}, the student's {} x {} x {}".format(*(shapes[1] + shapes[0]))
        raise UsageError(cause, teacher.config.place(), "give both the same size (darkprune edit --width --height)")
    if not ends[1]:
        cause = "the teacher has no head to learn from"
        raise UsageError(cause, teacher.config.place(), "use a net that ends in [yolo], [region] or [softmax]")
    if len(ends[0]) != len(ends[1]):
        cause = "the teacher has {} heads, the student {}".format(len(ends[1]), len(ends[0]))
        raise UsageError(cause, teacher.config.place(), "a teacher has the same heads, such as the net before pruning")
    for mine, theirs in zip(*ends):
        what = _difference(mine, theirs)
        if what:
            cause = "layer {} of the teacher cannot teach layer {} of the student: {}".format(
                theirs.number, mine.number, what
            )
            raise UsageError(cause, theirs.place(), "a teacher has the same heads, such as the net before pruning")


def _difference(mine: Layer, theirs: Layer) -> Optional[str]:
    """Why the values of two heads do not mean the same."""
    counts = [head.op.head_channels(head) for head in (mine, theirs)]
    if counts[0] is None or counts[1] is None:
        if mine.op is not theirs.op:
            return "one is [{}], the other [{}]".format(theirs.type, mine.type)
        lengths = [head.input_shape().outputs for head in (mine, theirs)]
        if lengths[0] != lengths[1]:
            return "it has {1} classes, the student {0}".format(*lengths)
        return None if mine["temperature"] == theirs["temperature"] else "its temperature is another one"
    for number, word in ((1, "classes"), (0, "anchors")):
        if counts[0][number] != counts[1][number]:
            return "it has {1} {2}, the student {0}".format(counts[0][number], counts[1][number], word)
    first, second = _decoding(mine), _decoding(theirs)
    if not np.allclose(first.anchors, second.anchors):
        return "its anchors are others"
    for field in first._fields:
        if field != "anchors" and getattr(first, field) != getattr(second, field):
            return "its {} is {}, the student's {}".format(field, getattr(second, field), getattr(first, field))
    return None


def _check(options: Options) -> None:
    for name, value in options._asdict().items():
        if not (math.isfinite(value) and value >= 0) or name == "temperature" and value == 0:
            raise UsageError("{} of a distillation cannot be {}".format(name, value), hint="use a number such as 1")
