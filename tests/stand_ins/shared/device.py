"""The simulated GPU that the stand-in of CUDA has, also where only that of TensorRT is on the path."""

import importlib
import os
import sys

_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cuda")


def gpu():
    """The module simulated_gpu: one for each process."""
    if "simulated_gpu" not in sys.modules and _FOLDER not in sys.path:
        sys.path.append(_FOLDER)
    return importlib.import_module("simulated_gpu")
