"""A stand-in for TensorRT 8.2.1's Python API, as on a Jetson TX2 with JetPack 4.6.1.

What 8.2 has not raises AttributeError. Names, signatures and enumerations from release 8.2.1 of NVIDIA/TensorRT:
python/src/infer/py*.cpp and include/NvInfer.h. Its other half is the folder ../../shared.
"""

import os

__path__.append(os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "shared"))

from tensorrt.device import gpu  # noqa: E402
from tensorrt.release82 import *  # noqa: E402, F401, F403
from tensorrt.release82 import __version__  # noqa: E402, F401

gpu().default[0] = "tx2"
