"""The stand-in of pycuda has bytes of its own, and notices what CUDA would: order, threads, freed memory."""

import importlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from stand_ins.loading import paths, stand_in
from stand_ins.networks import Made


@pytest.fixture
def cuda():
    with stand_in("tensorrt82"):
        module = importlib.import_module("pycuda.driver")
        module.init()
        context = module.Device(0).make_context()
        yield module
        context.detach()


def test_bytes_travel_when_the_stream_is_synchronised(cuda):
    stream, memory = cuda.Stream(), cuda.mem_alloc(12)
    source, target = cuda.pagelocked_empty(3, np.float32), cuda.pagelocked_empty(3, np.float32)
    source[:] = 1, 2, 3
    before = target.copy()
    cuda.memcpy_htod_async(memory, source, stream)
    cuda.memcpy_dtoh_async(target, memory, stream)
    assert (target == before).all() and not stream.is_done()
    stream.synchronize()
    assert target.tolist() == [1, 2, 3] and stream.is_done()


def test_pinned_memory_is_read_late_and_pageable_memory_at_once(cuda):
    for source, expected in ((cuda.pagelocked_empty(1, np.int32), 9), (np.empty(1, np.int32), 5)):
        stream, memory, target = cuda.Stream(), cuda.mem_alloc(4), np.zeros(1, np.int32)
        source[0] = 5
        cuda.memcpy_htod_async(memory, source, stream)
        source[0] = 9  # too early
        cuda.memcpy_dtoh_async(target, memory, stream)
        assert target[0] == expected


def test_memory_that_nobody_wrote_holds_noise(cuda):
    target = np.zeros(4, np.uint8)
    cuda.memcpy_dtoh(target, cuda.mem_alloc(4))
    assert target.tolist() == [0xCD] * 4


def test_freed_memory_cannot_be_used(cuda):
    memory = cuda.mem_alloc(4)
    address = int(memory)
    memory.free()
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        cuda.memcpy_htod(address, np.zeros(1, np.float32))
    with pytest.raises(cuda.LogicError, match="cuMemFree failed"):
        memory.free()


def test_a_copy_beyond_the_end_is_refused(cuda):
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        cuda.memcpy_htod(cuda.mem_alloc(4), np.zeros(2, np.float32))


def test_there_is_only_so_much_memory(cuda):
    with pytest.raises(cuda.MemoryError, match="cuMemAlloc failed: out of memory"):
        cuda.mem_alloc(64 * 2**30)
    assert cuda.mem_get_info()[1] == 8 * 2**30


def test_another_thread_has_no_context_until_it_pushes_one(cuda):
    context, said = cuda.Device(0).make_context(), []

    def work():
        try:
            cuda.mem_alloc(4)
        except cuda.LogicError as error:
            said.append(str(error))
        context.push()
        cuda.mem_alloc(4)
        context.pop()
        said.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    cuda.Context.pop()
    assert said == ["cuMemAlloc failed: invalid device context", "done"]


def test_a_detached_context_is_gone(cuda):
    context = cuda.Device(0).make_context()
    context.detach()
    with pytest.raises(cuda.LogicError):
        context.push()


def test_nothing_works_before_init():
    with stand_in("tensorrt82"):
        cuda = importlib.import_module("pycuda.driver")
        with pytest.raises(cuda.LogicError, match="initialization error"):
            cuda.Device(0)


def test_no_device_is_said():
    with stand_in("tensorrt82", "none"):
        cuda = importlib.import_module("pycuda.driver")
        with pytest.raises(cuda.RuntimeError, match="no CUDA-capable device is detected"):
            cuda.init()


