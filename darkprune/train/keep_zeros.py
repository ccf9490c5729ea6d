"""Training in which weights that are exactly 0 stay so: what `darkprune sparsify` took away does not grow back.

Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 2015: the connections that are left
are trained on. Which are gone is not kept anywhere but in the weights themselves: those that training starts from. A
moving average of the weights has the same zeros, since it begins with them and only ever takes in zeros there.
"""

from typing import List, Tuple

import torch
from torch import Tensor

from darkprune.backends.torch_module import NetModule
from darkprune.errors import UsageError


class KeepZeros:
    """Holds the zeros among a module's connections (`Op.connections`) as they are when this is made.

    Raises UsageError where there are none.
    """

    def __init__(self, module: NetModule) -> None:
        self._held: List[Tuple[Tensor, Tensor]] = []
        for layer, arrays in zip(module.net.layers, module.layers):
            for spec in layer.op.connections(layer):
                values = getattr(arrays, spec.name)
                zero = values.detach() == 0
                if bool(zero.any()):
                    self._held.append((values, zero))
        if not self._held:
            cure = "make some by darkprune sparsify, or train without --keep-zeros"
            raise UsageError("no weight is 0 that could be kept so", module.net.config.place(), cure)

    def hold(self) -> None:
        """To be called behind each step of the optimizer."""
        with torch.no_grad():
            for values, zero in self._held:
                values.masked_fill_(zero, 0.0)
