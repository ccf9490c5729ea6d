"""Whether INT8 pays on this machine, and what to do where it does not: from times measured in ONNX Runtime.

Processors gain by 8-bit products only where many of them go into one sum. A depthwise or thin 1x1 layer has filters of
few weights: there rounding and re-scaling cost more than the products save.
"""

from collections import OrderedDict
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.base import WEIGHTS

THIN = 64  # weights a filter; with fewer an INT8 layer was no faster than its FP32 one (docs/results.md)
MANY = 0.25  # of the multiply-accumulates: then thin filters are what slows a net
PAD = 16  # channels are padded to a multiple of it, as floats fill a 512-bit register
NOISE = 0.97  # of the plain file's time: anything above may be chance
WORTH = 0.9  # INT8 costs accuracy: it must take at most this share of the fastest FP32 form's time

Variant = NamedTuple("Variant", [("int8", bool), ("pad", int)])  # pad: --pad-channels, 1 for none
PLAIN = Variant(False, 1)
VARIANTS = (PLAIN, Variant(False, PAD), Variant(True, 1), Variant(True, PAD))

Timed = NamedTuple(
    "Timed",
    [
        ("variant", Variant),
        ("median_ms", float),  # of the processes' medians
        ("min_ms", float),
        ("ratio", float),  # to the plain file: median of the rounds' ratios
    ],
)


def options(variant: Variant) -> str:
    """What a variant is called on a command line."""
    words = ["--int8 RANGES"] * variant.int8 + ["--pad-channels {}".format(variant.pad)] * (variant.pad > 1)
    return " ".join(words)


def title(variant: Variant) -> str:
    """What a variant is called in tables."""
    name = "INT8" if variant.int8 else "FP32"
    return "{}, channels padded to {}".format(name, variant.pad) if variant.pad > 1 else name


def filter_size(layer: Layer) -> int:
    """Weights of one filter, or of one output of a [connected]; 0 for a layer that has none on integers."""
    if layer.op.int8(layer) != WEIGHTS:
        return 0
    for spec in layer.op.parameters(layer):
        if spec.name == "weights":
            return int(np.prod(spec.shape, dtype=np.int64)) // int(spec.shape[spec.axes.index("out")])
    return 0


def thin_share(net: Net) -> float:
    """The share of the net's multiply-accumulates whose filters have fewer than THIN weights."""
    sizes = [(filter_size(layer), layer.op.macs(layer)) for layer in net.layers]
    total = sum(macs for _, macs in sizes)
    return sum(macs for size, macs in sizes if 0 < size < THIN) / float(total) if total else 0.0


def timed(rounds: Mapping[Variant, Sequence[float]]) -> List[Timed]:
    """Statistics of milliseconds: by variant, one of each round; PLAIN is among them."""
    plain = rounds[PLAIN]
    return [
        Timed(
            variant,
            float(np.median(found)),
            float(min(found)),
            float(np.median([own / other for own, other in zip(found, plain)])),
        )
        for variant, found in rounds.items()
    ]


class Advice(object):
    """What the measured times say.

    Args:
        times: of the variants that were measured, PLAIN among them. share: `thin_share` of the net.

    Attributes: times, share, best (the Timed that is recommended).
    """

    def __init__(self, times: Sequence[Timed], share: float) -> None:
        self.times, self.share = list(times), share
        self.best = self._best()

    def of(self, variant: Variant) -> Timed:
        """The times of a variant."""
        return next(found for found in self.times if found.variant == variant)

    def _best(self) -> Timed:
        floats = self._fastest([found for found in self.times if not found.variant.int8], self.of(PLAIN), NOISE)
        return self._fastest([found for found in self.times if found.variant.int8], floats, WORTH)

    @staticmethod
    def _fastest(others: List[Timed], reference: Timed, share: float) -> Timed:
        """The fastest of `others` if it takes at most `share` of the reference's time; an unpadded one wins ties."""
        good = [found for found in others if found.ratio <= share * reference.ratio]
        if not good:
            return reference
        least = min(found.ratio for found in good)
        return min((found for found in good if NOISE * found.ratio <= least), key=lambda found: found.variant.pad)

    def lines(self) -> List[str]:
        """What to tell a user: a sentence or two."""
        floats, integers = self._of_kind(False), self._of_kind(True)
        found = []
        if integers is not None:
            times = "{:.2f} ms in INT8, {:.2f} ms in FP32".format(integers.median_ms, floats.median_ms)
            if self.best.variant.int8:
                found.append("INT8 pays for this net on this machine: " + times)
            else:
                found.append("INT8 does not pay for this net on this machine: {}; {}".format(times, self._why()))
        if self.best.variant == PLAIN:
            found.append("use the FP32 net as it is")
        else:
            share = "{:.2f} of the plain FP32 net's time".format(self.best.ratio)
            found.append("use export {}: {}".format(options(self.best.variant), share))
        return found

    def _of_kind(self, int8: bool) -> Any:
        kind = [found for found in self.times if found.variant.int8 == int8]
        return min(kind, key=lambda found: found.ratio) if kind else None

    def _why(self) -> str:
        if self.share >= MANY:
            share = "{:.0f} % of its multiply-accumulates are in filters of fewer than {} weights".format(
                100 * self.share, THIN
            )
            return share + " (depthwise, thin 1x1), which gain nothing from it"
        if self._of_kind(True).ratio < self._of_kind(False).ratio:
            return "it must save a tenth, as it costs accuracy"
        return "the processor may have no instructions for sums of 8-bit products, or the net is very small"

    def to_dict(self) -> Dict[str, Any]:
        """As JSON values."""
        rows: List[Tuple[str, Any]] = [
            ("variants", [dict(t._asdict(), variant=title(t.variant), options=options(t.variant)) for t in self.times]),
            ("recommended", options(self.best.variant)),
            ("thin_share", self.share),
            ("text", self.lines()),
        ]
        return OrderedDict(rows)
