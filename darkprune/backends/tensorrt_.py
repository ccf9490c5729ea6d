"""A net in a TensorRT engine, on a GPU by pycuda. Both are imported when the runner is opened."""

import threading
from collections import OrderedDict
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.cuda_buffers import Buffers, Device, find_gpu
from darkprune.backends.tensorrt_api import FP32, created
from darkprune.engine import report as reports
from darkprune.engine.report import Report, image_shape
from darkprune.errors import EngineError, Notice, Place, Unsupported, UsageError, place
from darkprune.graph.net import Net, heads
from darkprune.quant.ranges import Ranges
from darkprune.quant.tensors import INPUT, output_name

REBUILD = "build it again on this device, with this TensorRT: darkprune build"

Tensor = NamedTuple(
    "Tensor",
    [
        ("name", str),
        ("is_input", bool),
        ("shape", Tuple[int, ...]),  # -1 where it is dynamic
        ("kind", Optional[str]),  # fp32...; None: one that we do not use
        ("number", int),  # of its binding
    ],
)


class TensorrtRunner(Runner):
    """Runs a Net that has values, in an engine that was built from it before, or that is built when it is opened.

    Args:
        net: the net; an engine was built in its dialect.
        engine: the path of an engine; None builds one in memory, of float32, or of 8-bit integers with `ranges`.
        ranges: of the net's tensors, where no path is given.

    Attributes: notices: what a user should know, once it is open. report: of the engine; None where it has none.

    Any thread may run and close it. The time of a pass is that of the copies to and from the GPU too.
    """

    name = "tensorrt"

    def __init__(self, net: Net, engine: Optional[str] = None, ranges: Optional[Ranges] = None) -> None:
        self.net, self.dialect = net, net.dialect.name
        self.engine, self.ranges = engine, ranges
        self.notices: List[Notice] = []
        self.report: Optional[Report] = None
        self._device: Optional[Device] = None
        self._api: Any = None
        self._session: Optional[_Session] = None
        self._lock = threading.RLock()

    def open(self) -> None:
        """Loads the engine, or builds it.

        Raises MissingDependency where TensorRT or pycuda cannot be imported; EngineError where there is no GPU, not
        enough of its memory, or the engine is that of another pair, GPU or version; and what building raises.
        """
        with self._lock:
            self._open()

    def _open(self) -> None:
        from darkprune.backends import tensorrt_api

        self.close()
        self.notices = []
        self._api = tensorrt_api.load(self._wanted())
        self._require_version()
        plan = self._read() if self.engine is not None else None
        self._require_gpu()
        self._device = Device()  # before it is built, which takes a while
        try:
            with self._device.current():
                self._session = _Session(self._api)
                self._session.open(self._device, plan or self._built(), self._where())
                self._require_tensors(self._session)
        except BaseException:
            self.close()
            raise

    def _where(self) -> Optional[Place]:
        return None if self.engine is None else place(self.engine)

    def _wanted(self) -> Optional[str]:
        """Which of the TensorRTs the engine's report names."""
        self.report = reports.read(self.engine) if self.engine is not None else None
        name = None if self.report is None else self.report.fields["tensorrt"]["name"]
        return name if name in ("tensorrt", "tensorrt_rtx") else None

    def _require_version(self) -> None:
        """Raises EngineError where the report tells of another version than the one that is here. TensorRT itself says
        so in its own words, and only that the engine does not load."""
        built = self._api.version if self.report is None else self.report.fields["tensorrt"]["version"]
        if self._api.name == "tensorrt" and built != self._api.version:
            cause = "the engine was built with TensorRT {}, here is {}".format(built[:20], self._api.version)
            raise EngineError(cause, self._where(), REBUILD)

    def _require_gpu(self) -> None:
        """Raises EngineError where the report tells of another GPU."""
        built = self.report.fields.get("gpu") if self.report is not None else None
        here = find_gpu()
        if self._api.name == "tensorrt" and built and here and built["capability"] != list(here.capability):
            cause = "the engine was built on another GPU ({}, compute capability {}), here is {}, {}.{}"
            capability = ".".join(str(part) for part in built["capability"])
            cause = cause.format(str(built.get("name"))[:40], capability[:10], here.name, *here.capability)
            raise EngineError(cause, self._where(), REBUILD)

    def _read(self) -> bytes:
        """The engine's bytes, if it is the net's."""
        assert self.engine is not None
        if self.report is not None:
            self.report.require(self.net)
            self.report.require_engine(self.engine)
        else:
            cause = "the engine has no report, so that only the shapes of its inputs and outputs are checked"
            self.notices.append(Notice(cause, self._where(), REBUILD))
        return reports.read_engine(self.engine)

    def _built(self) -> Any:
        from darkprune.engine.build import Build, Request

        build = Build(self.net, Request("fp32" if self.ranges is None else "int8"), self.ranges, self._api)
        built = build.run()
        self.report, self.notices = built.report, built.notices
        return built.plan

    def _require_tensors(self, session: "_Session") -> None:
        """Raises EngineError where the engine's inputs and outputs are not the net's."""
        shape = self.net.input.shape
        wanted = {INPUT: (True, (shape.c, shape.h, shape.w))}
        for index in heads(self.net):
            wanted[output_name(self.net.layers[index])] = (False, image_shape(self.net, index))
        found = {t.name: (t.is_input, t.shape[1:]) for t in session.tensors}
        for name, (is_input, image) in wanted.items():
            kind = "input" if is_input else "output"
            if name not in found or found[name][0] != is_input:
                cause = "the engine has no {} {}: it was not built from this pair".format(kind, name)
                raise EngineError(cause, self._where(), REBUILD)
            if found[name][1] != image:
                cause = "the engine's {} {} has shape {}, the net's {}"
                cause = cause.format(kind, name, list(found[name][1]), list(image))
                raise EngineError(cause, self._where(), REBUILD + "; or give its --width and --height")
        for tensor in session.tensors:
            if tensor.kind != FP32:
                cause = "the engine's {} holds {}, not fp32".format(tensor.name, tensor.kind or "something else")
                raise EngineError(cause, self._where(), REBUILD)

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """Raw heads by layer index, float32 [N,C,H,W]; all of them, or those of `layers`.

        A batch of another length than the engine's runs in pieces; the last one is filled up with zeros.

        Raises UsageError for a batch of another shape, Unsupported for a layer that is no head, EngineError where the
        GPU fails.
        """
        known = heads(self.net)
        wanted = known if layers is None else list(layers)
        for index in wanted:
            if index not in known:
                cause = "an engine gives the raw heads only, and layer {} is none".format(index)
                raise Unsupported(cause, hint="run the net in numpy or torch to see other layers")
        shape = self.net.input.shape
        if batch.ndim != 4 or tuple(batch.shape[1:]) != (shape.c, shape.h, shape.w):
            cause = "the batch has shape {}, the net takes [N, {}, {}, {}]"
            raise UsageError(cause.format(list(batch.shape), shape.c, shape.h, shape.w))
        names = {index: output_name(self.net.layers[index]) for index in wanted}
        with self._lock:
            if self._session is None or self._device is None:
                self._open()
            assert self._session is not None and self._device is not None
            with self._device.current():
                pieces = [self._session.run(piece) for piece in _pieces(batch, self._session.batch[1])]
        none = {index: np.zeros((0,) + image_shape(self.net, index), np.float32) for index in wanted}
        return {index: np.concatenate([none[index]] + [piece[names[index]] for piece in pieces]) for index in wanted}

    def close(self) -> None:
        """Frees the engine and the device; may be called twice, and from any thread."""
        with self._lock:
            if self._device is not None:
                if self._session is not None:
                    with self._device.current():
                        self._session.free()
                self._device.close()
            self._session, self._device = None, None


