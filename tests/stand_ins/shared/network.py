"""INetworkDefinition: what both releases have of it. Every method returns None where the library logs an error."""

import functools

from tensorrt import types
from tensorrt.graph import UNKNOWN, ITensor, Refused
from tensorrt.layers_maps import (
    IConcatenationLayer,
    IGatherLayer,
    IPaddingLayer,
    IPoolingLayer,
    IResizeLayer,
    IShapeLayer,
    IShuffleLayer,
    ISliceLayer,
)
from tensorrt.layers_values import (
    IActivationLayer,
    IElementWiseLayer,
    IIdentityLayer,
    ILRNLayer,
    IMatrixMultiplyLayer,
    IReduceLayer,
    ISelectLayer,
    ISoftMaxLayer,
    IUnaryLayer,
)
from tensorrt.layers_weights import IConstantLayer, IConvolutionLayer, IScaleLayer
from tensorrt.native import Attribute, Dims, Native, boolean, checked, dims, integer, number, sequence_of, text


def logged(method):
    """None, and a line in the log, where the library refuses."""

    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except Refused as error:
            what = "INetworkDefinition::{}: Error Code 3: API Usage Error ({})"
            self._log_error(what.format(method.__name__, error))
            return None

    return guarded


class NetworkBase(Native):
    """A network as it is recorded. Class attributes that each release binds: TYPES, LAYERS, PADDING, RESIZE, SAMPLE,
    UNARY (its enumerations)."""

    TYPES = LAYERS = PADDING = RESIZE = SAMPLE = UNARY = None
    name = Attribute(text, "Unnamed Network 0")

    def __init__(self, logger, strong):
        self._logger, self._strong = logger, strong
        self._layers, self._inputs, self._outputs = [], [], []

    num_layers = property(lambda self: len(self._layers))
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    has_implicit_batch_dimension = property(lambda self: False)

    def _log_error(self, what):
        self._logger.log(self._logger.ERROR, what)

    def _added(self, layer, **attributes):
        self._layers.append(layer)
        for name, value in attributes.items():
            setattr(layer, name, value)
        return layer

    def _mine(self, *tensors):
        for tensor in tensors:
            if tensor._network is not self:
                raise Refused("tensor {} is of another network".format(tensor.name))

    # What the library infers.

    def _shape(self, tensor):
        """The shape as a tuple, -1 for what is only known at run time; None, and a line in the log, without one."""
        if tensor._layer is None:
            return tuple(tensor._fixed)
        pending = [tensor._layer]  # not by recursion: networks are deep
        while pending:
            layer = pending[-1]
            sources = [t._layer for t in layer._inputs if t is not None and t._layer is not None]
            missing = [source for source in sources if source._cached is None]
            if missing:
                pending.extend(missing)
                continue
            pending.pop()
            if layer._cached is None:
                layer._cached = self._inferred(layer)
        return tensor._layer._cached[0]

    def _inferred(self, layer):
        """(shape or None, type) of a layer whose sources are known; what is wrong goes into the log and `_faults`."""
        shape, kind, faults = None, "FLOAT", []
        try:
            given = [self._dtype(tensor).name for tensor in layer._inputs if tensor is not None]
            kind = given[0] if given else kind
            kind = layer._type(given)
        except Refused as error:
            if self._strong:
                faults.append(str(error))
        try:
            shape = tuple(layer._shape())
            if any(length < UNKNOWN for length in shape):
                raise Refused("{}: negative lengths: {}".format(layer.name, shape))
        except Refused as error:
            faults.append(str(error))
        for fault in faults:
            self._log_error("ITensor::getDimensions: Error Code 4: API Usage Error ({})".format(fault))
        return None if faults else shape, self.TYPES[kind]

    def _dtype(self, tensor):
        """The DataType. In a weakly typed network floats are of the type that the layer's output is set to."""
        if tensor._layer is None:
            return tensor._declared
        self._shape(tensor)
        kind, wanted = tensor._layer._cached[1], tensor._layer._wanted
        return kind if wanted is None else wanted

    # Inputs and outputs.

    @logged
    @checked(name=text, shape=dims)
    def add_input(self, name, dtype, shape):
        if not isinstance(dtype, self.TYPES):
            raise TypeError("incompatible function arguments: a DataType is wanted, not {!r}".format(dtype))
        if any(length < UNKNOWN or length == 0 for length in shape):
            raise Refused("{}: invalid dimensions {}".format(name, shape))
        if any(tensor.name == name for tensor in self._inputs):
            raise Refused("duplicate input name {}".format(name))
        tensor = ITensor(self, None, name, dtype, tuple(shape))
        self._inputs.append(tensor)
        return tensor

    @checked(tensor=ITensor)
    def mark_output(self, tensor):
        if tensor in self._outputs:
            self._log_error("tensor {} is marked as output already".format(tensor.name))
            return
        self._outputs.append(tensor)

    @checked(tensor=ITensor)
    def unmark_output(self, tensor):
        self._outputs.remove(tensor)

    @checked(index=integer)
    def get_layer(self, index):
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @checked(index=integer)
    def get_input(self, index):
        return self._inputs[index] if 0 <= index < len(self._inputs) else None

    @checked(index=integer)
    def get_output(self, index):
        return self._outputs[index] if 0 <= index < len(self._outputs) else None

    def __len__(self):
        return len(self._layers)

    def __getitem__(self, index):
        return self._layers[index]

    # Layers with weights; `_weights_of` converts as each release has it.

    @logged
    @checked(input=ITensor, num_output_maps=integer, kernel_shape=dims)
    def add_convolution_nd(self, input, num_output_maps, kernel_shape, kernel, bias=None):
        self._mine(input)
        rank = len(kernel_shape)
        if rank not in (2, 3):
            raise Refused("Parameter check failed, condition: (kernelSize).nbDims == 2 || (kernelSize).nbDims == 3.")
        layer = self._added(IConvolutionLayer(self, [input]), num_output_maps=num_output_maps)
        layer.kernel, layer.bias = self._weights_of(kernel), None if bias is None else self._weights_of(bias)
        layer.kernel_size_nd, layer.padding_mode = kernel_shape, self.PADDING.EXPLICIT_ROUND_DOWN
        layer.stride_nd = layer.dilation_nd = Dims([1] * rank)
        layer.pre_padding = layer.post_padding = Dims([0] * rank)
        return layer

    @logged
    @checked(shape=dims)
    def add_constant(self, shape, weights):
        weights = self._weights_of(weights)
        return self._added(IConstantLayer(self, []), shape=shape, weights=weights)

    @logged
    @checked(input=ITensor, mode=types.ScaleMode, channel_axis=integer)
    def add_scale_nd(self, input, mode, shift=None, scale=None, power=None, channel_axis=1):
        self._mine(input)
        given = {"shift": shift, "scale": scale, "power": power}
        given = {role: None if w is None else self._weights_of(w) for role, w in given.items()}
        return self._added(IScaleLayer(self, [input]), mode=mode, channel_axis=channel_axis, **given)

    def add_scale(self, input, mode, shift=None, scale=None, power=None):
        return self.add_scale_nd(input, mode, shift, scale, power, 1)

    # Maps.

    @logged
    @checked(input=ITensor, type=types.PoolingType, window_size=dims)
    def add_pooling_nd(self, input, type, window_size):
        self._mine(input)
        rank = len(window_size)
        if rank not in (2, 3):
            raise Refused("Parameter check failed, condition: windowSize.nbDims == 2 || windowSize.nbDims == 3.")
        layer = self._added(IPoolingLayer(self, [input]), type=type, window_size_nd=window_size)
        # NvInfer.h: the stride of pooling is 1, the padding 0 unless they are set
        layer.stride_nd, layer.padding_mode = Dims([1] * rank), self.PADDING.EXPLICIT_ROUND_DOWN
        layer.pre_padding = layer.post_padding = Dims([0] * rank)
        return layer

    @logged
    @checked(input=ITensor, pre_padding=dims, post_padding=dims)
    def add_padding_nd(self, input, pre_padding, post_padding):
        self._mine(input)
        if len(pre_padding) != 2 or len(post_padding) != 2:
            raise Refused("Parameter check failed, condition: prePadding.nbDims == 2")
        layer = IPaddingLayer(self, [input])
        return self._added(layer, pre_padding_nd=pre_padding, post_padding_nd=post_padding)

    @logged
    @checked(inputs=sequence_of(ITensor))
    def add_concatenation(self, inputs):
        self._mine(*inputs)
        if not inputs:
            raise Refused("Parameter check failed, condition: nbInputs > 0")
        return self._added(IConcatenationLayer(self, inputs))

    @logged
    @checked(input=ITensor, start=dims, shape=dims, stride=dims)
    def add_slice(self, input, start, shape, stride):
        self._mine(input)
        layer = self._added(ISliceLayer(self, [input]), start=start, shape=shape, stride=stride)
        layer.mode = list(self.SAMPLE)[0]
        return layer

    @logged
    @checked(input=ITensor)
    def add_shuffle(self, input):
        self._mine(input)
        return self._added(IShuffleLayer(self, [input]))

    @logged
    @checked(input=ITensor)
    def add_resize(self, input):
        self._mine(input)
        layer = self._added(IResizeLayer(self, [input]), resize_mode=self.RESIZE.NEAREST)
        layer.coordinate_transformation = types.ResizeCoordinateTransformation.ASYMMETRIC
        layer.nearest_rounding = types.ResizeRoundMode.FLOOR
        layer.selector_for_single_pixel = types.ResizeSelector.FORMULA
        return layer

    @logged
    @checked(input=ITensor, indices=ITensor, axis=integer)
    def add_gather(self, input, indices, axis):
        self._mine(input, indices)
        return self._added(IGatherLayer(self, [input, indices]), axis=axis, mode=types.GatherMode.DEFAULT)

    @logged
    @checked(input=ITensor)
    def add_shape(self, input):
        self._mine(input)
        return self._added(IShapeLayer(self, [input]))

    # Values.

    @logged
    @checked(input=ITensor, type=types.ActivationType)
    def add_activation(self, input, type):
        self._mine(input)
        return self._added(IActivationLayer(self, [input]), type=type)

    @logged
    @checked(input=ITensor)
    def add_unary(self, input, op):
        self._mine(input)
        if not isinstance(op, self.UNARY):
            raise TypeError("incompatible function arguments: a UnaryOperation is wanted, not {!r}".format(op))
        return self._added(IUnaryLayer(self, [input]), op=op)

    @logged
    @checked(input1=ITensor, input2=ITensor, op=types.ElementWiseOperation)
    def add_elementwise(self, input1, input2, op):
        self._mine(input1, input2)
        return self._added(IElementWiseLayer(self, [input1, input2]), op=op)

    @logged
    @checked(input=ITensor, op=types.ReduceOperation, axes=integer, keep_dims=boolean)
    def add_reduce(self, input, op, axes, keep_dims):
        self._mine(input)
        return self._added(IReduceLayer(self, [input]), op=op, axes=axes, keep_dims=keep_dims)

    @logged
    @checked(input=ITensor)
    def add_softmax(self, input):
        self._mine(input)
        return self._added(ISoftMaxLayer(self, [input]))

    @logged
    @checked(input=ITensor, window=integer, alpha=number, beta=number, k=number)
    def add_lrn(self, input, window, alpha, beta, k):
        """NvInfer.h, ILRNLayer: odd windows of 1 to 15, beta in 0.01..1e5, k in 1e-5..1e10."""
        self._mine(input)
        if not (1 <= window <= 15 and window % 2 and 0.01 <= beta <= 1e5 and 1e-5 <= k <= 1e10):
            raise Refused("Parameter check failed: window, beta or k out of bounds")
        return self._added(ILRNLayer(self, [input]), window_size=window, alpha=alpha, beta=beta, k=k)

    @logged
    @checked(input0=ITensor, op0=types.MatrixOperation, input1=ITensor, op1=types.MatrixOperation)
    def add_matrix_multiply(self, input0, op0, input1, op1):
        self._mine(input0, input1)
        return self._added(IMatrixMultiplyLayer(self, [input0, input1]), op0=op0, op1=op1)

    @logged
    @checked(condition=ITensor, then_input=ITensor, else_input=ITensor)
    def add_select(self, condition, then_input, else_input):
        self._mine(condition, then_input, else_input)
        return self._added(ISelectLayer(self, [condition, then_input, else_input]))

    @logged
    @checked(input=ITensor)
    def add_identity(self, input):
        self._mine(input)
        return self._added(IIdentityLayer(self, [input]))

