#!/usr/bin/env python3
"""Shows a camera with boxes, FPS, times and power: the demo for a Jetson TX2. tools/tx2_setup.md sets the board up.

    python3 tools/tx2_camera.py --usb -m yolov4-tiny-416              USB camera, window on the HDMI display
    python3 tools/tx2_camera.py --onboard -m yolov4-tiny-416          the board's own camera
    python3 tools/tx2_camera.py --usb -m yolov3 --compare yolov3-pruned.cfg yolov3-pruned.weights
    python3 tools/tx2_camera.py --video in.mp4 -m yolov3 --no-display -o out.mp4 --frames 300

-m NAME reads NAME.cfg and NAME.weights. Their engine, NAME-fp16.engine, is built on the first run, which takes
minutes, and again when the pair, TensorRT or the GPU is another one. Flags and keys are those of jkjung's trt_yolo.py.

Keys: ESC or Q ends, H shows the keys, F switches to the full screen and back. Ctrl-C ends too; files are finished.
"""

import cv2  # noqa: F401, I001  first: behind TensorRT it may find no room for its thread-local memory

import argparse
import glob
import os
import re
import sys
from contextlib import ExitStack, closing

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from darkprune.backends.cuda_buffers import import_driver  # noqa: E402
from darkprune.backends.model import Model  # noqa: E402
from darkprune.backends.registry import RUNNERS, TENSORRT  # noqa: E402
from darkprune.cli.common import write  # noqa: E402
from darkprune.cli.running import class_names  # noqa: E402
from darkprune.detect.detector import Detector  # noqa: E402
from darkprune.engine.build import PRECISIONS, Request  # noqa: E402
from darkprune.engine.reuse import prepare  # noqa: E402
from darkprune.errors import DarkpruneError, UsageError  # noqa: E402
from darkprune.evaluate.energy import find_meter  # noqa: E402
from darkprune.interrupt import Interrupt  # noqa: E402
from darkprune.video import sinks, source  # noqa: E402
from darkprune.video.loop import Loop  # noqa: E402
from darkprune.video.opening import open_source  # noqa: E402
from darkprune.video.window import Window  # noqa: E402
from darkprune.video.wrapped import Looped, Resized  # noqa: E402

_LIMITS = (("frames", 1, 10**9), ("width", 1, 16384), ("height", 1, 16384), ("rtsp_latency", 0, 60000))
_ONBOARD = "vi-output"  # how a Jetson names its own camera among the video devices


def parser():
    """The flags."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    one = made.add_mutually_exclusive_group()
    one.add_argument("--usb", metavar="N", nargs="?", type=int, const=-1, help="USB camera; without N, the first")
    one.add_argument("--onboard", metavar="N", nargs="?", type=int, const=0, help="camera on the CSI connector")
    one.add_argument("--rtsp", metavar="URI", help="network camera, such as rtsp://user:password@host/path")
    one.add_argument("--video", metavar="FILE", help="video file")
    one.add_argument("--image", metavar="FILE", help="one image, again and again")
    one.add_argument("--gstr", metavar="PIPELINE", help="GStreamer pipeline")
    made.add_argument("--vid", metavar="N", type=int, help="number of the USB camera, as --usb N")
    made.add_argument("--video_looping", action="store_true", help="begin the file again at its end")
    made.add_argument("--rtsp_latency", metavar="MS", type=int, default=source.LATENCY)
    made.add_argument("--width", metavar="W", type=int, default=640, help="of a camera's frames (default: %(default)s)")
    made.add_argument("--height", metavar="H", type=int, default=480, help="default: %(default)s")
    made.add_argument("--do_resize", action="store_true", help="scale the frames of other sources to that size")
    made.add_argument("--copy_frame", action="store_true", help="frames are always copies; for jkjung's users")
    made.add_argument("-m", "--model", metavar="NAME", required=True, help="NAME.cfg and NAME.weights")
    made.add_argument("-c", "--category_num", metavar="N", type=int, help="number of classes, which the cfg tells too")
    made.add_argument("-t", "--conf_thresh", metavar="T", type=float, default=0.3, help="default: %(default)s")
    made.add_argument("-l", "--letter_box", action="store_true", help="keep the frames' proportions")
    made.add_argument("--names", metavar="FILE", help="names of the classes")
    made.add_argument("--compare", nargs=2, metavar=("CFG2", "WEIGHTS2"), help="another pair, on the right")
    made.add_argument("--precision", choices=PRECISIONS, default="fp16", help="of the engine (default: %(default)s)")
    made.add_argument("--ranges", metavar="FILE", help="for int8, of darkprune calibrate")
    made.add_argument("--ranges2", metavar="FILE", help="those of the other pair")
    made.add_argument("--runner", choices=RUNNERS + (TENSORRT,), default=TENSORRT, help="default: %(default)s")
    made.add_argument("--no-display", action="store_true", help="open no window")
    made.add_argument("--full_screen", action="store_true", help="begin on the full screen")
    made.add_argument("--frames", metavar="N", type=int, help="end after N frames")
    made.add_argument("-o", "--output", metavar="FILE", help="write a video")
    made.add_argument("--log", metavar="FILE", help="write a line of JSON for each frame")
    made.add_argument("--overwrite", action="store_true", help="replace these files")
    return made


def source_of(options):
    """The Source that the flags mean; without any of them the first USB camera."""
    size = "?width={}&height={}".format(options.width, options.height)
    if options.onboard is not None:
        return source.parse("csi://{}{}".format(options.onboard, size))
    if options.rtsp is not None:
        found = source.parse(options.rtsp)
        if found is None or found.kind != source.RTSP:
            raise UsageError("--rtsp names no network camera", hint="write rtsp://HOST/PATH")
        return found._replace(latency=options.rtsp_latency)
    if options.video is not None:
        return source.video(options.video)
    if options.image is not None:
        return source.still(options.image)
    if options.gstr is not None:
        return source.parse("gst://" + options.gstr)
    given = options.vid if options.usb in (None, -1) else options.usb
    return source.parse("usb://{}{}".format(usb_number() if given is None else given, size))


def usb_number(devices="/sys/class/video4linux/video*"):
    """The number of the first camera that is not the board's own, which takes /dev/video0 on a TX2."""
    for folder in sorted(glob.glob(devices)):
        with open(os.path.join(folder, "name")) as stream:
            if not stream.read().startswith(_ONBOARD):
                return int(re.findall(r"\d+$", folder)[0])
    return 0


