"""A net in torch, on a GPU where there is one. torch is imported when the runner is opened."""

import contextlib
from typing import Any, Dict, Iterable, Iterator, Optional, Sequence

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.watching import named
from darkprune.errors import MissingDependency, UsageError
from darkprune.graph.net import Net

INSTALL = "pip install torch"


class TorchRunner(Runner):
    """Runs a Net that has values.

    Args:
        net: the net; its dialect's arithmetic is used.
        device: cpu, cuda, cuda:1...; by default CUDA where torch has it, else the CPU.
        channels_last: keeps the channels of a cell side by side in memory; by default on the CPU, where that is faster.
        bfloat16: computes convolutions with 8 bits of precision: faster where the processor has it (AMX), but raw heads
            are off by some hundredths of their largest value.
        threads: of the CPU, for all of torch in this process; None leaves them alone.

    Attributes:
        module: the darkprune.backends.torch_module.NetModule, while open.
    """

    name = "torch"

    def __init__(
        self,
        net: Net,
        device: Optional[str] = None,
        channels_last: Optional[bool] = None,
        bfloat16: bool = False,
        threads: Optional[int] = None,
    ) -> None:
        self.net = net
        self.dialect = net.dialect.name
        self.device = device
        self.channels_last = channels_last
        self.bfloat16 = bfloat16
        self.threads = threads
        self.module: Any = None
        self._torch: Any = None
        self._device: Any = None
        self._format: Any = None

    def open(self) -> None:
        """Copies the arrays to the device.

        Raises MissingDependency where torch cannot be imported, UsageError for a device that it does not have.
        """
        self._torch = torch = import_torch()
        from darkprune.backends.torch_module import NetModule

        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self._device = torch.empty(1, device=device).device
        except (RuntimeError, AssertionError) as error:
            cause = "torch has no device {}: {}".format(device, str(error).splitlines()[0].rstrip("."))
            raise UsageError(cause, hint="use cpu, or install a torch that was built for the device") from error
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        last = self._device.type == "cpu" if self.channels_last is None else self.channels_last
        self._format = torch.channels_last if last else torch.contiguous_format
        self.module = NetModule(self.net).eval().requires_grad_(False).to(self._device)
        for arrays in self.module.parameters():
            if arrays.ndim == 4:
                arrays.data = arrays.data.contiguous(memory_format=self._format)

    def infer(self, batch: np.ndarray, layers: Optional[Iterable[int]] = None) -> Dict[int, np.ndarray]:
        """Outputs by layer index, float32 [N,C,H,W]; all of them, or those of `layers`.

        Raises UsageError for a batch of another shape, and Unsupported for a layer that cannot be run.
        """
        if self.module is None:
            self.open()
        wanted = range(len(self.net.layers)) if layers is None else layers
        with self._settings(self._device.type):
            found = self.module(self._tensor(batch), wanted)
            return {index: _array(y) for index, y in found.items()}

    def named(self, batch: np.ndarray, names: Sequence[str]) -> Dict[str, np.ndarray]:
        """Tensors by their names in darkprune.quant.tensors, float32 [N,C,H,W]: also what activations read.

        Raises KeyError for a name that the net has not, else as `infer`.
        """
        if self.module is None:
            self.open()
        with self._settings(self._device.type):
            found = named(self.module.net, self.module.builder(), self._tensor(batch), names)
            return {name: _array(y) for name, y in found.items()}

    def _tensor(self, batch: np.ndarray) -> Any:
        tensor = self._torch.from_numpy(np.array(batch, np.float32, order="C")).to(self._device)
        return tensor.contiguous(memory_format=self._format) if tensor.ndim == 4 else tensor

    @contextlib.contextmanager
    def _settings(self, device: str) -> Iterator[None]:
        """No gradients; on a GPU whole float32, of which TF32 would drop 13 bits."""
        torch = self._torch
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.bfloat16:
                stack.enter_context(torch.autocast(device, dtype=torch.bfloat16))
            if device == "cuda":
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            yield

    def close(self) -> None:
        """Frees the module; may be called twice."""
        self.module = None


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.float().contiguous().cpu().numpy())


def import_torch() -> Any:
    """The module torch. Raises MissingDependency where it cannot be imported."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries does not load
        raise MissingDependency("torch cannot be imported: {}".format(error), hint=INSTALL) from error
    return torch
