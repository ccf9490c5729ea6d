"""The state of this machine, one finding per line: what is there, what is not, what is broken, and the cure."""

import glob
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.evaluate.energy import find_meter
from darkprune.machine.facts import PROBES
from darkprune.version import __version__

OK, ABSENT, BROKEN = "ok", "absent", "broken"
TIMEOUT = 120.0  # seconds for one library; torch takes half a minute on a small board with a cold disk
NO_INT8 = ((5, 3), (6, 0), (6, 2))  # between those that have it; 6.2 is the Jetson TX2

Finding = NamedTuple(
    "Finding",
    [
        ("name", str),
        ("state", str),  # ok, absent or broken
        ("text", str),  # what was found
        ("cure", Optional[str]),  # what to do, where something can be done
        ("facts", Dict[str, Any]),  # as JSON values
    ],
)

_CHIPS = {  # by the board's device tree
    "tegra210": "Jetson Nano or TX1",
    "tegra186": "Jetson TX2",
    "tegra194": "Jetson Xavier",
    "tegra234": "Jetson Orin",
    "tegra264": "Jetson Thor",
}
_OPENCV = 'pip install "opencv-python>=4.1,<5" (on a Jetson: apt-get install python3-opencv)'
_SYSTEM_OPENCV = "use the OpenCV of the system: apt-get install python3-opencv, and no opencv-python by pip"
_CURES = {
    "torch": "pip install torch",
    "cv2": _OPENCV,
    "libdarknet": "apt-get install darknet, or set DARKPRUNE_LIBDARKNET to the path of libdarknet.so",
    "cuda": "install NVIDIA's driver; without a GPU nothing is amiss",
    "tensorrt": "comes with JetPack, or with NVIDIA's TensorRT",
    "tensorrt_rtx": "pip install tensorrt_rtx_cu12_libs tensorrt_rtx_cu12_bindings (x86-64; needs no GPU to build)",
    "pycuda": 'pip install pycuda (on JetPack 4.6: "pycuda<2021.1"); needs the CUDA toolkit',
    "onnx": "pip install onnx",
    "onnxruntime": "pip install onnxruntime",
    "faster_coco_eval": "pip install faster-coco-eval",
}


def findings(timeout: float = TIMEOUT) -> List[Finding]:
    """Everything that the doctor looks at."""
    names = [name for name in PROBES if name != "tensorrt_rtx_bindings"]
    with ThreadPoolExecutor(2) as pool:
        facts = dict(zip(names, pool.map(lambda name: ask(name, timeout), names)))
    if "absent" in facts["tensorrt_rtx"]:
        facts["tensorrt_rtx"] = ask("tensorrt_rtx_bindings", timeout)
    return (
        [_program(), _numpy()]
        + [Finding("runner numpy", OK, "in the package", None, {})]
        + [_library("runner torch", "torch", facts, _of_torch), _library("runner opencv", "cv2", facts, _of_opencv)]
        + [_library("runner onnxruntime", "onnxruntime", facts, _of_onnxruntime)]
        + [_library("runner darknet", "libdarknet", facts, _of_version)]
        + _gstreamer(facts["cv2"])
        + [_library("CUDA", "cuda", facts, _of_cuda)]
        + _int8(facts["cuda"])
        + [_library("TensorRT", "tensorrt", facts, _of_tensorrt)]
        + [_library("TensorRT-RTX", "tensorrt_rtx", facts, _of_tensorrt)]
        + [_pycuda(facts), _engines(facts), _runner_tensorrt(facts)]
        + jetson()
        + [_library("onnx", "onnx", facts, _of_version)]
        + [_library("COCO metrics", "faster_coco_eval", facts, _of_version)]
        + cameras()
        + [_meter()]
    )


