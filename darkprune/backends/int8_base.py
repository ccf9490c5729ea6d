"""What a backend implements beside the primitives of Builder to compute on 8-bit integers.

real = scale * (integer - zero_point)
"""

from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from darkprune.backends.base import Builder, Tensor
from darkprune.quant.quantization import QParams

Quantized = NamedTuple("Quantized", [("tensor", Tensor), ("params", QParams)])

Filters = NamedTuple(
    "Filters",
    [
        ("weights", np.ndarray),  # int8 [n, ...], as conv2d and linear take them
        ("scales", np.ndarray),  # float32 [n]
        ("biases", np.ndarray),  # int32 [n], in steps of the filter's scale times that of the input
    ],
)

Move = Callable[[Builder, Tensor], Tensor]


class Int8Builder(Builder):
    """A backend whose tensors may also be integers: `Quantized`, of which `tensor` is the backend's own handle.

    An operation with `out` gives integers of those parameters, computed from integers alone; with None it gives the
    float tensor that would have been rounded. `relu`: negative results are 0 before they are rounded.
    """

    def quantize(self, x: Tensor, params: QParams) -> Quantized:
        """round(x / scale) + zero_point, half to even, within the limits of the type."""
        raise self.unsupported("quantize")

    def dequantize(self, x: Quantized) -> Tensor:
        """The float tensor that the integers stand for."""
        raise self.unsupported("dequantize")

    def named(self, x: Quantized, name: str) -> Quantized:
        """`x`, which is called so (darkprune.quant.tensors); a tensor may have two names."""
        return x

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
        """conv2d and bias: sums of products of integers, which are exact, then one rounding."""
        raise self.unsupported("int8_conv2d")

    def int8_linear(self, x: Quantized, filters: Filters, relu: bool, out: Optional[QParams]) -> Any:
        """linear and bias."""
        raise self.unsupported("int8_linear")

    def int8_activation(self, x: Quantized, name: str, out: QParams) -> Quantized:
        """The activation `name`: a table of 256 values."""
        raise self.unsupported("int8_activation")

    def int8_add(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        """add, of equal shapes."""
        raise self.unsupported("int8_add")

    def int8_mul(self, a: Quantized, b: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        """mul."""
        raise self.unsupported("int8_mul")

    def int8_concat(self, xs: Sequence[Quantized], relu: bool, out: Optional[QParams]) -> Any:
        """concat."""
        raise self.unsupported("int8_concat")

    def int8_global_avg_pool(self, x: Quantized, relu: bool, out: Optional[QParams]) -> Any:
        """global_avg_pool."""
        raise self.unsupported("int8_global_avg_pool")

    def int8_moved(self, x: Quantized, move: Move) -> Quantized:
        """What `move` makes of the tensor, where that is values of it, and zeros, in other places: the parameters
        stay."""
        raise self.unsupported("int8_moved")

    def int8_pad_channels(self, x: Quantized, count: int) -> Quantized:
        """pad_channels; the parameters stay."""
        return self.int8_moved(x, lambda b, tensor: b.pad_channels(tensor, count))
