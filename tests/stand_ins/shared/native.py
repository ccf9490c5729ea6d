"""How TensorRT's Python classes take arguments: pybind11 converts few types, checks the rest, and adds no attributes.

TypeError for a wrong type, count or keyword and AttributeError for an attribute that is not there, as pybind11 has it
(pybind11's documentation, "Functions": overloads and implicit conversions; python/src/infer/py*.cpp of the release).
"""

import enum
import functools
import inspect

import numpy as np


class Member(enum.Enum):
    """An enumeration of pybind11: a member is no number, but int() gives one."""

    def __int__(self):
        return self.value

    def __repr__(self):
        return "<{}.{}: {}>".format(type(self).__name__, self.name, self.value)

    def __str__(self):
        return "{}.{}".format(type(self).__name__, self.name)


def members(name, text):
    """An enumeration of the words in `text`, numbered from 0; "WORD=3" goes on from 3."""
    found, value = [], 0
    for word in text.split():
        word, _, number = word.partition("=")
        value = int(number) if number else value
        found.append((word, value))
        value += 1
    return Member(name, found)


# ---- converters: each takes a value and gives what is stored, or raises TypeError


def refuse(value, wanted):
    raise TypeError("incompatible function arguments: {} is wanted, not {!r}".format(wanted, value))


def integer(value):
    """int, not bool and not float, as pybind11's caster takes it without and with conversion (floats never)."""
    if isinstance(value, (bool, float, np.floating, enum.Enum)) or not isinstance(value, (int, np.integer)):
        refuse(value, "an int")
    return int(value)


def number(value):
    if isinstance(value, (bool, enum.Enum)) or not isinstance(value, (int, float, np.integer, np.floating)):
        refuse(value, "a float")
    return float(np.float32(value))


def boolean(value):
    if not isinstance(value, (bool, np.bool_)):
        refuse(value, "a bool")
    return bool(value)


def text(value):
    if not isinstance(value, str):
        refuse(value, "a str")
    return value


def anything(value):
    return value


def dims(value):
    """Dims, or what py::implicitly_convertible<std::vector<int>, Dims> makes of a list or tuple of ints."""
    if isinstance(value, Dims):
        return value
    if not isinstance(value, (list, tuple)):
        refuse(value, "Dims")
    return Dims(value)


def numbers(value):
    if not isinstance(value, (list, tuple)):
        refuse(value, "a list of floats")
    return [number(x) for x in value]


def sequence_of(kind):
    def convert(value):
        if not isinstance(value, (list, tuple)):
            refuse(value, "a list of {}".format(kind.__name__))
        return [one(kind)(x) for x in value]

    return convert


def one(kind):
    """The converter of a class: only its instances; of a function: itself."""
    if not inspect.isclass(kind):
        return kind

    def convert(value):
        if not isinstance(value, kind):
            refuse(value, kind.__name__)
        return value

    return convert


def checked(**kinds):
    """A method whose arguments are converted; a converter may be a class. Names and counts are Python's to check."""

    def wrap(function):
        signature = inspect.signature(function)
        converters = {name: one(kind) for name, kind in kinds.items()}

        @functools.wraps(function)
        def method(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            for name in bound.arguments:
                if name in converters:
                    bound.arguments[name] = converters[name](bound.arguments[name])
            return function(*bound.args, **bound.kwargs)

        return method

    return wrap


class Native(object):
    """An object of C++: attributes that its class has not cannot be set."""

    def __setattr__(self, name, value):
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError("'{}' object has no attribute '{}'".format(type(self).__name__, name))
        object.__setattr__(self, name, value)


class Attribute(object):
    """A property of a Native object, converted when it is set; then the object's `_changed` is called.

    kind: a converter, a class, or None: what is set must be of the class of what it was.
    """

    def __init__(self, kind=None, default=None):
        self.kind, self.default = kind and one(kind), default

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner):
        if instance is None:
            return self
        return instance.__dict__.get("its " + self.name, self.default)

    def __set__(self, instance, value):
        known = self.__get__(instance, None)
        if self.kind is not None:
            value = self.kind(value)
        elif known is not None and type(known) is not type(value):
            refuse(value, type(known).__name__)
        instance.__dict__["its " + self.name] = value
        changed = getattr(instance, "_changed", None)
        if changed is not None:
            changed(self.name)


# ---- values


class Dims(Native):
    """Dimensions: like a tuple of ints, of at most 8. `Dims.INVALID()` is what a tensor without a shape has."""

    MAX_DIMS = 8

    def __init__(self, shape=()):
        if not isinstance(shape, (list, tuple, Dims)):
            refuse(shape, "a list of ints")
        if len(shape) > self.MAX_DIMS:
            raise ValueError("Input length {}. Max expected length is 8".format(len(shape)))
        self._d = [integer(x) for x in shape]

    @classmethod
    def invalid(cls):
        """nbDims = -1, which Python cannot take the length of."""
        found = cls()
        found._d = None
        return found

    def __len__(self):
        if self._d is None:
            raise ValueError("__len__() should return >= 0")
        return len(self._d)

    def __getitem__(self, index):
        len(self)
        return tuple(self._d[index]) if isinstance(index, slice) else self._d[index]

    def __setitem__(self, index, value):
        self._d[index] = integer(value)

    def __eq__(self, other):
        if not isinstance(other, (list, tuple, Dims)):
            return NotImplemented
        return self._d is not None and self._d == list(other)

    __hash__ = None

    def __repr__(self):
        return "(invalid)" if self._d is None else repr(tuple(self._d))


class Permutation(Native):
    """An order of axes, 8 long whatever the rank."""

    def __init__(self, order=()):
        if not isinstance(order, (list, tuple)) or len(order) > Dims.MAX_DIMS:
            raise ValueError("Invalid input length. Max expected length is 8")
        self._order = [integer(x) for x in order] + [0] * (Dims.MAX_DIMS - len(order))
        self._given = len(order)

    def __len__(self):
        return Dims.MAX_DIMS

    def __getitem__(self, index):
        return self._order[index]


def permutation(value):
    return value if isinstance(value, Permutation) else Permutation(value)
