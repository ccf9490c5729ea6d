"""A GPU's memory by pycuda: page-locked arrays here, their twins there, and one stream that copies between them.

pycuda is imported when a device is opened. A CUDA context belongs to the thread that pushed it, so every use pushes
it and pops it again; then any thread may use the device, one at a time.
"""

import importlib
import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.errors import DarkpruneError, EngineError, MissingDependency

INSTALL = "pip install pycuda; on JetPack 4.6: pip3 install 'pycuda<2021.1'"
_MIB = 1 << 20

GPU = NamedTuple(
    "GPU",
    [
        ("name", str),
        ("capability", Tuple[int, int]),
        ("memory", int),  # MiB
    ],
)


class Device(object):
    """The first CUDA device, with a context of its own until it is closed.

    Raises MissingDependency where pycuda cannot be imported, EngineError where there is no device, or no room on it.
    """

    def __init__(self) -> None:
        self.cuda = import_driver()
        self._lock = threading.RLock()
        self._context: Any = None
        try:
            self.cuda.init()
            device = self.cuda.Device(0)
        except self.cuda.Error as error:
            raise _no_device(error) from error
        try:
            self._context = device.make_context()
        except self.cuda.Error as error:
            raise self.failure(error) from error
        self._context.pop()

    @contextmanager
    def current(self) -> Iterator[None]:
        """The context is this thread's within. Errors of CUDA become EngineErrors."""
        with self._lock:
            if self._context is None:
                raise EngineError("the CUDA device is closed", hint="open the runner first")
            self._context.push()
            try:
                yield
            except self.cuda.Error as error:
                raise self.failure(error) from error
            finally:
                self._context.pop()

    def failure(self, error: Exception) -> EngineError:
        """An error of CUDA in our words."""
        said = _one_line(error)
        if isinstance(error, self.cuda.MemoryError):
            hint = "close what else uses the GPU, or take a smaller batch, input size or workspace"
            return EngineError("the GPU is out of memory ({})".format(said), hint=hint)
        return EngineError("CUDA failed: {}".format(said), hint="see darkprune doctor")

    def close(self) -> None:
        """Gives the context back; may be called twice."""
        with self._lock:
            if self._context is not None:
                self._context.push()  # a context that is not current is given up by the thread that made it only
                self._context.detach()
                self._context = None


class Buffers(object):
    """Arrays by name, each page-locked here and allocated on the device; made and used while its context is current.

    Args:
        shapes: name -> shape; all values are float32.

    Attributes: stream: where everything is queued. host: name -> the array here. addresses: name -> that on the device.
    """

    def __init__(self, device: Device, shapes: Dict[str, Tuple[int, ...]]) -> None:
        cuda = device.cuda
        self._cuda = cuda
        self._device: Dict[str, Any] = OrderedDict()
        self.host: Dict[str, np.ndarray] = OrderedDict()
        self.stream = cuda.Stream()
        try:
            for name, shape in shapes.items():
                self.host[name] = cuda.pagelocked_empty(tuple(shape), np.float32)
                self._device[name] = cuda.mem_alloc(max(1, self.host[name].nbytes))
        except cuda.Error:
            self.free()
            raise

    @property
    def addresses(self) -> Dict[str, int]:
        """Name -> address on the device."""
        return OrderedDict((name, int(memory)) for name, memory in self._device.items())

    def upload(self, name: str, rows: int) -> None:
        """Queues a copy of an array's first `rows` to the device."""
        self._cuda.memcpy_htod_async(self._device[name], self.host[name][:rows], self.stream)

    def download(self, name: str, rows: int) -> None:
        """Queues a copy of an array's first `rows` from the device; they are there after `wait`."""
        self._cuda.memcpy_dtoh_async(self.host[name][:rows], self._device[name], self.stream)

    def wait(self) -> None:
        """Returns when all that was queued is done."""
        self.stream.synchronize()

    def free(self) -> None:
        """Frees the device's memory; may be called twice."""
        for memory in self._device.values():
            memory.free()
        self._device.clear()
        self.host.clear()


def find_gpu() -> Optional[GPU]:
    """The first GPU; None where there is none, or no pycuda that tells."""
    try:
        cuda = import_driver()
    except MissingDependency:
        return None
    try:
        cuda.init()
        device = cuda.Device(0)
        major, minor = device.compute_capability()
        return GPU(str(device.name()), (int(major), int(minor)), int(device.total_memory()) // _MIB)
    except cuda.Error:
        return None


def import_driver() -> Any:
    """The module pycuda.driver. Raises MissingDependency where it cannot be imported."""
    try:
        return importlib.import_module("pycuda.driver")
    except (ImportError, OSError) as error:  # OSError: libcuda does not load
        raise MissingDependency("pycuda cannot be imported: {}".format(error), hint=INSTALL) from error


def _no_device(error: Exception) -> DarkpruneError:
    cause = "there is no CUDA device here ({})".format(_one_line(error))
    return EngineError(cause, hint="run it on the machine with the GPU; see darkprune doctor")


def _one_line(error: Exception) -> str:
    words: List[str] = str(error).split()
    return " ".join(words) or type(error).__name__
