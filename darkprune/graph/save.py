"""Writes a net as a Darknet pair: both files together, or neither."""

import os
from typing import TYPE_CHECKING, Iterator, List, Optional, Sequence

from darkprune.darknet.journal import PLAN as PLAN_SUFFIX
from darkprune.darknet.pair import PairWriter, write_file
from darkprune.darknet.weights import FLOAT
from darkprune.errors import GraphError
from darkprune.graph.key import require_finite
from darkprune.graph.net import Net
from darkprune.graph.write import cfg_bytes, file_arrays

if TYPE_CHECKING:
    from darkprune.prune.plan import Plan


def save(
    net: Net,
    prefix: str,
    overwrite: bool = False,
    plan: Optional["Plan"] = None,
    inputs: Sequence[str] = (),
    cfg: Optional[bytes] = None,
) -> None:
    """Writes `prefix`.cfg and `prefix`.weights, and with a plan `prefix`.plan.json.

    cfg: its bytes, where it is to stay as it was read, line ends and all.

    The files of the net, and further `inputs`, are never overwritten. A plan that lies there and is not renewed tells
    of another pair: it goes with that. Raises OutputError, and changes nothing, when a file cannot be written or
    exists and `overwrite` is not set; GraphError when the net breaks an invariant or has no values; WeightsError when
    a value of the original is not finite.
    """
    inputs = _require_writable(net, inputs)
    mine = os.path.realpath(str(prefix) + PLAN_SUFFIX)
    planned = mine in [os.path.realpath(path) for path in inputs]  # it was read from where it would be written
    extras = [PLAN_SUFFIX] if plan is not None and not planned else []
    stale = [PLAN_SUFFIX] if plan is None else []
    with PairWriter(prefix, inputs, overwrite, extras, stale) as writer:
        writer.write_weights(weights_chunks(net))
        if plan is not None and extras:
            writer.write_extra(PLAN_SUFFIX, plan.to_bytes())
        if cfg is None:
            cfg = cfg_bytes(net, [plan.comment()] if plan is not None else [])
        writer.write_cfg(cfg)
        writer.commit()


def save_part(net: Net, prefix: str, overwrite: bool = False, inputs: Sequence[str] = ()) -> str:
    """Writes the arrays of the layers that have values, the first N, as `prefix`.conv.N; returns that path.

    Raises as `save` does.
    """
    inputs = _require_writable(net, inputs)
    path = "{}.conv.{}".format(prefix, net.loaded)
    write_file(path, weights_chunks(net), inputs, overwrite)
    return path


def _require_writable(net: Net, inputs: Sequence[str]) -> List[str]:
    """Checks the net and its values; returns the files that must not be overwritten."""
    net.check()
    if not net.loaded and net.count_parameters():
        raise GraphError("the net has no values to write", net.config.place(), "load the weights too")
    require_finite(net)
    return list(inputs) + [net.document.path] + ([net.source.path] if net.source else [])


def weights_chunks(net: Net) -> Iterator[bytes]:
    """The bytes of the weights file, array by array."""
    yield net.header.to_bytes()
    for layer in net.layers[: net.loaded]:
        for array in file_arrays(net, layer):
            yield array.astype(FLOAT, copy=False).tobytes()
