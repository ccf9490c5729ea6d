"""Layers that pool, move or pick values."""

from tensorrt.graph import UNKNOWN, ILayer, Refused
from tensorrt.layers_weights import windows
from tensorrt.native import Attribute, boolean, dims, integer, number, numbers, permutation


class IPoolingLayer(ILayer):
    """A window's maximum or mean. `average_count_excludes_padding` is true unless it is set (NvInfer.h), and the
    padding mode EXPLICIT_ROUND_DOWN."""

    KIND = "pooling"
    PARAMS = ("type", "window_size_nd", "stride_nd", "pre_padding", "post_padding", "padding_mode")
    PARAMS += ("average_count_excludes_padding",)
    type = Attribute()
    window_size_nd = Attribute(dims)
    stride_nd = Attribute(dims)
    pre_padding = Attribute(dims)
    post_padding = Attribute(dims)
    padding_mode = Attribute()
    blend_factor = Attribute(number, 0.0)
    average_count_excludes_padding = Attribute(boolean, True)

    @property
    def padding_nd(self):
        return self.pre_padding

    @padding_nd.setter
    def padding_nd(self, value):
        self.pre_padding = self.post_padding = dims(value)

    def _shape(self):
        shape, size = self._shapes()[0], self.window_size_nd
        if len(shape) != len(size) + 2:
            raise Refused("{}: the input has {} dimensions, not {}".format(self.name, len(shape), len(size) + 2))
        if any(len(d) != len(size) for d in (self.stride_nd, self.pre_padding, self.post_padding)):
            raise Refused("{}: strides and padding need {} values".format(self.name, len(size)))
        return tuple(shape[:2]) + windows(self, shape[2:], size, [1] * len(size))


class IPaddingLayer(ILayer):
    """Zeros around the last two dimensions; negative padding crops (NvInfer.h, IPaddingLayer: "adds zero-padding")."""

    KIND, PARAMS = "padding", ("pre_padding_nd", "post_padding_nd")
    pre_padding_nd = Attribute(dims)
    post_padding_nd = Attribute(dims)

    def _shape(self):
        shape = list(self._shapes()[0])
        for axis, (before, after) in enumerate(zip(self.pre_padding_nd, self.post_padding_nd)):
            place = len(shape) - 2 + axis
            shape[place] += 0 if shape[place] == UNKNOWN else before + after
        return tuple(shape)


class IConcatenationLayer(ILayer):
    """Along `axis`; the default is the third axis from the end, or 0 (NvInfer.h, IConcatenationLayer::setAxis)."""

    KIND, PARAMS = "concatenation", ("axis",)
    axis = Attribute(integer)

    def _shape(self):
        shapes = self._shapes()
        axis = self.axis if self.axis is not None else max(0, len(shapes[0]) - 3)
        found = list(shapes[0])
        for shape in shapes[1:]:
            if len(shape) != len(found):
                raise Refused("{}: all concat inputs must have the same rank".format(self.name))
            for i, length in enumerate(shape):
                if i != axis and UNKNOWN not in (length, found[i]) and length != found[i]:
                    text = "{}: all concat input tensors must have the same dimensions except on the concatenation "
                    text += "axis ({}), but dimensions mismatched at index {}: {}"
                    raise Refused(text.format(self.name, axis, i, shapes))
        lengths = [shape[axis] for shape in shapes]
        found[axis] = UNKNOWN if UNKNOWN in lengths else sum(lengths)
        return tuple(found)

    def _type(self, types):
        return self._same(types)

    def _values(self):
        return [value for index in range(len(self._inputs)) for value in self._known(index)]

    def _params(self):
        return {"axis": self.axis if self.axis is not None else max(0, len(self._shapes()[0]) - 3)}


class ISliceLayer(ILayer):
    """start, shape and stride, each also as an input (1, 2, 3: Int32 shape tensors; 4: the value of FILL)."""

    KIND, PARAMS = "slice", ("start", "shape", "stride", "mode")
    start = Attribute(dims)
    shape = Attribute(dims)
    stride = Attribute(dims)
    mode = Attribute()

    def _most_inputs(self):
        return 5

    def _part(self, index, given):
        if len(self._inputs) > index and self._inputs[index] is not None:
            return self._known(index)
        return list(given)

    def _shape(self):
        shape = self._shapes()[0]
        start, size = self._part(1, self.start), self._part(2, self.shape)
        stride = self._part(3, self.stride)
        for what, values in (("start", start), ("size", size), ("stride", stride)):
            if len(values) != len(shape):
                raise Refused("{}: [Slice]: mismatch in number of dimensions for {}".format(self.name, what))
        strict = self.mode.name in ("DEFAULT", "STRICT_BOUNDS")
        for length, first, count, step in zip(shape, start, size, stride):
            if strict and None not in (first, count, step) and length != UNKNOWN and count > 0:
                if not (0 <= first < length and 0 <= first + (count - 1) * step < length):
                    text = "{}: out of bounds slice, input dimensions = {}, start = {}, size = {}, stride = {}"
                    raise Refused(text.format(self.name, shape, start, size, stride))
        return tuple(UNKNOWN if count is None else count for count in size)

    def _values(self):
        values = self._known(0)
        return [values[self.start[0] + i * self.stride[0]] for i in range(self.shape[0])]


