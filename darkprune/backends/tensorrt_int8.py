"""The primitives on integers in TensorRT's layers.

A typed network says where it rounds: by Quantize and Dequantize layers, weights as the int8 constants that they are. A
network that follows flags rounds where ranges say so: there the real values of the same integers are handed over, from
which TensorRT's own rounding, by the largest weight of each filter, gives the integers back, since that is 127 steps.
Where a step was widened for the sake of a huge bias (Quantization.scales) it rounds those real values once more, to
steps that are finer yet.
"""

from typing import Any, Dict, Optional, Sequence, Set, Tuple

import numpy as np

from darkprune.backends.int8_base import Filters, Int8Builder, Move, Quantized
from darkprune.backends.tensorrt_activations import BRANCHED
from darkprune.backends.tensorrt_api import FP32, INT8
from darkprune.backends.tensorrt_layers import Layers
from darkprune.backends.tensorrt_ops import TensorrtBuilder
from darkprune.backends.tensorrt_tensor import TensorrtTensor
from darkprune.darknet.dialect_epsilon import DEFAULT
from darkprune.errors import EngineError
from darkprune.ops.activation_functions import effective
from darkprune.quant.quantization import QParams
from darkprune.quant.tensors import INPUT

_SUFFIX = "_quantized"  # of the integers of a tensor; what they stand for has the tensor's own name


class TensorrtInt8Builder(TensorrtBuilder, Int8Builder):
    """Integers from floats and back are the methods of a kind of network; what lies between is the same."""

    def _rounded(self, x: Any, params: QParams) -> Quantized:
        """quantize, of what the layer being lowered makes."""
        raise NotImplementedError("{}._rounded".format(type(self).__name__))

    def quantize(self, x: Any, params: QParams) -> Quantized:
        return self._rounded(x, params)

    def _filters(self, filters: Filters) -> Any:
        """The weights as a convolution takes them."""
        raise NotImplementedError("{}._filters".format(type(self).__name__))

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
        y = self.conv2d(self.dequantize(x), self._filters(filters), stride, padding, dilation, groups)
        return self._out(self.bias(y, _biases(filters, x.params)), relu, out)

    def int8_linear(self, x: Quantized, filters: Filters, relu: bool, out: Optional[QParams]) -> Any:
        if tuple(x.tensor.shape[2:]) != (1, 1):
            x = self.int8_moved(x, lambda b, tensor: b.flatten(tensor))
        square = filters._replace(weights=filters.weights.reshape(filters.weights.shape + (1, 1)))
        return self.int8_conv2d(x, square, (1, 1), 0, 1, 1, relu, out)

    # Element by element.

    def int8_activation(self, x: Quantized, name: str, out: QParams) -> Quantized:
        return self._rounded(self.activation(self.dequantize(x), name), out)

    def int8_add(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return self._out(self.add(self.dequantize(a), self.dequantize(b)), relu, out)

    def int8_mul(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return self._out(self.mul(self.dequantize(a), self.dequantize(b)), relu, out)

    def int8_global_avg_pool(self, x: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        return self._out(self.global_avg_pool(self.dequantize(x)), relu, out)

    # Wiring.

    def int8_concat(self, xs: Sequence[Quantized], relu: bool, out: Optional[QParams]) -> Any:
        return self._out(self.concat([self.dequantize(x) for x in xs]), relu, out)

    def int8_moved(self, x: Quantized, move: Move) -> Quantized:
        return self._rounded(move(self, self.dequantize(x)), x.params)


class TypedInt8Builder(TensorrtInt8Builder):
    """`Quantized` tensors are int8 tensors of the network."""

    def __init__(self, nodes: Layers, dialect_name: str = DEFAULT) -> None:
        super(TypedInt8Builder, self).__init__(nodes, dialect_name)
        self._named: Set[str] = set()
        self._steps: Dict[float, TensorrtTensor] = {}

    def named(self, x: Quantized, name: str) -> Quantized:
        if x.tensor.handle.name not in self._named and self.nodes.makes(x.tensor):
            self.nodes.claim(x.tensor, name + _SUFFIX)
            self._named.add(name + _SUFFIX)
        return x

    def _step(self, scale: float) -> TensorrtTensor:
        """The tensor of an activation's scale."""
        if not 0 < scale < np.inf:
            raise EngineError("a step of {} cannot be that of integers".format(scale), hint="calibrate again")
        if scale not in self._steps:
            self._steps[scale] = self.nodes.constant(np.array(scale, np.float32), "scale", FP32)
        return self._steps[scale]

    def _rounded(self, x: Any, params: QParams) -> Quantized:
        return Quantized(self.nodes.quantize(x, self._step(params.scale)), params)

    def dequantize(self, x: Quantized) -> Any:
        if x.tensor.real is None:
            x.tensor.real = self.nodes.dequantize(x.tensor, self._step(x.params.scale))
            name = x.tensor.handle.name
            if name in self._named:
                plain = name[: -len(_SUFFIX)]
                self.nodes.claim(x.tensor.real, INPUT + "_rounded" if plain == INPUT else plain)
        return x.tensor.real

    def _filters(self, filters: Filters) -> Any:
        whole = self.nodes.constant(filters.weights, "weights" + _SUFFIX, INT8)
        scales = self.nodes.constant(filters.scales, "weights_scales", FP32)
        return self.nodes.dequantize(whole, scales, axis=0)


class RangedInt8Builder(TensorrtInt8Builder):
    """`Quantized` tensors are tensors that have a range; the network has no other sign of them."""

    def named(self, x: Quantized, name: str) -> Quantized:
        return x

    def _rounded(self, x: Any, params: QParams) -> Quantized:
        return Quantized(self.nodes.ranged_as(x, params.scale * 127), params)

    def dequantize(self, x: Quantized) -> Any:
        return x.tensor

    def _filters(self, filters: Filters) -> Any:
        steps = filters.scales.reshape([-1] + [1] * (filters.weights.ndim - 1))
        return np.asarray(filters.weights * steps, np.float32)

    def activation(self, x: Any, name: str) -> TensorrtTensor:
        """A formula that reads an inner value twice is float: there fusion, which keeps from rounding, may end."""
        if effective(name, self.dialect.name).name not in BRANCHED:
            return super(RangedInt8Builder, self).activation(x, name)
        with self.nodes.in_fp32():
            return super(RangedInt8Builder, self).activation(x, name)


def _biases(filters: Filters, source: QParams) -> np.ndarray:
    """Biases stay floats in TensorRT."""
    return np.asarray(filters.biases * (filters.scales * np.float32(source.scale)), np.float32)
