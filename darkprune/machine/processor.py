"""What the processor lacks."""

import platform
from typing import List

from darkprune.errors import Notice

CPUINFO = "/proc/cpuinfo"
EXACT = frozenset(["avx512_vnni", "avx_vnni", "amx_int8"])  # flags of instructions that add up products in 32 bits


def saturation_notices(path: str = CPUINFO) -> List[Notice]:
    """A notice where ONNX Runtime, on an x86 processor without VNNI, clips sums of two products at 16 bits."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    try:
        with open(path) as stream:
            flags = [line.partition(":")[2].split() for line in stream if line.startswith("flags")]
    except (IOError, OSError):
        return []  # nobody knows
    if not flags or EXACT.intersection(flags[0]):
        return []
    cause = "this processor has no VNNI: ONNX Runtime clips sums of INT8 models, and their results are less exact"
    cure = 'set session.x64quantprecision to "1" in its options, as the runner onnxruntime does; that is slower'
    return [Notice(cause, hint=cure)]
