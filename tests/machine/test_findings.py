"""What the doctor makes of libraries that are absent, broken, hang, crash, or are only half of what is needed."""

import ctypes
import json
import os

import pytest

import need
from darkprune.cli.main import main
from darkprune.machine import facts, findings
from darkprune.machine.findings import ABSENT, BROKEN, OK, ask, has_int8


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Makes a module that stands before any installed one of that name in the doctor's processes."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(name, text):
        (tmp_path / (name + ".py")).write_text(text)

    return write


@pytest.mark.parametrize(
    "text, expected",
    [
        ('__version__ = "7.8"', {"version": "7.8"}),
        ('print("noise")\nimport os; os.write(1, b"more")\n__version__ = "7.8"', {"version": "7.8"}),
        ("", {"version": "of unknown version"}),
        ("import of_something_else", {"error": "No module named 'of_something_else'"}),
        ('raise ImportError("libfoo.so.3: cannot open")', {"error": "ImportError: libfoo.so.3: cannot open"}),
        ('raise ValueError("two\\nlines")', {"error": "ValueError: two"}),
        ("import os; os.abort()", {"error": "crashes Python (SIGABRT)"}),
        ("import os; os.write(2, b'bye'); os._exit(3)", {"error": "ends Python with status 3: bye"}),
    ],
)
def test_a_library_that_is(library, text, expected):
    library("onnx", text)
    assert ask("onnx") == expected


def test_a_library_that_hangs(library):
    library("onnx", "import time; time.sleep(60)")
    assert ask("onnx", timeout=2) == {"error": "does not answer within 2 s"}


def test_a_library_that_exits_is_broken(library):
    library("onnx", "raise SystemExit(0)")
    assert ask("onnx") == {"error": "ends Python with status 0: no word"}


OPENCV_5 = """
__version__ = "5.0.0"
class dnn: pass
def getBuildInformation():
    return "  Video I/O:\\n    GStreamer:                   YES (1.20.3)\\n"
"""


def test_opencv_5_is_no_runner(library):
    library("cv2", OPENCV_5)
    found = ask("cv2")
    assert found == {"version": "5.0.0", "darknet": False, "gstreamer": "YES (1.20.3)"}
    finding = findings._library("runner opencv", "cv2", {"cv2": found}, findings._of_opencv)
    assert finding[:4] == (
        "runner opencv",
        ABSENT,
        "OpenCV 5.0.0 reads no Darknet files",
        'pip install "opencv-python>=4.1,<5" (on a Jetson: apt-get install python3-opencv)',
    )
    assert [(f.state, f.text, f.cure) for f in findings._gstreamer(found)] == [(OK, "in OpenCV: YES (1.20.3)", None)]


def test_the_opencv_of_this_machine(capsys):
    cv2 = need.opencv()
    found = ask("cv2")
    assert (found["version"], found["darknet"]) == (cv2.__version__, True)
    built = cv2.getBuildInformation()
    assert found["gstreamer"][:3] in ("YES", "NO") and "GStreamer" in built


TENSORRT_8 = """
__version__ = "8.2.1.8"
class Builder: pass
class BuilderFlag: FP16 = 0; INT8 = 1
class ITensor:
    def set_dynamic_range(self): pass
class INetworkDefinition:
    def add_quantize(self): pass
class IExecutionContext: pass
"""
TENSORRT_RTX = """
__version__ = "1.7"
class Builder: pass
class BuilderFlag: DEBUG = 0
class ITensor: pass
class INetworkDefinition:
    def add_quantize(self): pass
class IExecutionContext:
    def execute_async_v3(self): pass
class IBuilderConfig:
    def set_compute_capability(self): pass
"""


def test_abilities_of_tensorrt_are_asked_not_guessed_from_its_version(library):
    library("tensorrt", TENSORRT_8)
    assert ask("tensorrt")["abilities"] == ["FP16 flag", "INT8 by ranges", "INT8 by Q/DQ"]
    library("tensorrt_rtx", TENSORRT_RTX)
    found = ask("tensorrt_rtx")
    assert found["abilities"] == ["INT8 by Q/DQ", "tensors by name", "builds for other GPUs"]
    assert findings._of_tensorrt(found) == (OK, "1.7: INT8 by Q/DQ, tensors by name, builds for other GPUs", None)


def test_type_stubs_are_no_tensorrt(monkeypatch):
    """Beside them `import tensorrt` gives an empty module."""
    monkeypatch.setenv("PYTHONPATH", str(need.tensorrt_stubs()))
    expected = "not installed, only a folder of that name, such as its type stubs make"
    assert ask("tensorrt") == {"absent": expected}


