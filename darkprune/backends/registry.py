"""The runners by name."""

from typing import Any, Tuple, Union

from darkprune.darknet.dialect import DEFAULT
from darkprune.errors import UsageError
from darkprune.graph.net import Net
from darkprune.quant.ranges import Ranges

RUNNERS: Tuple[str, ...] = ("numpy", "torch", "onnxruntime", "opencv", "darknet")
INT8_RUNNERS: Tuple[str, ...] = ("onnxruntime", "fakequant")  # of nets on 8-bit integers


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


def require_int8_runner(name: str, int8: bool) -> None:
    """Raises UsageError where a runner of integers lacks their ranges, or another runner has them."""
    if int8 and name not in INT8_RUNNERS:
        hint = "use --runner {}, or leave --int8 out".format(" or ".join(INT8_RUNNERS))
        raise UsageError("the runner {} does not run nets on 8-bit integers".format(name), hint=hint)
    if not int8 and name in INT8_RUNNERS and name not in RUNNERS:
        hint = "give them with --int8 RANGES (darkprune calibrate)"
        raise UsageError("the runner {} needs the ranges of the net's tensors".format(name), hint=hint)


def open_int8_runner(name: str, net: Net, ranges: Union[str, Ranges]) -> Any:
    """A runner of INT8_RUNNERS, not yet opened, of a net that has values.

    Args: ranges: of its tensors, or the path of their file.

    Raises UsageError for another runner, CalibrationError where the ranges are not the net's.
    """
    require_int8_runner(name, True)
    found = ranges if isinstance(ranges, Ranges) else Ranges.read(ranges)
    if name == "fakequant":
        from darkprune.backends.fakequant_ import FakequantRunner

        return FakequantRunner(net, found)
    from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner, int8_lowering

    return OnnxRuntimeRunner(net, lower=int8_lowering(net, found))
