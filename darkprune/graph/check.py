"""The invariants a net must satisfy; run after loading and after every pass."""

from typing import Any, Dict

from darkprune.errors import GraphError
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net


def check(net: Net) -> None:
    """Derives every shape anew and checks order, edges and arrays. Raises GraphError at the first breach."""
    position: Dict[int, int] = {id(net.input): -1}
    previous: Any = net.input
    for index, layer in enumerate(net.layers):
        if layer.index != index:
            raise GraphError("layer {} stands at place {}".format(layer, index), layer.place())
        _check_edges(layer, previous, position)
        position[id(layer)] = index
        previous = layer
    for layer in net.layers:
        for key, target in layer.pointers.items():
            if id(target) not in position:
                raise GraphError("{} of layer {} names a layer that is gone".format(key, layer), layer.place(key))
    net.infer()
    for layer in net.layers[: net.loaded]:
        _check_arrays(layer)


def _check_edges(layer: Layer, previous: Any, position: Dict[int, int]) -> None:
    for slot, source in enumerate(layer.inputs):
        if id(source) not in position:
            raise GraphError(
                "layer {} reads {}, which does not come before it".format(layer, source),
                layer.place(),
                "name an earlier layer",
            )
        if layer.op.implicit and slot == 0 and source is not previous:
            raise GraphError(
                "layer {} can only read the layer before it, {}, not {}".format(layer, previous, source),
                layer.place(),
                "put a [route] between them",
            )


def _check_arrays(layer: Layer) -> None:
    specs = layer.op.parameters(layer)
    if [spec.name for spec in specs] != list(layer.params):
        raise GraphError(
            "layer {} has the arrays {}, its options ask for {}".format(
                layer, list(layer.params), [spec.name for spec in specs]
            ),
            layer.place(),
        )
    for spec in specs:
        if layer.params[spec.name].shape != spec.shape:
            raise GraphError(
                "{} of layer {} has shape {}, its options ask for {}".format(
                    spec.name, layer, layer.params[spec.name].shape, spec.shape
                ),
                layer.place(),
                "change the arrays and the options together",
            )
