"""The fewest layers to leave float for a signal at the heads that is asked for.

Each int8 layer with weights is left float alone, and ranked by the SQNR that the heads then have. In that order layers
become float until the heads have the signal asked for; layers that turned out not to be needed are then given back.
"""

from typing import Any, Callable, Iterable, List, NamedTuple, Tuple

from darkprune.errors import CalibrationError
from darkprune.graph.net import Net
from darkprune.ops.base import WEIGHTS
from darkprune.quant.float_layers import Policy

Rate = Callable[[List[int]], float]  # layers that stay float -> the SQNR at the heads, dB
Progress = Callable[[Iterable[Any]], Iterable[Any]]

Kept = NamedTuple(
    "Kept",
    [
        ("layers", List[int]),  # all that stay float
        ("heads", float),  # dB
        ("ranking", List[Tuple[int, float]]),  # the layers and the dB with each alone, the best first
    ],
)


def auto_keep(net: Net, already: List[int], wanted: float, rate: Rate, progress: Progress = iter) -> Kept:
    """The layers that stay float beside `already`, so that the heads have `wanted` dB.

    Raises CalibrationError where not even a net with all its layers with weights float has them.
    """
    kept, heads = sorted(already), rate(already)
    if heads >= wanted:
        return Kept(kept, heads, [])
    policy = Policy(net, already)
    able = [la.index for la in net.layers if la.index in policy.int8 and la.op.int8(la) == WEIGHTS]
    ranking = sorted(((index, rate(sorted(kept + [index]))) for index in progress(able)), key=lambda pair: -pair[1])
    for index, _ in ranking:
        kept = sorted(kept + [index])
        heads = rate(kept)
        if heads >= wanted:
            break
    else:
        cause = "the heads have {:.1f} dB with all layers float, {:.1f} were asked for".format(heads, wanted)
        raise CalibrationError(cause, hint="ask for less")
    for index, _ in ranking[::-1]:
        fewer = [layer for layer in kept if layer != index]
        if index in kept and rate(fewer) >= wanted:
            kept, heads = fewer, rate(fewer)
    return Kept(kept, heads, ranking)
