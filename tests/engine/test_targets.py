"""What each target runs natively, and which TensorRT can build for it."""

from collections import namedtuple

import pytest

from darkprune.backends.cuda_buffers import GPU
from darkprune.engine import targets
from darkprune.engine.targets import FP16, FP32, INT8, TARGETS
from darkprune.errors import EngineError

Api = namedtuple("Api", ["name", "title", "strong"])
WEAK = Api("tensorrt", "TensorRT 8.2.1", False)
STRONG = Api("tensorrt", "TensorRT 10.3.0", True)
RTX = Api("tensorrt_rtx", "TensorRT-RTX 1.7", True)
TX2 = GPU("NVIDIA Tegra X2", (6, 2), 7860)
DESKTOP = GPU("GeForce RTX 3060", (8, 6), 12045)
BOUND = "an engine runs only on the GPU, and in the TensorRT, that it was built with"


def test_which_gpus_have_units_for_int8():
    """6.2, the TX2, is above 6.1 and has none (NVIDIA's support matrix; dusty-nv/jetson-inference#111)."""
    have = [c for c in ((5, 3), (6, 0), (6, 1), (6, 2), (7, 0), (7, 2), (7, 5), (8, 7)) if targets.has_int8(c)]
    assert have == [(6, 1), (7, 0), (7, 2), (7, 5), (8, 7)]
    assert [t.name for t in TARGETS.values() if not t.int8] == ["tx2", "nano"]
    for target in TARGETS.values():
        if target.capability is not None:
            assert target.int8 == targets.has_int8(target.capability)
            assert target.fp16 == targets.has_fp16(target.capability)


def test_which_gpus_are_faster_at_halves():
    assert [c for c in ((5, 2), (5, 3), (6, 1), (6, 2), (7, 0)) if targets.has_fp16(c)] == [(5, 3), (6, 2), (7, 0)]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("tx2", (FP32, FP16, FP16)),
        ("nano", (FP32, FP16, FP16)),
        ("xavier", (FP32, FP16, INT8)),
        ("rtx", (FP32, FP16, INT8)),
    ],
)
def test_what_runs_in_place_of_what_there_are_no_units_for(name, expected):
    assert tuple(targets.native(TARGETS[name], p) for p in (FP32, FP16, INT8)) == expected


def test_the_gpu_of_this_machine():
    assert targets.current(TX2, None, None)[:6] == ("current", "NVIDIA Tegra X2", (6, 2), 7860, True, False)
    # NVIDIA's own sample takes 6.1 and newer for enough: the capability has the last word
    assert not targets.current(TX2, True, True).int8
    assert targets.current(DESKTOP, None, None).int8
    pascal = targets.current(GPU("GTX 1080", (6, 1), 8192), False, True)
    assert (pascal.fp16, pascal.int8) == (False, True)
    assert targets.native(pascal, FP16) == FP32 and targets.native(pascal, INT8) == INT8
    unknown = targets.current(None, None, None)
    assert (unknown.capability, unknown.fp16, unknown.int8) == (None, True, True)
    assert [str(notice) for notice in targets.assumed(unknown, None)] == [
        "warning: nothing tells which GPU this machine has: one with FP16 and INT8 units is assumed\n"
        "hint: name it with --target, or install pycuda"
    ]
    assert targets.assumed(unknown, False) == []


def test_one_sentence_where_units_are_missing():
    assert targets.without_units(TARGETS["tx2"], INT8) == (
        "Jetson TX2 (compute capability 6.2) has no INT8 units: this engine's INT8 layers run in FP16 there, "
        "so that it is no faster than --precision fp16"
    )
    assert targets.without_units(TARGETS["tx2"], FP16) is None
    assert targets.without_units(TARGETS["orin"], INT8) is None


@pytest.mark.parametrize(
    "target, api, gpu",
    [
        ("tx2", WEAK, TX2),
        ("tx2", WEAK, None),
        ("nano", WEAK, GPU("NVIDIA Tegra X1", (5, 3), 3956)),
        ("xavier", STRONG, None),
        ("orin", STRONG, GPU("Orin", (8, 7), 62841)),
        ("rtx", RTX, None),
        ("rtx", RTX, DESKTOP),
    ],
)
def test_who_builds_for_whom(target, api, gpu):
    targets.require_buildable(TARGETS[target], api, gpu)


TX2_CURE = "hint: run the same command on the Jetson TX2, which has JetPack 4.6.x with TensorRT 8.2"


@pytest.mark.parametrize(
    "target, api, gpu, expected",
    [
        ("tx2", RTX, None, "error: TensorRT-RTX 1.7 builds no engine for a Jetson TX2: {}\n{}".format(BOUND, TX2_CURE)),
        (
            "tx2",
            STRONG,
            None,
            "error: TensorRT 10.3.0 builds no engine for a Jetson TX2: {}\n{}".format(BOUND, TX2_CURE),
        ),
        (
            "tx2",
            WEAK,
            DESKTOP,
            "error: the GPU of this machine (GeForce RTX 3060, compute capability 8.6) is no Jetson TX2: {}\n{}".format(
                BOUND, TX2_CURE
            ),
        ),
    ],
)
def test_who_does_not(target, api, gpu, expected):
    with pytest.raises(EngineError) as caught:
        targets.require_buildable(TARGETS[target], api, gpu)
    assert str(caught.value) == expected
