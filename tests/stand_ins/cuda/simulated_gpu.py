"""A GPU without a GPU: its memory really holds bytes, and its streams do nothing until they are synchronised.

Used by the stand-ins of pycuda and of tensorrt. The environment variable STAND_IN_GPU names the machine: tx2, nano,
xavier, orin, or none.

Rules of the CUDA Driver API (docs.nvidia.com/cuda/cuda-driver-api) that are kept:
- Without cuInit every call fails with CUDA_ERROR_NOT_INITIALIZED; a call that needs a context fails with
  CUDA_ERROR_INVALID_CONTEXT in a thread that has none current ("6.8 Context Management": contexts are current to a
  thread).
- Memory is gone after cuMemFree; what a kernel does with it is CUDA_ERROR_ILLEGAL_ADDRESS, seen when the stream is
  synchronised ("API synchronization behavior").
- Copies between pinned host memory and the device that are asynchronous happen at some time before the stream is
  synchronised: here at the last moment, so that whoever reads or overwrites too early is noticed. With pageable memory
  a copy to the host returns when it is done, and one to the device has read the memory when it returns (same page).
"""

import itertools
import os
import threading
from collections import namedtuple

import numpy as np

Machine = namedtuple("Machine", "name capability memory fast_fp16 fast_int8")

MACHINES = {
    "tx2": Machine("NVIDIA Tegra X2", (6, 2), 8 * 2**30, True, False),
    "nano": Machine("NVIDIA Tegra X1", (5, 3), 4 * 2**30, True, False),
    "xavier": Machine("Xavier", (7, 2), 8 * 2**30, True, True),
    "orin": Machine("Orin", (8, 7), 8 * 2**30, True, True),
}
NOISE = 0xCD  # of memory that nobody wrote to


class Fault(Exception):
    """An error of the driver: `code` is its name there."""

    def __init__(self, code):
        super(Fault, self).__init__(code)
        self.code = code


class Context(object):
    def __init__(self, machine):
        self.machine, self.alive = machine, True


class Allocation(object):
    def __init__(self, address, size):
        self.address, self.bytes = address, np.full(size, NOISE, np.uint8)


class Stream(object):
    """Work in order; done when it is synchronised."""

    def __init__(self):
        self.pending = []

    def synchronize(self):
        while self.pending:
            self.pending.pop(0)()


_local = threading.local()
_lock = threading.Lock()
_addresses = itertools.count(0x200000000, 0x10000000)
initialised = [False]
allocations, streams = {}, {0: Stream()}


def machine():
    """The machine's description; None where there is no GPU."""
    return MACHINES.get(os.environ.get("STAND_IN_GPU", default[0]))


default = ["tx2"]


def stack():
    """The contexts of this thread, the current one last."""
    if not hasattr(_local, "stack"):
        _local.stack = []
    return _local.stack


def reset():
    """All as in a new process."""
    initialised[0] = False
    allocations.clear()
    streams.clear()
    streams[0] = Stream()
    del stack()[:]


def current():
    """The current context. Raises Fault without one."""
    if not initialised[0]:
        raise Fault("initialization error")
    if not stack() or not stack()[-1].alive:
        raise Fault("invalid device context")
    return stack()[-1]


def used():
    return sum(len(one.bytes) for one in allocations.values())


def allocate(size):
    current()
    if size <= 0:
        raise Fault("invalid argument")
    if used() + size > machine().memory:
        raise Fault("out of memory")
    with _lock:
        address = next(_addresses)
        while size > 0x10000000 and any(address <= a < address + size for a in allocations):
            address = next(_addresses)
        for _ in range(size // 0x10000000):
            next(_addresses)
        allocations[address] = Allocation(address, size)
    return address


def free(address):
    if address not in allocations:
        raise Fault("invalid argument")
    del allocations[address]


def at(address, size):
    """The bytes at an address, uint8 [size], a view. Raises Fault where they are not allocated."""
    for start, one in list(allocations.items()):
        if start <= address and address + size <= start + len(one.bytes):
            return one.bytes[address - start : address - start + size]
    raise Fault("an illegal memory access was encountered")


def stream(handle):
    """The Stream of a handle. Raises Fault."""
    current()
    if handle not in streams:
        raise Fault("invalid resource handle")
    return streams[handle]


def new_stream():
    current()
    handle = id(object()) + len(streams) * 64
    while handle in streams:
        handle += 64
    streams[handle] = Stream()
    return handle
