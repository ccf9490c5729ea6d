"""A pair of files opened in one runner, at the input size that is asked for: what all commands use that run a net."""

import os
import tempfile
from typing import Any, Dict, Optional, Union

import numpy as np

from darkprune.backends.registry import (
    INT8_RUNNERS,
    RUNNERS,
    open_int8_runner,
    open_runner,
    require_engine_runner,
    require_int8_runner,
)
from darkprune.darknet.dialect_epsilon import DEFAULT
from darkprune.edit.resize import resize
from darkprune.errors import UsageError
from darkprune.graph.build import load
from darkprune.graph.key import require_finite
from darkprune.graph.net import Net, heads
from darkprune.graph.write import cfg_bytes
from darkprune.quant.ranges import Ranges


class Model(object):
    """A cfg and weights pair in a runner. A context manager: entered open, left closed.

    Args:
        cfg, weights: the paths.
        runner: a name of RUNNERS.
        width, height: another input size than the cfg's; None keeps it.
        dialect: whose arithmetic a runner speaks that has several.
        int8: the Ranges of the pair's tensors, or the path of their file: it runs on 8-bit integers.
        engine: the path of a TensorRT engine that was built from the pair at that size, for the runner tensorrt; None
            builds one when it is entered.

    Attributes:
        net: the Net in the runner's dialect, of the size asked for. runner: the Runner.
        layers: the layers whose outputs `raw_heads` gives (darkprune.graph.net.heads).

    Raises UsageError for an unknown runner or size, what `load` and `resize` raise, and what the runner raises when it
    is opened: MissingDependency where it is not installed, VerifyError where it refuses the pair; CalibrationError for
    ranges that are not the pair's, at that size; EngineError where an engine is not the pair's, or there is no GPU.
    """

    def __init__(
        self,
        cfg: str,
        weights: str,
        runner: str,
        width: Optional[int] = None,
        height: Optional[int] = None,
        dialect: str = DEFAULT,
        int8: Union[None, str, Ranges] = None,
        engine: Optional[str] = None,
    ) -> None:
        if runner not in RUNNERS + INT8_RUNNERS:
            raise UsageError("unknown runner {}".format(runner), hint="use " + ", ".join(RUNNERS))
        require_engine_runner(runner, engine, int8 is not None)
        require_int8_runner(runner, int8 is not None)
        self._folder: Optional[Any] = None
        self.runner: Any = None
        if int8 is None:
            self.runner = open_runner(runner, cfg, weights, dialect, engine)
        net = load(cfg, weights, dialect if int8 is not None else self.runner.dialect)
        require_finite(net)
        self.net: Net = net if width is None and height is None else resize(net, width, height)
        if int8 is not None:
            self.runner = open_int8_runner(runner, self.net, int8)
        elif self.net is not net:
            self._folder = tempfile.TemporaryDirectory(prefix="darkprune-")
            cfg = os.path.join(self._folder.name, os.path.basename(cfg))
            with open(cfg, "wb") as stream:
                stream.write(cfg_bytes(self.net))
            self.runner = open_runner(runner, cfg, weights, dialect, engine)
        self.layers = heads(self.net)

    def raw_heads(self, batch: np.ndarray) -> Dict[int, np.ndarray]:
        """The raw head outputs by layer index, float32 [N,c,h,w], of a batch, float32 [N,C,H,W]."""
        return dict(self.runner.infer(batch, self.layers))

    def close(self) -> None:
        """Frees the runner; may be called twice."""
        self.runner.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> "Model":
        self.runner.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NetModel(object):
    """A net in memory in torch, as what takes a Model wants it: `net`, `raw_heads`, `layers` and `runner`.

    Args:
        net: a Net that has values. device, bfloat16: as those of TorchRunner.

    Raises MissingDependency without torch, UsageError for an unknown device.
    """

    def __init__(self, net: Net, device: Optional[str] = None, bfloat16: bool = False) -> None:
        from darkprune.backends.torch_ import TorchRunner

        self.net, self.layers = net, heads(net)
        self.runner = TorchRunner(net, device=device, bfloat16=bfloat16)
        self.runner.open()

    def raw_heads(self, batch: np.ndarray) -> Dict[int, np.ndarray]:
        """As that of Model."""
        return self.runner.infer(batch, self.layers)
