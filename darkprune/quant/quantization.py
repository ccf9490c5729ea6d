"""A net and its ranges, made into the integers that an INT8 net computes with: the same for every backend.

    real = scale * (integer - zero_point)

Activations have one scale per tensor, weights one per filter (symmetric, zero point 0), biases are 32-bit integers
with the product of both scales.
"""

import base64
import re
import zlib
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.edit.fuse_bn import fuse_batch_norm
from darkprune.errors import CalibrationError, UsageError
from darkprune.graph.layer import Layer
from darkprune.graph.net import Net
from darkprune.ops.activation_functions import DIRECT, effective
from darkprune.ops.base import SAME, WEIGHTS
from darkprune.quant.equalize import equalized
from darkprune.quant.float_layers import Policy, default_float
from darkprune.quant.ranges import Adjustments, Range, Ranges
from darkprune.quant.tensors import INPUT, activation_of, before_name, looks_up, output_name
from darkprune.quant.ties import tied

WEIGHT_MAX = 127  # weights are -127..127, so that a filter and its negative round alike
INT32 = 2**31 - 1
MOST_BIAS = 2**30  # the other half of the range is left to the products

Scheme = NamedTuple(
    "Scheme",
    [
        ("name", str),
        ("symmetric", bool),  # int8 with zero point 0, or uint8 with any
        ("fused", Optional[FrozenSet[str]]),  # activations that nothing is rounded in front of; None: all
        ("ties", bool),  # whether a concatenation and its sources share one scale
        ("implicit", bool),  # whether roundings follow from ranges, and are no operations of their own
    ],
)
ONNXRUNTIME = Scheme("onnxruntime", False, DIRECT, False, False)
TENSORRT = Scheme("tensorrt", True, None, True, False)
# TensorRT 8 by flags and ranges. It fuses these activations into the convolution before them, and element-wise layers
# with each other; any other convolution puts out a tensor that is rounded (Developer Guide 8.2, "Layer Fusion", which
# names ReLU and Clip; of leaky ReLU a maintainer says so for newer GPUs, NVIDIA/TensorRT issue 2134).
# What float layers hand each other stays float there, even where an int8 layer reads it rounded.
IMPLICIT = Scheme("tensorrt-implicit", True, DIRECT | {"leaky", "relie", "revleaky", "relu6", "hardtan"}, True, True)
SCHEMES = {scheme.name: scheme for scheme in (ONNXRUNTIME, TENSORRT)}

_QParams = NamedTuple("_QParams", [("scale", float), ("zero_point", int), ("signed", bool)])


class QParams(_QParams):
    """How a tensor is rounded: `scale` is a float32, `zero_point` the integer of 0.0."""

    __slots__ = ()

    @property
    def limits(self) -> Tuple[int, int]:
        """The smallest and the largest integer."""
        return (-128, 127) if self.signed else (0, 255)


def qparams(found: Range, scheme: Scheme) -> QParams:
    """How a tensor of that range is rounded; scale 1 for one that is 0 everywhere."""
    if scheme.symmetric:
        scale = np.float32(found.amax / 127)
        return QParams(float(scale) if scale > 0 else 1.0, 0, True)
    scale = np.float32((found.high - found.low) / 255)
    if not scale > 0:
        return QParams(1.0, 0, False)
    return QParams(float(scale), int(np.clip(np.rint(-found.low / float(scale)), 0, 255)), False)


def weight_scales(weights: np.ndarray) -> np.ndarray:
    """float32 [n]: the step of each filter of [n, ...]; 1 for one that is all zero, or nearly: a step that is no normal
    float32 has no inverse, and weight decay leaves such filters."""
    largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    scales = (largest / WEIGHT_MAX).astype(np.float32)
    return np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1)).astype(np.float32)


def round_weights(weights: np.ndarray, scales: np.ndarray, up: Optional[np.ndarray] = None) -> np.ndarray:
    """int8, of the weights' shape: each over its filter's scale, rounded to nearest, or up where `up` says so and down
    elsewhere."""
    steps = weights.astype(np.float64) / scales.astype(np.float64).reshape([-1] + [1] * (weights.ndim - 1))
    rounded = np.rint(steps) if up is None else np.floor(steps) + up
    return np.clip(rounded, -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)


