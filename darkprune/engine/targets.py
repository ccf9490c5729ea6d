"""The GPUs that an engine can be meant for, and what they run natively.

A plan is bound to its GPU and to the version of TensorRT that built it, so a target says what is checked and warned
of; the engine itself is built on the machine that runs it. TensorRT-RTX alone builds for GPUs that are not there.

Compute capabilities: developer.nvidia.com/cuda-gpus. Which of them have FP16 and INT8: NVIDIA's support matrix
("Hardware and Precision"), and mathworks.com gpucoder/ref/datatypetensorrt.html, which says of INT8: "6.1, 7.0 or
higher. Compute capability 6.2 does not support INT8".
"""

from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from darkprune.backends.cuda_buffers import GPU
from darkprune.errors import EngineError, Notice

FP32, FP16, INT8 = "fp32", "fp16", "int8"
RTX_NAME = "tensorrt_rtx"
CURRENT = "current"

# DP4A came with 6.1; the boards' Pascals and the P100 lack it, whatever a comparison with 6.1 says.
NO_INT8 = ((5, 3), (6, 0), (6, 2))
FAST_FP16_BELOW_7 = ((5, 3), (6, 0), (6, 2))  # the desktop's Pascals have it at 1/64 of the speed

Target = NamedTuple(
    "Target",
    [
        ("name", str),
        ("title", str),  # in messages
        ("capability", Optional[Tuple[int, int]]),  # None: several
        ("memory", Optional[int]),  # MiB that CPU and GPU share, of the smallest board of that name; None: unknown
        ("fp16", bool),  # has units for it
        ("int8", bool),
        ("software", str),  # where its TensorRT comes from
    ],
)

TARGETS: Dict[str, Target] = OrderedDict(
    (target.name, target)
    for target in (
        # JetPack 4.6.1 and later 4.6.x: developer.nvidia.com/jetpack-sdk-461. There is also a TX2 with 4 GB.
        Target("tx2", "Jetson TX2", (6, 2), 8192, True, False, "JetPack 4.6.x with TensorRT 8.2"),
        Target("nano", "Jetson Nano", (5, 3), 4096, True, False, "JetPack 4.6.x with TensorRT 8.2"),
        # Xavier NX has 8 GB, AGX Xavier 16 and more
        Target("xavier", "Jetson Xavier", (7, 2), 8192, True, True, "JetPack 5 with TensorRT 8.4 or 8.5"),
        # Orin Nano has 4 GB, AGX Orin up to 64
        Target("orin", "Jetson Orin", (8, 7), 4096, True, True, "JetPack 5 or 6 with TensorRT 8.4 to 10.3"),
        Target("rtx", "GeForce or RTX GPU", None, None, True, True, "pip install tensorrt_rtx_cu12_bindings"),
    )
)
NAMES = list(TARGETS) + [CURRENT]


def has_int8(capability: Tuple[int, int]) -> bool:
    """Whether a GPU computes on 8-bit integers."""
    return capability >= (6, 1) and capability not in NO_INT8


def has_fp16(capability: Tuple[int, int]) -> bool:
    """Whether a GPU computes on halves faster than on float32."""
    return capability >= (7, 0) or capability in FAST_FP16_BELOW_7


def native(target: Target, precision: str) -> str:
    """What a layer of that precision runs in there: integers fall back to halves, those to float32."""
    if precision == INT8 and not target.int8:
        precision = FP16
    return FP32 if precision == FP16 and not target.fp16 else precision


def current(gpu: Optional[GPU], fast_fp16: Optional[bool], fast_int8: Optional[bool]) -> Target:
    """The GPU of this machine as a target.

    Args:
        gpu: None where there is none, or nothing tells.
        fast_fp16, fast_int8: what TensorRT says of it (platform_has_fast_...); None where its version cannot tell.
    """
    if gpu is None:
        name, capability, memory = "the GPU of this machine", None, None
    else:
        name, capability, memory = gpu.name, gpu.capability, gpu.memory
    fp16 = fast_fp16 if fast_fp16 is not None else capability is None or has_fp16(capability)
    int8 = fast_int8 if fast_int8 is not None else True
    if capability is not None:
        int8 = int8 and has_int8(capability)
    return Target(CURRENT, name, capability, memory, fp16, int8, "")


def assumed(target: Target, fast_int8: Optional[bool]) -> List[Notice]:
    """What is taken for granted where nothing tells which GPU this machine has."""
    if target.name in TARGETS:
        cause = "nothing tells whether this machine is a {}: the engine runs only on a machine like this one"
        return [Notice(cause.format(target.title), hint="pycuda tells")]
    if fast_int8 is not None:
        return []
    hint = "name it with --target, or install pycuda"
    return [Notice("nothing tells which GPU this machine has: one with FP16 and INT8 units is assumed", hint=hint)]


def require_buildable(target: Target, api: Any, gpu: Optional[GPU]) -> None:
    """Raises EngineError where the TensorRT at hand, a darkprune.backends.tensorrt_api.Api, builds none for the target.

    An RTX GPU is served by TensorRT-RTX, a board by the TensorRT that it comes with.
    """
    if target.name not in TARGETS or target.name == "rtx" and api.name == RTX_NAME:
        return
    there = "run the same command on the {}, which has {}".format(target.title, target.software)
    bound = "an engine runs only on the GPU, and in the TensorRT, that it was built with"
    if api.name == RTX_NAME or api.strong and not has_modern_gpu(target):
        cause = "{} builds no engine for a {}: {}"
        raise EngineError(cause.format(api.title, target.title, bound), hint=there)
    if gpu is not None and target.capability is not None and gpu.capability != target.capability:
        cause = "the GPU of this machine ({}, compute capability {}.{}) is no {}: {}"
        cause = cause.format(gpu.name, gpu.capability[0], gpu.capability[1], target.title, bound)
        raise EngineError(cause, hint=there)


def has_modern_gpu(target: Target) -> bool:
    """Whether TensorRT 10 and later run there, which need 7.2 on Jetsons and 7.5 elsewhere."""
    return target.capability is None or target.capability >= (7, 2)


def without_units(target: Target, precision: str) -> Optional[str]:
    """One sentence where the target lacks the units for that precision; None where it has them."""
    runs = native(target, precision)
    if runs == precision:
        return None
    which = target.title
    if target.capability is not None:
        which += " (compute capability {}.{})".format(*target.capability)
    cause = "{} has no {} units: this engine's {} layers run in {} there, so that it is no faster than --precision {}"
    return cause.format(which, precision.upper(), precision.upper(), runs.upper(), runs)