def test_the_tensorrt_rtx_of_this_machine():
    trt = need.tensorrt_rtx()
    found = ask(trt.__name__)
    assert found["version"] == trt.__version__
    assert found["abilities"] == ["INT8 by Q/DQ", "tensors by name", "builds for other GPUs"]


@pytest.mark.parametrize(
    "capability, expected",
    [((5, 3), False), ((6, 0), False), ((6, 1), True), ((6, 2), False), ((7, 0), True), ((7, 2), True), ((8, 7), True)],
)
def test_int8(capability, expected):
    """The TX2 is 6.2: a test of "at least 6.1" would admit it."""
    assert has_int8(capability) is expected


class Driver:
    """libcuda as ctypes gives it, of two devices or of none."""

    def __init__(self, devices, status=0):
        self.devices, self.status = devices, status

    def cuInit(self, flags):
        return self.status

    def cuDriverGetVersion(self, number):
        number._obj.value = 10020
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = len(self.devices)
        return 0

    def cuDeviceGetName(self, text, size, index):
        text.value = self.devices[index][0]
        return 0

    def cuDeviceGetAttribute(self, value, attribute, index):
        value._obj.value = self.devices[index][1][{75: 0, 76: 1}[attribute]]
        return 0


def test_cuda_devices(monkeypatch):
    devices = [(b"NVIDIA Tegra X2", (6, 2)), (b"Orin", (8, 7))]
    monkeypatch.setattr(ctypes, "CDLL", lambda path: Driver(devices))
    found = facts.gather("cuda")
    assert found == {
        "version": "10.2",
        "devices": [{"name": "NVIDIA Tegra X2", "capability": [6, 2]}, {"name": "Orin", "capability": [8, 7]}],
    }
    state, text, cure = findings._of_cuda(found)
    assert (state, cure) == (OK, None)
    assert text == "driver for CUDA 10.2: NVIDIA Tegra X2 (compute capability 6.2), Orin (compute capability 8.7)"
    assert [(f.state, f.text) for f in findings._int8(found)] == [
        (ABSENT, "NVIDIA Tegra X2 has no INT8 units; such engines run in FP16 or FP32 there"),
        (OK, "native on Orin"),
    ]


@pytest.mark.parametrize(
    "status, expected",
    [(100, {"version": "10.2", "devices": []}), (999, {"error": "OSError: cuInit failed with CUDA error 999"})],
)
def test_a_driver_without_a_device(monkeypatch, status, expected):
    monkeypatch.setattr(ctypes, "CDLL", lambda path: Driver([], status))
    assert facts.gather("cuda") == expected


