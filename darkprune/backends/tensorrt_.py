"""A net in a TensorRT engine, on a GPU by pycuda. Both are imported when the runner is opened."""

import threading
from typing import Any, Dict, Iterable, List, Optional

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.cuda_buffers import Device, find_gpu
from darkprune.backends.tensorrt_api import FP32
from darkprune.backends.tensorrt_session import REBUILD, Session
from darkprune.engine import report as reports
from darkprune.engine.report import Report, image_shape
from darkprune.errors import EngineError, Notice, Place, Unsupported, UsageError, place
from darkprune.graph.net import Net, heads
from darkprune.quant.ranges import Ranges
from darkprune.quant.tensors import INPUT, output_name


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
        self._session: Optional[Session] = None
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
                self._session = Session(self._api)
                self._session.load(plan or self._built(), self._where())
                self._require_tensors(self._session)
                self._session.start(self._device, self._where())
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

    def _require_tensors(self, session: "Session") -> None:
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


def _pieces(batch: np.ndarray, most: int) -> Iterable[np.ndarray]:
    return [batch[start : start + most] for start in range(0, len(batch), most)]
