"""The tensors of a net by name, with any builder: also what activations read, which no layer puts out."""

from typing import Any, Collection, Dict, Sequence

from darkprune.backends.base import Builder
from darkprune.backends.forward import forward
from darkprune.graph.net import Net
from darkprune.quant.tensors import ranged_tensors


class Watching(object):
    """All that another builder does, while what the activations of the layers `wanted` read is kept.

    Attributes: before: that, by layer index.
    """

    def __init__(self, inner: Builder, wanted: Collection[int]) -> None:
        self.__dict__.update(_inner=inner, _wanted=wanted, before={})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)  # `layer` and `images`, which `forward` sets

    def activation(self, x: Any, name: str) -> Any:
        """That of the builder."""
        if self._inner.layer in self._wanted:
            self.before[self._inner.layer] = x
        return self._inner.activation(x, name)


def named(net: Net, builder: Builder, batch: Any, names: Sequence[str]) -> Dict[str, Any]:
    """Tensors by their names in darkprune.quant.tensors: of the builder's backend, as `batch` is.

    Raises KeyError for a name that the net has not, else as `forward`.
    """
    known = {tensor.name: tensor for tensor in ranged_tensors(net)}
    tensors = [known[name] for name in names]
    watching: Any = Watching(builder, {tensor.layer for tensor in tensors if tensor.before})
    layers = {tensor.layer for tensor in tensors if tensor.layer >= 0}
    found = forward(net, watching, batch, layers)
    found[-1] = batch
    return {tensor.name: (watching.before if tensor.before else found)[tensor.layer] for tensor in tensors}
