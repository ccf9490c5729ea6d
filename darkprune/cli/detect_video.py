"""`darkprune detect` on a video or camera."""

import argparse
import sys
from contextlib import ExitStack, closing
from functools import partial
from typing import List, Optional

from darkprune.cli.common import write
from darkprune.cli.running import class_names, files_of, open_model
from darkprune.data.data_file import DataFile
from darkprune.detect.detector import Detector
from darkprune.errors import UsageError, place
from darkprune.evaluate.energy import find_meter
from darkprune.interrupt import Interrupt
from darkprune.video import sinks
from darkprune.video.loop import Loop, Sink
from darkprune.video.opening import open_source
from darkprune.video.source import Source, parse, shown
from darkprune.video.window import Window

INTERRUPTED = 130
_ONLY_VIDEO = "is for a video or camera"
_ONLY_IMAGES = "is for images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--display, --frames and --log."""
    parser.add_argument("--display", action="store_true", help="show a video or camera in a window")
    parser.add_argument("--frames", metavar="N", type=int, help="end a video or camera after N frames")
    parser.add_argument("--log", metavar="FILE", help="write a line of JSON for each frame of a video or camera")


def source_of(arguments: argparse.Namespace) -> Optional[Source]:
    """The video or camera that is meant; None for images. Raises UsageError for options that do not go with it."""
    found = [parse(word) for word in arguments.images]
    sources = [source for source in found if source is not None]
    if len(sources) > 1 or (sources and len(found) > 1):
        raise UsageError("a video or camera is read alone", place(shown(sources[0])), "run the command once for each")
    video = {"--display": arguments.display, "--frames": arguments.frames is not None, "--log": arguments.log}
    images = {"--out": arguments.out, "--save-labels": arguments.save_labels}
    for option, given in (images if sources else video).items():
        if given:
            cause = "{} {}".format(option, _ONLY_IMAGES if sources else _ONLY_VIDEO)
            raise UsageError(cause, hint="--log writes the boxes of all frames" if sources else "leave it out")
    if arguments.display and arguments.dont_show:
        raise UsageError("--display and --dont-show contradict each other", hint="leave one out")
    if arguments.frames is not None and arguments.frames < 1:
        raise UsageError("--frames must be at least 1", hint="leave it out for all")
    return sources[0] if sources else None


def run(arguments: argparse.Namespace, source: Source) -> int:
    """Carries out the command; returns the exit status."""
    inputs = _inputs(arguments, source)
    check = partial(sinks.check_files, arguments.output, arguments.log, overwrite=arguments.overwrite)
    check(inputs)
    with closing(open_model(arguments)) as model, ExitStack() as stack:
        detector = Detector(model, arguments.thresh, arguments.nms, arguments.letter_box)
        names = class_names(arguments, detector.classes, inputs=inputs)
        check(inputs)
        outputs: List[Sink] = [stack.enter_context(closing(Window()))] if arguments.display else []
        capture = stack.enter_context(open_source(source))
        interrupt = stack.enter_context(Interrupt())  # until the files are closed
        files = sinks.open_files(arguments.output, arguments.log, capture, inputs, arguments.overwrite)
        outputs += [stack.enter_context(closing(sink)) for sink in files]
        form = sinks.json_line if arguments.json else partial(sinks.text_line, extended=arguments.ext_output)
        outputs.append(sinks.LineSink(write, form))
        loop = Loop([detector], names, meter=find_meter()[0], stop=interrupt)
        summary = loop.run(capture, outputs, arguments.frames)
        cut = interrupt.asked and not capture.live
    write(sinks.summary_line(summary) + "\n", sys.stderr if arguments.json else sys.stdout)
    return INTERRUPTED if cut else 0


def _inputs(arguments: argparse.Namespace, source: Source) -> List[str]:
    given = [arguments.cfg, arguments.weights, arguments.int8, arguments.engine, arguments.names, arguments.data]
    data = files_of(DataFile.read(arguments.data)) if arguments.data is not None else []
    return [source.target] + [path for path in given if path is not None] + data
