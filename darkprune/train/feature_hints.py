"""Hints: maps inside the teacher that maps inside the student are to be like (Romero et al., "FitNets", 2015).

With a plan the student's channels are those of the teacher that survived, so they are compared one by one. Without
one nobody knows which channel is which, and where they are active is compared instead: the squares of a map's values
summed over its channels ("attention transfer", Zagoruyko and Komodakis, 2017), which needs no weights of its own.
"""

from typing import Dict, List, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from darkprune.errors import UsageError
from darkprune.graph.channels import Channels
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.prune.plan import Plan, require_pair

TINY = 1e-12


class Hint:
    """A map of the student and one of the teacher, by layer index.

    Args:
        channels: (of the student, of the teacher): those that are the same; None compares where the maps are active.
    """

    def __init__(self, student: int, teacher: int, channels: Optional[Sequence[np.ndarray]] = None) -> None:
        self.student, self.teacher = student, teacher
        self._channels = None if channels is None else [torch.from_numpy(each) for each in channels]

    def __call__(self, mine: Tensor, theirs: Tensor) -> Tensor:
        """How far the maps [N, C, h, w] are apart, relative to the teacher's; a sum over the images."""
        if self._channels is not None:
            self._channels = [each.to(mine.device) for each in self._channels]
            pair = [values[:, chosen].flatten(1) for values, chosen in zip((mine, theirs), self._channels)]
            return ((pair[0] - pair[1]).square().mean(1) / (pair[1].square().mean(1) + TINY)).sum()
        spots = [torch.nn.functional.normalize(each.square().mean(1).flatten(1), eps=TINY) for each in (mine, theirs)]
        return (spots[0] - spots[1]).square().sum()


def find_hints(student: Net, teacher: Net, numbers: Sequence[int], plan: Optional[Plan]) -> List[Hint]:
    """A hint for each layer of the teacher that is named by its index.

    Raises UsageError for a layer that one of the nets has not, and for maps of another size; PlanError for a plan that
    was made for another net than the teacher.
    """
    if not numbers:
        return []
    if plan is not None:
        require_pair(plan, teacher)
    places = _surviving_layers(teacher, plan)
    kept = None if plan is None else _surviving_channels(teacher, plan)
    found = []
    for number in numbers:
        if not 0 <= number < len(teacher.layers):
            cause = "no layer {} can give hints: the teacher has 0 to {}".format(number, len(teacher.layers) - 1)
            raise UsageError(cause, teacher.config.place(), "name layers of the teacher")
        theirs, place = teacher.layers[number], places.get(number, -1)
        if not 0 <= place < len(student.layers):
            raise UsageError("layer {} of the teacher is not in the student".format(number), theirs.place(), _CURE)
        mine = student.layers[place]
        if mine.shape[:2] != theirs.shape[:2] or not mine.shape.c:
            cause = "layer {} of the teacher is {} x {}, that of the student {} x {}".format(
                number, *(theirs.shape[:2] + mine.shape[:2])
            )
            raise UsageError(cause, theirs.place(), _CURE)
        found.append(Hint(place, number, None if kept is None else _matched(mine, theirs, kept[number])))
    return found


_CURE = "choose a layer that both have, with maps of the same size"


def _matched(mine: Layer, theirs: Layer, kept: np.ndarray) -> List[np.ndarray]:
    """Channels of both that are the same. kept: int by channel of the teacher: 0 gone, 1 kept, 2 now a constant."""
    places = np.cumsum(kept > 0) - 1
    lives = np.flatnonzero(kept == 1)
    if not lives.size or places[-1] >= mine.shape.c:
        cause = "the plan does not lead from layer {} of the teacher to the student".format(theirs.number)
        raise UsageError(cause, mine.place(), "give the plan by which the student was pruned from this teacher")
    return [places[lives], lives]


def _surviving_layers(teacher: Net, plan: Optional[Plan]) -> Dict[int, int]:
    """Index in the teacher -> in the student."""
    gone = set() if plan is None else {index for entry in plan.removed_blocks for index in entry["layers"]}
    left = [layer.index for layer in teacher.layers if layer.index not in gone]
    return {index: place for place, index in enumerate(left)}


def _surviving_channels(teacher: Net, plan: Plan) -> Dict[int, np.ndarray]:
    """Layer index -> int by channel: 0 where it went, 1 where it is kept, 2 where it carries a constant."""
    blocks = {entry["shortcut"]: set(entry["layers"][:-1]) for entry in plan.removed_blocks}
    channels = Channels(teacher, blocks)
    fate = np.ones(channels.size, int)
    for value, lists in ((0, plan.removed_channels), (2, plan.constants)):
        for index, places in lists.items():
            labels = channels.outputs[index]
            fate[channels.sets[labels[[place for place in places if place < labels.size]]]] = value
    return {index: fate[channels.sets[labels]] for index, labels in channels.outputs.items()}
