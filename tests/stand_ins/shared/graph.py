"""Tensors and layers of a network that is being defined: who reads what, shapes and types, precisions and ranges."""

import math

import numpy as np
from tensorrt.native import Attribute, Dims, Native, anything, checked, integer, number, refuse, text

UNKNOWN = -1  # a length that is only known at run time


class Refused(Exception):
    """What the library logs as an error."""


class ITensor(Native):
    """A tensor [any rank] of a network.

    `dynamic_range` (NvInfer.h, ITensor::setDynamicRange): "only symmetric ranges are supported", the larger absolute
    value counts, min and max must be finite and min <= max.
    """

    name = Attribute(text, "")
    allowed_formats = Attribute(integer, 1)

    def __init__(self, network, layer, name, dtype=None, shape=None):
        self._network, self._layer, self._readers = network, layer, []
        self._declared, self._fixed, self._range = dtype, shape, None
        self.name = name

    def _changed(self, attribute):
        """A name may be given at any time."""

    @property
    def dtype(self):
        return self._network._dtype(self)

    @dtype.setter
    def dtype(self, value):
        """NvInfer.h, ITensor::setType: ignored where the type is inferred, and always in strongly typed networks."""
        if not isinstance(value, self._network.TYPES):
            refuse(value, "a DataType")
        if not self._network._strong:
            self._declared = value

    @property
    def shape(self):
        found = self._network._shape(self)
        return Dims.invalid() if found is None else Dims(list(found))

    @shape.setter
    def shape(self, value):
        if self._layer is None:
            self._fixed = tuple(value)
            for reader in self._readers:
                reader._forget()

    is_network_input = property(lambda self: self._layer is None)
    is_network_output = property(lambda self: self in self._network._outputs)
    is_shape_tensor = property(lambda self: False)
    is_execution_tensor = property(lambda self: True)

    @checked(min=number, max=number)
    def set_dynamic_range(self, min, max):
        if self._network._strong:
            self._network._log_error("setDynamicRange is not allowed in a strongly typed network: " + self.name)
            return False
        if not (math.isfinite(min) and math.isfinite(max) and min <= max):
            self._network._log_error("Parameter check failed, condition: dynamic range of {}".format(self.name))
            return False
        self._range = (min, max)
        return True

    def reset_dynamic_range(self):
        self._range = None

    @property
    def dynamic_range(self):
        return self._range

    @dynamic_range.setter
    def dynamic_range(self, value):
        if len(value) != 2 or not self.set_dynamic_range(*value):
            raise ValueError("Error in set dynamic range")


