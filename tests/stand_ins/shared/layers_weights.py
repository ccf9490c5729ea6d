"""Layers with weights: convolution, scale, constant."""

from tensorrt.graph import UNKNOWN, ILayer, Refused
from tensorrt.native import Attribute, dims, integer
from tensorrt.types import FLOATS, NUMPY


class IConstantLayer(ILayer):
    KIND, PARAMS, ROLES = "constant", ("shape",), ("weights",)
    shape = Attribute(dims)
    weights = Attribute()

    def _shape(self):
        count = 1
        for length in self.shape:
            count *= length
        if count != self.weights.size:
            text = "{}: constant weights has count {} but {} was expected"
            raise Refused(text.format(self.name, self.weights.size, count))
        return tuple(self.shape)

    def _type(self, types):
        return self.weights.dtype.name

    def _values(self):
        if len(self.shape) > 1 or self.weights.dtype.name not in ("INT32", "INT64"):
            return None
        return [int(x) for x in self.weights.numpy()]


class IConvolutionLayer(ILayer):
    """Correlation of [N,C,H,W] with [K,C/groups,R,S]. The kernel may be a second input, the bias a third.

    Output length, NvInfer.h PaddingMode: O = floor((I + B + A - DK) / S) + 1 with DK = 1 + D (F - 1), ceil for
    EXPLICIT_ROUND_UP; `padding_nd` sets both sides, and the default mode is EXPLICIT_ROUND_DOWN.
    """

    KIND, ROLES = "convolution", ("kernel", "bias")
    PARAMS = "num_output_maps kernel_size_nd stride_nd pre_padding post_padding padding_mode num_groups dilation_nd"
    PARAMS = tuple(PARAMS.split())
    num_output_maps = Attribute(integer)
    kernel_size_nd = Attribute(dims)
    stride_nd = Attribute(dims)
    pre_padding = Attribute(dims)
    post_padding = Attribute(dims)
    padding_mode = Attribute()
    num_groups = Attribute(integer, 1)
    dilation_nd = Attribute(dims)
    kernel = Attribute()
    bias = Attribute()

    @property
    def padding_nd(self):
        return self.pre_padding

    @padding_nd.setter
    def padding_nd(self, value):
        self.pre_padding = self.post_padding = dims(value)

    def _most_inputs(self):
        return 3

    def _shape(self):
        shapes = self._shapes()
        shape, rank = shapes[0], len(self.kernel_size_nd)
        if len(shape) != rank + 2:
            raise Refused("{}: the input has {} dimensions, not {}".format(self.name, len(shape), rank + 2))
        for name in ("stride_nd", "pre_padding", "post_padding", "dilation_nd"):
            if len(getattr(self, name)) != rank:
                raise Refused("{}: {} has not {} values".format(self.name, name, rank))
        if shape[1] % self.num_groups or self.num_output_maps % self.num_groups:
            raise Refused("{}: channels are no multiple of {} groups".format(self.name, self.num_groups))
        self._check_kernel(shape, shapes)
        return (shape[0], self.num_output_maps) + windows(self, shape[2:], self.kernel_size_nd, self.dilation_nd)

    def _check_kernel(self, shape, shapes):
        expected = (self.num_output_maps, shape[1] // self.num_groups) + tuple(self.kernel_size_nd)
        count = 1
        for length in expected:
            count *= length
        if len(shapes) > 1:
            if self.kernel is not None and self.kernel.size:
                raise Refused("{}: kernel weights are given, and a kernel as input".format(self.name))
            if tuple(shapes[1]) != expected:
                raise Refused("{}: the kernel has shape {}, not {}".format(self.name, shapes[1], expected))
        elif self.kernel.size != count:
            text = "{}: kernel weights has count {} but {} was expected"
            raise Refused(text.format(self.name, self.kernel.size, count))
        if self.bias is not None and self.bias.size not in (0, self.num_output_maps):
            text = "{}: bias weights has count {} but {} was expected"
            raise Refused(text.format(self.name, self.bias.size, self.num_output_maps))

    def _type(self, types):
        """As the library says it: IConvolutionLayer `input` and `kernel` (and `bias`) must be of same type."""
        kernel = types[1] if len(types) > 1 else self.kernel.dtype.name
        bias = types[2] if len(types) > 2 else kernel
        if self.bias is not None and self.bias.size:
            bias = self.bias.dtype.name
        for role, kind in (("kernel", kernel), ("bias", bias)):
            if kind != types[0]:
                text = "{}: IConvolutionLayer `input` and `{}` must be of same type. `input` type is {} but `{}` is {}"
                raise Refused(text.format(self.name, role, types[0].capitalize(), role, kind.capitalize()))
        if types[0] not in FLOATS:
            raise Refused("{}: a convolution of type {}".format(self.name, types[0].capitalize()))
        return types[0]


def windows(layer, lengths, kernel, dilation):
    """Output lengths of a convolution or pooling (NvInfer.h, PaddingMode)."""
    return tuple(
        extent(layer.padding_mode.name, layer.name, i, f, s, b, a, d)
        for i, f, s, b, a, d in zip(
            lengths, kernel, layer.stride_nd, layer.pre_padding, layer.post_padding, dilation
        )
    )


def extent(mode, name, length, size, stride, before, after, dilation):
    if length == UNKNOWN:
        return UNKNOWN
    if mode not in ("EXPLICIT_ROUND_DOWN", "EXPLICIT_ROUND_UP"):
        raise Refused("{}: this stand-in has no padding mode {}".format(name, mode))
    room = length + before + after - (dilation * (size - 1) + 1)
    if room < 0 or min(before, after) < 0 or stride < 1:
        raise Refused("{}: an axis with inherently negative length".format(name))
    return (-(-room // stride) if mode == "EXPLICIT_ROUND_UP" else room // stride) + 1


class IScaleLayer(ILayer):
    """(x * scale + shift) ^ power; no weights count as 1, 0 and 1. At least 4 dimensions."""

    KIND, PARAMS, ROLES = "scale", ("mode", "channel_axis"), ("shift", "scale", "power")
    mode = Attribute()
    channel_axis = Attribute(integer, 1)
    shift = Attribute()
    scale = Attribute()
    power = Attribute()

    def _shape(self):
        shape = self._shapes()[0]
        if len(shape) < 4:
            raise Refused("{}: the input of a scale has at least 4 dimensions".format(self.name))
        after = shape[self.channel_axis :]
        count = {"UNIFORM": 1, "CHANNEL": after[0]}.get(self.mode.name)
        if count is None:
            count = 1
            for length in after:
                count *= length
        for role in self.ROLES:
            weights = getattr(self, role)
            if weights is not None and weights.size not in (0, count):
                text = "{}: {} weights has count {} but {} was expected"
                raise Refused(text.format(self.name, role, weights.size, count))
        return shape

    def _type(self, types):
        for role in self.ROLES:
            weights = getattr(self, role)
            if weights is not None and weights.size and weights.dtype.name != types[0]:
                raise Refused("{}: `{}` must be of the input's type".format(self.name, role))
        return types[0]


def itemsize(name):
    """Bytes of one value of a DataType."""
    return NUMPY[name]().itemsize
