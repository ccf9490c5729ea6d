"""The moving average of the weights, which is often better than the weights themselves (Polyak and Juditsky, 1992)."""

import copy
from typing import Any, Dict

import torch

from darkprune.backends.torch_module import NetModule


class MovingAverage:
    """Follows a module: average = a * average + (1 - a) * module, after each step; batch norm's statistics too.

    Args:
        module: it is copied.
        alpha: `a`; it rises from 0 as 1 - exp(-step / (0.2 / (1 - alpha))) does, so that what the net was at the
            beginning does not stay.

    Attributes:
        module: the average, in eval mode.
    """

    def __init__(self, module: NetModule, alpha: float) -> None:
        self.alpha = alpha
        self.module: NetModule = copy.deepcopy(module).eval().requires_grad_(False)

    def update(self, module: NetModule, step: int) -> None:
        """Takes in the module as it is after step `step`, counted from 1."""
        rise = 1 - 2.718281828459045 ** (-step * (1 - self.alpha) / 0.2)
        share = 1 - self.alpha * rise
        with torch.no_grad():
            for (_, mine), (_, other) in zip(_tensors(self.module), _tensors(module)):
                mine.lerp_(other, share)

    def state(self) -> Dict[str, Any]:
        """name -> tensor."""
        return dict(_tensors(self.module))


def _tensors(module: NetModule) -> Any:
    for named in (module.named_parameters(), module.named_buffers()):
        for name, values in named:
            yield name, values.data
