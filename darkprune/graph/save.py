"""Writes a net as a Darknet pair: both files together, or neither."""

import os
from typing import TYPE_CHECKING, Iterator, Optional, Sequence

from darkprune.darknet.journal import PLAN as PLAN_SUFFIX
from darkprune.darknet.pair import PairWriter
from darkprune.darknet.weights import FLOAT
from darkprune.errors import GraphError
from darkprune.graph.net import Net
from darkprune.graph.write import cfg_bytes, file_arrays

if TYPE_CHECKING:
    from darkprune.prune.plan import Plan


def save(
    net: Net, prefix: str, overwrite: bool = False, plan: Optional["Plan"] = None, inputs: Sequence[str] = ()
) -> None:
    """Writes `prefix`.cfg and `prefix`.weights, and with a plan `prefix`.plan.json.

    The files of the net, and further `inputs`, are never overwritten. Raises OutputError, and changes nothing, when
    a file cannot be written or exists and `overwrite` is not set; GraphError when the net breaks an invariant or has
    no values; WeightsError when a value of the original is not finite.
    """
    net.check()
    if not net.loaded and net.count_parameters():
        raise GraphError("the net has no values to write", net.config.place(), "load the weights too")
    inputs = list(inputs) + [net.document.path] + ([net.source.path] if net.source else [])
    mine = os.path.realpath(str(prefix) + PLAN_SUFFIX)
    planned = mine in [os.path.realpath(path) for path in inputs]  # it was read from where it would be written
    extras = [PLAN_SUFFIX] if plan is not None and not planned else []
    with PairWriter(prefix, inputs=inputs, overwrite=overwrite, extras=extras) as writer:
        writer.write_weights(weights_chunks(net))
        if plan is not None and extras:
            writer.write_extra(PLAN_SUFFIX, plan.to_bytes())
        writer.write_cfg(cfg_bytes(net, [plan.comment()] if plan is not None else []))
        writer.commit()


def weights_chunks(net: Net) -> Iterator[bytes]:
    """The bytes of the weights file, array by array."""
    yield net.header.to_bytes()
    for layer in net.layers[: net.loaded]:
        for array in file_arrays(net, layer):
            yield array.astype(FLOAT, copy=False).tobytes()
