"""A net's forms in ONNX Runtime, timed against each other: FP32 or INT8, as it is or with channels padded."""

import os
import tempfile
from collections import OrderedDict
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

import numpy as np

from darkprune.backends.channel_padding import Padded
from darkprune.backends.clock import Clock
from darkprune.backends.onnxruntime_ import import_onnx, import_onnxruntime
from darkprune.darknet.pair import write_file
from darkprune.evaluate.advice import MANY, VARIANTS, Advice, Variant, thin_share, timed
from darkprune.evaluate.cost import cost
from darkprune.evaluate.onnx_latency import FileMeasurement
from darkprune.graph.net import Net, heads
from darkprune.quant.quantization import Quantization
from darkprune.quant.ranges import Ranges

CLOCK = Clock(warm=3, duration=0.5)
ROUNDS = 3
LEAST_MACS = 10**7  # of a net that calibration looks at: a pass of fewer takes a fraction of a millisecond anyway
Progress = Callable[[Iterable[Any]], Iterable[Any]]


def advise(
    net: Net,
    ranges: Optional[Ranges],
    threads: Optional[int] = None,
    rounds: int = ROUNDS,
    variants: Sequence[Variant] = VARIANTS,
    progress: Progress = iter,
) -> Advice:
    """Measures the net's forms on this machine, those in INT8 where there are ranges; PLAIN is among `variants`.

    Raises MissingDependency without onnx and onnxruntime; Unsupported for a net that ONNX cannot say; VerifyError where
    ONNX Runtime refuses one.
    """
    import_onnx()
    import_onnxruntime()
    wanted = [variant for variant in variants if ranges is not None or not variant.int8]
    with tempfile.TemporaryDirectory(prefix="darkprune-") as folder:
        files = write_models(net, ranges, wanted, folder)
        found = measure(files, threads, rounds, CLOCK, progress)
    return Advice(timed(found), thin_share(net))


def doubtful(net: Net) -> bool:
    """Whether much of a net that is not tiny is such that INT8 may not pay, and a measurement should tell."""
    return thin_share(net) >= MANY and cost(net).macs >= LEAST_MACS


def write_models(net: Net, ranges: Optional[Ranges], variants: Sequence[Variant], folder: str) -> Dict[Variant, str]:
    """The paths of the ONNX files of the variants, which are written to `folder`."""
    files: Dict[Variant, str] = OrderedDict()
    for variant in variants:
        name = "{}-{}.onnx".format("int8" if variant.int8 else "fp32", variant.pad)
        files[variant] = os.path.join(folder, name)
        lowered = _lowered(net, ranges if variant.int8 else None, variant.pad)
        write_file(files[variant], lowered.model(check=False).SerializeToString())
    return files


def _lowered(net: Net, ranges: Optional[Ranges], pad: int) -> Any:
    """The graph of one variant."""
    from darkprune.backends.onnx_model import folded, lower

    if ranges is None:
        return lower(folded(net), wrap=None if pad == 1 else lambda builder: Padded(builder, pad, heads(net)))
    from darkprune.backends.onnx_int8 import lowering

    return lowering(Quantization(net, ranges), multiple=pad)(None, 1)


def measure(
    files: Dict[Variant, str], threads: Optional[int], rounds: int, clock: Clock, progress: Progress = iter
) -> Dict[Variant, List[float]]:
    """Milliseconds of a pass of each file in each round: the median of a fresh process's passes. The files take turns.

    Raises as FileMeasurement.
    """
    found: Dict[Variant, List[float]] = OrderedDict((variant, []) for variant in files)
    for variant in progress([variant for _ in range(rounds) for variant in files]):
        timing = FileMeasurement(files[variant], threads, clock.as_dict()).in_fresh_process()
        found[variant].append(float(np.median(timing.seconds)) * 1e3)
    return found
