"""A net in ONNX Runtime, on the CPU. onnx and onnxruntime are imported when the runner is opened."""

import importlib
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Union

import numpy as np

from darkprune.backends.base import Runner
from darkprune.errors import MissingDependency, UsageError, VerifyError
from darkprune.graph.net import Net, heads
from darkprune.machine.processor import saturation_notices
from darkprune.quant.quantization import Quantization
from darkprune.quant.ranges import Ranges

INSTALL = {"onnx": "pip install onnx", "onnxruntime": "pip install onnxruntime"}
_CPU = ["CPUExecutionProvider"]
ANY = "N"  # darkprune.backends.onnx_graph.BATCH, whose import needs onnx
_NO_SATURATION = "session.x64quantprecision", "1"  # sums of uint8 x int8 are exact where the processor has no VNNI too
_ERRORS_ONLY = 3  # severity of what it logs


class OnnxRuntimeRunner(Runner):
    """Runs a Net that has values, as the model that `darkprune export` writes of it.

    Args:
        net: the net; its dialect's arithmetic is used.
        threads: None for as many as ONNX Runtime takes.
        lower: makes the graph of layers and of a batch's length, a darkprune.backends.onnx_model.Lowered; by default
            that of the net with its batch norm folded.

    One session is held: that of the outputs that were last asked for, or any of them.
    """

    name = "onnxruntime"

    def __init__(
        self, net: Net, threads: Optional[int] = None, lower: Optional[Callable[[Sequence[int], Any], Any]] = None
    ) -> None:
        self.net = net
        self.dialect = net.dialect.name
        self.threads = threads
        self._lower = lower
        self._lowered: Any = None
        self._layers: List[int] = []
        self._batch: Union[int, str, None] = None  # the model's first axis; None before there was a batch
        self._named: Set[str] = set()  # the tensors that are its outputs, where those are not layers
        self._session: Any = None

    def open(self) -> None:
        """Makes the graph of the heads.

        Raises MissingDependency where onnx or onnxruntime cannot be imported, and Unsupported for a layer that ONNX
        cannot say.
        """
        import_onnxruntime()
        self._make(heads(self.net), 1)

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """Outputs by layer index, float32 [N,C,H,W]; all of them, or those of `layers`.

        Raises UsageError for a batch of another shape, Unsupported for a layer that cannot be run, VerifyError where
        ONNX Runtime refuses the model.
        """
        self._require(batch)
        wanted = list(range(len(self.net.layers)) if layers is None else layers)
        if not wanted:
            return {}
        if self._lowered is None or self._named or not set(wanted) <= set(self._layers) or not self._fits(len(batch)):
            self._make(wanted, self._length(len(batch)))
        self._start()
        return dict(zip(wanted, self._run(batch, [self._lowered.outputs[index].name for index in wanted])))

    def named(self, batch: np.ndarray, names: Sequence[str]) -> Dict[str, np.ndarray]:
        """Tensors by their names in darkprune.quant.tensors, float32 [N,C,H,W]: also what activations read.

        Raises KeyError for a name that the net has not, else as `infer`.
        """
        self._require(batch)
        if self._lowered is None or not self._named >= set(names) or not self._fits(len(batch)):
            if self._session is not None or not self._fits(len(batch)) or not self._lowers(names):
                self._make(range(len(self.net.layers)), self._length(len(batch)))
            unique = {x.name: x for x in (self._lowered.tensors[name] for name in names)}  # any more would cost time
            self._lowered.graph.outputs = [x for x in unique.values() if x not in self._lowered.graph.inputs]
            self._named = set(names)
        self._start()
        tensors = [self._lowered.tensors[name].name for name in names]
        return dict(zip(names, self._run(batch, tensors)))

    def _lowers(self, names: Sequence[str]) -> bool:
        """Whether the graph at hand has these tensors, so that it serves for them."""
        return self._lowered is not None and set(names) <= set(self._lowered.tensors)

    def _require(self, batch: np.ndarray) -> None:
        shape = self.net.input.shape
        if batch.ndim != 4 or tuple(batch.shape[1:]) != (shape.c, shape.h, shape.w):
            cause = "the batch has shape {}, the net takes [N, {}, {}, {}]"
            raise UsageError(cause.format(list(batch.shape), shape.c, shape.h, shape.w))

    def _fits(self, images: int) -> bool:
        return self._batch in (images, ANY)

    def _length(self, images: int) -> Union[int, str]:
        """The model's first axis: fixed until a batch comes that has another length than those before."""
        return images if self._session is None or self._batch == images else ANY

    def _make(self, layers: Sequence[int], batch: Union[int, str]) -> None:
        """The graph, without a session yet."""
        import_onnx()
        if self._lower is None:
            from darkprune.backends.onnx_model import folded, lower

            self._lowered = lower(folded(self.net), layers, batch)
        else:
            self._lowered = self._lower(layers, batch)
        self._batch, self._layers, self._named, self._session = batch, list(layers), set(), None

    def _start(self) -> None:
        """The session, where there is none; the arrays then are its own."""
        if self._session is not None:
            return
        runtime = import_onnxruntime()
        options = quiet(runtime)
        if not self.fast:  # threads that wait must not take the cores from others
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        model = self._lowered.model(check=False)
        self._lowered.graph.constants.clear()
        data = model.SerializeToString()
        del model
        self._session = session(runtime, data, options)

    def _run(self, batch: np.ndarray, tensors: Sequence[str]) -> List[np.ndarray]:
        """Tensors by their names in the graph; two may be the same."""
        batch = np.ascontiguousarray(batch, np.float32)
        name = self._session.get_inputs()[0].name
        order = sorted(set(tensors) - {name})
        found = dict(zip(order, self._session.run(order, {name: batch}) if order else []))
        return [batch if tensor == name else found[tensor] for tensor in tensors]

    def close(self) -> None:
        """Frees the session; may be called twice."""
        self._lowered, self._session, self._batch, self._layers = None, None, None, []


