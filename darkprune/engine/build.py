"""A net built into a TensorRT engine, with its report: the same steps for every version of TensorRT.

    build = Build(net, Request("int8", "tx2"), ranges)
    write("yolov3.engine", build.run(), {"cfg": "yolov3.cfg", "weights": "yolov3.weights", "ranges": "ranges.json"})

Where TensorRT is told the types of all tensors (10, 11, TensorRT-RTX), the net itself says its precision. Where it is
not (8.x), flags allow FP16 and INT8, the layers' own precision binds it, and each tensor has its range.
"""

import copy
import re
import time
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional, Union

from darkprune.backends import tensorrt_api
from darkprune.backends.cuda_buffers import find_gpu
from darkprune.backends.tensorrt_network import Defined, define
from darkprune.darknet.pair import require_writable, write_file
from darkprune.engine import report as reports
from darkprune.engine import targets
from darkprune.engine.inspect import Inspection, inspected
from darkprune.engine.precision import Precision
from darkprune.engine.report import Head, Report
from darkprune.engine.targets import CURRENT, FP16, FP32, INT8, RTX_NAME, TARGETS, Target
from darkprune.engine.validation import (
    Batch,
    require_batch,
    require_precision,
    require_sound,
    width_notices,
    workspace_bytes,
)
from darkprune.errors import Notice, UsageError
from darkprune.graph.key import require_finite
from darkprune.graph.net import Net
from darkprune.quant.quantization import IMPLICIT, TENSORRT, Quantization
from darkprune.quant.ranges import Ranges

PRECISIONS = (FP32, FP16, INT8)
NO_GPU = "there is no GPU here"
_HINT = "an INT8 layer that it cannot do may work in FP16: --keep-float LAYERS; a larger --workspace may help too"
_NO_MEMORY = "too little memory is free: close other programs, add swap space, or build for a smaller batch"

_Request = NamedTuple(
    "_Request",
    [
        ("precision", str),  # of PRECISIONS
        ("target", str),  # of darkprune.engine.targets.NAMES
        ("batch", Batch),  # the least and the most images at once; equal: a static batch
        ("workspace", Optional[int]),  # MiB
        ("keep_float", Optional[List[int]]),  # fp16: these stay fp32; int8: these are not int8; None: the default
        ("half", bool),  # int8: whether the float layers are fp16
        ("strict", bool),  # a precision that the target has no units for is an error
    ],
)


class Request(_Request):
    """What is asked for."""

    __slots__ = ()

    def __new__(
        cls,
        precision: str = FP32,
        target: str = CURRENT,
        batch: Batch = (1, 1),
        workspace: Optional[int] = None,
        keep_float: Optional[List[int]] = None,
        half: bool = True,
        strict: bool = False,
    ) -> "Request":
        return super(Request, cls).__new__(cls, precision, target, batch, workspace, keep_float, half, strict)


Built = NamedTuple(
    "Built",
    [
        ("plan", Any),  # the serialized engine: a buffer
        ("report", Report),  # without the files' names and hashes, which `write` adds
        ("notices", List[Notice]),
    ],
)