def pack(up: np.ndarray) -> str:
    """The text in which ranges hold whether each weight is rounded up, bool of any shape."""
    return base64.b64encode(zlib.compress(np.packbits(up.reshape(-1)).tobytes(), 9)).decode("ascii")


def unpack(text: str, shape: Tuple[int, ...]) -> np.ndarray:
    """bool of `shape` from such a text. Raises CalibrationError where it does not hold as many."""
    count = int(np.prod(shape, dtype=np.int64))
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text.encode("ascii"), validate=True), (count + 7) // 8 + 1)
    except (ValueError, zlib.error) as error:
        raise CalibrationError("the learned rounding is damaged: {}".format(error), hint="calibrate again") from error
    if len(data) != (count + 7) // 8:
        cause = "the learned rounding is that of {} weights or so, the layer has {}".format(8 * len(data), count)
        raise CalibrationError(cause, hint="calibrate again")
    return np.unpackbits(np.frombuffer(data, np.uint8))[:count].reshape(shape).astype(bool)


def prepared(net: Net, adjustments: Adjustments) -> Net:
    """The net whose arrays are rounded: its batch norm folded, and with the adjustments that are no rounding.

    Raises CalibrationError for adjustments that do not fit; Unsupported where a batch norm cannot be folded.
    """
    made = equalized(fuse_batch_norm(net, net.dialect.name), adjustments.factors)
    made.notices[:] = net.notices
    for index, change in adjustments.biases.items():
        layer = made.layers[index] if index < len(made.layers) else None
        if layer is None or "biases" not in layer.params or change.shape != layer.array("biases").shape:
            raise CalibrationError("the ranges correct biases of layer {}, which has others".format(index))
        layer.set_param("biases", layer.array("biases") + change)
    return made


