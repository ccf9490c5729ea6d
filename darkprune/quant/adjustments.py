"""A calibrated net made to lose less: equalised, its roundings learned, its biases corrected, in this order.

Ranges are measured behind the equalisation, whose factors change them; the rest leaves them as they are.
"""

import importlib.util
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence

import numpy as np

from darkprune.backends.base import Runner
from darkprune.backends.forward import Progress
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.registry import open_int8_runner
from darkprune.graph.net import Net
from darkprune.quant import auto_keep, bias_correction, equalize, learned_rounding, sqnr
from darkprune.quant.calibrate import Measure, prepared, ranges_of
from darkprune.quant.histogram import Histogram
from darkprune.quant.quantization import Quantization
from darkprune.quant.quantization import prepared as prepared_net
from darkprune.quant.range_methods import Method
from darkprune.quant.ranges import Adjustments, Ranges

AT_ONCE = 8  # images in a chunk
FEW = 32  # images that choices are made on, and corrections learned from: spread over all
Open = Callable[[Net], Runner]  # a runner of a net, not yet opened

Wanted = NamedTuple(
    "Wanted",
    [
        ("equalize", bool),
        ("strengths", Optional[Sequence[float]]),  # to choose from; None for those of equalize
        ("bias", bool),
        ("rounding", bool),  # learned, and the bias corrected with it
        ("keep", Optional[float]),  # dB at the heads, for which layers stay float
    ],
)

Choice = NamedTuple(
    "Choice",
    [
        ("strength", float),
        ("heads", Dict[float, float]),  # dB by strength
    ],
)


def batches(net: Net, images: Sequence[str], preprocessing: str) -> List[np.ndarray]:
    """The images as the net takes them, float32 [n,C,H,W]."""
    parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
    return [np.stack([prepared(path, net, preprocessing) for path in part]) for part in parts]


def with_factors(factors: Dict[int, np.ndarray]) -> Adjustments:
    """Adjustments of nothing else."""
    found = Adjustments()
    found.factors.update(factors)
    return found


def measured(
    net: Net, adjustments: Adjustments, images: Sequence[str], preprocessing: str, open_runner: Open
) -> Dict[str, Histogram]:
    """The histograms of the net's tensors behind the equalisation."""
    made = prepared_net(net, adjustments)
    with open_runner(made) as runner:
        measure = Measure(runner, made, images, preprocessing)
        for _ in measure:
            pass
    return measure.histograms


def equalized(
    ranges: Ranges,
    net: Net,
    images: Sequence[str],
    method: Method,
    open_runner: Open,
    strengths: Optional[Sequence[float]] = None,
    open_int8: Optional[Callable[[Net, Ranges], Runner]] = None,
    few: Optional[Sequence[str]] = None,
) -> Choice:
    """Gives `ranges` the factors of the strength that keeps most of the heads' signal on these images, and the ranges
    of the tensors behind them.

    Args:
        ranges: calibrated, with the layers that stay float.
        strengths: those to choose from, by default darkprune.quant.equalize.STRENGTHS.
        open_int8: a runner of a net and its ranges on integers, not yet opened; by default the fakequant one.
        few: the images whose signal counts, by default all.
    """
    strengths = equalize.STRENGTHS if strengths is None else strengths
    held = batches(net, few or images, ranges.preprocessing)
    with open_runner(net) as real:
        maxima = equalize.channel_maxima(net, real, held)
    found: Dict[float, float] = {}
    best = None
    for strength in strengths:
        tried = copy_of(ranges)
        if strength:
            tried.adjustments = with_factors(equalize.factors(net, maxima, strength))
            histograms = measured(net, tried.adjustments, images, ranges.preprocessing, open_runner)
            tried.tensors = ranges_of(net, histograms, method)
        if len(strengths) > 1:
            with open_runner(net) as real, (open_int8 or int8_opener("numpy"))(net, tried) as rounded:
                found[strength] = sqnr.of_heads(net, real, rounded, held)
        if best is None or found[strength] > found[best[0]]:
            best = (strength, tried)
    assert best is not None
    ranges.adjustments, ranges.tensors = best[1].adjustments, best[1].tensors
    return Choice(best[0], found)


def opener(runner: str) -> Open:
    """Opens nets in a runner of that name, in numpy where the runner takes only files."""

    def open_runner(net: Net) -> Runner:
        if runner == "onnxruntime":
            from darkprune.backends.onnxruntime_ import OnnxRuntimeRunner

            return OnnxRuntimeRunner(net)
        if runner == "torch":
            from darkprune.backends.torch_ import TorchRunner

            return TorchRunner(net)
        return NumpyRunner(net)

    return open_runner