def pairs_of(options):
    """(cfg, weights, ranges) of each pair."""
    stem = re.sub(r"\.(cfg|weights)$", "", options.model)
    pairs = [(stem + ".cfg", stem + ".weights", options.ranges)]
    if options.compare:
        pairs.append(tuple(options.compare) + (options.ranges2,))
    if options.precision == "int8" and options.runner == TENSORRT and any(ranges is None for _, _, ranges in pairs):
        hint = "give --ranges (and --ranges2), of darkprune calibrate"
        raise UsageError("int8 needs the ranges of each pair", hint=hint)
    return pairs


def engine_of(cfg, precision):
    """Where the engine of a pair lies."""
    return "{}-{}.engine".format(os.path.splitext(cfg)[0], precision)


def open_detector(options, cfg, weights, ranges, stack):
    """A Detector of the pair, its engine built if that must be."""
    engine = None
    if options.runner == TENSORRT:
        import_driver()  # before minutes are spent on an engine that cannot run
        engine = engine_of(cfg, options.precision)
        prepare(engine, cfg, weights, Request(options.precision), ranges, say)
    model = stack.enter_context(Model(cfg, weights, options.runner, engine=engine))
    detector = Detector(model, options.conf_thresh, letterbox=options.letter_box)
    if options.category_num not in (None, detector.classes):
        cause = "{} has {} classes, not {}".format(cfg, detector.classes, options.category_num)
        raise UsageError(cause, hint="leave --category_num out: the cfg says it")
    return detector


def open_capture(options):
    """The frames, scaled and repeated as the flags say."""
    wanted = source_of(options)
    found = open_source(wanted)
    if options.video_looping and wanted.kind == source.FILE:
        found = Looped(found, lambda: open_source(wanted))
    return Resized(found, options.width, options.height) if options.do_resize else found


def check(options):
    """Raises UsageError for a number that makes no sense."""
    for name, least, most in _LIMITS:
        given = getattr(options, name)
        if given is not None and not least <= given <= most:
            cause = "--{} must be from {} to {}".format(name, least, most)
            raise UsageError(cause, hint="leave it out for the default")


def run(options):
    """Shows frames until they end, or a key or Ctrl-C ends it; prints what was measured."""
    check(options)
    pairs = pairs_of(options)
    titles = ["original", "pruned"] if options.compare else [""]
    inputs = [path for pair in pairs for path in pair if path] + [p for p in (options.video, options.image) if p]
    inputs += [options.names] if options.names else []
    sinks.check_files(options.output, options.log, inputs, options.overwrite)
    with ExitStack() as stack:
        detectors = [open_detector(options, *pair, stack=stack) for pair in pairs]
        if len({detector.classes for detector in detectors}) > 1:
            raise UsageError("the two pairs have other classes", hint="compare a pair with its pruned form")
        named = argparse.Namespace(names=options.names, data=None, cfg=pairs[0][0])
        names = class_names(named, detectors[0].classes, inputs=inputs)
        if options.runner == TENSORRT:
            inputs += [engine_of(cfg, options.precision) for cfg, _, _ in pairs]
        sinks.check_files(options.output, options.log, inputs, options.overwrite)
        found = []
        if not options.no_display:
            window = Window("darkprune", options.width * len(pairs), options.height, options.full_screen)
            found.append(stack.enter_context(closing(window)))
        capture = stack.enter_context(open_capture(options))
        interrupt = stack.enter_context(Interrupt())  # until the files are closed
        files = sinks.open_files(options.output, options.log, capture, inputs, options.overwrite)
        found += [stack.enter_context(closing(sink)) for sink in files]
        loop = Loop(detectors, names, titles, find_meter()[0], interrupt)
        summary = loop.run(capture, found, options.frames)
    write(sinks.summary_line(summary, titles) + "\n")
    return 0


def say(text):
    write(text + "\n", sys.stderr)


def main(argv=None):
    """Exit status: 0 fine, 2 the input is at fault, 130 where Ctrl-C came before the first frame."""
    try:
        return run(parser().parse_args(argv))
    except DarkpruneError as error:
        say(str(error))
        return 2
    except OSError as error:  # of the library's files, every one is an error of its own; this is stdout
        say("error: cannot write the output: {}".format(error.strerror))
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
