"""A stand-in for TensorRT 10.3's Python API, as on a Jetson Orin with JetPack 6.1.

What 10.3 has not raises AttributeError. Names, signatures and enumerations from release 10.3.0 of NVIDIA/TensorRT:
python/src/infer/py*.cpp and include/NvInfer*.h. Its other half is the folder ../../shared.
"""

import os

__path__.append(os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "shared"))

from tensorrt.device import gpu  # noqa: E402
from tensorrt.release10 import *  # noqa: E402, F401, F403
from tensorrt.release10 import __version__  # noqa: E402, F401

gpu().default[0] = "orin"