def int8_opener(runner: str) -> Callable[[Net, Ranges], Runner]:
    """Opens nets on integers: in ONNX Runtime where `runner` is that, else in numpy."""

    def open_runner(net: Net, ranges: Ranges) -> Runner:
        opened: Runner = open_int8_runner("onnxruntime" if runner == "onnxruntime" else "fakequant", net, ranges)
        return opened

    return open_runner


def copy_of(ranges: Ranges) -> Ranges:
    """Ranges that can be changed without touching the others."""
    twin = Ranges.__new__(Ranges)
    twin.__dict__.update(ranges.__dict__)
    return twin


def correct_bias(
    ranges: Ranges, net: Net, images: Iterable[np.ndarray], runner: str = "numpy", progress: Progress = iter
) -> None:
    """Gives `ranges` the bias corrections; what it had of them is built upon. Args as of `bias_correction.correct`."""
    changes = bias_correction.correct(Quantization(net, ranges), images, runner, progress)
    _change(ranges, biases=bias_correction.added(ranges.adjustments.biases, changes))


def learn_rounding(
    ranges: Ranges, net: Net, images: Iterable[np.ndarray], runner: str = "numpy", progress: Progress = iter
) -> None:
    """Gives `ranges` a learned rounding, and the bias corrections that belong to it."""
    learned, changes = learned_rounding.learn(Quantization(net, ranges), images, runner, progress)
    _change(ranges, biases=bias_correction.added(ranges.adjustments.biases, changes), rounding=learned)


def _change(ranges: Ranges, **changed: dict) -> None:
    """New adjustments in place of those that may be another's too."""
    made = Adjustments()
    for name in Adjustments.__slots__:
        getattr(made, name).update(changed.get(name, getattr(ranges.adjustments, name)))
    ranges.adjustments = made


def improve(
    ranges: Ranges, net: Net, images: Sequence[str], method: Method, wanted: Wanted, runner: str, progress: Progress
) -> List[str]:
    """Does to calibrated ranges what is wanted; says what was done, a line each.

    Args:
        images: those of the calibration. runner: what ran them.

    Raises what the passes over the images raise; CalibrationError where auto_keep cannot reach its aim.
    """
    said, torch = [], "torch" if runner in ("torch", "onnxruntime") and has_torch() else "numpy"
    few = images[:: max(1, len(images) // FEW)]
    if wanted.equalize:
        choice = equalized(ranges, net, images, method, opener(runner), wanted.strengths, int8_opener(runner), few)
        layers = len(ranges.adjustments.factors)
        said.append("{} layers equalised, with strength {:g}".format(layers, choice.strength))
    if wanted.keep is not None:
        kept = leave_float(ranges, net, batches(net, few, ranges.preprocessing), wanted.keep, runner, progress)
        said.append("float: layers {} ({:.1f} dB at the heads)".format(", ".join(map(str, kept.layers)), kept.heads))
    if wanted.rounding:
        learn_rounding(ranges, net, batches(net, few, ranges.preprocessing), torch, progress)
        said.append("rounding of {} layers learned".format(len(ranges.adjustments.rounding)))
    elif wanted.bias:
        correct_bias(ranges, net, batches(net, few, ranges.preprocessing), torch, progress)
    if wanted.bias or wanted.rounding:
        said.append("biases of {} layers corrected".format(len(ranges.adjustments.biases)))
    return said


def leave_float(
    ranges: Ranges, net: Net, held: List[np.ndarray], aim: float, runner: str, progress: Progress
) -> auto_keep.Kept:
    """Gives `ranges` the fewest layers to leave float with which the heads keep `aim` dB on these batches.

    Raises CalibrationError where that cannot be reached.
    """
    with opener(runner)(net) as real:

        def rate(layers: List[int]) -> float:
            tried = copy_of(ranges)
            tried.keep_float = list(layers)
            with int8_opener(runner)(net, tried) as rounded:
                return sqnr.of_heads(net, real, rounded, held)

        found = auto_keep.auto_keep(net, ranges.keep_float, aim, rate, progress)
    ranges.keep_float = found.layers
    return found


def has_torch() -> bool:
    """Whether torch is installed."""
    return importlib.util.find_spec("torch") is not None
