"""The stand-ins in a process of tests: a context in which `import tensorrt` and `import pycuda.driver` give them.

For another process put the folders on PYTHONPATH: `paths("tensorrt82", "cuda")`.
"""

import contextlib
import importlib
import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
_OURS = ("tensorrt", "pycuda", "simulated_gpu")
_loaded = {}  # the modules of a release, so that they are read once


def paths(*names):
    """The folders of stand-ins: of "tensorrt82" or "tensorrt10", and "cuda"."""
    return [os.path.join(FOLDER, name) for name in names]


def _held():
    return {name: sys.modules[name] for name in list(sys.modules) if name.split(".")[0] in _OURS}


@contextlib.contextmanager
def stand_in(release, gpu=None):
    """The module tensorrt of a release, "tensorrt82" or "tensorrt10", on the simulated machine `gpu` (tx2, nano,
    xavier, orin, none; by default the release's own). pycuda is there too. Afterwards all is as before."""
    before, path, machine = _held(), list(sys.path), os.environ.pop("STAND_IN_GPU", None)
    for name in before:
        del sys.modules[name]
    sys.modules.update(_loaded.get(release, {}))
    sys.path[:0] = paths(release, "cuda")
    importlib.invalidate_caches()
    if gpu is not None:
        os.environ["STAND_IN_GPU"] = gpu
    try:
        module = importlib.import_module("tensorrt")
        importlib.import_module("simulated_gpu").reset()
        yield module
    finally:
        _loaded[release] = _held()
        for name in _held():
            del sys.modules[name]
        sys.modules.update(before)
        sys.path[:] = path
        os.environ.pop("STAND_IN_GPU", None)
        if machine is not None:
            os.environ["STAND_IN_GPU"] = machine
