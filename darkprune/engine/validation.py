"""What is checked of an engine before TensorRT sees it, which takes more than it should (a scale of 0 builds) and says
of the rest only that something failed."""

from typing import List, Optional, Sequence, Tuple

import numpy as np

from darkprune.engine.targets import Target
from darkprune.errors import CalibrationError, Notice, Unsupported, UsageError
from darkprune.graph.net import Net
from darkprune.quant.quantization import Quantization
from darkprune.quant.tensors import output_name

MIB = 1 << 20
WORKSPACE = 1024  # MiB; a quarter of the target's memory where that is less
MOST_WORKSPACE = 1 << 30  # a petabyte; TensorRT counts bytes in 64 bits
MOST_IMAGES = 4096
MOST_VALUES = 2**31 - 1  # of one tensor: NvInfer.h, "Dims"
VECTOR = 4  # int8 kernels take channels by fours (NC/4HW4) and 32s (NC/32HW32)
_TINY = float(np.finfo(np.float32).tiny)  # below it 1 / scale overflows, and GPUs flush to 0

Batch = Tuple[int, int]  # the least and the most images at once


def require_batch(net: Net, batch: Batch) -> None:
    """Raises UsageError for a batch that makes no sense, Unsupported where a tensor is too large for TensorRT."""
    least, most = batch
    if not 1 <= least <= most <= MOST_IMAGES:
        cause = "a batch of {} to {} images makes no sense".format(least, most)
        raise UsageError(cause, hint="use 1 to {}, the smaller number first".format(MOST_IMAGES))
    if not net.input.shape.c:
        cause = "the net takes {} flat values; only nets that take images become engines".format(
            net.input.shape.outputs
        )
        raise Unsupported(cause, net.config.place(), "images need a net with a width and height")
    for layer in net.layers:
        if layer.shape.outputs * most > MOST_VALUES:
            cause = "layer {} puts out {} values for {} images, TensorRT takes at most {} in a tensor"
            cause = cause.format(layer.index, layer.shape.outputs * most, most, MOST_VALUES)
            raise Unsupported(cause, layer.place(), "use a smaller batch or input size")


def workspace_bytes(net: Net, batch: Batch, workspace: Optional[int], target: Target) -> int:
    """How much memory TensorRT may take for a layer's scratch.

    Args: workspace: MiB, as asked for; None: WORKSPACE, or less on a small board.

    Raises UsageError for a number that makes no sense, or where the target has less memory than that together with the
    weights and the largest two maps.
    """
    if workspace is not None and not 1 <= workspace <= MOST_WORKSPACE:
        cause = "--workspace {} is no number of MiB".format(workspace)
        raise UsageError(cause, hint="use 16 or more, of what the GPU has")
    if target.memory is None:
        return (WORKSPACE if workspace is None else workspace) * MIB
    needed = -(-_resident(net, batch) // MIB)
    if workspace is None:
        workspace = min(WORKSPACE, target.memory // 4)
    if workspace + needed > target.memory:
        cause = "{} has {} MiB, less than {} of workspace and {} for the weights and the largest maps"
        hint = "use a smaller --workspace, --batch or input size"
        raise UsageError(cause.format(target.title, target.memory, workspace, needed), hint=hint)
    return workspace * MIB


def _resident(net: Net, batch: Batch) -> int:
    """Bytes of the weights, and of the maps around the widest layer, in float32."""
    weights = sum(int(np.prod(param.shape)) for layer in net.layers for param in layer.params.values())
    most = 0
    for layer in net.layers:
        read = sum(source.shape.outputs for source in layer.inputs)
        most = max(most, batch[1] * (layer.shape.outputs + read))
    return 4 * (weights + most)


def require_scales(quantization: Quantization) -> None:
    """Raises CalibrationError where a scale of the net's integers is not positive, finite and a normal float32."""
    net, policy = quantization.net, quantization.policy
    names = [output_name(layer) for layer in net.layers if layer.index in policy.rounded]
    for name in names:
        found = quantization.tensor(name)
        if found is not None and not _is_sound(found.scale):
            cause = "the scale of {} is {:g}, of which there is no inverse".format(name, found.scale)
            raise CalibrationError(cause, quantization.ranges.where, "calibrate again")
    for layer in net.layers:
        if layer.index not in policy.int8 or "weights" not in layer.params:
            continue
        weights = np.asarray(layer.array("weights"), np.float32)
        scales = quantization.scales(layer, weights.reshape((len(weights), -1)))
        bad = [k for k, scale in enumerate(scales) if not _is_sound(float(scale))]
        if bad:
            cause = "the weights of filter {} in layer {}, batch norm folded, have the scale {:g}"
            cause = cause.format(bad[0], layer.index, float(scales[bad[0]]))
            hint = "prune that filter, or leave the layer float: --keep-float first-and-heads,{}".format(layer.index)
            raise CalibrationError(cause, layer.place(), hint)


def _is_sound(scale: float) -> bool:
    return _TINY <= scale < float("inf")


def require_sound(net: Net, quantization: Optional[Quantization]) -> None:
    """Raises GraphError where an array does not fit its layer's width, CalibrationError for scales that are not sound.

    The ranges were required to be the pair's when the Quantization was made.
    """
    net.check()
    if quantization is not None:
        require_scales(quantization)


def width_notices(net: Net, quantization: Optional[Quantization]) -> List[Notice]:
    """Says where channels do not fill the vectors of int8 kernels, or no layer is int8; no error, only speed."""
    if quantization is None:
        return []
    wide = [net.layers[i] for i in sorted(quantization.policy.int8) if net.layers[i].params]
    if not wide:
        hint = "name fewer layers with --keep-float, or use --precision fp16"
        return [Notice("no layer with weights is INT8, as all are kept float", hint=hint)]
    odd = [layer for layer in wide if layer.shape.c % VECTOR]
    if not odd:
        return []
    cause = "{} of {} int8 layers have a number of channels that is no multiple of {} (layer {} has {}), which int8 "
    cause += "kernels pad"
    cause = cause.format(len(odd), len(wide), VECTOR, odd[0].index, odd[0].shape.c)
    return [Notice(cause, odd[0].place(), hint="prune with --round 8, 16 or 32")]


def require_precision(names: Sequence[str], precision: str, has_ranges: bool, keep_float: bool) -> None:
    """Raises UsageError where options contradict each other."""
    if precision not in names:
        raise UsageError("unknown precision {}".format(precision), hint="use " + ", ".join(names))
    if precision == "int8" and not has_ranges:
        cause = "--precision int8 needs the ranges of the net's tensors"
        raise UsageError(cause, hint="make them with darkprune calibrate, and give --ranges FILE")
    if precision != "int8" and has_ranges:
        raise UsageError("--ranges is for --precision int8", hint="give --precision int8, or leave the ranges out")
    if precision == "fp32" and keep_float:
        raise UsageError("--keep-float is for fp16 and int8", hint="leave it out: every layer is float32")
