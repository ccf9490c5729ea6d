"""The key of a pair: SHA-256 over what it computes, not over how its files are spelled.

Layers, edges, the options that touch shape, weights or inference, the input size and the float bits count;
comments, line ends, spacing, training options and the header do not: users flip `batch=`, and git changes
line ends on the way to the board.
"""

import hashlib
import threading
from typing import List, Optional

from darkprune.darknet.weights import FLOAT
from darkprune.graph.net import Net
from darkprune.graph.write import file_arrays


def pair_key(net: Net) -> str:
    """The key, in hexadecimal. Raises WeightsError when a value of the weights file is not finite."""
    digest = hashlib.sha256("\n".join(meaning(net)).encode("latin-1"))
    digest.update(_floats(net).encode("ascii"))
    return digest.hexdigest()


def _floats(net: Net) -> str:
    if net.source is not None and _pristine(net):
        return net.source.fingerprint()
    digest = hashlib.sha256()
    for layer in net.layers[: net.loaded]:
        for array in file_arrays(net, layer):
            digest.update(array.astype(FLOAT, copy=False).tobytes())
    return digest.hexdigest()


def require_finite(net: Net) -> None:
    """Raises WeightsError when a value of the net's weights file is not finite; reads the whole file once."""
    if net.source is not None:
        net.source.fingerprint()


def _pristine(net: Net) -> bool:
    """Whether the net's arrays are exactly the floats of its weights file, in order."""
    position = 0
    for layer in net.layers[: net.loaded]:
        for param in layer.params.values():
            if param.origin != position:
                return False
            count = 1
            for length in param.shape:
                count *= length
            position += count
    return net.source is not None and position == net.source.floats


def meaning(net: Net) -> List[str]:
    """The parsed inference net as text, one line per layer."""
    shape = net.input.shape
    lines = ["net {} {} {} {} {}".format(shape.w, shape.h, shape.c, shape.outputs, net.config["letter_box"])]
    for layer in net.layers:
        words = [layer.type, repr([x.index for x in layer.inputs])]
        words += ["{}={!r}".format(key, target.index) for key, target in layer.pointers.items()]
        skip = layer.op.references + layer.op.pointers
        words += ["{}={!r}".format(o.name, layer[o.name]) for o in layer.op.options if o.name not in skip]
        lines.append(" ".join(words))
    return lines


class KeyJob:
    """A pair's key computed in the background: reading and hashing take as long as the surgery itself."""

    __slots__ = ("_thread", "_key", "_error")

    def __init__(self, net: Net) -> None:
        self._key: Optional[str] = None
        self._error: Optional[Exception] = None
        self._thread = threading.Thread(target=self._run, args=(net,), daemon=True)
        self._thread.start()

    def _run(self, net: Net) -> None:
        try:
            self._key = pair_key(net)
        except Exception as error:  # handed to whoever asks for the result
            self._error = error

    def result(self) -> str:
        """The key. Raises what computing it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._key is not None
        return self._key