def test_no_driver(monkeypatch):
    def absent(path):
        raise OSError(path + ": cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert facts.gather("cuda") == {"absent": "not installed"}


def test_cameras(tmp_path, monkeypatch):
    monkeypatch.setattr(findings, "_has_element", lambda name: False)
    for number in (0, 1):
        (tmp_path / "video{}".format(number)).write_bytes(b"")
    (tmp_path / "video1").chmod(0)
    (tmp_path / "names" / "video0").mkdir(parents=True)
    (tmp_path / "names" / "video0" / "name").write_text("HD Webcam\n")
    monkeypatch.setattr(os, "access", lambda path, mode: os.stat(path).st_mode & 0o600 != 0)  # root may do all
    found = findings.cameras(str(tmp_path / "video*"), str(tmp_path / "names"))
    assert [(f.state, f.text.replace(str(tmp_path), "")) for f in found] == [
        (OK, "/video0: HD Webcam"),
        (ABSENT, "/video1 may not be opened"),
    ]
    assert found[1].cure == "sudo usermod -aG video $USER, then log in again"
    assert [f.text for f in findings.cameras(str(tmp_path / "none*"))] == ["none"]


COMPATIBLE = b"nvidia,p2597-0000+p3310-1000\0nvidia,quill\0nvidia,tegra186\0"
RELEASE = "# R32 (release), REVISION: 7.4, GCID: 33514132, BOARD: t186ref, EABI: aarch64, DATE: Fri Jun 9 04:25:08 UTC"


def test_a_jetson(tmp_path):
    tree, release = str(tmp_path), str(tmp_path / "nv_tegra_release")
    assert findings.jetson(tree, release) == []
    (tmp_path / "compatible").write_bytes(b"brcm,bcm2711\0")
    assert findings.jetson(tree, release) == []
    (tmp_path / "compatible").write_bytes(COMPATIBLE)
    (tmp_path / "model").write_bytes(b"quill\0")
    (found,) = findings.jetson(tree, release)
    assert found.text == "Jetson TX2: quill (tegra186), L4T of unknown version"
    (tmp_path / "nv_tegra_release").write_text(RELEASE)
    (found,) = findings.jetson(tree, release)
    assert found[:3] == ("Jetson", OK, "Jetson TX2: quill (tegra186), L4T R32.7.4")
    assert found.facts == {"chip": "tegra186", "model": "quill", "l4t": "L4T R32.7.4"}


NOTHING = {"absent": "not installed"}
DEVICE = {"version": "10.2", "devices": [{"name": "NVIDIA Tegra X2", "capability": [6, 2]}]}


def test_pycuda_without_a_device_is_not_broken():
    failed = {"error": "LogicError: cuInit failed: no CUDA-capable device is detected"}
    found = findings._pycuda({"pycuda": failed, "cuda": NOTHING})
    assert (found.state, found.text) == (ABSENT, "finds no CUDA device ({})".format(failed["error"]))
    found = findings._pycuda({"pycuda": failed, "cuda": DEVICE})
    assert (found.state, found.text) == (BROKEN, failed["error"])
    assert findings._pycuda({"pycuda": {"version": "2020.1"}, "cuda": DEVICE}).text == "2020.1"


def test_engines():
    facts = {name: NOTHING for name in ("tensorrt", "tensorrt_rtx", "pycuda", "cuda")}
    assert findings._engines(facts)[:3] == (
        "building engines",
        ABSENT,
        "neither TensorRT nor TensorRT-RTX works here",
    )
    assert findings._runner_tensorrt(facts)[1:3] == (ABSENT, "needs TensorRT and pycuda and a CUDA device")
    facts.update(tensorrt_rtx={"version": "1.7.1"}, cuda=DEVICE)
    assert findings._engines(facts)[1:3] == (OK, "with TensorRT-RTX 1.7.1, for RTX GPUs")
    assert findings._runner_tensorrt(facts)[1:3] == (ABSENT, "needs pycuda")
    facts.update(tensorrt={"version": "8.2.1.8"}, pycuda={"version": "2020.1"})
    assert findings._engines(facts)[1:3] == (OK, "with TensorRT 8.2.1.8, for this device")
    assert findings._runner_tensorrt(facts)[:2] == ("runner tensorrt", OK)


def test_meter(monkeypatch):
    monkeypatch.setattr(findings, "find_meter", lambda: (object(), "INA3221 (VDD_IN)"))
    assert findings._meter()[:4] == ("energy meter", OK, "INA3221 (VDD_IN)", None)
    monkeypatch.setattr(findings, "find_meter", lambda: (None, "this machine has none"))
    assert findings._meter()[1:3] == (ABSENT, "this machine has none")


@pytest.fixture
def machine(monkeypatch):
    """A machine whose libraries answer at once; the dictionary may be changed."""
    answers = {name: {"absent": "not installed"} for name in facts.PROBES}
    monkeypatch.setattr(findings, "ask", lambda name, timeout: answers[name])
    monkeypatch.setattr(findings, "cameras", lambda: [])
    return answers


def test_doctor_of_a_bare_machine(machine, capsys):
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "" and lines[0].startswith("ok  darkprune ") and "Python 3." in lines[0]
    assert lines[2] == "ok  runner numpy        in the package"
    assert lines[3:5] == ["--  runner torch        not installed", " " * 24 + "cure: pip install torch"]
    assert all(line.startswith(("ok  ", "--  ", "      ")) for line in lines)


def test_doctor_of_a_broken_machine(machine, capsys):
    machine["torch"] = {"error": "ImportError: libcudart.so.10.2: cannot open shared object file"}
    machine["tensorrt_rtx_bindings"] = {"version": "1.7", "abilities": []}
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in found["checks"]}
    assert found["ok"] is False and checks["runner torch"]["state"] == BROKEN
    assert checks["runner torch"]["cure"] == "install it again: pip install torch"
    assert checks["TensorRT-RTX"]["text"] == "1.7: no ability that we know"
    assert main(["doctor"]) == 1
    assert "!!  runner torch        ImportError: libcudart.so.10.2" in capsys.readouterr().out


def test_doctor_of_this_machine(capsys):
    """Nothing here may crash it; what is installed need not be whole."""
    assert main(["doctor", "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert {"darkprune", "numpy", "runner opencv", "runner darknet", "CUDA", "TensorRT", "camera"} <= {
        check["name"] for check in found["checks"]
    }
    for check in found["checks"]:
        assert sorted(check) == ["cure", "facts", "name", "state", "text"]
        assert check["state"] in (OK, ABSENT, BROKEN) and check["text"] and (check["state"] == OK or check["cure"])