class Quantization(object):
    """What the integers of an INT8 net are.

    Args:
        net: with values, at the input size that counts. ranges: its own. scheme: of the target.

    Attributes:
        net: the prepared net, which is lowered.
        policy: which layers are int8 and which tensors are rounded.

    Raises CalibrationError where the ranges are those of another pair, or lack a tensor.
    """

    def __init__(self, net: Net, ranges: Ranges, scheme: Scheme = ONNXRUNTIME) -> None:
        ranges.require(net)
        self.ranges, self.scheme = ranges, scheme
        self._require_layers(net)
        self.net = prepared(net, ranges.adjustments)
        self.policy = Policy(self.net, ranges.keep_float)
        self._tensors: Dict[str, QParams] = {}
        self._set_tensors()

    def tensor(self, name: str) -> Optional[QParams]:
        """How the tensor of that name is rounded; None where it is not."""
        return self._tensors.get(name)

    def amax(self, name: str) -> Optional[float]:
        """The range of a tensor, rounded or not; None where there was none measured."""
        params = self._tensors.get(name)
        if params is not None and params.signed:
            return params.scale * 127
        found = self._ranges.get(name)
        return None if found is None else found.amax

    def scales(self, layer: Layer, weights: np.ndarray) -> np.ndarray:
        """float32 [n]: the step of each filter; where its weights are so small that its bias would not fit into 32
        bits, a larger one."""
        scales, source = weight_scales(weights), self.tensor(output_name(layer.inputs[0]))
        owner = layer.pointers.get("share_index", layer)
        if source is None or "biases" not in owner.params:
            return scales
        least = np.abs(owner.array("biases").reshape(-1).astype(np.float64)) / (source.scale * MOST_BIAS)
        return np.maximum(scales, least).astype(np.float32)

    def weights(self, layer: Layer, weights: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """(int8 [n, ...], float32 scales [n]) of the weights of a layer as they are lowered, float32 [n, ...]."""
        weights = np.asarray(weights, np.float32)
        scales = self.scales(layer, weights)
        text = self.ranges.adjustments.rounding.get(layer.index)
        integers = round_weights(weights, scales, None if text is None else unpack(text, weights.shape))
        if text is not None and self.scheme.implicit:  # the largest one is what TensorRT takes its step from
            nearest = round_weights(weights, scales)
            integers = np.where(np.abs(nearest) == WEIGHT_MAX, nearest, integers)
        return integers, scales

    def real_weights(self, layer: Layer, weights: np.ndarray) -> np.ndarray:
        """float32: what the integers of the weights stand for."""
        integers, scales = self.weights(layer, weights)
        return np.asarray(integers * scales.reshape([-1] + [1] * (integers.ndim - 1)), np.float32)

    def biases(self, biases: np.ndarray, scales: np.ndarray, source: QParams) -> np.ndarray:
        """int32 [n]: the biases over the scales of the filters times that of the input."""
        steps = scales * np.float32(source.scale)
        return np.clip(np.rint(biases.astype(np.float64) / steps), -INT32, INT32).astype(np.int32)

    def _require_layers(self, net: Net) -> None:
        """Raises CalibrationError where the ranges name layers that the net has not, or that have no weights."""
        count, changes = len(net.layers), self.ranges.adjustments
        beyond = [index for index in self.ranges.keep_float if index >= count]
        for index in [*changes.factors, *changes.biases, *changes.rounding]:
            if index >= count or net.layers[index].op.int8(net.layers[index]) != WEIGHTS:
                beyond.append(index)
        if beyond:
            cause = "the ranges change layer {}, which is none with weights of this net".format(str(beyond[0])[:20])
            raise CalibrationError(cause, self.ranges.where, "calibrate again")

    def _set_tensors(self) -> None:
        try:
            self._ranges = tied(self.net, self.ranges.tensors, True) if self.scheme.ties else self.ranges.tensors
        except KeyError as error:
            raise self._missing(str(error.args[0])) from error
        if -1 in self.policy.rounded:
            self._tensors[INPUT] = self._measured(INPUT)
        for layer in self.net.layers:
            if layer.index not in self.policy.rounded:
                continue
            name = output_name(layer)
            if layer.index in self.policy.int8 and layer.op.int8(layer) == SAME:
                self._tensors[name] = self._tensors[output_name(layer.inputs[0])]
                continue
            self._tensors[name] = self._measured(name)
            if layer.index in self.policy.int8 and self._rounds_before(layer):
                self._tensors[before_name(layer)] = self._measured(before_name(layer))

    def _rounds_before(self, layer: Layer) -> bool:
        """Whether an int8 layer rounds what its activation reads."""
        fused = self.scheme.fused
        if fused is None or not looks_up(layer):
            return False
        if effective(activation_of(layer), self.net.dialect.name).name in fused:
            return False
        return not self.scheme.implicit or layer.op.int8(layer) == WEIGHTS

    def _measured(self, name: str) -> QParams:
        if name not in self._ranges:
            raise self._missing(name)
        return qparams(self._ranges[name], self.scheme)

    def _missing(self, name: str) -> CalibrationError:
        return CalibrationError("the ranges hold none of {}".format(name), self.ranges.where, "calibrate again")


def keep_float(net: Net, words: Optional[str]) -> List[int]:
    """The layers that `--keep-float` names: numbers, `first-and-heads` (the default), `none`, separated by commas.

    Raises UsageError for a layer that the net has not.
    """
    found = set()
    for word in (words or "first-and-heads").split(","):
        word = word.strip()
        if word == "first-and-heads":
            found.update(default_float(net))
        elif re.match(r"[0-9]{1,8}\Z", word) and int(word) < len(net.layers):
            found.add(int(word))
        elif word != "none":
            cause = "--keep-float names {}, which is no layer of this net".format(word[:40] or "nothing")
            hint = "use numbers of 0 to {}, first-and-heads or none".format(len(net.layers) - 1)
            raise UsageError(cause, hint=hint)
    return sorted(found)
