"""TensorRT as it is installed here: the only module that imports it.

`tensorrt` of 8.x to 11.x and TensorRT-RTX share most of an API. What one of them lacks is asked for by name, never by
version (docs of NVIDIA: "Migrating from TensorRT 8.x to 10.x", "10.x to 11.x", TensorRT-RTX' Python API).
"""

import importlib
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Dict, List, Optional, Tuple

from darkprune.errors import EngineError, MissingDependency, UsageError

if TYPE_CHECKING:
    import tensorrt

TENSORRT, RTX = "tensorrt", "tensorrt_rtx"
FORCED = "DARKPRUNE_TENSORRT"  # the environment variable that may hold one of the two
_MODULES = {TENSORRT: ["tensorrt"], RTX: ["tensorrt_rtx", "tensorrt_rtx_bindings"]}
_CURE = (
    "on a Jetson TensorRT comes with JetPack (see tools/tx2_setup.md), elsewhere from NVIDIA; "
    "engines for RTX GPUs are built without either: pip install tensorrt_rtx_cu12_libs tensorrt_rtx_cu12_bindings"
)
_KEPT = 200  # messages of a log

FP32, FP16, INT8, INT32, BOOL = "fp32", "fp16", "int8", "int32", "bool"
_TYPES = {FP32: "FLOAT", FP16: "HALF", INT8: "INT8", INT32: "INT32", BOOL: "BOOL"}


class Log(object):
    """What TensorRT said, in place of printing it: the last messages, (severity, text).

    Severities: INTERNAL_ERROR, ERROR, WARNING; others are not kept.
    """

    def __init__(self) -> None:
        self.messages: Deque[Tuple[str, str]] = deque(maxlen=_KEPT)

    def add(self, severity: str, message: str) -> None:
        """Keeps a message that is a warning or worse."""
        if severity in ("INTERNAL_ERROR", "ERROR", "WARNING"):
            self.messages.append((severity, " ".join(message.split())))

    def texts(self, *severities: str) -> List[str]:
        """The messages of these severities, each once, in order."""
        found: List[str] = []
        for severity, text in self.messages:
            if severity in severities and text not in found:
                found.append(text)
        return found

    @property
    def errors(self) -> List[str]:
        """What went wrong."""
        return self.texts("INTERNAL_ERROR", "ERROR")

    @property
    def warnings(self) -> List[str]:
        """What may be wrong."""
        return self.texts("WARNING")

    def clear(self) -> None:
        """Forgets all."""
        self.messages.clear()


class Api(object):
    """One of the modules, and what it can do.

    Attributes:
        trt: the module. name: "tensorrt" or "tensorrt_rtx". version: its own text.
        strong: whether networks are typed, with explicit Quantize and Dequantize layers (TensorRT 10, 11, RTX); else
            the builder chooses types by flags, precisions of layers and ranges of tensors (8.x).
        log: the Log. logger: what Builder and Runtime are given; there is one for each module in a process.
    """

    if TYPE_CHECKING:
        trt = tensorrt

    def __init__(self, module: Any, name: str) -> None:
        self.__dict__["trt"] = module
        self.name = name
        self.version = str(getattr(module, "__version__", "unknown"))
        flags = module.NetworkDefinitionCreationFlag
        self._weak_flags = hasattr(module.BuilderFlag, "FP16")
        self.strong = not self._weak_flags or hasattr(flags, "STRONGLY_TYPED")
        self.log = Log()
        self.logger: Any = _logger(module, self.log)

    @property
    def title(self) -> str:
        """Name and version for messages."""
        return "{} {}".format("TensorRT-RTX" if self.name == RTX else "TensorRT", self.version)

    def required(self, value: Any, what: str, hint: Optional[str] = None) -> Any:
        """`value`; raises EngineError with what TensorRT said where it is None, as which it reports failures."""
        if value is not None:
            return value
        said = "; ".join(self.log.errors[-3:]) or "it does not say why"
        raise EngineError("{} cannot {}: {}".format(self.title, what, said), hint=hint)

    def network(self, builder: "tensorrt.Builder") -> "tensorrt.INetworkDefinition":
        """An empty network: with explicit batch, typed where `strong`; the builder must outlive it.

        Raises EngineError.
        """
        known = self.trt.NetworkDefinitionCreationFlag
        wanted = "STRONGLY_TYPED" if self.strong else "EXPLICIT_BATCH"
        bits = 0
        if self._weak_flags and hasattr(known, wanted):  # elsewhere all networks are such
            bits = 1 << int(getattr(known, wanted))
        return self.required(builder.create_network(bits), "make a network")

    def dtype(self, kind: str) -> Any:
        """The DataType of fp32, fp16, int8, int32 or bool."""
        return getattr(self.trt.DataType, _TYPES[kind])

    def kind(self, dtype: Any) -> Optional[str]:
        """The reverse of `dtype`; None for another type."""
        return next((kind for kind, name in _TYPES.items() if getattr(self.trt.DataType, name) == dtype), None)

    @property
    def interpolation(self) -> Any:
        """The enumeration of ways to resize, whose name changed in 8.5."""
        trt: Any = self.trt
        return getattr(trt, "InterpolationMode", None) or trt.ResizeMode