def quiet(runtime: Any) -> Any:
    """SessionOptions with which it logs errors only, and loses nothing: that costs half the speed of integers, so only
    a processor that needs it is told so."""
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if saturation_notices():
        options.add_session_config_entry(*_NO_SATURATION)
    return options


def int8_lowering(net: Net, ranges: Ranges) -> Callable[[Sequence[int], Any], Any]:
    """What makes the runner's graph of an INT8 net. Raises CalibrationError where the ranges are not the net's."""
    quantization = Quantization(net, ranges)

    def made(layers: Sequence[int], batch: Any) -> Any:
        from darkprune.backends.onnx_int8 import lowering

        return lowering(quantization)(layers, batch)

    return made


def session(runtime: Any, model: Any, options: Any) -> Any:
    """An InferenceSession on the CPU of a model: bytes or a path. Raises VerifyError where it is refused."""
    try:
        return runtime.InferenceSession(model, options, providers=_CPU)
    except (RuntimeError, ValueError, *_errors(runtime)) as error:
        cause = "ONNX Runtime {} refuses the model: {}".format(runtime.__version__, _one_line(error))
        raise VerifyError(cause, hint="pip install --upgrade onnxruntime") from error


def _errors(runtime: Any) -> List[Any]:
    """What ONNX Runtime raises: classes of its own, right under Exception."""
    state = runtime.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return [getattr(state, name) for name in names if hasattr(state, name)]


def _one_line(error: Exception) -> str:
    """What it says, without its own status codes."""
    return " ".join(str(error).split()).split(" : ", 3)[-1].rstrip(".")


def import_onnxruntime() -> Any:
    """The module onnxruntime. Raises MissingDependency where it cannot be imported."""
    return _imported("onnxruntime")


def import_onnx() -> Any:
    """The module onnx. Raises MissingDependency where it cannot be imported."""
    return _imported("onnx")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
        raise MissingDependency("{} cannot be imported: {}".format(name, error), hint=INSTALL[name]) from error
