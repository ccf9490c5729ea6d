"""Sources opened with OpenCV: what is tried in which order, and what is said where nothing comes."""

import glob
import os
import re
import shutil
import subprocess
import threading
from functools import partial
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import numpy as np

from darkprune.detect.image_file import import_cv2
from darkprune.errors import MissingDependency, SourceError, place
from darkprune.video import pipelines
from darkprune.video.capture import Capture, FileCapture, LiveCapture, StillCapture
from darkprune.video.source import CSI, FILE, PIPELINE, RTSP, STILL, USB, Source, is_live, shown

_GSTREAMER = re.compile(r"^\s*GStreamer:\s*YES", re.MULTILINE)
_OPENCV_HINT = "on a Jetson, pip uninstall opencv-python uncovers the OpenCV that has it; elsewhere take the system's"
PATIENCE = 20.0  # seconds until the first frame
_CSI_ELEMENT = "nvarguscamerasrc"
_USB_SIZE, _CSI_SIZE = (640, 480), (1280, 720)

_Attempt = NamedTuple(
    "_Attempt",
    [
        ("arguments", Tuple[Any, ...]),  # of cv2.VideoCapture
        ("settings", List[Tuple[int, float]]),  # set before the first frame
    ],
)


def open_source(source: Source, has: Optional[Callable[[str], bool]] = None) -> Capture:
    """The source, open, its first frame already there. Raises SourceError, or MissingDependency without OpenCV or
    the GStreamer that it needs.

    Args: has: whether GStreamer has an element; by default it is asked.
    """
    cv2 = import_cv2()
    if source.kind == STILL:
        return StillCapture(source)
    if source.kind == FILE:
        return _open_file(cv2, source)
    if source.kind == USB:
        _require_device(device_of(source))
    for attempt in attempts(cv2, source, has or has_element):
        opened: Tuple[Any, Optional[np.ndarray]] = _beside(partial(_try, cv2, attempt)) or (None, None)
        grabber, first = opened
        if first is not None:
            if is_live(source):
                return LiveCapture(source, grabber, first, grabber.get(cv2.CAP_PROP_FPS))
            return FileCapture(source, grabber, first)
    raise _nothing(source)


def _try(cv2: Any, attempt: _Attempt) -> Tuple[Any, Optional[np.ndarray]]:
    """What was opened, and its first frame, or None."""
    grabber = cv2.VideoCapture(*attempt.arguments)
    for key, value in attempt.settings:
        grabber.set(key, value)
    return grabber, _first(cv2, grabber)


def _beside(action: Callable[[], Any]) -> Any:
    """What `action` returns or raises, or None after PATIENCE; it is done in another thread, since OpenCV waits long
    for a camera that does not answer, or one of another codec, some releases for ever, and then hears no Ctrl-C."""
    found: List[Any] = []
    errors: List[BaseException] = []

    def work() -> None:
        try:
            found.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="opening", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if errors:
        raise errors[0]
    return found[0] if found else None


def attempts(cv2: Any, source: Source, has: Callable[[str], bool]) -> List[_Attempt]:
    """What is tried, in this order. Raises MissingDependency where GStreamer is needed and OpenCV was built without.

    OpenCV may wait without end for a pipeline whose first element GStreamer has not; none such is tried.
    """
    gstreamer = has_gstreamer(cv2)
    if source.kind == USB:
        return _of_usb(cv2, source, gstreamer and has("v4l2src"))
    if source.kind == RTSP:
        return (_of_rtsp(cv2, source, has) if gstreamer and has("rtspsrc") else []) + [_Attempt((source.target,), [])]
    if not gstreamer:
        what = "the camera of a Jetson" if source.kind == CSI else "a pipeline"
        raise MissingDependency("{} needs an OpenCV with GStreamer, this one has none".format(what), hint=_OPENCV_HINT)
    if source.kind == PIPELINE:
        return [_pipeline(cv2, pipelines.with_sink(source.target))]
    if not has(_CSI_ELEMENT):
        cause = "GStreamer has no {}, which comes with JetPack".format(_CSI_ELEMENT)
        raise MissingDependency(cause, hint="csi:// is the camera of a Jetson; others are usb://0 or rtsp://HOST/PATH")
    width, height = _size(source, _CSI_SIZE)
    return [_pipeline(cv2, pipelines.csi(int(source.target), width, height, source.fps or 30, source.flip))]


