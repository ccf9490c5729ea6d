"""The primitives in ONNX: a tensor is a name, and computing is adding nodes to a graph.

Imports onnx: only what needs it imports this module.
"""

from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends import geometry
from darkprune.backends.onnx_activations import FUNCTIONS, Formula
from darkprune.backends.onnx_graph import BATCH, OnnxTensor
from darkprune.backends.onnx_maps import OnnxMaps
from darkprune.darknet.dialect_epsilon import deviation
from darkprune.ops.activation_functions import effective


class OnnxBuilder(OnnxMaps):
    """All primitives: layers with parameters and element-wise ones here, the others in OnnxMaps."""

    # Convolution.

    def conv2d(
        self,
        x: Any,
        weight: Any,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> OnnxTensor:
        out = geometry.convolved(self, x, weight, stride, padding, dilation, groups)
        if geometry.reinterprets(self, x, weight, stride, padding, out):
            depth = x.shape[1] // groups
            runs = self._reshape(x, (groups, depth * x.shape[2] * x.shape[3], 1), "runs")
            runs = self._slice(runs, [2], [0], [depth * out[0] * out[1]], "part")
            x, stride, padding = self._reshape(runs, (x.shape[1],) + tuple(out), "reread"), (1, 1), 0
        options = {"strides": list(stride), "pads": [padding] * 4, "dilations": [dilation] * 2, "group": groups}
        return self._convolution(x, weight, out, options)

    def _convolution(self, x: Any, weight: Any, out: Sequence[int], options: Dict[str, Any]) -> OnnxTensor:
        """The convolution, made with a bias where one comes next."""
        kernel, shape = list(weight.shape[2:]), (weight.shape[0],) + tuple(out)

        def made(bias: Optional[np.ndarray] = None) -> OnnxTensor:
            inputs = [x, self.constants(weight, "weights")]
            inputs += [] if bias is None else [self.constants(np.reshape(bias, -1), "biases")]
            return self.node("Conv", inputs, "conv", shape, kernel_shape=kernel, **options)

        return OnnxTensor((self._batch,) + shape, make=lambda: made().name, with_bias=made)

    def local_conv2d(self, x: Any, weight: Any, stride: int = 1, padding: int = 0) -> OnnxTensor:
        """Taps as channels, by a convolution with kernels of one 1 each; then a product of matrices per position."""
        oh, ow, n, c, kh, kw = weight.shape
        sides = ((oh, kh, x.shape[2]), (ow, kw, x.shape[3]))
        ends = [max(0, (out - 1) * stride + size - padding - length) for out, size, length in sides]
        ones = np.tile(np.eye(kh * kw, dtype=np.float32).reshape(kh * kw, 1, kh, kw), (c, 1, 1, 1))
        options = {"strides": [stride] * 2, "pads": [padding] * 2 + ends, "dilations": [1, 1], "group": c}
        given = [geometry.outputs(side[2], padding + end, side[1], stride) for side, end in zip(sides, ends)]
        columns = self._convolution(x, ones, given, options)
        if given != [oh, ow]:
            columns = self._slice(columns, [2, 3], [0, 0], [oh, ow], "inside")
        depth = c * kh * kw
        columns = self.node("Reshape", [columns, self.constants([0, depth, -1], "shape", np.int64)], "columns", ())
        columns = self.node("Transpose", [columns], "positions", (), perm=[2, 1, 0])
        kernels = self.constants(np.reshape(weight, (oh * ow, n, depth)), "weights")
        product = self.node("MatMul", [kernels, columns], "products", ())
        product = self.node("Transpose", [product], "back", (), perm=[2, 1, 0])
        return self._reshape(product, (n, oh, ow), "local")

    def constant(self, values: Any) -> OnnxTensor:
        shape = tuple(values.shape)
        flat = self.constants(np.reshape(values, (1,) + shape), "values")
        return OnnxTensor((self._batch,) + shape, make=lambda: self._repeated(flat, shape), flat=flat)

    def _repeated(self, flat: str, shape: Tuple[int, ...]) -> str:
        """The constant [1, c, h, w] for as many images as the model is given."""
        if self._batch == 1:
            return flat
        if self._batch == BATCH:
            whole = self.node("Shape", [self.graph.inputs[0]], "whole", ())
            ends = [self.constants(values, name, np.int64) for name, values in (("start", [0]), ("stop", [1]))]
            images = self.node("Slice", [whole] + ends, "images", ())
            target = self.node("Concat", [images, self.constants(shape, "rest", np.int64)], "target", (), axis=0).name
        else:
            target = self.constants((self._batch,) + shape, "target", np.int64)
        return str(self.node("Expand", [flat, target], "repeated", shape).name)

    def linear(self, x: Any, weight: Any) -> OnnxTensor:
        shape = (weight.shape[0], 1, 1)

        def made(bias: Optional[np.ndarray] = None) -> OnnxTensor:
            flat = self.node("Flatten", [x], "flat", (), axis=1)
            inputs = [flat, self.constants(weight, "weights")]
            inputs += [] if bias is None else [self.constants(np.reshape(bias, -1), "biases")]
            return self._reshape(self.node("Gemm", inputs, "gemm", (), transB=1), shape, "linear")

        return OnnxTensor((self._batch,) + shape, make=lambda: made().name, with_bias=made)

    def bias(self, x: Any, b: Any) -> OnnxTensor:
        if x.with_bias is not None and np.size(b) == x.shape[1]:
            return x.with_bias(b)
        return self.node("Add", [x, self._per_channel(b, "biases")], "sum", x.shape[1:])

    def batch_norm(self, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> OnnxTensor:
        epsilon = self.dialect.inside
        if self.dialect.outside:  # which ONNX lacks: the variance that has the same deviation
            variance, epsilon = deviation(self.dialect, variance).astype(np.float64) ** 2, 0.0
        arrays = zip((gamma, beta, mean, variance), ("scales", "biases", "mean", "variance"))
        inputs = [x] + [self.constants(np.reshape(values, -1), name) for values, name in arrays]
        return self.node("BatchNormalization", inputs, "batchnorm", x.shape[1:], epsilon=epsilon)

    def scale_channels_by(self, x: Any, factors: Any) -> OnnxTensor:
        return self.node("Mul", [x, self._per_channel(factors, "factors")], "scaled", x.shape[1:])

    # Element-wise.

    def activation(self, x: Any, name: str) -> OnnxTensor:
        name = effective(name, self.dialect.name).name
        if name == "linear":
            return x
        if self.layer is not None:
            self.before[self.layer] = x
        return OnnxTensor(x.shape, FUNCTIONS[name](Formula(self.graph, self.label(name)), x.name))

    def sign(self, x: Any) -> OnnxTensor:
        f: Any = Formula(self.graph, self.label("sign"))
        return OnnxTensor(x.shape, f.Sub(f.Mul(f.Relu(f.Sign(x.name)), 2.0), 1.0))  # at 0: -1

    def add(self, a: Any, b: Any) -> OnnxTensor:
        return self._combined("Add", a, b, "sum")

    def mul(self, a: Any, b: Any) -> OnnxTensor:
        return self._combined("Mul", a, b, "product")

    def _combined(self, operator: str, a: Any, b: Any, suffix: str) -> OnnxTensor:
        """Constants need not be repeated for each image where the other side has them all."""
        inputs = [a.name, b.name if b.flat is None else b.flat]
        return self.node(operator, inputs, suffix, a.shape[1:])
