"""Where an INT8 net rounds: layers lowered to primitives on integers, for any backend that has them.

An int8 layer reads integers and puts out integers. What its primitives come to waits for its bias and activation, so
that the backend gets them together:

    convolution -> linear or relu    rounded once, behind the activation
    convolution -> leaky, mish...    rounded before and behind it: between integers it is a table
    maximum, upsampling, route       the integers themselves, in other places
    sum, product, concatenation      integers in and out, each with its own scale

A float layer reads what the integers stand for; what it makes is rounded where an int8 layer reads it.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.base import Builder, Tensor
from darkprune.backends.int8_base import Filters, Int8Builder, Quantized
from darkprune.graph.layer import Layer
from darkprune.ops.activation_functions import ACTIVATIONS, effective
from darkprune.quant.pending_value import Batch, Value
from darkprune.quant.quantization import QParams, Quantization
from darkprune.quant.tensors import INPUT, before_name, output_name


def _on_floats(name: str) -> Any:
    """A primitive that no int8 layer has."""

    def primitive(self: "Quantizing", x: Value, *arguments: Any, **options: Any) -> Value:
        return Value(getattr(self.inner, name)(self.real(x), *arguments, **options))

    return primitive


def _moving(name: str) -> Any:
    """A primitive that puts values of its input, and zeros, in other places."""

    def primitive(self: "Quantizing", x: Value, *arguments: Any, **options: Any) -> Value:
        source = self._quantized(x)
        if source is None:
            return Value(getattr(self.inner, name)(self.real(x), *arguments, **options))
        move = lambda b, tensor: getattr(b, name)(tensor, *arguments, **options)  # noqa: E731
        return Value(integers=self.inner.int8_moved(source, move))

    return primitive


def _blur(weight: np.ndarray) -> Filters:
    """Weights that are multiples of 1/256 as integers, with nothing lost."""
    count = len(weight)
    return Filters((weight * 256).astype(np.int8), np.full(count, 1 / 256, np.float32), np.zeros(count, np.int32))


class Quantizing(Builder):
    """Lowers the net of a Quantization to primitives of `inner`; tensors are `Value`s.

    `forward` takes `wrap(batch)` for the batch and `finish` for the hook; `unwrap` gives the float tensors of what it
    returns.
    """

    def __init__(self, inner: Int8Builder, quantization: Quantization) -> None:
        self.inner, self.quantization = inner, quantization
        self._net = quantization.net
        self._finished: Optional[int] = None  # the layer whose own primitives are behind us
        self._weights: Dict[int, Tuple[np.ndarray, np.ndarray]] = {}
        super(Quantizing, self).__init__(inner.dialect.name)
        self.backend = inner.backend

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in ("layer", "images"):
            setattr(self.inner, name, value)

    # What `forward` is given.

    def wrap(self, tensor: Tensor) -> Value:
        """The value of a backend's tensor [N,C,H,W] of images."""
        self._finished = None
        value = Batch(self.inner.wrap(tensor))
        self._round(value, INPUT)
        return value

    def finish(self, layer: Layer, y: Value) -> Value:
        """The output of a layer, rounded where it is to be."""
        self._finished = layer.index
        name = output_name(layer)
        if y.waiting:
            out = self.quantization.tensor(name)
            made = y.made(out)
            y = Value(made) if out is None else Value(integers=made)
        if y.integers is not None and self.quantization.tensor(name) is not None:
            y = Value(integers=self.inner.named(y.integers, name))
        self._round(y, name)
        return y

    def real(self, x: Value) -> Tensor:
        """The inner backend's float tensor."""
        if x.tensor is None:
            x.tensor = x.made(None) if x.integers is None else self.inner.dequantize(x.integers)
        return x.tensor

    def unwrap(self, x: Value) -> Any:
        return self.inner.unwrap(self.real(x))

    # The layer being lowered.

    def _int8(self) -> Optional[Layer]:
        """The layer being lowered, where it computes on integers."""
        if self.layer is None or self.layer not in self.quantization.policy.int8:
            return None
        return self._net.layers[self.layer]

    def _round(self, x: Value, name: str) -> None:
        params = self.quantization.tensor(name)
        if x.integers is None and params is not None:
            x.integers, x.tensor = self.inner.named(self.inner.quantize(self.real(x), params), name), None

    def _quantized(self, x: Value) -> Optional[Quantized]:
        """The integers of what an int8 layer reads; None in a float layer, or for a sum of floats within a layer."""
        if self._int8() is None:
            return None
        if x.integers is None and x.like is not None:
            x.integers = x.made(x.like)
        return x.integers

    def _filters(self, layer: Layer, weight: np.ndarray, biases: Optional[np.ndarray], source: QParams) -> Filters:
        if layer.index not in self._weights:
            self._weights[layer.index] = self.quantization.weights(layer, weight)
        weights, scales = self._weights[layer.index]
        if biases is None:
            biases = np.zeros(len(scales), np.float32)
        return Filters(weights, scales, self.quantization.biases(biases, scales, source))

    # Primitives.

    def array(self, layer: Layer, name: str) -> Any:
        return self.inner.array(layer, name)

    def conv2d(
        self,
        x: Value,
        weight: np.ndarray,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> Value:
        layer, source = self._int8(), self._quantized(x)
        like = None
        if self._finished == self.layer:  # the blur of a layer with antialiasing, whose weights are whole 16ths
            source = x.integers
            like = None if source is None else source.params
        if source is None:
            return Value(self.inner.conv2d(self.real(x), weight, stride, padding, dilation, groups))

        def make(biases: Optional[np.ndarray], relu: bool, out: Optional[QParams]) -> Any:
            if layer is None:
                filters = _blur(weight)
            else:
                filters = self._filters(layer, weight, biases, source.params)
            return self.inner.int8_conv2d(source, filters, stride, padding, dilation, groups, relu, out)

        return Value(make=make, like=like)

    def linear(self, x: Value, weight: np.ndarray) -> Value:
        layer, source = self._int8(), self._quantized(x)
        if layer is None or source is None:
            return Value(self.inner.linear(self.real(x), weight))

        def make(biases: Optional[np.ndarray], relu: bool, out: Optional[QParams]) -> Any:
            return self.inner.int8_linear(source, self._filters(layer, weight, biases, source.params), relu, out)

        return Value(make=make)

    def bias(self, x: Value, b: np.ndarray) -> Value:
        return x.with_biases(b) if x.waiting else Value(self.inner.bias(self.real(x), b))

    def activation(self, x: Value, name: str) -> Value:
        which = effective(name, self.dialect.name).name
        if which == "linear":
            return x
        if which == "relu" and x.waiting:
            return x.with_relu()
        layer = self._int8()
        source = None if layer is None else self._before(layer, x)
        out = None if layer is None else self.quantization.tensor(output_name(layer))
        if source is None or out is None:
            return Value(self.inner.activation(self.real(x), name))
        if ACTIVATIONS[which].couples_channels:  # which is no table
            return Value(self.inner.activation(self.inner.dequantize(source), name))
        return Value(integers=self.inner.int8_activation(source, name, out))

    def _before(self, layer: Layer, x: Value) -> Optional[Quantized]:
        """The integers that an activation reads, where it is a table."""
        if x.integers is not None:
            return x.integers
        before = self.quantization.tensor(before_name(layer))
        if before is None:
            return None
        made: Quantized = x.made(before) if x.waiting else self.inner.quantize(self.real(x), before)
        return self.inner.named(made, before_name(layer))

    def add(self, a: Value, b: Value) -> Value:
        return self._of_both("add", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self._of_both("mul", a, b)

    def _of_both(self, name: str, a: Value, b: Value) -> Value:
        left, right = self._quantized(a), self._quantized(b)
        if left is None or right is None:  # a float layer, or a sum of more than two
            return Value(getattr(self.inner, name)(self.real(a), self.real(b)))
        return Value(make=lambda _, relu, out: getattr(self.inner, "int8_" + name)(left, right, relu, out))

    def concat(self, xs: Sequence[Value]) -> Value:
        sources: List[Quantized] = [q for q in map(self._quantized, xs) if q is not None]
        if len(sources) < len(xs):
            return Value(self.inner.concat([self.real(x) for x in xs]))
        return Value(make=lambda _, relu, out: self.inner.int8_concat(sources, relu, out))

    def global_avg_pool(self, x: Value) -> Value:
        source = self._quantized(x)
        if source is None:
            return Value(self.inner.global_avg_pool(self.real(x)))
        return Value(make=lambda _, relu, out: self.inner.int8_global_avg_pool(source, relu, out))

    def constant(self, values: np.ndarray) -> Value:
        return Value(self.inner.constant(values))

    def binarised(self, weight: np.ndarray) -> Any:
        return self.inner.binarised(weight)

    def source_factors(self, weights: np.ndarray, normalization: str) -> Any:
        return self.inner.source_factors(weights, normalization)

    def dropout(self, x: Value, probability: float, blocks: bool = False) -> Value:
        return x

    def pad_channels(self, x: Value, count: int) -> Value:
        source = self._quantized(x)
        if source is None:
            return Value(self.inner.pad_channels(self.real(x), count))
        return Value(integers=self.inner.int8_pad_channels(source, count))

    max_pool = _moving("max_pool")
    upsample = _moving("upsample")
    slice_channels = _moving("slice_channels")
    flatten = _moving("flatten")
    interleave = _moving("interleave")
    reorg = _moving("reorg")
    space_to_depth = _moving("space_to_depth")

    output = _on_floats("output")
    local_conv2d = _on_floats("local_conv2d")
    batch_norm = _on_floats("batch_norm")
    scale_channels_by = _on_floats("scale_channels_by")
    sign = _on_floats("sign")
    avg_pool = _on_floats("avg_pool")
    downsample_sum = _on_floats("downsample_sum")
    spread = _on_floats("spread")
    crop = _on_floats("crop")
    max_channels = _on_floats("max_channels")
    softmax = _on_floats("softmax")
    lrn = _on_floats("lrn")
