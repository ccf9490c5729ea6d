"""trt.Weights: an address, a type and a count. It owns no memory.

weights_numpy_constructor in pyFoundationalTypes.cpp stores arr.data(), so the array must outlive the build. Here it is
read when the engine is built, and an array that is gone by then is noticed.
"""

import ctypes
import weakref

import numpy as np
from tensorrt.native import Native, refuse
from tensorrt.types import NUMPY


class FreedMemory(RuntimeError):
    """Weights whose array was freed: the real library would read whatever lies there now, or die."""


def _owner(array):
    """The array that owns the memory, which views do not."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class WeightsBase(Native):
    """Each release binds `DataType`."""

    DataType = None

    def __init__(self, *args, **kwargs):
        given = list(args) + list(kwargs.values())
        if len(given) > 1 or set(kwargs) - {"a", "type"}:
            raise TypeError("__init__(): incompatible constructor arguments")
        value = given[0] if given else self.DataType.FLOAT
        if isinstance(value, self.DataType):
            self._dtype, self._count, self._alive = value, 0, None
            return
        if not isinstance(value, np.ndarray):
            refuse(value, "a DataType or a numpy array")
        if not value.flags.c_contiguous:
            raise ValueError("Cannot construct Weights object from non-contiguous array: a copy would be freed at once")
        names = [name for name, kind in NUMPY.items() if value.dtype == kind and hasattr(self.DataType, name)]
        if not names:
            raise TypeError("Could not implicitly convert NumPy data type: {} to TensorRT.".format(value.dtype))
        self._dtype, self._count = self.DataType[names[0]], int(value.size)
        self._address, self._alive = value.ctypes.data, weakref.ref(_owner(value))

    dtype = property(lambda self: self._dtype)
    size = property(lambda self: self._count)

    @property
    def nbytes(self):
        return self._count * np.dtype(NUMPY[self._dtype.name]).itemsize

    def numpy(self):
        """What lies at the address now: float32, float16, int8 or int32 [count]."""
        kind = NUMPY[self._dtype.name]
        if self._count == 0:
            return np.zeros(0, kind)
        if self._alive() is None:
            raise FreedMemory("the array behind these weights of {} values was freed".format(self._count))
        memory = (ctypes.c_char * self.nbytes).from_address(self._address)
        return np.frombuffer(memory, kind)

    def __len__(self):
        return self._count


def converter(kind):
    """Weights, or what is implicitly made of an array."""

    def convert(value):
        if isinstance(value, np.ndarray):
            return kind(value)
        return value if isinstance(value, kind) else refuse(value, "Weights")

    return convert


def optional(convert):
    def maybe(value):
        return None if value is None else convert(value)

    return maybe
