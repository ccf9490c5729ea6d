"""Layers that compute value by value, over channels, or change the type."""

from tensorrt.graph import UNKNOWN, ILayer, Refused, broadcast
from tensorrt.native import Attribute, anything, boolean, integer, number
from tensorrt.types import FLOATS


class IActivationLayer(ILayer):
    KIND, PARAMS = "activation", ("type", "alpha", "beta")
    type = Attribute()
    alpha = Attribute(number, 0.0)
    beta = Attribute(number, 0.0)


class IUnaryLayer(ILayer):
    KIND, PARAMS = "unary", ("op",)
    op = Attribute()

    def _type(self, types):
        if (types[0] == "BOOL") != (self.op.name == "NOT"):
            raise Refused("{}: operation {} on type {}".format(self.name, self.op.name, types[0].capitalize()))
        return types[0]


class IElementWiseLayer(ILayer):
    KIND, PARAMS = "elementwise", ("op",)
    op = Attribute()

    def _shape(self):
        return broadcast(self.name, self._shapes())

    def _type(self, types):
        if len(set(types)) > 1:
            text = "{}: ElementWiseOperation {} must have same input types. But they are of types {} and {}"
            raise Refused(text.format(self.name, self.op.name, *(t.capitalize() for t in types)))
        logic = self.op.name in ("AND", "OR", "XOR")
        if logic != (types[0] == "BOOL"):
            raise Refused("{}: operation {} on type {}".format(self.name, self.op.name, types[0].capitalize()))
        return "BOOL" if logic or self.op.name in ("EQUAL", "GREATER", "LESS") else types[0]

    def _values(self):
        left, right = [None if t._layer is None else t._layer._values() for t in self._inputs]
        if left is None or right is None:
            return None
        count = max(len(left), len(right))
        left, right = [list(x) * count if len(x) == 1 else x for x in (left, right)]
        return [self._of(a, b) for a, b in zip(left, right)]

    def _of(self, a, b):
        if a is None or b is None:
            return None
        if self.op.name in ("DIV", "FLOOR_DIV"):
            return a // b
        return {"SUM": a + b, "SUB": a - b, "PROD": a * b, "MAX": max(a, b), "MIN": min(a, b)}[self.op.name]


class IReduceLayer(ILayer):
    """`axes` is a bit mask."""

    KIND, PARAMS = "reduce", ("op", "axes", "keep_dims")
    op = Attribute()
    axes = Attribute(integer)
    keep_dims = Attribute(boolean)

    def _shape(self):
        shape = self._shapes()[0]
        if not self.axes:
            raise Refused("{}: no dimensions to be reduced".format(self.name))
        if self.axes >> len(shape):
            raise Refused("{}: axes {:#b} of {} dimensions".format(self.name, self.axes, len(shape)))
        kept = [1 if self.axes >> i & 1 else length for i, length in enumerate(shape)]
        return tuple(length for i, length in enumerate(kept) if self.keep_dims or not self.axes >> i & 1)

    def _type(self, types):
        if types[0] == "BOOL":
            raise Refused("{}: reduces non-bool tensors".format(self.name))
        return types[0]


class ISoftMaxLayer(ILayer):
    """`axes` is a bit mask of one axis; by default the third from the end, or 0 (NvInfer.h, ISoftMaxLayer::setAxes)."""

    KIND, PARAMS = "softmax", ("axes",)
    axes = Attribute(integer)

    def _shape(self):
        shape = self._shapes()[0]
        if self.axes is not None and self.axes not in [1 << i for i in range(len(shape))]:
            raise Refused("{}: softmax along one axis, not {:#b}".format(self.name, self.axes))
        return shape

    def _params(self):
        return {"axes": 1 << max(0, len(self._shapes()[0]) - 3) if self.axes is None else self.axes}


class ILRNLayer(ILayer):
    KIND, PARAMS = "lrn", ("window_size", "alpha", "beta", "k")
    window_size = Attribute(integer)
    alpha = Attribute(number)
    beta = Attribute(number)
    k = Attribute(number)