def ask(name: str, timeout: float = TIMEOUT) -> Dict[str, Any]:
    """The facts of one library, from a process of its own that may crash or hang."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [package] + [path for path in (os.environ.get("PYTHONPATH"),) if path]
    argv = [sys.executable, "-m", "darkprune.machine.facts", name]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return {"error": "does not answer within {:g} s".format(timeout)}
    except OSError as error:
        return {"error": "Python cannot be started: {}".format(error.strerror)}
    if done.returncode < 0:
        return {"error": "crashes Python ({})".format(_signal_name(-done.returncode))}
    try:
        return dict(json.loads(done.stdout.decode("utf-8")))
    except ValueError:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return {"error": "ends Python with status {}: {}".format(done.returncode, lines[-1] if lines else "no word")}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)


def _library(title: str, name: str, facts: Dict[str, Any], read: Callable[[Dict[str, Any]], Tuple]) -> Finding:
    """The finding of a library: absent, broken, or what `read` makes of its facts: state, text, cure."""
    mine = facts[name]
    if "absent" in mine:
        return Finding(title, ABSENT, mine["absent"], _CURES[name], {})
    if "error" in mine:
        return Finding(title, BROKEN, mine["error"], "install it again: " + _CURES[name], mine)
    state, text, cure = read(mine)
    return Finding(title, state, text, cure, mine)


# ---- what the facts of each library mean


def _of_version(facts: Dict[str, Any]) -> Tuple:
    return OK, facts["version"], None


def _of_torch(facts: Dict[str, Any]) -> Tuple:
    if facts["devices"]:
        return OK, "{}, CUDA {} with {} device(s)".format(facts["version"], facts["cuda"], facts["devices"]), None
    return OK, "{}, on the CPU".format(facts["version"]), None


def _of_opencv(facts: Dict[str, Any]) -> Tuple:
    if facts["darknet"]:
        return OK, "OpenCV {}".format(facts["version"]), None
    return ABSENT, "OpenCV {} reads no Darknet files".format(facts["version"]), _OPENCV


def _gstreamer(facts: Dict[str, Any]) -> List[Finding]:
    if "version" not in facts:
        return []
    there = facts["gstreamer"].upper().startswith("YES")
    text = "in OpenCV: " + facts["gstreamer"]
    return [Finding("GStreamer", OK if there else ABSENT, text, None if there else _SYSTEM_OPENCV, {})]


def _of_cuda(facts: Dict[str, Any]) -> Tuple:
    devices = ["{} (compute capability {}.{})".format(d["name"], *d["capability"]) for d in facts["devices"]]
    if not devices:
        return ABSENT, "driver for CUDA {}, but no device".format(facts["version"]), "see nvidia-smi"
    return OK, "driver for CUDA {}: {}".format(facts["version"], ", ".join(devices)), None


def has_int8(capability: Tuple[int, int]) -> bool:
    """Whether a GPU of this compute capability multiplies INT8 natively: from 6.1 on, but not 6.2."""
    return capability >= (6, 1) and capability not in NO_INT8


def _int8(facts: Dict[str, Any]) -> List[Finding]:
    """One finding per device."""
    found = []
    for device in facts.get("devices", []):
        capability = tuple(device["capability"])
        if has_int8((capability[0], capability[1])):
            found.append(Finding("INT8", OK, "native on " + device["name"], None, {}))
        else:
            text = "{} has no INT8 units; such engines run in FP16 or FP32 there".format(device["name"])
            found.append(Finding("INT8", ABSENT, text, "build for FP16 there; INT8 is native on other GPUs", {}))
    return found


def _of_tensorrt(facts: Dict[str, Any]) -> Tuple:
    return OK, "{}: {}".format(facts["version"], ", ".join(facts["abilities"]) or "no ability that we know"), None


def _pycuda(facts: Dict[str, Dict[str, Any]]) -> Finding:
    """pycuda, which fails wherever there is no device: that does not mean that it is broken."""
    mine = facts["pycuda"]
    if "error" in mine and not facts["cuda"].get("devices"):
        text = "finds no CUDA device ({})".format(mine["error"])
        return Finding("pycuda", ABSENT, text, "nothing is amiss without a GPU", mine)
    return _library("pycuda", "pycuda", facts, _of_version)


def _engines(facts: Dict[str, Dict[str, Any]]) -> Finding:
    """What `darkprune build` makes engines with."""
    title, made = "building engines", facts["tensorrt"]
    if "version" in made:
        text = "with TensorRT {}, for this device".format(made["version"])
        return Finding(title, OK, text, None, {"with": "tensorrt"})
    made = facts["tensorrt_rtx"]
    if "version" in made:
        text = "with TensorRT-RTX {}, for RTX GPUs".format(made["version"])
        return Finding(title, OK, text, None, {"with": "tensorrt_rtx"})
    return Finding(title, ABSENT, "neither TensorRT nor TensorRT-RTX works here", _CURES["tensorrt_rtx"], {})


def _runner_tensorrt(facts: Dict[str, Dict[str, Any]]) -> Finding:
    """Whether engines run here."""
    missing = [] if any("version" in facts[name] for name in ("tensorrt", "tensorrt_rtx")) else ["TensorRT"]
    missing += [] if "version" in facts["pycuda"] else ["pycuda"]
    missing += [] if facts["cuda"].get("devices") else ["a CUDA device"]
    if not missing:
        return Finding("runner tensorrt", OK, "runs engines that were built for this device", None, {})
    cure = "engines can be built here, but run only on a machine with a GPU; see the lines above"
    return Finding("runner tensorrt", ABSENT, "needs " + " and ".join(missing), cure, {})


def _of_onnxruntime(facts: Dict[str, Any]) -> Tuple:
    return OK, "{}: {}".format(facts["version"], ", ".join(facts["providers"])), None


# ---- the machine itself


def _program() -> Finding:
    text = "{}, Python {}, {} {}".format(__version__, platform.python_version(), platform.system(), platform.machine())
    model = _read("/proc/device-tree/model").rstrip(b"\0").decode("utf-8", "replace")
    text += ", " + model if model else ""  # of a board
    return Finding("darkprune", OK, text, None, {"version": __version__, "python": platform.python_version()})


def jetson(tree: str = "/proc/device-tree", release: str = "/etc/nv_tegra_release") -> List[Finding]:
    """The board's name, chip and version of L4T; nothing where this is no Jetson."""
    chips = [chip for chip in _CHIPS if b"nvidia," + chip.encode() in _read(os.path.join(tree, "compatible"))]
    if not chips:
        return []
    model = _read(os.path.join(tree, "model")).rstrip(b"\0").decode("utf-8", "replace")
    words = re.search(rb"R(\d+) \(release\), REVISION: ([\d.]+)", _read(release))
    linux = "L4T R{}.{}".format(*(word.decode() for word in words.groups())) if words else "L4T of unknown version"
    text = "{}: {} ({}), {}".format(_CHIPS[chips[0]], model, chips[0], linux)
    return [Finding("Jetson", OK, text, None, {"chip": chips[0], "model": model, "l4t": linux})]


