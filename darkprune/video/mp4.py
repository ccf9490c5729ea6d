"""How long the video of an MP4 or MOV file plays: less than all its frames take, where it was trimmed without being
encoded anew; its edit list hides the others. (ISO/IEC 14496-12, 8.2.2 and 8.6.6.)"""

import struct
from typing import Any, BinaryIO, Iterator, Optional, Tuple

_Box = Tuple[bytes, int, int]  # type, start and end of the content


def seconds(path: str) -> Optional[float]:
    """The sum over the edit list of the video track; None where there is none."""
    try:
        with open(path, "rb") as stream:
            return _seconds(stream)
    except (OSError, struct.error):  # cut short, or no such file
        return None


def _seconds(stream: BinaryIO) -> Optional[float]:
    stream.seek(0, 2)
    movie = _find(stream, (b"", 0, stream.tell()), b"moov")
    header = _find(stream, movie, b"mvhd")
    for track in _boxes(stream, movie):
        handler = _find(stream, _find(stream, track, b"mdia"), b"hdlr") if track[0] == b"trak" else None
        if handler is None or _unpack(stream, handler[1] + 8, ">4s") != (b"vide",):
            continue
        edits = _find(stream, _find(stream, track, b"edts"), b"elst")
        if header is None or edits is None:
            return None
        version, count = _unpack(stream, header[1], ">B")[0], _unpack(stream, edits[1] + 4, ">I")[0]
        (scale,) = _unpack(stream, header[1] + (20 if version else 12), ">I")
        form = ">Qq" if _unpack(stream, edits[1], ">B")[0] else ">Ii"
        step = struct.calcsize(form) + 4
        parts = [_unpack(stream, edits[1] + 8 + step * number, form) for number in range(min(count, 1000))]
        total = sum(duration for duration, media in parts if media >= 0)  # -1: nothing is shown
        return total / scale if scale and total else None
    return None


def _unpack(stream: BinaryIO, place: int, form: str) -> Tuple[Any, ...]:
    stream.seek(place)
    return struct.unpack(form, stream.read(struct.calcsize(form)))


def _find(stream: BinaryIO, parent: Optional[_Box], kind: bytes) -> Optional[_Box]:
    return next((box for box in _boxes(stream, parent) if box[0] == kind), None)


def _boxes(stream: BinaryIO, parent: Optional[_Box]) -> Iterator[_Box]:
    """The boxes in another one."""
    _, start, end = parent or (b"", 0, 0)
    while start + 8 <= end:
        size, kind = _unpack(stream, start, ">I4s")
        content = start + 8
        if size == 1:
            (size,) = _unpack(stream, content, ">Q")
            content += 8
        stop = start + size if size else end
        if stop < content:
            return
        yield kind, content, stop
        start = stop