@pytest.mark.parametrize("ending, status", [("context.pop()", 0), ("pass", 134)])
def test_a_context_that_is_left_ends_the_process(ending, status):
    code = "import sys; sys.path[:0] = {!r}\nimport pycuda.driver as c\nc.init()\n"
    code += "context = c.Device(0).make_context()\n"
    done = subprocess.run(
        [sys.executable, "-c", code.format(paths("cuda")) + ending], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert done.returncode == status
    assert (b"context stack was not empty" in done.stderr) == (status != 0)


# ---- engines on it


@pytest.fixture(params=["tensorrt82", "tensorrt10"])
def trt(request):
    with stand_in(request.param) as module:
        yield module


def doubled(trt, batch=1):
    made = Made(trt)
    x = made.input(batch, 1, 2, 2)
    y = made.network.add_elementwise(x, made.constant(np.full((1, 1, 1, 1), 2.0)), trt.ElementWiseOperation.PROD)
    if batch < 0:
        profile = made.builder.create_optimization_profile()
        profile.set_shape("data", (1, 1, 2, 2), (2, 1, 2, 2), (4, 1, 2, 2))
        made.config.add_optimization_profile(profile)
    return made, made.build(y.get_output(0))


def queue(trt, context, addresses, stream, shape=None):
    """Sets shape and addresses, and puts a run into the stream."""
    if hasattr(context, "execute_async_v3"):
        if shape is not None and not context.set_input_shape("data", shape):
            return False
        for name, address in zip(("data", "out0"), addresses):
            context.set_tensor_address(name, int(address))
        return context.execute_async_v3(stream.handle)
    if shape is not None and not context.set_binding_shape(0, shape):
        return False
    return context.execute_async_v2([int(a) for a in addresses], stream.handle)


def test_an_engine_runs_in_the_stream(trt):
    made, plan = doubled(trt, -1)
    cuda = importlib.import_module("pycuda.driver")
    cuda.init()
    context = cuda.Device(0).make_context()
    engine = trt.Runtime(made.logger).deserialize_cuda_engine(plan)
    run, stream = engine.create_execution_context(), cuda.Stream()
    host = [cuda.pagelocked_empty((3, 1, 2, 2), np.float32) for _ in range(2)]
    device = [cuda.mem_alloc(array.nbytes) for array in host]
    host[0][:] = np.arange(12).reshape(3, 1, 2, 2)
    cuda.memcpy_htod_async(device[0], host[0], stream)
    assert not queue(trt, run, device, stream, (5, 1, 2, 2))  # beyond the profile
    assert queue(trt, run, device, stream, (3, 1, 2, 2))
    cuda.memcpy_dtoh_async(host[1], device[1], stream)
    assert not np.allclose(host[1], host[0] * 2)
    stream.synchronize()
    assert np.array_equal(host[1], host[0] * 2)
    device[1].free()
    assert queue(trt, run, device[:1] + [0xBAD], stream, (3, 1, 2, 2))
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    context.pop()
    assert not queue(trt, run, device[:1] + [0xBAD], stream)  # no context is current
    assert "invalid device context" in made.errors()[-1]


def test_an_engine_of_another_gpu_release_or_none_is_refused():
    with stand_in("tensorrt82", "xavier") as trt:
        made, plan = doubled(trt)
        assert trt.Runtime(made.logger).deserialize_cuda_engine(plan) is not None
        for damaged in (b"", b"garbage", bytes(plan)[:-5], bytes(plan) + b"x"):
            assert trt.Runtime(made.logger).deserialize_cuda_engine(damaged) is None
        os.environ["STAND_IN_GPU"] = "tx2"  # until the stand-in goes, which restores it
        assert trt.Runtime(made.logger).deserialize_cuda_engine(plan) is None
        assert "incompatible device, expecting compute 6.2 got compute 7.2, please rebuild" in made.errors()[-1]
        with pytest.raises(TypeError):
            trt.Runtime(made.logger).deserialize_cuda_engine("a path")
    with stand_in("tensorrt10", "xavier") as trt:
        made = Made(trt)
        assert trt.Runtime(made.logger).deserialize_cuda_engine(plan) is None
        assert "Version tag does not match" in made.errors()[-1]
