"""pycuda.driver as of 2020.1: contexts, streams, device memory, pinned memory, copies.

Names and signatures from pycuda's documentation (documen.tician.de/pycuda/driver.html) and its
src/wrapper/wrap_cudadrv.cpp.
"""

import atexit
import os
import sys
import weakref

import numpy as np
import simulated_gpu as gpu


class Error(Exception):
    """All errors of the driver."""


class LogicError(Error):
    pass


class MemoryError(Error):
    pass


class LaunchError(Error):
    pass


class RuntimeError(Error):
    pass


def _call(name, function, *arguments):
    """A call of the driver; its errors as pycuda raises them: "cuMemAlloc failed: out of memory"."""
    try:
        return function(*arguments)
    except gpu.Fault as fault:
        kinds = {"out of memory": MemoryError, "an illegal memory access was encountered": LogicError}
        raise kinds.get(fault.code, LogicError)("{} failed: {}".format(name, fault.code)) from fault


def init(flags=0):
    if gpu.machine() is None:
        raise RuntimeError("cuInit failed: no CUDA-capable device is detected")
    gpu.initialised[0] = True


def get_version():
    return (10, 2, 0)


def get_driver_version():
    return 10020


class Device(object):
    def __init__(self, number):
        if not gpu.initialised[0]:
            raise LogicError("cuDeviceGet failed: initialization error")
        if number != 0:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")
        self._machine = gpu.machine()

    @staticmethod
    def count():
        if not gpu.initialised[0]:
            raise LogicError("cuDeviceGetCount failed: initialization error")
        return 1

    def name(self):
        return self._machine.name

    def compute_capability(self):
        return self._machine.capability

    def total_memory(self):
        return self._machine.memory

    def make_context(self, flags=0):
        context = Context()
        context._context = gpu.Context(self._machine)
        gpu.stack().append(context._context)
        return context


class Context(object):
    """Current in the thread that made or pushed it."""

    _context = None

    def push(self):
        if not self._context.alive:
            raise LogicError("cuCtxPushCurrent failed: invalid device context")
        gpu.stack().append(self._context)

    @staticmethod
    def pop():
        if not gpu.stack():
            raise LogicError("cannot pop non-current context")
        gpu.stack().pop()

    def detach(self):
        """Ends the context; what was allocated in it is gone."""
        if not self._context.alive:
            raise LogicError("cannot detach from invalid context")
        self._context.alive = False
        if self._context in gpu.stack():
            gpu.stack().remove(self._context)

    @staticmethod
    def synchronize():
        def all_streams():
            gpu.current()
            for stream in list(gpu.streams.values()):
                stream.synchronize()

        _call("cuCtxSynchronize", all_streams)

    @staticmethod
    def get_device():
        _call("cuCtxGetDevice", gpu.current)
        return Device(0)


class Stream(object):
    def __init__(self, flags=0):
        self.handle = _call("cuStreamCreate", gpu.new_stream)

    def synchronize(self):
        _call("cuStreamSynchronize", lambda: gpu.stream(self.handle).synchronize())

    def is_done(self):
        return not gpu.stream(self.handle).pending


class DeviceAllocation(object):
    """int() gives the address; memory is freed with the object, or by `free`."""

    def __init__(self, address):
        self._address = address

    def __int__(self):
        return self._address

    def free(self):
        if self._address is None:
            raise LogicError("cuMemFree failed: invalid argument")
        _call("cuMemFree", gpu.free, self._address)
        self._address = None

    def __del__(self):
        if self._address is not None and self._address in gpu.allocations:
            gpu.free(self._address)


def mem_alloc(bytes):
    if isinstance(bytes, float) or not isinstance(bytes, (int, np.integer)):
        raise TypeError("Python argument types in pycuda._driver.mem_alloc({}) did not match".format(type(bytes)))
    return DeviceAllocation(_call("cuMemAlloc", gpu.allocate, int(bytes)))


def mem_get_info():
    _call("cuMemGetInfo", gpu.current)
    return gpu.machine().memory - gpu.used(), gpu.machine().memory


_pinned_owners = {}  # weak references to arrays that stand for pinned memory, by id


def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
    """An array in pinned memory, filled with what happened to be there."""
    _call("cuMemHostAlloc", gpu.current)
    count = int(np.prod(shape, dtype=np.int64))
    owner = np.full(count * np.dtype(dtype).itemsize, gpu.NOISE, np.uint8)
    key = id(owner)
    _pinned_owners[key] = weakref.ref(owner, lambda _: _pinned_owners.pop(key, None))
    return owner.view(dtype).reshape(shape, order=order)


def pagelocked_zeros(shape, dtype, order="C", mem_flags=0):
    found = pagelocked_empty(shape, dtype, order, mem_flags)
    found.fill(0)
    return found


def _pinned(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array) in _pinned_owners


def _bytes(array, writes):
    """The bytes of a host array, as a view."""
    if not isinstance(array, np.ndarray):
        raise TypeError("expected an array, not {}".format(type(array)))
    if not array.flags.c_contiguous:
        raise ValueError("ndarray is not contiguous")
    if writes and not array.flags.writeable:
        raise ValueError("assignment destination is read-only")
    return array.reshape(-1).view(np.uint8)


def memcpy_htod(dest, src):
    _call("cuMemcpyHtoD", _to_device, int(dest), _bytes(src, False), None)


def memcpy_dtoh(dest, src):
    _call("cuMemcpyDtoH", _to_host, _bytes(dest, True), int(src), None)


def memcpy_htod_async(dest, src, stream=None):
    """Pageable memory is read now, pinned memory when the stream comes to it."""
    source = _bytes(src, False)
    source = source if _pinned(src) else source.copy()
    _call("cuMemcpyHtoDAsync", _to_device, int(dest), source, 0 if stream is None else stream.handle)


def memcpy_dtoh_async(dest, src, stream=None):
    """Into pinned memory when the stream comes to it; into pageable memory now, behind all that is in the stream."""
    handle, target = 0 if stream is None else stream.handle, _bytes(dest, True)
    _call("cuMemcpyDtoHAsync", _to_host, target, int(src), handle)
    if not _pinned(dest):
        _call("cuMemcpyDtoHAsync", lambda: gpu.stream(handle).synchronize())


def _to_device(address, source, handle):
    gpu.current()
    gpu.at(address, len(source))  # a freed pointer is refused at once

    def copy():
        gpu.at(address, len(source))[:] = source

    _queue(copy, handle)


def _to_host(target, address, handle):
    gpu.current()
    gpu.at(address, len(target))

    def copy():
        target[:] = gpu.at(address, len(target))

    _queue(copy, handle)


def _queue(work, handle):
    """Behind what is in the stream; None: at once, behind all streams."""
    if handle is not None:
        gpu.stream(handle).pending.append(work)
        return
    for stream in list(gpu.streams.values()):
        stream.synchronize()
    work()


@atexit.register
def _at_exit():
    """PyCUDA ends the process when a context is still current as its module goes."""
    if gpu.stack():
        sys.stdout.flush()
        sys.stderr.write("PyCUDA ERROR: The context stack was not empty upon module cleanup.\n")
        sys.stderr.flush()
        os._exit(134)
