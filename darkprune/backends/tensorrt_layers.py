"""The layers of a TensorRT network that Darknet's are made of, each with the bound of what it makes."""

from typing import Any, Optional, Sequence

import numpy as np

from darkprune.backends.tensorrt_api import FP32, INT8, INT32
from darkprune.backends.tensorrt_bounds import activation_bound, convolution_bound, elementwise_bound, unary_bound
from darkprune.backends.tensorrt_nodes import Nodes, dims
from darkprune.backends.tensorrt_tensor import TensorrtTensor


class Layers(Nodes):
    """Adds layers by what they compute.

    `shape`: [c, h, w] that it makes of each image; `suffix`: what it is called; `bound`: of the absolute values.
    """

    def convolution(
        self,
        x: TensorrtTensor,
        weight: Any,
        bias: Optional[np.ndarray],
        shape: Sequence[int],
        suffix: str = "conv",
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0, 0, 0),
        dilation: int = 1,
        groups: int = 1,
    ) -> TensorrtTensor:
        """IConvolutionLayer. weight: [n, c / groups, kh, kw], an array or an fp32 tensor; padding: top, left, bottom,
        right."""
        handle, trt = self.read(x), self.api.trt
        fixed = not isinstance(weight, TensorrtTensor)
        kernel = self.weights(weight) if fixed else trt.Weights()
        biases = trt.Weights() if bias is None else self.weights(np.reshape(bias, -1))
        window = dims(weight.shape[2:])
        layer = self.network.add_convolution_nd(handle, int(weight.shape[0]), window, kernel, biases)
        layer = self.api.required(layer, "add a convolution to " + self.names.get(self.layer or 0, "the net"))
        layer.stride_nd, layer.dilation_nd, layer.num_groups = dims(stride), dims([dilation] * 2), groups
        layer.pre_padding, layer.post_padding = dims(padding[:2]), dims(padding[2:])
        if not fixed:
            layer.set_input(1, weight.handle)
        bound = convolution_bound(weight, bias, x.bound) if self.ranged else 0.0
        return self._added(layer, suffix, bound, shape)

    def activation(
        self, x: TensorrtTensor, kind: str, alpha: Optional[float] = None, beta: Optional[float] = None
    ) -> TensorrtTensor:
        """IActivationLayer, by the name of its type."""
        layer = self.network.add_activation(self.read(x), getattr(self.api.trt.ActivationType, kind))
        layer = self.api.required(layer, "add an activation")
        if alpha is not None:
            layer.alpha = alpha
        if beta is not None:
            layer.beta = beta
        bound = activation_bound(kind, x.bound, alpha or 0.0, beta or 0.0) if self.ranged else 0.0
        return self._added(layer, kind.lower(), bound)

    def elementwise(
        self, operation: str, a: TensorrtTensor, b: TensorrtTensor, bound: Optional[float] = None, kind: str = ""
    ) -> TensorrtTensor:
        """IElementWiseLayer, by the name of its operation; sides of length 1 are repeated."""
        which = getattr(self.api.trt.ElementWiseOperation, operation)
        layer = self.network.add_elementwise(self.read(a), self.read(b), which)
        if bound is None:
            bound = elementwise_bound(operation, a.bound, b.bound) if self.ranged else 0.0
        return self._added(layer, operation.lower(), bound, kind=kind)

    def unary(self, operation: str, x: TensorrtTensor) -> TensorrtTensor:
        """IUnaryLayer, by the name of its operation."""
        layer = self.network.add_unary(self.read(x), getattr(self.api.trt.UnaryOperation, operation))
        return self._added(layer, operation.lower(), unary_bound(operation, x.bound) if self.ranged else 0.0)

    def select(self, condition: TensorrtTensor, yes: TensorrtTensor, no: TensorrtTensor) -> TensorrtTensor:
        """ISelectLayer."""
        layer = self.network.add_select(condition.handle, self.read(yes), self.read(no))
        return self._added(layer, "select", max(yes.bound, no.bound))

    def pool(
        self,
        x: TensorrtTensor,
        kind: str,
        size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        shape: Sequence[int],
    ) -> TensorrtTensor:
        """IPoolingLayer, MAX or AVERAGE of the cells in range; padding: top, left, bottom, right."""
        trt = self.api.trt
        layer = self.network.add_pooling_nd(self.read(x), getattr(trt.PoolingType, kind), dims(size))
        layer = self.api.required(layer, "add a pooling")
        layer.stride_nd, layer.padding_mode = dims(stride), trt.PaddingMode.EXPLICIT_ROUND_DOWN
        layer.pre_padding, layer.post_padding = dims(padding[:2]), dims(padding[2:])
        if kind == "AVERAGE":
            layer.average_count_excludes_padding = True
        return self._added(layer, "maxpool" if kind == "MAX" else "avgpool", x.bound, shape)

    def reduce(self, x: TensorrtTensor, operation: str, axis: int, keep: bool = True) -> TensorrtTensor:
        """IReduceLayer over one axis."""
        which = getattr(self.api.trt.ReduceOperation, operation)
        layer = self.network.add_reduce(self.read(x), which, 1 << axis, keep)
        return self._added(layer, operation.lower(), x.bound * (x.shape[axis] if operation == "SUM" else 1))

    def softmax(self, x: TensorrtTensor, axis: int) -> TensorrtTensor:
        """ISoftMaxLayer."""
        layer = self.api.required(self.network.add_softmax(self.read(x)), "add a softmax")
        layer.axes = 1 << axis
        return self._added(layer, "softmax", 1.0)

    def product(self, a: TensorrtTensor, b: TensorrtTensor) -> TensorrtTensor:
        """IMatrixMultiplyLayer, of stacks of matrices."""
        none = self.api.trt.MatrixOperation.NONE
        layer = self.network.add_matrix_multiply(self.read(a), none, self.read(b), none)
        return self._added(layer, "products", a.bound * b.bound * a.shape[-1])

    def resize(self, x: TensorrtTensor, stride: int, shape: Sequence[int]) -> TensorrtTensor:
        """IResizeLayer: each value stride x stride times."""
        trt = self.api.trt
        layer = self.api.required(self.network.add_resize(self.read(x)), "add a resize")
        layer.resize_mode = self.api.interpolation.NEAREST
        layer.coordinate_transformation = trt.ResizeCoordinateTransformation.ASYMMETRIC
        layer.nearest_rounding = trt.ResizeRoundMode.FLOOR
        layer.scales = [1.0, 1.0, float(stride), float(stride)]
        return self._added(layer, "resized", x.bound, shape)

    def concat(self, xs: Sequence[TensorrtTensor], axis: int = 1, suffix: str = "concat") -> TensorrtTensor:
        """IConcatenationLayer."""
        layer = self.api.required(self.network.add_concatenation([self.read(x) for x in xs]), "add a concatenation")
        layer.axis = axis
        return self._added(layer, suffix, max(x.bound for x in xs))

    def shuffle(
        self,
        x: TensorrtTensor,
        suffix: str,
        reshape: Optional[Sequence[int]] = None,
        order: Optional[Sequence[int]] = None,
    ) -> TensorrtTensor:
        """IShuffleLayer: a view of another shape (0: the length of that axis of x), then axes in another order."""
        layer = self.api.required(self.network.add_shuffle(self.read(x)), "add a shuffle")
        if reshape is not None:
            layer.reshape_dims = dims(reshape)
        if order is not None:
            layer.second_transpose = self.api.trt.Permutation(list(order))
        return self._added(layer, suffix, x.bound)

    def slice(self, x: TensorrtTensor, start: Sequence[int], size: Sequence[int], suffix: str) -> TensorrtTensor:
        """ISliceLayer of maps: [c, h, w] from `start` on, of `size`, of each image."""
        handle, begin, whole = self.read(x), [0] + list(start), [max(self.batch, 0)] + list(size)
        layer = self.network.add_slice(handle, dims(begin), dims(whole), dims([1] * 4))
        layer = self.api.required(layer, "add a slice")
        if self.batch < 0:
            layer.set_input(2, self._with_images(handle, size))
        return self._added(layer, suffix, x.bound, size)

    def repeated(self, x: TensorrtTensor, suffix: str) -> TensorrtTensor:
        """A tensor [1, c, h, w] for as many images as the network is given."""
        if self.batch == 1:
            return x
        shape = (self.batch,) + x.shape[1:]
        layer = self.network.add_slice(x.handle, dims([0] * 4), dims([max(n, 0) for n in shape]), dims([0, 1, 1, 1]))
        layer = self.api.required(layer, "repeat a constant")
        if self.batch < 0:
            layer.set_input(2, self._with_images(self.network.get_input(0), x.shape[1:]))
        return self._added(layer, suffix, x.bound, x.shape[1:], x.kind)

    def quantize(self, x: TensorrtTensor, scale: TensorrtTensor) -> TensorrtTensor:
        """IQuantizeLayer of a typed network, one scale for all."""
        known, kind = self.network, self.api.dtype(INT8)
        return self._added(known.add_quantize(self.cast(x, FP32).handle, scale.handle, kind), "quantized", kind=INT8)

    def dequantize(self, x: TensorrtTensor, scale: TensorrtTensor, axis: Optional[int] = None) -> TensorrtTensor:
        """IDequantizeLayer of a typed network; with `axis` a scale for each place along it."""
        layer = self.network.add_dequantize(x.handle, scale.handle, self.api.dtype(FP32))
        layer = self.api.required(layer, "add a dequantization")
        if axis is not None:
            layer.axis = axis
        return self._added(layer, "dequantized", kind=FP32)

    def _with_images(self, handle: Any, size: Sequence[int]) -> Any:
        """The shape tensor [N, *size], N as of the tensor."""
        whole = self._added(self.network.add_shape(handle), "shape", kind=INT32).handle
        if self.api.strong:  # where it is int64 from TensorRT 10 on
            whole = self._added(self.network.add_cast(whole, self.api.dtype(INT32)), "shape", kind=INT32).handle
        first = self._added(self.network.add_slice(whole, dims([0]), dims([1]), dims([1])), "images", kind=INT32)
        rest = self.constant(np.array(size, np.int32), "rest", INT32)
        layer = self.api.required(self.network.add_concatenation([first.handle, rest.handle]), "add a concatenation")
        layer.axis = 0
        return self._added(layer, "size", kind=INT32).handle
