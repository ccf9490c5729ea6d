"""Where a detector's frames go: a video file, lines of JSON, lines of text."""

import json
import os
from collections import OrderedDict
from typing import Any, Callable, Dict, List, Optional, Sequence

from darkprune.darknet.pair import require_writable
from darkprune.detect.results import Found, as_json, grouped
from darkprune.errors import OutputError, place
from darkprune.video.capture import Capture
from darkprune.video.loop import Shot, Side, Sink, Summary
from darkprune.video.recorder import DEFAULT_FPS, FASTEST, Recorder, require_container


class RecordSink(Sink):
    """The frames with boxes, as a video: of a file each one once, of a camera so that it plays as fast as it was."""

    def __init__(self, path: str, capture: Capture, inputs: Sequence[str] = (), overwrite: bool = False) -> None:
        self._live = capture.live
        fps = min(capture.fps or FASTEST, FASTEST) if capture.live else capture.fps or DEFAULT_FPS
        self.recorder = Recorder(path, fps, inputs, overwrite)
        self._start: Optional[float] = None

    def take(self, shot: Shot) -> bool:
        if self._start is None:
            self._start = shot.frame.seconds
        if self._live:
            self.recorder.write_until(shot.picture(), shot.frame.seconds - self._start)
        else:
            self.recorder.write(shot.picture())
        return True

    def close(self) -> None:
        self.recorder.close()


class LogSink(Sink):
    """A file of JSON, one line a frame, each complete on the disk before the next frame."""

    def __init__(self, path: str, inputs: Sequence[str] = (), overwrite: bool = False) -> None:
        require_writable(path, inputs, overwrite)
        self._path = path
        try:
            self._stream = open(path, "wb", 0)
        except OSError as error:
            raise self._failure(error) from error

    def take(self, shot: Shot) -> bool:
        line = (json.dumps(as_dict(shot)) + "\n").encode("utf-8")
        good = self._stream.tell()
        try:
            done = 0
            while done < len(line):  # on a nearly full disk a part of it is written, and only then an error comes
                done += self._stream.write(line[done:])
        except OSError as error:
            os.ftruncate(self._stream.fileno(), good)
            raise self._failure(error) from error
        return True

    def close(self) -> None:
        self._stream.close()

    def _failure(self, error: OSError) -> OutputError:
        return OutputError("cannot write the log: {}".format(error.strerror), place(self._path), "write elsewhere")


class LineSink(Sink):
    """A line for every frame.

    Args: write: takes the text. form: makes it of a Shot.
    """

    def __init__(self, write: Callable[[str], Any], form: Callable[[Shot], str]) -> None:
        self._write, self._form = write, form

    def take(self, shot: Shot) -> bool:
        self._write(self._form(shot) + "\n")
        return True


def json_line(shot: Shot) -> str:
    """The line of the log."""
    return json.dumps(as_dict(shot))


def as_dict(shot: Shot) -> Dict[str, Any]:
    """A frame as JSON: boxes are left, top, width, height in pixels; times are milliseconds."""
    found: Dict[str, Any] = OrderedDict(frame=shot.frame.number)
    found["time"] = round(shot.frame.seconds, 6)
    sides = [_side(shot, side) for side in shot.sides]
    found.update(sides[0] if len(sides) == 1 else OrderedDict(sides=sides))
    found["dropped"] = shot.dropped
    if shot.watts is not None:
        found["watts"] = round(shot.watts, 3)
    return found


def _side(shot: Shot, side: Side) -> Dict[str, Any]:
    pixels = shot.frame.pixels
    image = Found("", pixels.shape[1], pixels.shape[0], side.objects, side.times.infer)
    found: Dict[str, Any] = OrderedDict(title=side.title) if side.title else OrderedDict()
    found["objects"] = as_json([image], shot.names)["images"][0]["objects"]
    found["ms"] = OrderedDict((name, round(1000 * value, 3)) for name, value in zip(side.times._fields, side.times))
    found["fps"] = round(side.fps, 3) if side.fps is not None else None
    return found


def text_line(shot: Shot, extended: bool = False) -> str:
    """The line on a terminal; `extended`: with left, top, width and height of the boxes in pixels."""
    return " | ".join(_text(shot, side, extended) for side in shot.sides)


def _text(shot: Shot, side: Side, extended: bool) -> str:
    objects = []
    for box in grouped(side.objects):
        objects.append("{} {:.0f}%".format(shot.names[box[0].class_id], 100 * box[0].confidence))
        if extended:
            objects[-1] += " at {:.0f} {:.0f} {:.0f} {:.0f}".format(*box[0].box)
    rate = "-" if side.fps is None else "{:.1f}".format(side.fps)
    ms = "pre {:.1f}, infer {:.1f}, post {:.1f} ms".format(*[1000 * value for value in side.times])
    title = "{} ".format(side.title) if side.title else ""
    found = ", ".join(objects) or "nothing"
    return "{}frame {}: {} ({}, {} FPS)".format(title, shot.frame.number, found, ms, rate)


def summary_line(summary: Summary, titles: Sequence[str] = ("",)) -> str:
    """Frames, time, rates and mean times; of two detectors also the ratio of their rates."""
    text = "{} frame{} in {:.1f} s".format(summary.frames, "" if summary.frames == 1 else "s", summary.seconds)
    for title, fps, times in zip(titles, summary.fps, summary.times):
        if fps:
            ms = "pre {:.1f}, infer {:.1f}, post {:.1f} ms".format(*[1000 * value for value in times])
            text += "; {}{:.1f} FPS from end to end ({})".format(title + " " if title else "", fps, ms)
    if len(summary.fps) == 2 and all(summary.fps):
        text += "; {:.2f} times the rate".format(summary.fps[1] / summary.fps[0])
    return text + ("; {} dropped".format(summary.dropped) if summary.dropped else "")


def check_files(video: Optional[str], log: Optional[str], inputs: Sequence[str], overwrite: bool) -> None:
    """Raises OutputError or UsageError, before any work, where a file that is asked for cannot be written."""
    if video is not None:
        require_container(video)
    paths = [path for path in (video, log) if path is not None]
    for path in paths:
        require_writable(path, inputs, overwrite)
    if len(paths) == 2 and os.path.realpath(paths[0]) == os.path.realpath(paths[1]):
        raise OutputError("two outputs would have this name", place(paths[0]), "choose another name for one")


def open_files(
    video: Optional[str], log: Optional[str], capture: Capture, inputs: Sequence[str], overwrite: bool
) -> List[Sink]:
    """The sinks of the files that are asked for. Raises OutputError and UsageError where one cannot be written."""
    found: List[Sink] = [] if video is None else [RecordSink(video, capture, inputs, overwrite)]
    return found + ([] if log is None else [LogSink(log, inputs, overwrite)])
