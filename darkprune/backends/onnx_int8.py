"""The primitives on integers in ONNX: every operation between DequantizeLinear and QuantizeLinear.

Runtimes fuse such a group into one operation on integers. In ONNX Runtime on x86-64 that needs uint8 activations with
int8 weights; relu needs no node where the zero point is 0. Weights and biases are integers in the file.

Imports onnx: only what needs it imports this module.
"""

from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np
from onnx import TensorProto, helper

from darkprune.backends.channel_padding_int8 import PaddedInt8
from darkprune.backends.geometry import missing_channels
from darkprune.backends.int8_base import Filters, Int8Builder, Move, Quantized
from darkprune.backends.onnx_graph import Length, OnnxTensor
from darkprune.backends.onnx_model import Lowered, lower
from darkprune.backends.onnx_ops import OnnxBuilder
from darkprune.graph.net import heads
from darkprune.quant.placement import Quantizing
from darkprune.quant.quantization import QParams, Quantization

_SUFFIX = "_quantized"  # of the integers of a tensor; what they stand for has the tensor's own name


class _Integers(object):
    """Weights or biases: integers and the step of each filter, in place of the float array that they stand for."""

    def __init__(self, values: np.ndarray, scales: np.ndarray) -> None:
        self.values, self.scales = values, scales

    @property
    def shape(self) -> Tuple[int, ...]:
        """The array's shape."""
        return tuple(self.values.shape)

    def reshape(self, *_: Any, **__: Any) -> "_Integers":
        """Biases, which have one axis, as they are."""
        return self


