"""Which tensors of an INT8 net share one range.

- What moves or picks values (pooling, upsampling, a route of one layer or of a part of its channels) has the range of
  what it reads, always: its integers are those of its input.
- A concatenation and all that it reads share one in TensorRT, which lays the parts side by side in memory: the range
  of the concatenation, as TensorRT's own calibration caches show; where several share a source, the widest of theirs.
  In ONNX Runtime each tensor keeps its own.
- The addends of a shortcut keep their own everywhere: integers are added with the scale of each.
"""

from collections import OrderedDict
from typing import Dict, List

from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.base import FLOAT, SAME
from darkprune.quant.ranges import Range
from darkprune.quant.tensors import output_name


def follows(layer: Layer) -> bool:
    """Whether the output of the layer has the range of its input, so that nobody needs to measure it."""
    return layer.op.int8(layer) == SAME


def tied(net: Net, tensors: Dict[str, Range], concatenations: bool = False) -> Dict[str, Range]:
    """The ranges of the tensors, in their order, with the ties applied; what `follows` needs none before.

    Args: concatenations: whether a concatenation and what it reads share one.
    """
    groups: Dict[str, List[str]] = {}
    joined = []
    for layer in net.layers:
        name = output_name(layer)
        groups[name] = [name]
        joins = concatenations and layer.op.joins and not follows(layer) and layer.op.int8(layer) != FLOAT
        if joins:
            joined.append(name)
        for source in layer.inputs if joins or follows(layer) else []:
            _join(groups, output_name(source), name)
    found = OrderedDict(tensors)
    for name, group in groups.items():
        if len(group) > 1:
            ruling = [x for x in group if x in joined] or group[:1]  # the first one is what the others pick from
            found[name] = _widest([tensors[x] for x in ruling])
    return found


def _join(groups: Dict[str, List[str]], first: str, second: str) -> None:
    one, other = groups.setdefault(first, [first]), groups[second]
    if one is not other:
        one.extend(other)
        for name in other:
            groups[name] = one


def _widest(ranges: List[Range]) -> Range:
    lows, highs, ends = zip(*ranges)
    return Range(min(lows), max(highs), max(ends))
