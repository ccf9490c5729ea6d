"""A stand-in for pycuda 2020.1, the last one for JetPack 4.6's CUDA 10.2, on a simulated GPU."""

VERSION = (2020, 1)
VERSION_STATUS = ""
VERSION_TEXT = "2020.1"
