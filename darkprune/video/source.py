"""What a word on the command line names as a source of frames.

    clip.mp4                      a video file, also by its content
    usb://0, /dev/video0          a USB camera:   ?width=640&height=480&fps=30&format=mjpg
    csi://0                       a Jetson's own: ?width=1280&height=720&fps=30&flip=2
    rtsp://host/path              a network camera; its address goes to it as it is
    gst://PIPELINE, or A ! B      a GStreamer pipeline; an appsink is put behind one that has none

`flip` is nvvidconv's flip-method, 0 to 7 (2 turns by 180 degrees).
"""

import os
import re
from typing import Dict, NamedTuple, Optional, Tuple

from darkprune.errors import UsageError

FILE, USB, CSI, RTSP, PIPELINE, STILL = "file", "usb", "csi", "rtsp", "pipeline", "still"
SUFFIXES = tuple(
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .ts .m2ts .wmv .flv .3gp .ogv .mjpg .mjpeg .264 .265".split()
)

LATENCY = 200

_SCHEME = re.compile(r"(usb|csi|gst|rtsps?)://(.*)$", re.IGNORECASE | re.DOTALL)
_DEVICE = re.compile(r"/dev/video(\d+)$")
_SECRET = re.compile(r"(pass(?:word|wd)?|pwd|psw|token|user-pw)=[^&\s\"']*", re.IGNORECASE)
_PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")  # brands of images in MP4's container
_SETTINGS = {USB: ("width", "height", "fps", "format"), CSI: ("width", "height", "fps", "flip")}
_FORMATS = ("raw", "mjpg")
_MOST = {"width": 16384, "height": 16384, "fps": 1000, "flip": 7}

Source = NamedTuple(
    "Source",
    [
        ("word", str),  # as the user named it
        ("kind", str),
        ("target", str),  # number of the camera, path, address or pipeline
        ("width", Optional[int]),  # what is asked of the camera; None: the default of its kind
        ("height", Optional[int]),
        ("fps", Optional[int]),
        ("format", Optional[str]),  # of a USB camera: raw or mjpg
        ("flip", int),  # of a Jetson's camera
        ("latency", int),  # milliseconds that a network camera's frames are held back
    ],
)


def parse(word: str) -> Optional[Source]:
    """The source, or None for a word that names images. Raises UsageError for a setting that makes no sense."""
    scheme = _SCHEME.match(word)
    if scheme:
        return _of_scheme(word, scheme.group(1).lower(), scheme.group(2))
    device = _DEVICE.match(word)
    if device:
        return _camera(word, USB, device.group(1), {})
    if " ! " in word and not os.path.exists(word):  # a title may hold one, too
        return _plain(word, PIPELINE, word.strip())
    if word.lower().endswith(SUFFIXES) or is_video(word):
        return _plain(word, FILE, word)
    return None


def is_named(word: str) -> bool:
    """Whether a word, by itself, names a video or camera."""
    return bool(_SCHEME.match(word) or _DEVICE.match(word) or " ! " in word or word.lower().endswith(SUFFIXES))


def video(path: str) -> Source:
    """A video file, whatever its name."""
    return _plain(path, FILE, path)


def still(path: str) -> Source:
    """One image that is shown again and again, as a camera would."""
    return _plain(path, STILL, path)


def shown(source: Source) -> str:
    """The source for messages, without a password: before an @, or as password=..., which many cameras take."""
    return _SECRET.sub(r"\1=***", re.sub(r"(://)(?:[^\s@/]*:\S*@|[^/\s]*@)", r"\1***@", source.word))


def is_live(source: Source) -> bool:
    """Whether frames come at their own pace, so that a slow reader must lose some."""
    return source.kind in (USB, CSI, RTSP) or (source.kind == PIPELINE and "filesrc" not in source.target)


def is_video(path: str) -> bool:
    """Whether the file begins like a video: MP4 and MOV, AVI, Matroska and WebM, MPEG program stream."""
    if not os.path.isfile(path):  # never a device or a pipe
        return False
    try:
        with open(path, "rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    avi = (start[:4], start[8:12]) == (b"RIFF", b"AVI ")
    mp4 = start[4:8] == b"ftyp" and start[8:12] not in _PICTURES
    return avi or mp4 or start[:4] in (b"\x1aE\xdf\xa3", b"\0\0\1\xba")


def _plain(word: str, kind: str, target: str) -> Source:
    return Source(word, kind, target, None, None, None, None, 0, LATENCY)


def _of_scheme(word: str, scheme: str, rest: str) -> Source:
    if not rest.strip():
        hint = "use usb://0, csi://0, rtsp://HOST/PATH or gst://PIPELINE"
        raise UsageError("{} names no source".format(word), hint=hint)
    if scheme == "gst":
        return _plain(word, PIPELINE, rest.strip())
    if scheme.startswith("rtsp"):
        return _plain(word, RTSP, word)
    number, _, settings = rest.partition("?")
    device = _DEVICE.match(number)
    number = device.group(1) if device and scheme == USB else number
    if not re.match(r"\d{1,3}$", number):
        raise UsageError("{} names no camera by its number".format(word), hint="use {}://0".format(scheme))
    return _camera(word, scheme, number, _settings(word, scheme, settings))


def _camera(word: str, kind: str, number: str, found: Dict[str, str]) -> Source:
    width, height, fps, flip = [_number(word, found, key) for key in ("width", "height", "fps", "flip")]
    if (width is None) != (height is None):
        raise UsageError("{} gives one of width and height".format(word), hint="give both, or neither")
    kind_of_data = found.get("format")
    if kind_of_data not in _FORMATS + (None,):
        raise UsageError("{}: no such format: {}".format(word, kind_of_data), hint="use raw or mjpg")
    return Source(word, kind, str(int(number)), width, height, fps, kind_of_data, flip or 0, LATENCY)


def _settings(word: str, kind: str, text: str) -> Dict[str, str]:
    found = {}
    for setting in filter(None, text.split("&")):
        key, _, value = setting.partition("=")
        if key not in _SETTINGS[kind]:
            hint = "it takes " + ", ".join(_SETTINGS[kind])
            raise UsageError("{}: unknown setting {}".format(word, key), hint=hint)
        found[key] = value
    return found


def _number(word: str, found: Dict[str, str], key: str) -> Optional[int]:
    if key not in found:
        return None
    least, most = _range(key)
    if not found[key].isdigit() or not least <= int(found[key]) <= most:
        cause = "{}: {}={} is no number from {} to {}".format(word, key, found[key], least, most)
        raise UsageError(cause, hint="write {}=N".format(key))
    return int(found[key])


def _range(key: str) -> Tuple[int, int]:
    return 0 if key == "flip" else 1, _MOST[key]