class IShuffleLayer(ILayer):
    """Transpose, reshape, transpose. In `reshape_dims` 0 copies the input's length there, while `zero_is_placeholder`
    is true (its default), and one -1 is what remains. A second input gives the reshape."""

    KIND, PARAMS = "shuffle", ("first_transpose", "reshape_dims", "second_transpose", "zero_is_placeholder")
    first_transpose = Attribute(permutation)
    reshape_dims = Attribute(dims)
    second_transpose = Attribute(permutation)
    zero_is_placeholder = Attribute(boolean, True)

    def _most_inputs(self):
        return 2

    def _shape(self):
        shape = self._ordered(self._shapes()[0], self.first_transpose)
        if len(self._inputs) > 1 and self._inputs[1] is not None:
            shape = [UNKNOWN if x is None else x for x in self._known(1)]
        elif self.reshape_dims is not None:
            shape = self._reshaped(shape)
        return self._ordered(shape, self.second_transpose)

    def _ordered(self, shape, order):
        if order is None:
            return tuple(shape)
        if sorted(list(order)[: len(shape)]) != list(range(len(shape))):
            raise Refused("{}: {} is no permutation of {} axes".format(self.name, list(order), len(shape)))
        return tuple(shape[i] for i in list(order)[: len(shape)])

    def _reshaped(self, shape):
        given = list(self.reshape_dims)
        if self.zero_is_placeholder:
            given = [shape[i] if length == 0 else length for i, length in enumerate(given)]
        copied = [self.reshape_dims[i] == 0 and shape[i] == UNKNOWN for i in range(len(given))]
        count = product(length for length in shape if length != UNKNOWN)
        wild = [i for i, length in enumerate(given) if length == -1 and not copied[i]]
        known = product(length for i, length in enumerate(given) if length != -1)
        moving = shape.count(UNKNOWN) - sum(copied)  # unknown lengths that the reshape does not copy
        if len(wild) > 1 or (moving and not wild):
            raise Refused("{}: cannot reshape {} to {}".format(self.name, shape, given))
        if wild and not moving:
            if count % known:
                text = "{}: reshape wildcard -1 has no integer solution. Reshaping {} to {}"
                raise Refused(text.format(self.name, shape, given))
            given[wild[0]] = count // known
        elif not wild and count != known:
            raise Refused("{}: reshape changes volume. Reshaping {} to {}".format(self.name, shape, given))
        return given

    def _values(self):
        return self._known(0)


class IResizeLayer(ILayer):
    """Output dimensions, or scales: floor(length * scale). Defaults: nearest, asymmetric coordinates."""

    KIND = "resize"
    PARAMS = ("shape", "scales", "resize_mode", "coordinate_transformation", "nearest_rounding")
    PARAMS += ("selector_for_single_pixel",)
    shape = Attribute(dims)
    scales = Attribute(numbers, [])
    resize_mode = Attribute()
    coordinate_transformation = Attribute()
    nearest_rounding = Attribute()
    selector_for_single_pixel = Attribute()

    def _most_inputs(self):
        return 2

    def _shape(self):
        shape = self._shapes()[0]
        if len(self._inputs) > 1 and self._inputs[1] is not None:
            return tuple(UNKNOWN if x is None else x for x in self._known(1))
        if self.shape is not None and len(self.shape):
            return tuple(self.shape)
        if len(self.scales) != len(shape):
            raise Refused("{}: {} scales for {} dimensions".format(self.name, len(self.scales), len(shape)))
        return tuple(UNKNOWN if n == UNKNOWN else int(n * scale) for n, scale in zip(shape, self.scales))


class IGatherLayer(ILayer):
    """Mode DEFAULT: the values of the second input pick along `axis` of the first."""

    KIND, PARAMS = "gather", ("axis", "mode", "num_elementwise_dims")
    axis = Attribute(integer, 0)
    mode = Attribute()
    num_elementwise_dims = Attribute(integer, 0)

    def _shape(self):
        data, indices = self._shapes()
        return data[: self.axis] + indices + data[self.axis + 1 :]

    def _type(self, types):
        if types[1] not in ("INT32", "INT64"):
            raise Refused("{}: indices shall be of type Int32 or Int64".format(self.name))
        return types[0]

    def _values(self):
        values, picked = self._known(0), self._inputs[1]._layer._values()
        return None if picked is None else [values[i] for i in picked]


class IShapeLayer(ILayer):
    """The lengths of its input: Int32 in TensorRT 8, Int64 since 10 (NvInfer.h, IShapeLayer, of each)."""

    KIND = "shape"

    def _shape(self):
        return (len(self._shapes()[0]),)

    def _type(self, types):
        return "INT64" if hasattr(self._network.TYPES, "INT64") else "INT32"

    def _values(self):
        return [None if length == UNKNOWN else length for length in self._shapes()[0]]


def product(values):
    found = 1
    for value in values:
        found *= value
    return found