class OnnxInt8Builder(OnnxBuilder, Int8Builder):
    """`Quantized` tensors are OnnxTensors of uint8 or int8.

    Attributes:
        quantized: the tensors of integers by the names of darkprune.quant.tensors.
        shielded: the float layers with weights that read integers, and whose output is rounded. ONNX Runtime would
            make them int8 layers too, with one scale for all filters, but not where the biases are no constants.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quantized: Dict[str, OnnxTensor] = {}
        self.shielded: Set[int] = set()
        self._from_floats: List[OnnxTensor] = []
        self._channels_last: Dict[str, Quantized] = {}  # name of a tensor of integers -> the same for `_joined`
        self._floats: Dict[str, OnnxTensor] = {}  # name of a tensor of integers -> what it stands for
        self._steps: Dict[QParams, Tuple[str, str]] = {}

    def constants(self, values: Any, suffix: str, dtype: Any = np.float32) -> str:
        if not isinstance(values, _Integers):
            return super().constants(values, suffix, dtype)
        kind, zeros_of = values.values.dtype, np.zeros(values.scales.shape)
        whole = super().constants(values.values, suffix + "_quantized", kind)
        scales = super().constants(values.scales, suffix + "_scales")
        zeros = super().constants(zeros_of, suffix + "_zeros", kind)
        return self.graph.node("DequantizeLinear", [whole, scales, zeros], self.label(suffix), axis=0)

    def bias(self, x: Any, b: Any) -> OnnxTensor:
        if self.layer not in self.shielded or x.with_bias is None:
            return super().bias(x, b)
        b = np.reshape(b, -1)
        return x.with_bias(_Integers(np.sign(b).astype(np.int32), np.where(b == 0, 1, np.abs(b))))  # exactly b

    def named(self, x: Quantized, name: str) -> Quantized:
        if not any(known.name == x.tensor.name for known in self.quantized.values()):
            floats = self._floats.pop(x.tensor.name, None)
            self.graph.rename(x.tensor, name + _SUFFIX)
            if floats is not None:
                self._floats[x.tensor.name] = floats
        self.quantized[name] = x.tensor
        return x

    def _parameters(self, params: QParams) -> Tuple[str, str]:
        """The names of the scale and the zero point."""
        if params not in self._steps:
            zero = super().constants(params.zero_point, "zero_point", np.int8 if params.signed else np.uint8)
            self._steps[params] = (super().constants(params.scale, "scale"), zero)
        return self._steps[params]

    def quantize(self, x: Any, params: QParams) -> Quantized:
        # ONNX Runtime would round before it, and pools integers slowly there
        if self._maker(x.name) == "MaxPool" and not params.signed:
            x = self.node("LeakyRelu", [x], "same", x.shape[1:], alpha=1.0)
        found = self._rounded(x, params)
        self._from_floats.append(found.tensor)
        return found

    def _maker(self, name: str) -> str:
        """The operator of the node that makes a tensor."""
        return next((str(node.op_type) for node in reversed(self.graph.nodes) if name in node.output), "")

    def _rounded(self, x: Any, params: QParams) -> Quantized:
        node = self.node("QuantizeLinear", [x, *self._parameters(params)], "quantized", x.shape[1:])
        return Quantized(node, params)

    def dequantize(self, x: Quantized) -> Any:
        name = x.tensor.name
        if name not in self._floats:
            plain = name[: -len(_SUFFIX)] if name.endswith(_SUFFIX) else name + "_dequantized"
            made = self.graph.node("DequantizeLinear", [name, *self._parameters(x.params)], plain)
            self._floats[name] = OnnxTensor(x.tensor.shape, made)
        return self._floats[name]

    def _out(self, y: Any, relu: bool, out: Optional[QParams]) -> Any:
        y = self.activation(y, "relu") if relu else y
        return y if out is None else self._rounded(y, out)

    # Layers with weights.

    def int8_conv2d(
        self,
        x: Quantized,
        filters: Filters,
        stride: Tuple[int, int],
        padding: int,
        dilation: int,
        groups: int,
        relu: bool,
        out: Optional[QParams],
    ) -> Any:
        weights: Any = _Integers(filters.weights, filters.scales)
        y: Any = self.conv2d(self.dequantize(x), weights, stride, padding, dilation, groups)
        return self._out(y.with_bias(_biases(filters, x.params)), relu, out)

    def int8_linear(self, x: Quantized, filters: Filters, relu: bool, out: Optional[QParams]) -> Any:
        flat = self._rounded(self.node("Flatten", [self.dequantize(x)], "flat", (), axis=1), x.params)
        inputs = [self.dequantize(flat), self.constants(_Integers(filters.weights, filters.scales), "weights")]
        inputs.append(self.constants(_biases(filters, x.params), "biases"))
        y = self.node("Gemm", inputs, "gemm", (), transB=1)
        y = self._out(y, relu, out)
        shape = (len(filters.weights), 1, 1)
        return self._reshape(y, shape, "linear") if out is None else self._reshaped(y, shape)

    def _reshaped(self, x: Quantized, shape: Sequence[int]) -> Quantized:
        return self._rounded(self._reshape(self.dequantize(x), shape, "linear"), x.params)

    # Element by element.

    def int8_activation(self, x: Quantized, name: str, out: QParams) -> Quantized:
        return self._rounded(self.activation(self.dequantize(x), name), out)

    def int8_add(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return self._out(self.add(self._joined(a), self._joined(b)), relu, out)

    def _joined(self, x: Quantized) -> Any:
        """The floats of integers that meet others. ONNX Runtime's int8 layers have the channels last, floats have not:
        where both meet all that follows would be copied from one order to the other and back, layer by layer. So what
        was rounded from floats goes through a convolution that changes nothing, whose output is as theirs."""
        if x.params.signed or not any(x.tensor is tensor for tensor in self._from_floats):
            return self.dequantize(x)
        name = x.tensor.name
        if name not in self._channels_last:
            self._channels_last[name] = self.int8_pad_channels(x, int(x.tensor.shape[1]))
        return self.dequantize(self._channels_last[name])

    def int8_mul(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return self._out(self.mul(self.dequantize(a), self.dequantize(b)), relu, out)

    def int8_global_avg_pool(self, x: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return self._out(self.global_avg_pool(self.dequantize(x)), relu, out)

    # Wiring.

    def int8_concat(self, xs: Sequence[Quantized], relu: bool, out: Optional[QParams]) -> Any:
        return self._out(self.concat([self._joined(x) for x in xs]), relu, out)

    def int8_moved(self, x: Quantized, move: Move) -> Quantized:
        return self._rounded(move(self, self._joined(x)), x.params)

    def int8_pad_channels(self, x: Quantized, count: int) -> Quantized:
        """A 1x1 convolution that hands each channel on, exactly: it keeps the order of channels that ONNX Runtime's
        convolutions like, where a Pad would have it changed at every sum from here on."""
        missing_channels(self, x.tensor, count)
        ones = np.eye(count, x.tensor.shape[1], dtype=np.int8)[:, :, None, None]
        filters = Filters(ones, np.ones(count, np.float32), np.zeros(count, np.int32))
        made: Quantized = self.int8_conv2d(x, filters, (1, 1), 0, 1, 1, False, x.params)
        return made


def _biases(filters: Filters, source: QParams) -> Any:
    """The biases; as floats where activations are symmetric, since TensorRT takes no others."""
    steps = filters.scales * np.float32(source.scale)
    return filters.biases * steps if source.signed else _Integers(filters.biases, steps)


def lowering(
    quantization: Quantization, seen: Optional[Callable[[OnnxInt8Builder], None]] = None, multiple: int = 1
) -> Callable[[Optional[Sequence[int]], Length], Lowered]:
    """What lowers an INT8 net, given the layers that are wanted (None: the heads) and the length of a batch.

    Args:
        seen: called with the builder before any layer.
        multiple: of channels, to which convolutions are widened (darkprune.backends.channel_padding).
    """

    def wrap(builder: OnnxInt8Builder) -> Quantizing:
        if not quantization.scheme.symmetric:
            builder.shielded = _float_between_integers(quantization)
        if seen is not None:
            seen(builder)
        inner: Int8Builder = builder
        if multiple > 1:
            inner = PaddedInt8(builder, multiple, heads(quantization.net))
        return Quantizing(inner, quantization)

    return lambda layers, batch: lower(quantization.net, layers, batch, wrap, OnnxInt8Builder)


def _float_between_integers(quantization: Quantization) -> Set[int]:
    found, policy = set(), quantization.policy
    for layer in quantization.net.layers:
        if layer.index in policy.rounded - policy.int8 and any(x.index in policy.rounded for x in layer.inputs):
            found.add(layer.index)
    return found


def with_integers(quantization: Quantization, batch: Length = 1) -> Tuple[Any, Dict[str, str]]:
    """(the ModelProto of an INT8 net, with its integers as outputs too; their names there by those of
    darkprune.quant.tensors), for a look at what a runtime computes."""
    builders: List[OnnxInt8Builder] = []
    model = lowering(quantization, builders.append)(None, batch).model(check=False)
    names = {name: tensor.name for name, tensor in builders[0].quantized.items()}
    kind = TensorProto.INT8 if quantization.scheme.symmetric else TensorProto.UINT8
    for tensor in {tensor.name: tensor for tensor in builders[0].quantized.values()}.values():
        model.graph.output.append(helper.make_tensor_value_info(tensor.name, kind, tensor.shape))
    return model, names
