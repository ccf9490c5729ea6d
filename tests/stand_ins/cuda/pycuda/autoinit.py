"""A context on the first device, current in the importing thread, popped at exit."""

import atexit

import pycuda.driver as cuda

cuda.init()
device = cuda.Device(0)
context = device.make_context()


def _finish_up():
    global context
    context.pop()
    context = None


atexit.register(_finish_up)