def _read(path: str) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(1000)
    except OSError:
        return b""


def _numpy() -> Finding:
    if np.__version__ == "1.19.5" and platform.machine() == "aarch64":
        text, cure = "1.19.5 dies with an illegal instruction on Jetson boards", 'pip install "numpy<1.19.5"'
        return Finding("numpy", BROKEN, text, cure, {"version": np.__version__})
    return Finding("numpy", OK, np.__version__, None, {"version": np.__version__})


def cameras(devices: str = "/dev/video*", names: str = "/sys/class/video4linux") -> List[Finding]:
    """Video devices, and the camera of a Jetson board where its GStreamer element is installed. Opens none of them."""
    found = []
    for path in sorted(glob.glob(devices)):
        try:
            with open(os.path.join(names, os.path.basename(path), "name")) as stream:
                text = "{}: {}".format(path, stream.read(100).strip())
        except OSError:
            text = path
        if os.access(path, os.R_OK | os.W_OK):
            found.append(Finding("camera", OK, text, None, {"device": path}))
        else:
            cure = "sudo usermod -aG video $USER, then log in again"
            found.append(Finding("camera", ABSENT, text + " may not be opened", cure, {"device": path}))
    if _has_element("nvarguscamerasrc"):
        found.append(Finding("camera", OK, "CSI: nvarguscamerasrc is installed", None, {}))
    if not found:
        found.append(Finding("camera", ABSENT, "none", "plug one in; a container must be given /dev/video0", {}))
    return found


def _meter() -> Finding:
    meter, text = find_meter()
    cure = None if meter else "bench measures time without it; run it as root where the kernel hides the meter"
    return Finding("energy meter", OK if meter else ABSENT, text, cure, {})


def _has_element(name: str) -> bool:
    program = shutil.which("gst-inspect-1.0")
    if program is None:
        return False
    try:
        run = [program, "--exists", name]
        quiet = subprocess.DEVNULL
        return subprocess.call(run, stdin=quiet, stdout=quiet, stderr=quiet, timeout=30) == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
