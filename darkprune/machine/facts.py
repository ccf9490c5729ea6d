"""Facts about one library, gathered in a process of its own: importing it may print, hang or crash.

`python -m darkprune.machine.facts NAME` writes one JSON object to stdout; an exception becomes its "error".
"""

import ctypes
import importlib
import json
import os
import re
import sys
from typing import Any, Callable, Dict, List

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def _version(name: str) -> Dict[str, Any]:
    module = importlib.import_module(name)
    return {"version": str(getattr(module, "__version__", "of unknown version"))}


def _torch(name: str) -> Dict[str, Any]:
    torch = importlib.import_module(name)
    return dict(_version(name), cuda=torch.version.cuda, devices=torch.cuda.device_count())


def _cv2(name: str) -> Dict[str, Any]:
    cv2 = importlib.import_module(name)
    found = re.search(r"^\s*GStreamer:\s*(\S.*?)\s*$", cv2.getBuildInformation(), re.MULTILINE)
    gstreamer = found.group(1) if found else "NO"
    return dict(_version(name), darknet=hasattr(cv2.dnn, "readNetFromDarknet"), gstreamer=gstreamer)


def _tensorrt(name: str) -> Dict[str, Any]:
    """Abilities by what the module has, since version numbers say too little."""
    trt = importlib.import_module(name)
    if not hasattr(trt, "Builder"):
        return {"absent": "not installed, only a folder of that name, such as its type stubs make"}
    flags = dir(getattr(trt, "BuilderFlag", object))
    abilities = {
        "FP16 flag": "FP16" in flags,
        "INT8 by ranges": "INT8" in flags and hasattr(getattr(trt, "ITensor", None), "set_dynamic_range"),
        "INT8 by Q/DQ": hasattr(getattr(trt, "INetworkDefinition", None), "add_quantize"),
        "tensors by name": hasattr(getattr(trt, "IExecutionContext", None), "execute_async_v3"),
        "builds for other GPUs": hasattr(getattr(trt, "IBuilderConfig", None), "set_compute_capability"),
    }
    return dict(_version(name), abilities=[ability for ability, there in abilities.items() if there])


def _onnxruntime(name: str) -> Dict[str, Any]:
    return dict(_version(name), providers=importlib.import_module(name).get_available_providers())


def _pycuda(name: str) -> Dict[str, Any]:
    driver = importlib.import_module(name + ".driver")
    driver.init()
    return {"version": ".".join(str(part) for part in importlib.import_module(name).VERSION)}


def _libdarknet(name: str) -> Dict[str, Any]:
    from darkprune.backends.darknet_ import find_library

    path = find_library()
    library = ctypes.CDLL(path)
    if not hasattr(library, "load_network"):
        raise OSError("{} is no Darknet library".format(path))
    return {"version": path}


def _cuda(name: str) -> Dict[str, Any]:
    """Driver and devices, asked of the driver itself; no toolkit is needed."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise ModuleNotFoundError("libcuda.so.1 is not there", name=name) from None
    number, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _succeed(library.cuDriverGetVersion(ctypes.byref(number)), "cuDriverGetVersion")
    version = "{}.{}".format(number.value // 1000, number.value % 1000 // 10)
    status = library.cuInit(0)
    if status == _NO_DEVICE:
        return {"version": version, "devices": []}
    _succeed(status, "cuInit")
    _succeed(library.cuDeviceGetCount(ctypes.byref(count)), "cuDeviceGetCount")
    devices: List[Dict[str, Any]] = []
    for index in range(count.value):
        text = ctypes.create_string_buffer(256)
        _succeed(library.cuDeviceGetName(text, 256, index), "cuDeviceGetName")
        for attribute, value in ((_MAJOR, number), (_MINOR, minor)):
            _succeed(library.cuDeviceGetAttribute(ctypes.byref(value), attribute, index), "cuDeviceGetAttribute")
        devices.append({"name": text.value.decode("utf-8", "replace"), "capability": [number.value, minor.value]})
    return {"version": version, "devices": devices}


def _succeed(status: int, call: str) -> None:
    if status:
        raise OSError("{} failed with CUDA error {}".format(call, status))


PROBES: Dict[str, Callable[[str], Dict[str, Any]]] = {
    "torch": _torch,
    "cv2": _cv2,
    "libdarknet": _libdarknet,
    "cuda": _cuda,
    "tensorrt": _tensorrt,
    "tensorrt_rtx": _tensorrt,
    "tensorrt_rtx_bindings": _tensorrt,
    "pycuda": _pycuda,
    "onnx": _version,
    "onnxruntime": _onnxruntime,
    "faster_coco_eval": _version,
}


def gather(name: str) -> Dict[str, Any]:
    """The facts, or {"absent": why}, or {"error": what went wrong}."""
    from darkprune.errors import MissingDependency

    try:
        return PROBES[name](name)
    except MissingDependency as error:
        return {"absent": error.message}
    except ModuleNotFoundError as error:  # of the library itself, not of something that it needs
        return {"absent": "not installed"} if error.name == name else {"error": str(error)}
    except Exception as error:  # whatever it is, it is what is wrong with the library
        return {"error": "{}: {}".format(type(error).__name__, str(error).strip().split("\n")[0])}


if __name__ == "__main__":
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is not the answer
    answer.write(json.dumps(gather(sys.argv[1])))
    answer.close()
    sys.stdout.flush()
    os._exit(0)  # some libraries crash in their own clean-up
