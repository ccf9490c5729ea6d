"""The runners by name."""

from typing import Any, Optional, Tuple, Union

from darkprune.darknet.dialect_epsilon import DEFAULT
from darkprune.errors import UsageError
from darkprune.graph.net import Net
from darkprune.quant.ranges import Ranges

TENSORRT = "tensorrt"
RUNNERS: Tuple[str, ...] = ("numpy", "torch", "onnxruntime", "opencv", "darknet", TENSORRT)
INT8_RUNNERS: Tuple[str, ...] = ("onnxruntime", "fakequant", TENSORRT)  # of nets on 8-bit integers
OF_INTEGERS = "{} or {}".format(", ".join(INT8_RUNNERS[:-1]), INT8_RUNNERS[-1])  # in messages


def open_runner(name: str, cfg: str, weights: str, dialect: str = DEFAULT, engine: Optional[str] = None) -> Any:
    """A runner of the files, not yet opened. Its `dialect` says whose arithmetic it has: its own, or the one asked for
    where it has several.

    Args: engine: the path of an engine that was built from them, for tensorrt; None builds one when it is opened.

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
    if name == TENSORRT:
        from darkprune.backends.tensorrt_ import TensorrtRunner
        from darkprune.graph.build import load

        return TensorrtRunner(load(cfg, weights, dialect), engine)
    raise KeyError(name)


def require_engine_runner(name: str, engine: Optional[str], int8: bool) -> None:
    """Raises UsageError where an engine is for another runner, or comes with ranges, which are in it already."""
    if engine is not None and name != TENSORRT:
        hint = "use --runner {}, or leave --engine out".format(TENSORRT)
        raise UsageError("the runner {} runs no TensorRT engines".format(name), hint=hint)
    if engine is not None and int8:
        raise UsageError("an engine has its ranges within it", hint="leave --int8 out, or --engine")


def require_int8_runner(name: str, int8: bool) -> None:
    """Raises UsageError where a runner of integers lacks their ranges, or another runner has them."""
    if int8 and name not in INT8_RUNNERS:
        hint = "use --runner {}, or leave --int8 out".format(OF_INTEGERS)
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
    if name == TENSORRT:
        from darkprune.backends.tensorrt_ import TensorrtRunner

        return TensorrtRunner(net, ranges=found)
    from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner, int8_lowering

    return OnnxRuntimeRunner(net, lower=int8_lowering(net, found))
