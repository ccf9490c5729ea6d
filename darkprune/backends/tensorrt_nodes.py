"""A TensorRT network in the making: the names, types and ranges of its layers, and the arrays that they hold.

Every layer is named after the Darknet layer that it is of, and the tensor that it makes after it. The network's types
follow engine/precision.py. Nothing here knows Darknet's layers.
"""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from darkprune.backends.tensorrt_api import BOOL, FP16, FP32, INT8, INT32, Api
from darkprune.backends.tensorrt_bounds import LARGEST
from darkprune.backends.tensorrt_tensor import TensorrtTensor
from darkprune.engine.precision import Precision
from darkprune.errors import EngineError

if TYPE_CHECKING:
    import tensorrt

Batch = Union[int, Tuple[int, int]]
_HALF = 65504.0  # the largest float16
_NUMPY = {FP32: np.float32, FP16: np.float16, INT8: np.int8, INT32: np.int32}


class Nodes(object):
    """Adds layers to `network`.

    Args:
        api: the Api. network: an empty INetworkDefinition. precision: the Precision.
        batch: images at once, or the smallest and the largest number of them.
        names: what the layers and tensors of a Darknet layer are called after, by its number.

    Attributes:
        layer: the number of the Darknet layer that is being lowered; None outside of any.
        keep: arrays that must outlive the build: TensorRT reads them then.
        made: the layers of the network by the number of the Darknet layer; those of none under None.
        ranges: amax by the name of the tensor, where tensors need one.
    """

    def __init__(
        self,
        api: Api,
        network: "tensorrt.INetworkDefinition",
        precision: Precision,
        batch: Batch = 1,
        names: Optional[Dict[int, str]] = None,
    ) -> None:
        self.api, self.network, self.precision, self.names = api, network, precision, names or {}
        self.batch = batch if isinstance(batch, int) else -1
        self.layer: Optional[int] = None
        self.keep: List[np.ndarray] = []
        self.made: Dict[Optional[int], List[Any]] = {}
        self.ranges: Dict[str, float] = {}
        self._fixed: Dict[str, float] = {}  # ranges that were measured
        self.ranged = not api.strong and precision.name == INT8
        self._fp32 = False
        self._counts: Dict[str, int] = {}
        self._makers: Dict[str, Any] = {}  # ILayer by the name of its output

    # What all layers are made with.

    @property
    def real(self) -> str:
        """The type of the floats of the layer being lowered."""
        return FP32 if self._fp32 or not self.api.strong else self.precision.real(self.layer)

    @contextmanager
    def in_fp32(self) -> Iterator[None]:
        """What is added meanwhile computes in fp32, whatever the layer does."""
        before, self._fp32 = self._fp32, True
        try:
            yield
        finally:
            self._fp32 = before

    @contextmanager
    def of_layer(self, layer: Optional[int]) -> Iterator[None]:
        """What is added meanwhile is of that layer."""
        before, self.layer = self.layer, layer
        try:
            yield
        finally:
            self.layer = before

    def label(self, suffix: str) -> str:
        """A name for something of the layer being lowered."""
        base = self.names.get(-1 if self.layer is None else self.layer, "net")
        return self._unique("{}_{}".format(base, suffix))

    def _unique(self, name: str) -> str:
        self._counts[name] = count = self._counts.get(name, 0) + 1
        return name if count == 1 else self._unique("{}_{}".format(name, count))

    def _added(
        self, layer: Any, suffix: str, bound: float = 0.0, shape: Optional[Sequence[int]] = None, kind: str = ""
    ) -> TensorrtTensor:
        """The output of a new layer.

        Args:
            bound: of its absolute values. shape: [c, h, w] that it must have behind the images, where that is known.
            kind: the tensor's type, if not `real`.
        """
        name, kind = self.label(suffix), kind or self.real
        layer = self.api.required(layer, "add " + name)
        layer.name = name
        tensor = layer.get_output(0)
        tensor.name = name
        self._makers[name] = layer
        self.made.setdefault(self.layer, []).append(layer)
        self._set_precision(layer, kind)
        found = TensorrtTensor(self._shape(tensor, name, shape), kind, tensor)
        self.set_range(found, min(bound, LARGEST))
        return found

    def _shape(self, tensor: Any, name: str, shape: Optional[Sequence[int]]) -> Tuple[int, ...]:
        """The shape as TensorRT has it. Raises EngineError where it has none, or not the one that we come to."""
        try:
            found = tuple(tensor.shape)
        except (RuntimeError, ValueError):  # what it says of a layer that cannot be
            found = tuple(self.api.required(None, "find the shape of " + name))
        wanted = found if shape is None else (self.batch,) + tuple(shape)
        if found != tuple(wanted):
            cause = "{} makes {} of shape {}, and darkprune {}".format(self.api.title, name, found, tuple(wanted))
            raise EngineError(cause, hint="report this with the cfg")
        return found

    def _set_precision(self, layer: Any, kind: str) -> None:
        """In a network that follows flags: the type of a float layer of fp16 and int8 nets."""
        if self.api.strong or kind != FP32 or not self.precision.flags(self.api):
            return
        wanted = FP32 if self._fp32 else self.precision.of(self.layer)
        if wanted != INT8 and layer.type != self.api.trt.LayerType.CONSTANT:
            layer.precision = self.api.dtype(wanted)
            if wanted == FP32:
                layer.set_output_type(0, self.api.dtype(FP32))

    def set_range(self, x: TensorrtTensor, amax: float) -> None:
        """Makes -amax..amax the range of a tensor of an int8 net without types; 0 stands for one of only zeros."""
        if not self.ranged or x.kind in (BOOL, INT32):
            return
        if not np.isfinite(amax):
            raise EngineError("the range of {} is not finite".format(x.handle.name), hint="calibrate again")
        amax = float(amax) if amax > 0 else 127.0  # of step 1, as Quantization has it
        if x.handle.set_dynamic_range(-amax, amax) is False:
            self.api.required(None, "set the range of " + x.handle.name)
        self.ranges[x.handle.name] = amax
        x.bounded(amax)

    def rename(self, x: TensorrtTensor, name: str) -> None:
        """Gives a tensor and the layer that makes it another name."""
        old, new = x.handle.name, self._unique(name)
        x.handle.name = new
        if old in self._makers:
            maker = self._makers[new] = self._makers.pop(old)
            maker.name = new
        for values in (self.ranges, self._fixed):
            if old in values:
                values[new] = values.pop(old)

    def claim(self, x: TensorrtTensor, name: str) -> None:
        """Gives a tensor that name, and another name to what has it."""
        if x.handle.name == name:
            return
        if name in self._makers:
            other = self._makers[name].get_output(0)
            self.rename(TensorrtTensor(other.shape, handle=other), name + "_inside")
        self._counts[name] = 0
        self.rename(x, name)

    def makes(self, x: TensorrtTensor) -> bool:
        """Whether a layer of the Darknet layer being lowered makes it."""
        maker = self._makers.get(x.handle.name)
        return maker is not None and any(maker is one for one in self.made.get(self.layer, []))

    def mark(self, x: TensorrtTensor, name: str) -> str:
        """Makes a tensor an output of the network, of that name. An input, or an output of another name, is copied."""
        if x.handle.name != name:
            if x.handle.is_network_input or x.handle.is_network_output or x.handle.name in self.names.values():
                x = self.copy(x, "output")
            self.claim(x, name)
        self.network.mark_output(x.handle)
        return name

    def tensors(self) -> Dict[str, Tuple[Tuple[int, ...], Optional[float]]]:
        """(shape, amax or None) of all tensors by name. Raises EngineError where one lacks a range that it needs."""
        found: Dict[str, Tuple[Tuple[int, ...], Optional[float]]] = {}
        handles = [self.network.get_input(i) for i in range(self.network.num_inputs)]
        for i in range(self.network.num_layers):
            layer = self.network.get_layer(i)
            handles += [layer.get_output(j) for j in range(layer.num_outputs)]
        for handle in handles:
            amax = self.ranges.get(handle.name)
            if amax is None and self.ranged and handle.dtype in (self.api.dtype(FP32), self.api.dtype(FP16)):
                raise EngineError("{} has no range".format(handle.name), hint="calibrate again, or use fp16")
            found[handle.name] = (tuple(handle.shape), amax)
        return found

    # Inputs, constants, types.

    def input(self, name: str, shape: Sequence[int]) -> TensorrtTensor:
        """The network's input, fp32 [N, *shape]."""
        full = (self.batch,) + tuple(shape)
        handle = self.api.required(self.network.add_input(name, self.api.dtype(FP32), dims(full)), "add an input")
        self._counts[name] = 1
        return TensorrtTensor(full, FP32, handle)

    def weights(self, values: Any, kind: str = "") -> Any:
        """Weights of the values, in the type of the layer. Raises EngineError where float16 cannot hold them."""
        kind = kind or self.real
        array = np.asarray(values)
        if kind == FP16 or kind == FP32 and self._may_be_half():
            self._require_half(array)
        array = np.asarray(array, _NUMPY[kind], order="C")
        self.keep.append(array)
        return self.api.trt.Weights(array)

    def _may_be_half(self) -> bool:
        """Whether a network without types may turn the layer into fp16; an int8 one too, where int8 is lacking."""
        fixed = self.api.strong or self._fp32 or not self.precision.half
        return not fixed and self.precision.of(self.layer) != FP32

    def _require_half(self, array: np.ndarray) -> None:
        finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        largest = float(np.abs(finite).max()) if finite.size else 0.0
        if largest > _HALF and self.layer is not None:
            cause = "layer {} has weights of up to {:.3g}, and fp16 holds at most 65504".format(self.layer, largest)
            cure = "--keep-float {} computes that layer in fp32"
            if self.precision.name == INT8:  # where that makes it fp16
                cure = "use --precision fp32, or fp16 with --keep-float {}"
            raise EngineError(cause, hint=cure.format(self.layer))

    def constant(self, values: Any, suffix: str, kind: str = "") -> TensorrtTensor:
        """A tensor of the shape of `values`."""
        array = np.asarray(values)
        layer = self.network.add_constant(dims(array.shape), self.weights(array, kind))
        return self._added(layer, suffix, self._largest(array), kind=kind)

    def _largest(self, array: np.ndarray) -> float:
        return float(np.abs(array).max()) if self.ranged and array.size else 0.0

    def cast(self, x: TensorrtTensor, kind: str) -> TensorrtTensor:
        """The tensor in another type; itself in a network without types."""
        if not self.api.strong or x.kind == kind:
            return x
        return self._added(self.network.add_cast(x.handle, self.api.dtype(kind)), kind, kind=kind)

    def ranged_as(self, x: TensorrtTensor, amax: float) -> TensorrtTensor:
        """The tensor with that range; a copy where it has another one that was measured."""
        fixed = self._fixed.get(x.handle.name)
        if fixed is not None and abs(fixed - amax) > 1e-6 * amax:
            x = self.copy(x, "copy")
        self.set_range(x, amax)
        self._fixed[x.handle.name] = amax
        return x

    def read(self, x: TensorrtTensor) -> Any:
        """The ITensor of a float tensor as the layer being lowered reads it."""
        return self.cast(x, self.real).handle

    def copy(self, x: TensorrtTensor, suffix: str) -> TensorrtTensor:
        """The same values as another tensor."""
        return self._added(self.network.add_identity(x.handle), suffix, x.bound, kind=x.kind)


def dims(values: Sequence[int]) -> Any:
    """Lengths as TensorRT's Python API takes them; its type stubs name only its own class."""
    return tuple(int(value) for value in values)
