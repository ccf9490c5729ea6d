"""A video in, videos with boxes out, before and after pruning: how many frames a second from end to end.

    python tools/video_before_after.py [--nets NAME,...] [--runners NAME,...] [--frames N] [--write]

The video, 640 x 480 at 25 frames a second, pans over images of Debian's package darknet. Every frame is read, resized,
run, decoded, drawn and written; the original and the pruned pair take turns at each frame, so that their ratio holds on
a busy machine. The videos stay in build/video/.
Yolo-Fastest is trained; the weights of the others are synthetic, and would find thousands of boxes that mean nothing:
their threshold is 1, so that none is drawn.
"""

import argparse
import os
import sys
import time
from collections import OrderedDict
from contextlib import ExitStack, closing

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from measured_nets import ROOT, SHARED, pair_of  # noqa: E402
from results import write  # noqa: E402

from darkprune.backends.model import Model  # noqa: E402
from darkprune.cli.bench import machine  # noqa: E402
from darkprune.data import names  # noqa: E402
from darkprune.detect.detector import THRESHOLD, Detector  # noqa: E402
from darkprune.detect.image_file import read_image  # noqa: E402
from darkprune.graph.build import load  # noqa: E402
from darkprune.graph.save import save  # noqa: E402
from darkprune.prune.pipeline import prune  # noqa: E402
from darkprune.video import loop, source  # noqa: E402
from darkprune.video.opening import open_source  # noqa: E402
from darkprune.video.recorder import Recorder  # noqa: E402

TOOL = "video_before_after.py"
BUILD = os.path.join(ROOT, "build", "video")
DATA = "/usr/share/darknet/data"
PICTURES = ("dog", "horses", "person", "giraffe")
SIZE, FPS, FRAMES, WARM = (640, 480), 25.0, 32, 2
RUNNERS = ("onnxruntime",)
SIDES = ("original", "pruned")

TRAINED = ("yolo-fastest-1.1-xl",)

# name -> (what is said of it, options of prune); odd widths would make ONNX Runtime slower than it was
NETS = OrderedDict(
    [
        ("yolov3", ("60 % of the filters, 8 blocks", {"channels": 0.6, "blocks": 8, "round": 8})),
        ("yolov4-tiny", ("60 % of the filters", {"channels": 0.6, "round": 8})),
        ("yolo-fastest-1.1-xl", ("10 % of the filters, by weights", {"channels": 0.1, "score": "l2", "round": 8})),
    ]
)


def pan(pixels, share):
    """A window of SIZE's proportions over an image, uint8 [H, W, 3], at that share of its way from corner to corner."""
    import cv2

    height, width = pixels.shape[:2]
    scale = 0.85 * min(width / SIZE[0], height / SIZE[1])
    across, down = int(SIZE[0] * scale), int(SIZE[1] * scale)
    left, top = int((width - across) * share), int((height - down) * share)
    return cv2.resize(np.ascontiguousarray(pixels[top : top + down, left : left + across]), SIZE)


def make_clip(path, frames):
    """The video."""
    recorder, each = Recorder(path, FPS, overwrite=True), -(-frames // len(PICTURES))
    pictures = [read_image(os.path.join(DATA, name + ".jpg")) for name in PICTURES]
    for number in range(frames):
        recorder.write(pan(pictures[number // each], number % each / each))
    recorder.close()


def pairs(name):
    """(cfg, weights) of the original and of the pruned net, which is written on the first run."""
    trained = os.path.join(SHARED, "models", "yolo-fastest-1.1", name)
    original = (trained + ".cfg", trained + ".weights") if os.path.exists(trained + ".weights") else pair_of(name)
    prefix = os.path.join(BUILD, name + "-pruned")
    if not os.path.exists(prefix + ".cfg"):
        result = prune(load(*original), force=True, **NETS[name][1])
        save(result.net, prefix, overwrite=True, plan=result.plan)
    return [original, (prefix + ".cfg", prefix + ".weights")]


class Side:
    """One pair on its way through the video, which writes `output`.

    Attributes: seconds: what each frame took from end to end. times: of it, the Times of the detector.
    """

    def __init__(self, pair, runner, clip, output, classes, threshold, stack):
        model = stack.enter_context(Model(pair[0], pair[1], runner))
        self.detector = Detector(model, threshold)
        self.capture = stack.enter_context(open_source(source.video(clip)))
        self.recorder = stack.enter_context(closing(Recorder(output, FPS, overwrite=True)))
        self.classes, self.seconds, self.times = classes, [], []

    def step(self):
        """One frame; whether there was one."""
        start = time.perf_counter()
        frame = self.capture.read()
        if frame is None:
            return False
        objects = self.detector.detect([frame.pixels])[0]
        rate = 1 / self.seconds[-1] if self.seconds else None
        sides = [loop.Side("", objects, self.detector.times, rate)]
        self.recorder.write(loop.Shot(frame, sides, self.classes, 0, None).picture())
        self.seconds.append(time.perf_counter() - start)
        self.times.append(self.detector.times)
        return True


def measure(name, runner, clip):
    """The Side of the original and that of the pruned pair, which have gone through the video."""
    both, classes = pairs(name), names.read(os.path.join(DATA, "coco.names"))
    threshold = THRESHOLD if name in TRAINED else 1.0
    outputs = [os.path.join(BUILD, "{}-{}-{}.mp4".format(name, runner, side)) for side in SIDES]
    with ExitStack() as stack:
        sides = [Side(pair, runner, clip, out, classes, threshold, stack) for pair, out in zip(both, outputs)]
        while all([side.step() for side in sides]):
            pass
    return sides


def row(name, runner, sides):
    """A line of the table: medians over the frames but the first ones."""
    seconds = [np.array(side.seconds[WARM:]) for side in sides]
    fps = [1 / float(np.median(values)) for values in seconds]
    ratio = float(np.median(seconds[0] / seconds[1]))
    cells = [name, NETS[name][0], runner, "{:.1f}".format(fps[0]), "{:.1f}".format(fps[1]), "{:.2f}".format(ratio)]
    for side in sides:
        times = np.median(side.times[WARM:], axis=0) * 1000
        cells.append(" / ".join("{:.1f}".format(value) for value in times))
    return "| " + " | ".join(cells) + " |\n"


def table(rows, frames):
    """The part of docs/results.md."""
    head = ["net", "pruned", "runner", "FPS before", "after", "ratio", "pre / infer / post ms before", "after"]
    text = "| {} |\n|{}\n".format(" | ".join(head), "---|" * len(head)) + "".join(rows)
    text += "\nMedians over {} frames of {} x {}, the ratio that of the frames' ratios. {}.\n"
    return text.format(frames, SIZE[0], SIZE[1], machine())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--runners", default=",".join(RUNNERS))
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    arguments = parser.parse_args()
    os.makedirs(BUILD, exist_ok=True)
    clip, rows = os.path.join(BUILD, "clip.mp4"), []
    make_clip(clip, arguments.frames)
    for name in arguments.nets.split(","):
        for runner in arguments.runners.split(","):
            rows.append(row(name, runner, measure(name, runner, clip)))
            sys.stderr.write(rows[-1])
    text = table(rows, arguments.frames)
    sys.stdout.write(text)
    if arguments.write:
        write("video", TOOL, text)


if __name__ == "__main__":
    main()
