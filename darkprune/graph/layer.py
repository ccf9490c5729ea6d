"""A layer and its parameters: what ops work on and what people edit."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from darkprune.darknet import values
from darkprune.darknet.cfg import Section
from darkprune.errors import CfgError, GraphError, Place
from darkprune.ops.base import Op, Opt, ParamSpec, Shape

if TYPE_CHECKING:
    pass

_READ: Dict[str, Callable[[str], Any]] = {
    "int": values.atoi,
    "float": values.atof,
    "str": str,
    "ints": values.int_list,
    "floats": values.float_list,
}


SMALL = 1 << 16  # values that a parameter holds on to


class Param:
    """One parameter array, loaded when it is asked for: a net larger than memory's share can be edited.

    Attributes: spec (name, axes, shape), shape, origin (number of its first float where it stands unchanged in
    the net's weights file, else None).
    """

    __slots__ = ("spec", "_load", "_held", "origin")

    def __init__(self, spec: ParamSpec, load: Callable[[], np.ndarray], origin: Optional[int] = None) -> None:
        self.spec = spec
        self._load = load
        self._held: Optional[np.ndarray] = None  # arrays of one value per filter are small, and read again and again
        self.origin = origin

    @property
    def shape(self) -> Tuple[int, ...]:
        """The array's shape."""
        return self.spec.shape

    @property
    def value(self) -> np.ndarray:
        """The float32 array; a fresh one or one that must not be changed in place."""
        if self._held is not None:
            return self._held
        array = self._load()
        if array.shape != self.spec.shape:
            raise GraphError("parameter {} has shape {}, not {}".format(self.spec.name, array.shape, self.spec.shape))
        if array.ndim == 1 and array.size <= SMALL:
            self._held = array = array.view()
            array.flags.writeable = False
        return array


class Configured:
    """A section with its edits: the typed options of a layer or of `[net]`."""

    __slots__ = ("section", "edits", "op", "dialect_name", "_cache")

    def __init__(self, section: Section, op: Op, dialect_name: str) -> None:
        self.section = section
        self.op = op
        self.dialect_name = dialect_name
        self.edits: Dict[str, Optional[str]] = OrderedDict()
        self._cache: Dict[str, Any] = {}

    @property
    def type(self) -> str:
        """The canonical section name."""
        return self.op.names[0]

    def text(self, key: str) -> Optional[str]:
        """The option's text, blanks removed; None where it is absent and the reader's default applies."""
        if key in self.edits:
            return self.edits[key]
        option = self.section.find(key, last=self.dialect_name == "opencv")
        return None if option is None else option.value

    def __getitem__(self, key: str) -> Any:
        """The option's value, typed as the layer type declares it, or the reader's default."""
        if key not in self._cache:
            self._cache[key] = self._parse(self._option(key))
        return self._cache[key]

    def set(self, key: str, value: Union[str, int, float, Sequence, None]) -> None:
        """Sets an option (None drops it). Shapes follow at the next `Net.infer`.

        Raises CfgError where the value is not legal for a declared option, GraphError for a reference to a layer.
        """
        if key in self.op.references + self.op.pointers:
            raise GraphError(
                "{} of [{}] is an edge of the net, no number".format(key, self.type),
                self.place(key),
                "use Net.rewire(layer, position, source)",
            )
        if isinstance(value, (list, tuple)):
            value = ",".join(str(v) for v in value)
        before = dict(self.edits)
        self.edits[key] = None if value is None else str(value)
        self._cache.pop(key, None)
        try:
            if any(o.name == key for o in self.op.options):
                self._parse(self._option(key))
        except CfgError:
            self.edits.clear()
            self.edits.update(before)
            raise

    def place(self, key: Optional[str] = None) -> Place:
        """Where the option, or the section, stands in its file."""
        return self.section.place(key)

    def _option(self, key: str) -> Opt:
        for option in self.op.options:
            if option.name == key:
                return option
        raise KeyError("[{}] declares no option {!r}; `text` reads any key".format(self.type, key))

    def _parse(self, option: Opt) -> Any:
        default = option.opencv if self.dialect_name == "opencv" else option.default
        text = self.text(option.name)
        if text is None or (option.only and self.dialect_name not in option.only):
            return default
        try:
            value = _READ[option.kind](text)
        except ValueError as error:
            raise CfgError(
                "{}: {}".format(option.name, error), self.place(option.name), "use a smaller number"
            ) from error
        if option.low is not None and value < option.low:
            cause = "[{}] {}={} must be at least {}".format(self.type, option.name, value, option.low)
            raise CfgError(
                cause if text == str(value) else "{}; {!r} reads as {}".format(cause, text[:24], value),
                self.place(option.name),
                "set {}={} or more".format(option.name, option.low),
            )
        return value


class Layer(Configured):
    """One layer of a net.

    Attributes:
        index: its Darknet number, kept up to date by the net. number: that in the file it was read from, for people.
        inputs: the layers (or the net's input) it reads; the first is the layer before it if `op.implicit`.
        pointers: option name -> layer, for references that are no inputs (`share_index`...).
        params: name -> Param in file order; empty until weights are there.
        shape: output shape as references see it. out: as the next layer sees it (differs with antialiasing).
    """

    __slots__ = ("index", "number", "inputs", "pointers", "params", "shape", "out")

    def __init__(self, section: Section, op: Op, dialect_name: str, index: int) -> None:
        Configured.__init__(self, section, op, dialect_name)
        self.index = self.number = index
        self.inputs: List[Any] = []
        self.pointers: Dict[str, Layer] = OrderedDict()
        self.params: Dict[str, Param] = OrderedDict()
        self.shape = self.out = Shape(0, 0, 0, 0)

    def __repr__(self) -> str:
        return "<{} {}>".format(self.index, self.type)

    def input_shape(self, position: int = 0) -> Shape:
        """The shape of an input as this layer sees it."""
        source = self.inputs[position]
        return source.out if self.op.implicit and position == 0 else source.shape

    def array(self, name: str) -> np.ndarray:
        """The values of a parameter. Raises GraphError where the weights were not loaded."""
        if name not in self.params:
            raise GraphError("layer {} has no values for {!r}".format(self, name), self.place(), "load the weights too")
        return self.params[name].value

    def set_param(self, name: str, array: np.ndarray) -> None:
        """Replaces a parameter by a finite array of the same shape, kept as float32. Raises GraphError."""
        spec = self.spec(name)
        array = np.ascontiguousarray(array, np.float32)
        if array.shape != spec.shape:
            raise GraphError("{} of layer {} has shape {}, not {}".format(name, self, spec.shape, array.shape))
        if not np.all(np.isfinite(array)):
            raise GraphError("{} of layer {} would hold a nan or infinity".format(name, self))
        self.params[name] = Param(spec, lambda: array)

    def spec(self, name: str) -> ParamSpec:
        """The declaration of a parameter. Raises GraphError if the layer has none of that name."""
        for spec in self.op.parameters(self):
            if spec.name == name:
                return spec
        raise GraphError("layer {} has no parameter {!r}".format(self, name))

    def has(self, name: str) -> bool:
        """Whether the layer type, with these options, has a parameter of that name."""
        return any(spec.name == name for spec in self.op.parameters(self))


def reads_head(layer: Layer, source: Any) -> bool:
    """Whether `layer` goes on with the output of a head or loss, which each reader computes in its own way."""
    return isinstance(source, Layer) and source.op.terminal and not layer.op.terminal


class NetInput:
    """The image: what the first layer reads. It is never referenced by number."""

    __slots__ = ("index", "shape", "out")

    def __init__(self, shape: Shape) -> None:
        self.index = -1
        self.shape = self.out = shape

    def __repr__(self) -> str:
        return "<input>"