_LOADED: Dict[str, Api] = {}


def load(prefer: Optional[str] = None) -> Api:
    """TensorRT, or TensorRT-RTX where there is none; the environment variable DARKPRUNE_TENSORRT may name one.

    Args:
        prefer: "tensorrt" or "tensorrt_rtx" for that one alone.

    Raises MissingDependency where there is neither, or not the one that is asked for; UsageError for another name.
    """
    forced = prefer or os.environ.get(FORCED) or None
    if forced is not None and forced not in _MODULES:
        cause = "{} is {!r}".format(FORCED if prefer is None else "the TensorRT that is asked for", forced[:40])
        raise UsageError(cause, hint="use {} or {}".format(TENSORRT, RTX))
    reasons = []
    for name in [forced] if forced else [TENSORRT, RTX]:
        for module_name in _MODULES[name]:
            try:
                return _api(importlib.import_module(module_name), name)
            except (ImportError, OSError, RuntimeError) as error:  # libraries that do not load raise any of these
                reasons.append("{}: {}".format(module_name, " ".join(str(error).split())))
    what = "TensorRT-RTX" if forced == RTX else "TensorRT"
    raise MissingDependency("{} cannot be imported ({})".format(what, "; ".join(reasons)), hint=_CURE)


def created(api: Api, kind: Any) -> Any:
    """A Builder or Runtime. Raises EngineError where there is none: without a GPU or its driver, as a rule."""
    try:
        made = kind(api.logger)
    except (RuntimeError, TypeError) as error:  # TypeError: pybind11's word for a constructor that gives nothing
        made = None
        api.log.add("ERROR", str(error))
    return api.required(made, "start", "is there an NVIDIA GPU with its driver? see darkprune doctor")


def _api(module: Any, name: str) -> Api:
    """The Api of a module, one for each. Raises ImportError for one that holds no TensorRT, as that of mere stubs, or
    one of before 8.0."""
    if not hasattr(module, "Builder"):
        raise ImportError("a module without TensorRT in it")
    if not hasattr(module.Builder, "build_serialized_network"):
        version = getattr(module, "__version__", "")
        raise ImportError("version {} is too old, 8.0 or later is needed".format(version))
    known = _LOADED.get(name)
    if known is None or known.trt is not module:
        known = _LOADED[name] = Api(module, name)
    return known


def _logger(module: Any, log: Log) -> Any:
    """An ILogger of the module that hands messages to `log`."""

    class Logger(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            log.add(getattr(severity, "name", None) or str(severity).rpartition(".")[2], msg)

    return Logger()