class ILayer(Native):
    """A layer with one output.

    Class attributes: KIND, its name in a plan; PARAMS, the attributes that a plan keeps; ROLES, its weights.
    """

    KIND, PARAMS, ROLES = "", (), ()
    name = Attribute(text, "")

    def __init__(self, network, inputs):
        self._network, self._inputs, self._cached = network, list(inputs), None
        self._precision, self._wanted = None, None
        index = len(network._layers)
        self.name = "(Unnamed Layer* {}) [{}]".format(index, self.KIND.capitalize())
        self._output = ITensor(network, self, self.name + "_output")
        for tensor in self._inputs:
            tensor._readers.append(self)

    def _changed(self, attribute):
        if attribute != "name":
            self._forget()

    def _forget(self):
        """What was known of the shapes behind here is no more."""
        waiting = [self]
        while waiting:
            layer = waiting.pop()
            if layer._cached is not None:
                layer._cached = None
                waiting.extend(layer._output._readers)

    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: 1)

    @property
    def type(self):
        return self._network.LAYERS[self.KIND.upper()]

    @checked(index=integer)
    def get_input(self, index):
        return self._inputs[index] if 0 <= index < len(self._inputs) else None

    @checked(index=integer)
    def get_output(self, index):
        return self._output if index == 0 else None

    @checked(index=integer, tensor=ITensor)
    def set_input(self, index, tensor):
        """NvInfer.h, ILayer::setInput: the number of inputs stays, but for the few types that say otherwise."""
        if index >= max(len(self._inputs), self._most_inputs()):
            self._network._log_error("{}: setInput: index {} is out of range".format(self.name, index))
            return
        self._inputs += [None] * (index + 1 - len(self._inputs))
        self._inputs[index] = tensor
        tensor._readers.append(self)
        self._forget()

    def _most_inputs(self):
        return len(self._inputs)

    # Precision (NvInfer.h: strongly typed networks reject calls to setPrecision and setOutputType).

    def _weak(self, what):
        if self._network._strong:
            self._network._log_error("{}: {} is not allowed in a strongly typed network".format(self.name, what))
        return not self._network._strong

    @property
    def precision(self):
        return self._precision or self._network.TYPES.FLOAT

    @precision.setter
    def precision(self, value):
        if not isinstance(value, self._network.TYPES):
            refuse(value, "a DataType")
        if self._weak("setPrecision"):
            self._precision = value

    precision_is_set = property(lambda self: self._precision is not None)

    def reset_precision(self):
        self._precision = None

    @checked(index=integer, dtype=anything)
    def set_output_type(self, index, dtype):
        if not isinstance(dtype, self._network.TYPES):
            refuse(dtype, "a DataType")
        if self._weak("setOutputType"):
            self._wanted = dtype
            self._forget()

    @checked(index=integer)
    def get_output_type(self, index):
        return self._output.dtype

    @checked(index=integer)
    def output_type_is_set(self, index):
        return self._wanted is not None

    @checked(index=integer)
    def reset_output_type(self, index):
        self._wanted = None

    # What the library finds out by itself.

    def _shapes(self):
        """Its inputs' shapes as tuples. Raises Refused where one has none."""
        found = [None if tensor is None else self._network._shape(tensor) for tensor in self._inputs]
        if any(shape is None and tensor is not None for shape, tensor in zip(found, self._inputs)):
            raise Refused("{}: an input has no shape".format(self.name))
        return found

    def _shape(self):
        """The shape of its output, or Refused."""
        return self._shapes()[0]

    def _type(self, types):
        """Strongly typed: the name of its output's type, from those of its inputs; or Refused."""
        return types[0]

    def _values(self):
        """The values of a shape tensor, None for those that are only known at run time; None where it is none."""
        return None

    def _known(self, index):
        """The values of the input at `index`, which has to be a shape tensor."""
        tensor = self._inputs[index]
        found = tensor._layer._values() if tensor._layer is not None else None
        length = self._network._shape(tensor)
        if found is None and (length is None or len(length) != 1 or length[0] == UNKNOWN):
            raise Refused("{}: input {} is no shape tensor".format(self.name, index))
        return [None] * length[0] if found is None else found

    def _same(self, types):
        """The one type of all inputs."""
        if len(set(types)) > 1:
            text = "{}: all inputs must be of the same type, they are {}"
            raise Refused(text.format(self.name, " and ".join(t.capitalize() for t in types)))
        return types[0]

    def _arrays(self):
        """Its weights by role, read now."""
        found = {}
        for role in self.ROLES:
            weights = getattr(self, role)
            if weights is not None and weights.size:
                found[role] = np.array(weights.numpy())
        return found

    def _params(self):
        """What a plan keeps of it, as JSON holds it."""
        return {name: plain(getattr(self, name)) for name in self.PARAMS}


def plain(value):
    if isinstance(value, Dims) or hasattr(value, "_order"):
        return list(value)
    return value.name if hasattr(value, "name") else value


def broadcast(name, shapes):
    """NvInfer.h, IElementWiseLayer: equal ranks; lengths must match, or one of them be one."""
    if len({len(shape) for shape in shapes}) > 1:
        raise Refused("{}: mismatched inputs: {} have other numbers of dimensions".format(name, shapes))
    found = []
    for lengths in zip(*shapes):
        others = {length for length in lengths if length != 1}
        if len(others - {UNKNOWN}) > 1:
            raise Refused("{}: broadcast dimensions must be conformable: {}".format(name, shapes))
        found.append(max(others - {UNKNOWN} or others or {1}))
    return tuple(found)