class Build(object):
    """An engine that can be built, as far as can be told without TensorRT's own checks.

    Args:
        net: with values, of the input size that counts. ranges: for int8, its own.
        api: darkprune.backends.tensorrt_api.Api; by default the one that serves the target.

    Attributes:
        api, target, precision: what is used. notices: what a user should know before.

    Raises UsageError for a request that makes no sense or, if it is strict, that the target has no units for;
    CalibrationError for ranges that are not the pair's, or make no scale; Unsupported for a net that cannot be an
    engine; MissingDependency where there is no TensorRT.
    """

    def __init__(self, net: Net, request: Request, ranges: Optional[Ranges] = None, api: Any = None) -> None:
        self.net, self.request, self.ranges = net, request, ranges
        has_ranges, keeps = ranges is not None, request.keep_float is not None
        require_precision(PRECISIONS, request.precision, has_ranges, keeps)
        if request.target not in targets.NAMES:
            raise UsageError("unknown target {}".format(request.target), hint="use " + ", ".join(targets.NAMES))
        require_batch(net, request.batch)
        if request.target in TARGETS:
            self._require_units(TARGETS[request.target])
        require_finite(net)
        self.api = api or tensorrt_api.load("tensorrt_rtx" if request.target == "rtx" else None)
        self.api.log.clear()  # of what went wrong in an earlier build
        self.gpu = find_gpu()
        self.builder = tensorrt_api.created(self.api, self.api.trt.Builder)
        self.target = self._target()
        self.notices: List[Notice] = self._notices()
        self.precision = self._precision()
        quantization = self.precision.quantization
        self._net = net if quantization is None else quantization.net
        require_sound(net, quantization)
        self.notices += width_notices(net, quantization)
        self.workspace = workspace_bytes(net, request.batch, request.workspace, self.target)

    def _precision(self) -> Precision:
        request, kept = self.request, self.request.keep_float
        if self.ranges is None:
            return Precision(request.precision, kept or ())
        ranges = self.ranges
        if kept is not None:
            ranges = copy.copy(ranges)
            ranges.keep_float = list(kept)
        scheme = TENSORRT if self.api.strong else IMPLICIT
        return Precision(INT8, (), Quantization(self.net, ranges, scheme), request.half)

    def _target(self) -> Target:
        name = self.request.target
        if name != CURRENT:
            return TARGETS[name]
        if self.api.name == RTX_NAME and self.gpu is None:
            return TARGETS["rtx"]
        fast = [getattr(self.builder, "platform_has_fast_" + kind, None) for kind in (FP16, INT8)]
        return targets.current(self.gpu, *fast)

    def _require_units(self, target: Target) -> Optional[str]:
        """The sentence on units that the target lacks; UsageError where the request is strict."""
        cause = targets.without_units(target, self.request.precision)
        if cause is not None and self.request.strict:
            runs = targets.native(target, self.request.precision)
            raise UsageError(cause, hint="use --precision {}, or leave --strict out".format(runs))
        return cause

    def _notices(self) -> List[Notice]:
        found = []
        cause = self._require_units(self.target)
        if cause is not None:
            found.append(Notice(cause))
        if self.request.target == CURRENT and self.api.name == RTX_NAME and self.gpu is None:
            cause = "there is only {} here: the engine is for GeForce and RTX GPUs (compute capability 8.0 and "
            cause += "newer), and runs in nothing else"
            found.append(Notice(cause.format(self.api.title)))
        elif self.gpu is None and self.api.name != RTX_NAME:
            found += targets.assumed(self.target, getattr(self.builder, "platform_has_fast_int8", None))
        return found

    def run(self) -> Built:
        """Builds it. Raises EngineError where TensorRT fails, or cannot build for the target."""
        targets.require_buildable(self.target, self.api, self.gpu)
        start = time.time()
        network = self.api.network(self.builder)
        defined = define(self.api, network, self._net, self.precision, _batch(self.request.batch))
        config = self._config(defined)
        plan = self.builder.build_serialized_network(network, config)
        plan = self.api.required(plan, "build the engine", _NO_MEMORY if self._lacked_memory() else _HINT)
        seconds = time.time() - start
        del network, config, defined.keep[:]  # loading it takes memory too, of which boards have little
        alone = self.api.name == RTX_NAME and self.gpu is None
        inspection = Inspection({}, NO_GPU) if alone else inspected(self.api, plan)
        return Built(plan, self._report(defined, plan, seconds, inspection), self.notices)

    def _lacked_memory(self) -> bool:
        """Whether that is what TensorRT said."""
        return re.search("out ?of ?memory|bad_alloc", " ".join(self.api.log.errors[-3:]), re.IGNORECASE) is not None

    def _config(self, defined: Defined) -> Any:
        trt = self.api.trt
        config = self.api.required(self.builder.create_builder_config(), "configure the builder")
        if hasattr(config, "set_memory_pool_limit"):
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.workspace)
        else:
            config.max_workspace_size = self.workspace
        if hasattr(trt.BuilderFlag, "TF32"):
            config.clear_flag(trt.BuilderFlag.TF32)  # which drops 13 bits of a float32
        for flag in self.precision.flags(self.api):
            config.set_flag(flag)
        if hasattr(getattr(trt, "ProfilingVerbosity", None), "DETAILED"):  # since 8.2
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the types, for the inspector
        if self.target.name == CURRENT and hasattr(config, "set_compute_capability"):
            config.num_compute_capabilities = 1
            config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
        least, most = self.request.batch
        if least != most:
            self._add_profile(config, defined, least, most)
        return config

    def _add_profile(self, config: Any, defined: Defined, least: int, most: int) -> None:
        """The lengths that the batch may have; tuned for the longest."""
        profile, shape = self.builder.create_optimization_profile(), self.net.input.shape
        image = (shape.c, shape.h, shape.w)
        for name in defined.inputs:
            profile.set_shape(name, (least,) + image, (most,) + image, (most,) + image)
        added = config.add_optimization_profile(profile)
        self.api.required(None if added < 0 else added, "take a batch of {} to {} images".format(least, most))

    def _report(self, defined: Defined, plan: Any, seconds: float, inspection: Inspection) -> Report:
        net, request = self.net, self.request
        heads = [Head(i, name, reports.image_shape(net, i)) for i, name in sorted(defined.outputs.items())]
        stretch = None if self.ranges is None else self.ranges.preprocessing
        fields: Dict[str, Any] = OrderedDict(format=reports.FORMAT)
        fields["engine"] = OrderedDict(bytes=memoryview(plan).nbytes)
        fields["inputs"] = OrderedDict()
        fields.update(reports.described(net, request.batch, heads, stretch))
        fields["precision"] = OrderedDict(
            [("requested", request.precision), ("native", targets.native(self.target, request.precision))]
        )
        quantization = self.precision.quantization
        kept = self.precision.keep_float if quantization is None else quantization.ranges.keep_float
        fields["precision"].update(half=self.precision.half, keep_float=sorted(kept))
        fields["target"] = OrderedDict((key, value) for key, value in self.target._asdict().items())
        fields["gpu"] = None if self.gpu is None else OrderedDict(self.gpu._asdict())
        mode = "types in the network" if self.api.strong else "flags and ranges"
        fields["tensorrt"] = OrderedDict(
            [("name", self.api.name), ("version", self.api.version), ("precision_by", mode)]
        )
        fields["inspected"] = inspection.reason is None
        fields["not_inspected"] = inspection.reason
        fields["seconds"] = round(seconds, 2)
        fields["workspace_mib"] = self.workspace >> 20
        fields["weights_bytes"] = net.weights_bytes()
        fields["int8"] = None
        if self.ranges is not None:
            method = OrderedDict([("method", self.ranges.method), ("images", self.ranges.images)])
            fields["int8"] = OrderedDict(method, images_sha256=self.ranges.images_sha256)
        fields["layers"] = [self._layer(defined, inspection, layer) for layer in net.layers]
        shown = [(name, OrderedDict([("shape", list(s)), ("amax", a)])) for name, (s, a) in defined.tensors.items()]
        fields["tensors"] = OrderedDict(shown)
        fields["warnings"] = [str(notice) for notice in self.notices]
        return Report(fields)

    def _layer(self, defined: Defined, inspection: Inspection, layer: Any) -> Dict[str, Any]:
        """A row: what was asked for, what the target has units for, and what TensorRT made of it, if that is known."""
        row = OrderedDict([("layer", layer.index), ("type", layer.type)])
        requested, names = defined.layers[layer.index]
        row["requested"] = requested if names else None  # a head, or a dropout, computes nothing
        row["native"] = targets.native(self.target, requested) if names else None
        row["built"] = inspection.layers.get(layer.index)
        row["tensorrt"] = list(names)
        return row


def _batch(batch: Batch) -> Union[int, Batch]:
    return batch[0] if batch[0] == batch[1] else batch


def write(path: str, built: Built, sources: Dict[str, str], overwrite: bool = False) -> List[str]:
    """Writes the engine and its report; returns their paths. Raises OutputError.

    Args: sources: what it was built from, "cfg", "weights" and "ranges" -> path; named in the report with their
        hashes, and never overwritten.

    The report holds the engine's hash, so that one which was left over from an earlier engine is told from its own.
    """
    inputs, beside, fields = list(sources.values()), reports.path_of(path), built.report.fields
    require_writable(beside, inputs + [path], overwrite)
    write_file(path, [memoryview(built.plan)], inputs, overwrite)
    fields["inputs"] = OrderedDict((kind, reports.file_entry(source)) for kind, source in sources.items())
    fields["engine"] = reports.file_entry(path, fields["engine"]["bytes"])
    built.report.path = beside
    write_file(beside, built.report.to_bytes(), inputs + [path], overwrite)
    return [path, beside]
