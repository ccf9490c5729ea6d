"""An engine on a GPU: its inputs and outputs, by name or by number, and one batch after the other."""

from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.backends.cuda_buffers import Buffers, Device
from darkprune.backends.tensorrt_api import created
from darkprune.errors import EngineError, Place

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


class Session(object):
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

    def load(self, plan: Any, where: Optional[Place]) -> None:
        """Loads the engine, so that it tells its tensors. Raises EngineError."""
        api = self._api
        api.log.clear()
        self._runtime = created(api, api.trt.Runtime)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            cause = "{} cannot load the engine ({})".format(api.title, _said(api))
            raise EngineError(cause, where, REBUILD)
        self._by_name = hasattr(self._engine, "num_io_tensors")
        self.tensors = self._named() if self._by_name else self._bound()

    def start(self, device: Device, where: Optional[Place]) -> None:
        """Allocates what running needs, for an input of four axes. Raises EngineError."""
        api = self._api
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


def _said(api: Any) -> str:
    return "; ".join(api.log.errors[-3:]) or "it does not say why"
