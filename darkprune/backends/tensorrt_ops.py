"""The primitives in TensorRT's layers: those with parameters and element-wise ones here, others in TensorrtMaps."""

from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends import geometry
from darkprune.backends.tensorrt_activations import FUNCTIONS, Formula
from darkprune.backends.tensorrt_api import BOOL
from darkprune.backends.tensorrt_layers import Layers
from darkprune.backends.tensorrt_maps import TensorrtMaps
from darkprune.backends.tensorrt_tensor import TensorrtTensor
from darkprune.darknet.dialect_epsilon import DEFAULT, deviation
from darkprune.ops.activation_functions import ACTIVATIONS, effective


class TensorrtBuilder(TensorrtMaps):
    """All primitives.

    Attributes: before: by layer index, what the layer's activation reads.
    """

    def __init__(self, nodes: Layers, dialect_name: str = DEFAULT) -> None:
        super(TensorrtBuilder, self).__init__(nodes, dialect_name)
        self.before: Dict[int, TensorrtTensor] = {}

    # Layers with parameters.

    def conv2d(
        self,
        x: Any,
        weight: Any,
        stride: Tuple[int, int] = (1, 1),
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> TensorrtTensor:
        out = geometry.convolved(self, x, weight, stride, padding, dilation, groups)
        if geometry.reinterprets(self, x, weight, stride, padding, out):
            depth = x.shape[1] // groups
            runs = self._reshape(x, (groups, depth * x.shape[2] * x.shape[3], 1), "runs")
            runs = self.nodes.slice(runs, [0, 0, 0], [groups, depth * out[0] * out[1], 1], "part")
            x, stride, padding = self._reshape(runs, (x.shape[1],) + tuple(out), "reread"), (1, 1), 0
        options = {"stride": stride, "padding": [padding] * 4, "dilation": dilation, "groups": groups}
        return self._convolution(x, weight, out, options)

    def _convolution(self, x: Any, weight: Any, out: Sequence[int], options: Dict[str, Any]) -> TensorrtTensor:
        """The convolution, made with a bias where one comes next."""
        shape, layer = (int(weight.shape[0]),) + tuple(out), self.layer

        def made(bias: Optional[np.ndarray] = None) -> TensorrtTensor:
            with self.nodes.of_layer(layer):  # another one may be the first to read it
                return self.nodes.convolution(x, weight, bias, shape, **options)

        return TensorrtTensor((self.nodes.batch,) + shape, self.nodes.real, make=made, with_bias=made)

    def linear(self, x: Any, weight: Any) -> TensorrtTensor:
        """A 1x1 convolution of the flattened map: IFullyConnectedLayer is gone since TensorRT 10."""
        flat = x if tuple(x.shape[2:]) == (1, 1) else self.flatten(x)
        return self._convolution(flat, np.reshape(weight, tuple(weight.shape) + (1, 1)), (1, 1), {})

    def local_conv2d(self, x: Any, weight: Any, stride: int = 1, padding: int = 0) -> TensorrtTensor:
        """Taps as channels, by a convolution with kernels of one 1 each; then a product of matrices per position."""
        oh, ow, n, c, kh, kw = weight.shape
        sides = ((oh, kh, x.shape[2]), (ow, kw, x.shape[3]))
        ends = [max(0, (out - 1) * stride + size - padding - length) for out, size, length in sides]
        ones = np.tile(np.eye(kh * kw, dtype=np.float32).reshape(kh * kw, 1, kh, kw), (c, 1, 1, 1))
        given = [geometry.outputs(side[2], padding + end, side[1], stride) for side, end in zip(sides, ends)]
        depth, pads = c * kh * kw, [padding] * 2 + ends
        shape = [depth] + given
        columns = self.nodes.convolution(x, ones, None, shape, "columns", [stride] * 2, pads, groups=c)
        if given != [oh, ow]:
            columns = self.nodes.slice(columns, [0, 0, 0], [depth, oh, ow], "inside")
        columns = self._reshape(columns, (depth, oh * ow), "positions", (2, 1, 0))
        kernels = self.nodes.constant(np.reshape(weight, (oh * ow, n, depth)), "weights")
        products = self.nodes.product(kernels, columns)
        back = self.nodes.shuffle(products, "back", order=(2, 1, 0))
        return self._reshape(back, (n, oh, ow), "local")

    def constant(self, values: Any) -> TensorrtTensor:
        flat = self.nodes.constant(np.asarray(values)[None], "values")
        shape = (self.nodes.batch,) + tuple(values.shape)
        return TensorrtTensor(shape, flat.kind, make=lambda: self.nodes.repeated(flat, "values"), flat=flat)

    def bias(self, x: Any, b: Any) -> TensorrtTensor:
        if x.with_bias is not None and np.size(b) == x.shape[1]:
            return x.with_bias(b)
        return self.nodes.elementwise("SUM", x, self._per_channel(b, "biases"))

    def batch_norm(self, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> TensorrtTensor:
        gamma, beta, mean = [np.reshape(values, -1).astype(np.float64) for values in (gamma, beta, mean)]
        factors = gamma / deviation(self.dialect, np.reshape(variance, -1)).astype(np.float64)
        return self.bias(self.scale_channels_by(self.bias(x, -mean), factors), beta)

    def scale_channels_by(self, x: Any, factors: Any) -> TensorrtTensor:
        return self.nodes.elementwise("PROD", x, self._per_channel(factors, "factors"))

    # Element-wise.

    def activation(self, x: Any, name: str) -> TensorrtTensor:
        name = effective(name, self.dialect.name).name
        if name == "linear":
            return x
        if self.layer is not None:
            self.before[self.layer] = x
        if not ACTIVATIONS[name].couples_channels:
            return FUNCTIONS[name](Formula(self.nodes), x)
        with self.nodes.in_fp32():  # whose sums do not overflow
            return FUNCTIONS[name](Formula(self.nodes), x)

    def sign(self, x: Any) -> TensorrtTensor:
        positive = self.nodes.elementwise("GREATER", x, self._number(0.0, "zero"), kind=BOOL)
        return self.nodes.select(positive, self._number(1.0, "one"), self._number(-1.0, "minus_one"))

    def add(self, a: Any, b: Any) -> TensorrtTensor:
        return self._combined("SUM", a, b)

    def mul(self, a: Any, b: Any) -> TensorrtTensor:
        return self._combined("PROD", a, b)

    def _combined(self, operation: str, a: Any, b: Any) -> TensorrtTensor:
        """Constants need not be repeated for each image where the other side has them all."""
        return self.nodes.elementwise(operation, a, b if b.flat is None else b.flat)
