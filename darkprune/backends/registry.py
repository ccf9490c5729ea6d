"""The runners by name."""

from typing import Any, Tuple

from darkprune.darknet.dialect import DEFAULT

RUNNERS: Tuple[str, ...] = ("numpy", "torch", "onnxruntime", "opencv", "darknet")


def open_runner(name: str, cfg: str, weights: str, dialect: str = DEFAULT) -> Any:
    """A runner of the files, not yet opened. Its `dialect` says whose arithmetic it has: its own, or the one asked for
    where it has several.

    Raises KeyError for an unknown name; opening raises MissingDependency where the reader is not installed.
    """
    if name == "opencv":
        from darkprune.backends.opencv_ import OpenCVRunner

        return OpenCVRunner(cfg, weights)
    if name == "darknet":
        from darkprune.backends.darknet_ import DarknetRunner

        return DarknetRunner(cfg, weights)
    if name == "numpy":
        from darkprune.backends.numpy_ import NumpyRunner
        from darkprune.graph.build import load

        return NumpyRunner(load(cfg, weights, dialect))
    if name == "torch":
        from darkprune.backends.torch_ import TorchRunner
        from darkprune.graph.build import load

        return TorchRunner(load(cfg, weights, dialect))
    if name == "onnxruntime":
        from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner
        from darkprune.graph.build import load

        return OnnxRuntimeRunner(load(cfg, weights, dialect))
    raise KeyError(name)
