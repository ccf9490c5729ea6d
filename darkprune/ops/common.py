"""What several layer types share: the activation option, and the hazards of activations."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Iterator

import numpy as np

from darkprune.errors import CfgError
from darkprune.ops.activations import ACTIVATIONS, activate
from darkprune.ops.base import Hazard

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer


def activation_of(layer: "Layer") -> str:
    """The layer's activation. Raises CfgError for a name that Darknet would silently take for ReLU."""
    name = layer["activation"]
    if name not in ACTIVATIONS:
        close = get_close_matches(name.lower(), sorted(ACTIVATIONS), 1)
        raise CfgError(
            "unknown activation {!r}; Darknet would compute ReLU".format(name),
            layer.place("activation"),
            "did you mean {}?".format(close[0]) if close else "use one of " + ", ".join(sorted(ACTIVATIONS)),
        )
    return str(name)


def activated(layer: "Layer", values: np.ndarray) -> np.ndarray:
    """float64 of the layer's activation at each of `values`, computed in float32 as readers do."""
    row = np.asarray(values, np.float32).reshape(1, -1)
    return activate(row, layer["activation"], layer.dialect_name).reshape(-1).astype(np.float64)


def activation_hazards(layer: "Layer") -> Iterator[Hazard]:
    """Readers that compute another activation than the one that is meant."""
    name = layer["activation"]
    if layer.text("activation") is None:
        yield Hazard("opencv", None, "takes a missing activation for linear, Darknet for logistic")
    if name in ACTIVATIONS and not ACTIVATIONS[name].pjreddie:
        yield Hazard("pjreddie", "activation", "computes ReLU instead of {}".format(name))
    if name in ACTIVATIONS and not ACTIVATIONS[name].opencv:
        yield Hazard("opencv", "activation", "refuses the activation {}".format(name))
    if name == "relu6":
        yield Hazard("alexeyab", "activation", "outputs zeros for relu6 in a CPU build")
