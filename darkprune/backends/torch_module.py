"""A net as a torch module whose parameters are the net's arrays, and back.

    module = NetModule(net)              # net.layers[3]'s weights are module.layers[3].weights
    heads = module(batch)                # layer index -> tensor; differentiable
    save(to_net(module), prefix)         # the same bits where nothing was trained

Imports torch: only what needs it imports this module (darkprune.backends.torch_ is the lazy way in).
"""

from typing import Any, Dict, Iterable, Optional

import numpy as np
import torch
from torch import Tensor, nn

from darkprune.backends.forward import Hook, forward
from darkprune.backends.torch_ops import TorchBuilder
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net, heads

STATISTICS = ("mean", "variance")  # what batch norm counts, and no gradient moves


class LayerArrays(nn.Module):
    """The arrays of one layer, by the names and in the order of its op's parameters.

    Statistics of batch norm are buffers, all others parameters.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        for spec in layer.op.parameters(layer):
            values = torch.from_numpy(np.array(layer.array(spec.name), np.float32, order="C"))
            if spec.name.endswith(STATISTICS):
                self.register_buffer(spec.name, values)
            else:
                self.register_parameter(spec.name, nn.Parameter(values))


class NetModule(nn.Module):
    """A net that torch runs and trains.

    In train mode batch norm takes the batch's statistics and moves the running ones as Darknet does, and [dropout]
    drops; in eval mode all is as in the net's dialect. Binary (xnor) convolutions pass gradients straight through.

    Args:
        net: a net with values. The module keeps a copy: what is later done to the net does not reach it.

    Attributes:
        net: that copy. layers: the LayerArrays by layer index; a layer that shares another's weights has none.
        heads: the layers that `forward` gives by default (darkprune.graph.net.heads).

    Raises GraphError for a net without values.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net.copy()
        self.heads = heads(net)
        self.layers = nn.ModuleList(LayerArrays(layer) for layer in self.net.layers)

    def forward(
        self, batch: Tensor, layers: Optional[Iterable[int]] = None, hook: Optional[Hook] = None
    ) -> Dict[int, Tensor]:
        """The outputs [N,C,H,W] of `layers`, by default the raw heads, by layer index, for a batch [N,C,H,W].

        hook: called with each layer and its output; what it returns replaces the output. Raises UsageError for a batch
        of another shape, Unsupported for a layer that cannot be run.
        """
        return forward(self.net, self.builder(), batch, self.heads if layers is None else layers, hook)

    def builder(self) -> TorchBuilder:
        """What lowers the net with the arrays of this module."""
        builder = _Builder(self)
        builder.training = self.training
        return builder


class _Builder(TorchBuilder):
    """Finds the arrays of layers in a module."""

    def __init__(self, module: NetModule) -> None:
        super().__init__(module.net.dialect.name)
        self._layers = list(module.layers)

    def array(self, layer: Layer, name: str) -> Any:
        return getattr(self._layers[layer.index], name)


def to_net(module: NetModule) -> Net:
    """A net with the arrays that the module has now. Raises GraphError where one holds a nan or infinity."""
    net = module.net.copy()
    for layer, arrays in zip(net.layers, module.layers):
        for spec in layer.op.parameters(layer):
            values = getattr(arrays, spec.name).detach().to("cpu", torch.float32)
            layer.set_param(spec.name, values.numpy().copy())
    return net
