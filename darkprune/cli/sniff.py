"""What a file on the command line is, told by its content; by its name where the content does not say."""

import os
import re
from typing import Optional

from darkprune.darknet.weights import parse_header
from darkprune.errors import WeightsError
from darkprune.video import source

CFG, WEIGHTS, DATA, NAMES = "cfg", "weights", "data", "names"
LIST, PLAN, IMAGE, FOLDER, VIDEO = "list", "plan", "image", "folder", "video"

_START = 4096  # bytes that are looked at
_LATEST = 10000  # no header holds a version number beyond; other formats begin with larger ones
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5\n", b"P6\n")
_SECTION = re.compile(rb"\[\w+\]")
_DATA_LINE = re.compile(rb"(classes|train|valid|test|names|labels|backup|results|top|eval)\s*=", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"\.(jpe?g|png|bmp|gif|webp|tiff?|pgm|ppm|jp2)$", re.IGNORECASE)
_ENDS = (
    (CFG, re.compile(r"\.cfg$", re.IGNORECASE)),
    (WEIGHTS, re.compile(r"\.(weights|backup|conv\.\d+)$", re.IGNORECASE)),
    (DATA, re.compile(r"\.data$", re.IGNORECASE)),
    (NAMES, re.compile(r"\.names$", re.IGNORECASE)),
    (LIST, re.compile(r"\.(txt|list)$", re.IGNORECASE)),
    (PLAN, re.compile(r"\.json$", re.IGNORECASE)),
    (IMAGE, _IMAGE_NAME),
)


def by_name(path: str) -> Optional[str]:
    """What the file should be by the end of its name."""
    if source.is_named(path):
        return VIDEO
    return next((kind for kind, end in _ENDS if end.search(path)), None)


def by_content(path: str) -> Optional[str]:
    """What the file is by its content; None where that does not say, or the file cannot be read."""
    if os.path.isdir(path):
        return FOLDER
    if not os.path.isfile(path):  # never a device or a pipe, which would be used up
        return None
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(_START)
    except OSError:
        return None
    if start.startswith(_IMAGES) or (start[:4], start[8:12]) == (b"RIFF", b"WEBP"):
        return IMAGE
    if source.is_video(path):
        return VIDEO
    return _of_weights(start, size, path) if b"\0" in start else _of_text(start, path)


def _of_weights(start: bytes, size: int, path: str) -> Optional[str]:
    try:
        header = parse_header(start[:20], path)
    except WeightsError:
        return None
    plausible = all(0 <= number <= _LATEST for number in header[:3])
    return WEIGHTS if plausible and size > header.size and (size - header.size) % 4 == 0 else None


def _of_text(start: bytes, path: str) -> Optional[str]:
    lines = [line.strip() for line in start[3 if start.startswith(b"\xef\xbb\xbf") else 0 :].splitlines()]
    first = next((line for line in lines if line and line[:1] not in (b"#", b";")), b"")
    if _SECTION.match(first) and by_name(path) not in (NAMES, LIST):
        return CFG
    if first.startswith(b"{"):
        return PLAN
    if _DATA_LINE.match(first):
        return DATA
    if _IMAGE_NAME.search(first.decode("latin-1")):
        return LIST
    return NAMES if first and by_name(path) in (LIST, NAMES) else None
