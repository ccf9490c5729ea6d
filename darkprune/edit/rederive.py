"""Shapes of an edited net derived anew, and what must not change by that: arrays, and maps that meet."""

from typing import Optional

from darkprune.errors import CfgError, GraphError
from darkprune.graph.layer import Configured, Layer
from darkprune.graph.net import Net
from darkprune.ops.base import Shape

_NONE = Shape(0, 0, 0, 0)


def rederive(new: Net, old: Net, meet: str, arrays: str) -> None:
    """Derives the shapes of `new`, an edit of `old` with the same layers.

    Args:
        meet: the cure where maps that had one size, and meet, would no longer have.
        arrays: the cure where a layer's arrays would no longer fit.

    Raises GraphError and CfgError: for those, and for what `Net.infer` refuses.
    """
    for layer in new.layers:
        layer.shape = layer.out = _NONE
    failure: Optional[Exception] = None
    try:
        new.infer()
    except (CfgError, GraphError) as error:  # what comes before it in the net says more
        failure = error
    for layer, before in zip(new.layers, old.layers):
        _require_meeting(layer, before, meet)
    if failure is not None:
        raise failure
    for layer, before in zip(new.layers, old.layers):
        _require_same_arrays(layer, before, arrays)
        reason = layer.op.unreadable(layer)
        if reason:
            raise GraphError(reason[1], layer.place(reason[0]), "leave this option as it is")


def stands(configured: Configured, key: str, text: str) -> bool:
    """Whether every line of an option, and there is one, has this value: an edit would change nothing."""
    found = [option.value for option in configured.section.options if option.key == key]
    return key not in configured.edits and bool(found) and all(value == text for value in found)


def _require_meeting(layer: Layer, before: Layer, cure: str) -> None:
    if layer.shape.c and not layer.op.residual:
        return  # whatever its inputs are, it makes a map of them: a gate's need not be of one size
    sizes = [layer.input_shape(number)[:2] for number in range(len(layer.inputs))]
    olds = [before.input_shape(number)[:2] for number in range(len(layer.inputs))]
    for size, old in zip(sizes[1:], olds[1:]):
        if (0, 0) not in (size, sizes[0]) and old == olds[0] and size != sizes[0]:
            raise GraphError(
                "layer {} [{}] would join maps of {} x {} and {} x {}".format(
                    layer.index, layer.type, *(sizes[0] + size)
                ),
                layer.place(next(iter(layer.op.references), None)),
                cure,
            )


def _require_same_arrays(layer: Layer, before: Layer, cure: str) -> None:
    specs, olds = layer.op.parameters(layer), before.op.parameters(before)
    if specs == olds:
        return
    names, old_names = [spec.name for spec in specs], [spec.name for spec in olds]
    if names != old_names:
        what = "have the arrays {}, the file has {}".format(", ".join(names) or "none", ", ".join(old_names) or "none")
    else:
        spec, old = next((s, o) for s, o in zip(specs, olds) if s != o)
        what = "need {} of {}, the file has {}".format(
            spec.name, " x ".join(map(str, spec.shape)), " x ".join(map(str, old.shape))
        )
    raise GraphError("layer {} [{}] would {}".format(layer.index, layer.type, what), layer.place(), cure)