class IMatrixMultiplyLayer(ILayer):
    """The last two axes are matrices, the last one a vector with MatrixOperation.VECTOR; the others broadcast."""

    KIND, PARAMS = "matrix_multiply", ("op0", "op1")
    op0 = Attribute()
    op1 = Attribute()

    def _shape(self):
        (left, a), (right, b) = [self._split(s, op) for s, op in zip(self._shapes(), (self.op0, self.op1))]
        outer = broadcast(self.name, [left, right])
        if UNKNOWN not in (a[-1], b[0]) and a[-1] != b[0]:
            raise Refused("{}: inner lengths {} and {} differ".format(self.name, a[-1], b[0]))
        return outer + a[:-1] + b[1:]

    def _split(self, shape, op):
        if len(shape) < (1 if op.name == "VECTOR" else 2):
            raise Refused("{}: an operand has too few dimensions: {}".format(self.name, shape))
        if op.name == "VECTOR":
            return shape[:-1], shape[-1:]
        return shape[:-2], tuple(reversed(shape[-2:])) if op.name == "TRANSPOSE" else shape[-2:]

    def _type(self, types):
        return self._same(types)


class ISelectLayer(ILayer):
    KIND = "select"

    def _shape(self):
        return broadcast(self.name, self._shapes())

    def _type(self, types):
        if types[0] != "BOOL" or types[1] != types[2]:
            raise Refused("{}: a Bool condition and two equal types, not {}".format(self.name, types))
        return types[1]


class IIdentityLayer(ILayer):
    KIND = "identity"


class ICastLayer(ILayer):
    KIND, PARAMS = "cast", ("to_type",)
    to_type = Attribute()

    def _type(self, types):
        return self.to_type.name

    def _values(self):
        return self._known(0)


class _Scaled(ILayer):
    """Quantize and dequantize: the scale is a build-time constant of positive values, a scalar or one per channel.

    NvInfer.h, IQuantizeLayer: "All scale coefficients must have positive values"; the scale's subgraph must be a
    Constant, since 10 also Constant -> Cast; per-channel only for weights, "Activations cannot be quantized
    per-channel".
    """

    PARAMS = ("axis", "to_type")
    axis = Attribute(integer)
    to_type = Attribute(anything)

    def _shape(self):
        shape, scale = self._shapes()[:2]
        if not shape:
            raise Refused("{}: the input must not be a scalar".format(self.name))
        values = self._scale()
        if len(scale) > 1:
            raise Refused("{}: a scale of {} dimensions".format(self.name, len(scale)))
        if not (values > 0).all():
            raise Refused("{}: scale coefficients must have positive values".format(self.name))
        if values.size > 1:
            if self.axis is None or not 0 <= self.axis < len(shape) or shape[self.axis] != values.size:
                raise Refused("{}: {} scales for axis {} of {}".format(self.name, values.size, self.axis, shape))
            if not rooted_at_constant(self._inputs[0]):
                raise Refused("{}: activations cannot be quantized per-channel".format(self.name))
        return shape

    def _scale(self):
        layer = self._inputs[1]._layer
        if isinstance(layer, ICastLayer):
            layer = layer._inputs[0]._layer
        if layer is None or layer.KIND != "constant":
            raise Refused("{}: the scale must be a build-time constant".format(self.name))
        return layer.weights.numpy()


def rooted_at_constant(tensor):
    while tensor._layer is not None and tensor._layer.KIND != "constant":
        if tensor._layer.KIND not in ("cast", "quantize", "identity"):
            return False
        tensor = tensor._layer._inputs[0]
    return tensor._layer is not None


class IQuantizeLayer(_Scaled):
    """clamp(round(input / scale)), half to even, -128..127 (NvInfer.h, IQuantizeLayer)."""

    KIND = "quantize"

    def _type(self, types):
        if types[0] not in FLOATS or types[1] != types[0]:
            text = "{}: the input must be a float of the scale's type: {} and {}"
            raise Refused(text.format(self.name, types[0].capitalize(), types[1].capitalize()))
        return "INT8"


class IDequantizeLayer(_Scaled):
    """input * scale; the output has the scale's type (NvInfer.h, IDequantizeLayer)."""

    KIND = "dequantize"

    def _type(self, types):
        if types[0] != "INT8":
            raise Refused("{}: the input must be Int8, not {}".format(self.name, types[0].capitalize()))
        return types[1]