def _of_usb(cv2: Any, source: Source, gstreamer: bool) -> List[_Attempt]:
    """With GStreamer, and without: many webcams do not come to terms with v4l2src."""
    width, height = _size(source, _USB_SIZE)
    mjpg = source.format == "mjpg"
    settings = [(cv2.CAP_PROP_FRAME_WIDTH, float(width)), (cv2.CAP_PROP_FRAME_HEIGHT, float(height))]
    if mjpg:  # before the size, since sizes depend on it
        settings.insert(0, (cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter_fourcc(*"MJPG"))))
    if source.fps:
        settings.append((cv2.CAP_PROP_FPS, float(source.fps)))
    plain = _Attempt((int(source.target), cv2.CAP_V4L2), settings)
    text = pipelines.usb(device_of(source), width, height, source.fps, mjpg)
    return [_pipeline(cv2, text), plain] if gstreamer else [plain]


def _pipeline(cv2: Any, text: str) -> _Attempt:
    return _Attempt((text, cv2.CAP_GSTREAMER), [])


def _of_rtsp(cv2: Any, source: Source, has: Callable[[str], bool]) -> List[_Attempt]:
    decoders = [(codec, pipelines.find_decoder(codec, has)) for codec in pipelines.CODECS]
    found = [pipelines.rtsp(source.target, codec, name, source.latency) for codec, name in decoders if name]
    return [_pipeline(cv2, text) for text in found]


def _size(source: Source, default: Tuple[int, int]) -> Tuple[int, int]:
    return (source.width or default[0], source.height or default[1])


def _open_file(cv2: Any, source: Source) -> Capture:
    path = source.target
    try:
        with open(path, "rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise SourceError("cannot read the video: {}".format(error.strerror), place(path), "check the path") from error
    if empty:
        raise SourceError("cannot read the video: the file is empty", place(path), "copy it anew")
    grabber = cv2.VideoCapture(path)
    first = _first(cv2, grabber)
    if first is None:
        cause = "OpenCV can read no frame of this video: it is damaged, cut short, or of a codec that OpenCV lacks"
        raise SourceError(cause, place(path), "have ffmpeg write it anew: ffmpeg -i VIDEO -c:v mpeg4 NEW.mp4")
    return FileCapture(source, grabber, first)


def _first(cv2: Any, grabber: Any) -> Optional[np.ndarray]:
    """The first frame; None where there is none, and then the source is closed again."""
    try:
        done, pixels = grabber.read() if grabber.isOpened() else (False, None)
    except cv2.error:
        done, pixels = False, None
    if not done:
        grabber.release()
        return None
    return np.asarray(pixels)


def _require_device(path: str) -> None:
    if not os.path.exists(path):
        others = sorted(glob.glob("/dev/video*"))
        hint = "there is {}".format(", ".join(others)) if others else "plug one in; a container must be given it"
        raise SourceError("there is no such camera", place(path), hint)
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError("you may not use this camera", place(path), "sudo usermod -aG video $USER, then log in again")


def _nothing(source: Source) -> SourceError:
    return SourceError("no frame comes from this source", place(shown(source)), _hint(source))


def _hint(source: Source) -> str:
    hints = {
        USB: "does another program have it? v4l2-ctl -d {} --list-formats-ext shows its sizes",
        CSI: "sudo systemctl restart nvargus-daemon; then try: gst-launch-1.0 nvarguscamerasrc sensor-id={} ! fakesink",
        RTSP: "check the address, the password and the network",
        PIPELINE: "try it with gst-launch-1.0 and fakesink at its end",
    }
    target = device_of(source) if source.kind == USB else source.target
    return hints[source.kind].format(target)


def device_of(source: Source) -> str:
    """The device file of a USB camera."""
    return "/dev/video" + source.target


def has_gstreamer(cv2: Any) -> bool:
    """Whether this OpenCV was built with GStreamer; pip's was not."""
    return bool(_GSTREAMER.search(cv2.getBuildInformation()))


def has_element(name: str) -> bool:
    """Whether GStreamer has an element of that name, as gst-inspect-1.0 says; without that program, it may have it."""
    program = shutil.which("gst-inspect-1.0")
    if program is None:
        return True
    return subprocess.call([program, name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
