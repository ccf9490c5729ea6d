"""What several layer types share: the activation option and its hazards, and the geometry of convolutions."""

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Iterable, Iterator, Tuple

import numpy as np

from darkprune.errors import CfgError, GraphError
from darkprune.ops.activation_functions import ACTIVATIONS, constants
from darkprune.ops.base import Hazard

if TYPE_CHECKING:
    from darkprune.graph.channels import Channels
    from darkprune.graph.layer import Layer


# AlexeyAB's fork computes these in routines of their own, which not every layer type calls.
SPECIAL = frozenset(
    ["swish", "mish", "hard_mish", "normalize_channels", "normalize_channels_softmax"]
    + ["normalize_channels_softmax_maxval"]
)


def activation_of(layer: "Layer", key: str = "activation") -> str:
    """The layer's activation. Raises CfgError for a name that Darknet would silently take for ReLU."""
    name = layer[key]
    if name not in ACTIVATIONS:
        close = get_close_matches(name.lower(), sorted(ACTIVATIONS), 1)
        if re.split("[#;]", name)[0] in ACTIVATIONS:
            cure = "put the comment on a line of its own"
        else:
            cure = "did you mean {}?".format(close[0]) if close else "use one of " + ", ".join(sorted(ACTIVATIONS))
        raise CfgError(
            "unknown activation {!r}; Darknet would compute ReLU".format(name), layer.place("activation"), cure
        )
    return str(name)


def pin_coupled(layer: "Layer", labels: np.ndarray, g: "Channels") -> None:
    """Keeps channels whose activation looks at all of them."""
    if ACTIVATIONS[layer["activation"]].couples_channels:
        g.pin(labels, "{} of layer {} couples channels".format(layer["activation"], layer.number))


def activated(layer: "Layer", values: np.ndarray) -> np.ndarray:
    """float64 of the layer's activation at each of `values`, rounded to float32 before and after, as readers do."""
    row = np.asarray(values, np.float32).reshape(1, -1)
    if not row.size:
        return np.zeros(0)
    return constants(row, layer["activation"], layer.dialect_name).reshape(-1).astype(np.float64)


def activation_hazards(layer: "Layer", special: Iterable[str] = ()) -> Iterator[Hazard]:
    """Readers that compute another activation than the one that is meant.

    `special`: those of SPECIAL that AlexeyAB's fork honours in this layer type; the others are zeros there.
    """
    name = layer["activation"]
    differ = any(o.name == "activation" and o.default != o.opencv for o in layer.op.options)
    if differ and layer.text("activation") is None:
        yield Hazard("opencv", None, "takes a missing activation for linear, Darknet for logistic")
    if name in ACTIVATIONS and not ACTIVATIONS[name].pjreddie:
        yield Hazard("pjreddie", "activation", "computes ReLU instead of {}".format(name))
    if name in ACTIVATIONS and not ACTIVATIONS[name].opencv:
        yield Hazard("opencv", "activation", "refuses the activation {}".format(name))
    if name == "relu6":
        yield Hazard("alexeyab", "activation", "outputs zeros for relu6 in a CPU build")
    if name in SPECIAL.difference(special):
        yield Hazard("alexeyab", "activation", "outputs zeros for {} in [{}]".format(name, layer.type))


def pad_of(layer: "Layer") -> int:
    """Zeros on each side of a convolution: `pad` is a flag for size / 2 and overrides `padding`."""
    return layer["size"] // 2 if layer["pad"] else layer["padding"]


def require_split(layer: "Layer", groups: int, counts: Iterable[Tuple[str, int]]) -> None:
    """Raises GraphError where a count, given with what it counts, does not split into `groups`."""
    for what, count in counts:
        if count % groups:
            raise GraphError(
                "{} {} do not split into {} groups".format(count, what, groups),
                layer.place("groups"),
                "use a number of groups that divides both",
            )


def require_dilation(layer: "Layer", dilation: int, padding: int) -> None:
    """Raises GraphError for a dilation with which Darknet's shape formula, which leaves it out, is wrong."""
    size = layer["size"]
    if dilation > 1 and 2 * padding != size - 1:
        raise GraphError(
            "dilation {} with padding {} of a {}x{} kernel: Darknet's shape formula and its arithmetic disagree".format(
                dilation, padding, size, size
            ),
            layer.place("dilation"),
            "use an odd size with pad=1",
        )