class _Session(object):
    """An engine on the device with its buffers; made, used and freed while the device's context is current.

    Attributes: tensors: its inputs and outputs. batch: the least and the most images at once.
    """

    def __init__(self, api: Any) -> None:
        self._api = api
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._buffers: Any = None
        self._by_name = False
        self._last = 0
        self.tensors: List[Tensor] = []
        self.batch = (1, 1)

    def open(self, device: Device, plan: Any, where: Optional[Place]) -> None:
        """Loads the engine. Raises EngineError."""
        api = self._api
        api.log.clear()
        self._runtime = created(api, api.trt.Runtime)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            cause = "{} cannot load the engine ({})".format(api.title, _said(api))
            raise EngineError(cause, where, REBUILD)
        self._by_name = hasattr(self._engine, "num_io_tensors")
        self.tensors = self._named() if self._by_name else self._bound()
        self.batch = self._lengths()
        self._context = self._engine.create_execution_context()
        if self._context is None:
            hint = "close what else uses the GPU, or build for a smaller batch or input size"
            raise EngineError("there is not enough GPU memory to run the engine ({})".format(_said(api)), where, hint)
        shapes = OrderedDict((t.name, (self.batch[1],) + t.shape[1:]) for t in self.tensors)
        self._buffers = Buffers(device, shapes)
        for name, address in self._buffers.addresses.items() if self._by_name else ():
            self._context.set_tensor_address(name, address)

    def _named(self) -> List[Tensor]:
        """The inputs and outputs where TensorRT knows them by name: 8.5 and later."""
        trt, engine, found = self._api.trt, self._engine, []
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            kind = self._api.kind(engine.get_tensor_dtype(name))
            found.append(Tensor(name, is_input, tuple(engine.get_tensor_shape(name)), kind, number))
        return found

    def _bound(self) -> List[Tensor]:
        """The same where it numbers them."""
        engine, found = self._engine, []
        for number in range(engine.num_bindings):
            kind, shape = self._api.kind(engine.get_binding_dtype(number)), tuple(engine.get_binding_shape(number))
            is_input = bool(engine.binding_is_input(number))
            found.append(Tensor(engine.get_binding_name(number), is_input, shape, kind, number))
        return found

    def _lengths(self) -> Tuple[int, int]:
        image = next(t for t in self.tensors if t.is_input)
        if image.shape[0] >= 0:
            return int(image.shape[0]), int(image.shape[0])
        if self._by_name:
            least, _, most = self._engine.get_tensor_profile_shape(image.name, 0)
        else:
            least, _, most = self._engine.get_profile_shape(0, image.number)
        return int(least[0]), int(most[0])

    def run(self, images: np.ndarray) -> Dict[str, np.ndarray]:
        """The outputs by name, of at most as many images as the engine takes at once."""
        count = len(images)
        length = max(count, self.batch[0])
        inputs = [t for t in self.tensors if t.is_input]
        outputs = [t.name for t in self.tensors if not t.is_input]
        host = self._buffers.host
        host[inputs[0].name][:count] = images
        host[inputs[0].name][count:length] = 0
        self._set_length(length, inputs)
        self._buffers.upload(inputs[0].name, length)
        stream = self._buffers.stream.handle
        if self._by_name:
            done = self._context.execute_async_v3(stream)
        else:
            addresses = list(self._buffers.addresses.values())  # in the order of the bindings
            done = self._context.execute_async_v2(bindings=addresses, stream_handle=stream)
        if not done:
            raise EngineError("{} cannot run the engine ({})".format(self._api.title, _said(self._api)), hint=REBUILD)
        for name in outputs:
            self._buffers.download(name, count)
        self._buffers.wait()
        return {name: np.array(host[name][:count]) for name in outputs}

    def _set_length(self, length: int, inputs: List[Tensor]) -> None:
        """Tells an engine of a dynamic batch how many images come."""
        if length == self._last or self.batch[0] == self.batch[1]:
            return
        for tensor in inputs:
            shape = (length,) + tensor.shape[1:]
            if self._by_name:
                taken = self._context.set_input_shape(tensor.name, shape)
            else:
                taken = self._context.set_binding_shape(tensor.number, shape)
            if not taken:
                cause = "{} does not take {} images at once ({})".format(self._api.title, length, _said(self._api))
                raise EngineError(cause, hint=REBUILD)
        self._last = length

    def free(self) -> None:
        """Frees all, the buffers last."""
        self._context = self._engine = self._runtime = None
        if self._buffers is not None:
            self._buffers.free()


def _pieces(batch: np.ndarray, most: int) -> Iterable[np.ndarray]:
    return [batch[start : start + most] for start in range(0, len(batch), most)]


def _said(api: Any) -> str:
    return "; ".join(api.log.errors[-3:]) or "it does not say why"
