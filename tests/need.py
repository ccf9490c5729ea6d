"""What a test needs beyond the package itself: each function returns it, or skips the test and says why.

With DARKPRUNE_REQUIRE=1, as in CI, such a test fails instead. The functions may be called in a test, in a fixture,
or at the top of a module (then they decide for the whole module).
"""

import importlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBDARKNET = Path("/usr/lib/darknet/libdarknet.so")
DARKNET = Path("/usr/bin/darknet")
DEBIAN_CFGS = Path("/usr/share/darknet/cfg")
DEBIAN_IMAGES = Path("/usr/share/darknet/data")


def required():
    """Whether a test fails where it would skip."""
    return os.environ.get("DARKPRUNE_REQUIRE", "") not in ("", "0")


def shared_path():
    """Where the shared folder is looked for: DARKPRUNE_SHARED, relative to the repository, else ../shared."""
    return Path(os.path.normpath(str(ROOT / os.environ.get("DARKPRUNE_SHARED", "../shared"))))


def shared():
    """The folder of shared material (cfgs, models, data sets)."""
    return _present(shared_path(), "cfgs/expectations.tsv", "the shared material; DARKPRUNE_SHARED names its folder")


def opencv():
    """The module cv2, with its DNN reader of Darknet files."""
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        reason = "OpenCV does not import: {}".format(error)
        cv2 = None
    if cv2 is None:
        _absent(reason)
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        _absent("this OpenCV ({}) reads no Darknet files".format(cv2.__version__))
    return cv2


def opencv5():
    """The folder of an OpenCV 5, which a process of its own can have on its PYTHONPATH: DARKPRUNE_OPENCV5, or
    build/opencv5, where CI installs it."""
    folder = Path(os.environ.get("DARKPRUNE_OPENCV5", str(ROOT / "build" / "opencv5")))
    return _present(folder, "cv2", "OpenCV 5: pip install --target build/opencv5 --no-deps opencv-python-headless==5.*")


def coco_library():
    """The module faster_coco_eval, which computes COCO's AP."""
    try:
        return importlib.import_module("faster_coco_eval")
    except ImportError as error:
        reason = "the library faster-coco-eval does not import: {}".format(error)
    return _absent(reason)


def torch():
    """The module torch, with one thread: several wait for each other where other tests have the cores."""
    try:
        found = importlib.import_module("torch")
    except ImportError as error:
        return _absent("torch does not import: {}".format(error))
    found.set_num_threads(1)
    return found


def matplotlib():
    """The module matplotlib, which draws the charts of trainings."""
    try:
        return importlib.import_module("matplotlib")
    except ImportError as error:
        reason = "matplotlib does not import: {}".format(error)
    return _absent(reason)


def optuna():
    """The module optuna, which searches several knobs at once."""
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        return _absent("optuna does not import: {}".format(error))


def tensorboard():
    """The module tensorboard, through which torch writes records of trainings."""
    try:
        return importlib.import_module("tensorboard")
    except ImportError as error:
        return _absent("tensorboard does not import: {}".format(error))


def onnx():
    """The module onnx."""
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        reason = "onnx does not import: {}".format(error)
    return _absent(reason)


def onnxruntime():
    """The module onnxruntime."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        reason = "onnxruntime does not import: {}".format(error)
    return _absent(reason)


def tensorrt_rtx():
    """The module of TensorRT-RTX, which builds engines without a GPU."""
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            reason = "TensorRT-RTX does not import: {}".format(error)
    return _absent(reason)


def tensorrt_stubs():
    """The folder of the type stubs of TensorRT, beside which `import tensorrt` gives an empty module."""
    found = importlib.util.find_spec("tensorrt_stubs")
    if found is None:
        _absent("tensorrt-stubs is not installed")
    return Path(found.origin).parent.parent


def gpp():
    """The path of a C++ compiler."""
    found = shutil.which("g++")
    return found if found is not None else _absent("there is no g++")


def libdarknet():
    """The path of pjreddie's Darknet as a shared library, from Debian's package."""
    return _present(LIBDARKNET, "", "Debian's package darknet")


def darknet():
    """The path of pjreddie's Darknet as a program, from Debian's package."""
    return _present(DARKNET, "", "Debian's package darknet")


def debian_cfgs():
    """The folder of the cfgs in Debian's package darknet."""
    return _present(DEBIAN_CFGS, "yolov3.cfg", "Debian's package darknet")


def debian_images():
    """The folder of the images and names in Debian's package darknet."""
    return _present(DEBIAN_IMAGES, "dog.jpg", "Debian's package darknet")


def gstreamer():
    """A Python whose OpenCV has GStreamer: Debian's own, with its packages python3-opencv and
    gstreamer1.0-plugins-base; pip's OpenCV has none.

    They take 300 MB, so that CI does without: this one always skips.
    """
    python = os.environ.get("DARKPRUNE_GSTREAMER_PYTHON", "/usr/bin/python3")
    code = "import cv2, re; assert re.search(r'GStreamer:\\s+YES', cv2.getBuildInformation())"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if not os.path.exists(python) or subprocess.call([python, "-c", code], **quiet):
        pytest.skip("{} has no OpenCV with GStreamer (python3-opencv gstreamer1.0-plugins-base)".format(python))
    return python


def runner(name, images=True):
    """What that runner needs, and OpenCV, which reads images."""
    if images or name == "opencv":
        opencv()
    if name == "darknet":
        libdarknet()
    if name == "torch":
        torch()
    if name == "onnxruntime":
        onnx(), onnxruntime()


def _present(path, inside, what):
    if not (path / inside).exists():
        _absent("{} is not there ({})".format(path, what))
    return path


def _absent(reason):
    if required():
        pytest.fail("DARKPRUNE_REQUIRE is set, and " + reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
