"""Finds objects in images and prints them as Darknet does; draws them with -o.

SOURCE may also be one video or camera: a file, usb://0 (usb://0?width=640&height=480&fps=30&format=mjpg), csi://0 on a
Jetson (?flip=2 turns it), rtsp://..., or a GStreamer pipeline ("A ! B"). Of a camera the newest frame is taken, of a
file every one. -o writes a video with boxes, --log and --json a line of JSON for each frame, --display opens a window
(esc or q ends, f switches to the full screen). Ctrl-C or SIGTERM closes the camera and all files; that is exit status
0 for a camera, which has no other end, and 130 for a file, which was not read to its end.

Darknet's defaults: thresh 0.25, nms 0.45, the image stretched to the net's size.
"""

import argparse
import os
from collections import Counter, OrderedDict
from contextlib import closing
from typing import Dict, List, Optional, Tuple

import numpy as np

from darkprune.backends.model import Model
from darkprune.cli import detect_video
from darkprune.cli.common import add_common, print_json, write
from darkprune.cli.running import add_running, class_names, files_of, image_paths, open_model
from darkprune.cli.sniff import IMAGE, by_name
from darkprune.darknet.pair import require_writable, write_file
from darkprune.data import labels
from darkprune.data.data_file import DataFile
from darkprune.detect import results
from darkprune.detect.detector import NMS, THRESHOLD, Detector, check_thresholds
from darkprune.detect.draw import draw
from darkprune.detect.image_file import encode, read_image
from darkprune.errors import OutputError, UsageError, place

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_running(parser, videos=True)
    parser.add_argument(
        "--thresh", metavar="T", type=float, default=THRESHOLD, help="least confidence (default: %(default)s)"
    )
    parser.add_argument(
        "--nms", metavar="T", type=float, default=NMS, help="overlap that suppresses; 0 for none (default: %(default)s)"
    )
    parser.add_argument("--letter-box", action="store_true", help="keep the images' proportions")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="draw into images of the same names there; for one image, also a file; of a video, a video file",
    )
    parser.add_argument("--ext-output", action="store_true", help="print the boxes too")
    parser.add_argument("--out", metavar="FILE", help="write JSON in Darknet's shape")
    parser.add_argument("--save-labels", action="store_true", help="write label files where Darknet looks for them")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--dont-show", action="store_true", help="show nothing, as is the default; for Darknet's users")
    detect_video.add_arguments(parser)
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    check_thresholds(arguments.thresh, arguments.nms)
    source = detect_video.source_of(arguments)
    if source is not None:
        return detect_video.run(arguments, source)
    paths = image_paths(arguments.images)
    outputs = _Outputs(arguments, paths)
    with closing(open_model(arguments)) as model:
        found, names = _detect(arguments, model, paths, outputs)
    if arguments.out is not None:
        outputs.write(arguments.out, results.darknet_json(found, names).encode("utf-8"))
    if arguments.json:
        print_json(results.as_json(found, names))
    return 0


def _detect(
    arguments: argparse.Namespace, model: Model, paths: List[str], outputs: "_Outputs"
) -> Tuple[List[results.Found], List[str]]:
    detector = Detector(model, arguments.thresh, arguments.nms, arguments.letter_box)
    names = class_names(arguments, detector.classes, inputs=outputs.inputs)
    outputs.check()
    images = []
    for path in paths:
        pixels = read_image(path)
        objects = results.visible(detector.detect([pixels])[0], names)
        image = results.Found(path, pixels.shape[1], pixels.shape[0], objects, detector.seconds)
        images.append(image)
        outputs.write_image(image, pixels, names)
        if not arguments.json:
            write(results.darknet_lines(image, names, arguments.ext_output))
    return images, names


class _Outputs:
    """The files that were asked for. Raises OutputError, before any work, where one cannot be written.

    Attributes: inputs (what is never overwritten; more may be added before another `check`).
    """

    def __init__(self, arguments: argparse.Namespace, paths: List[str]) -> None:
        self.overwrite, self.out = arguments.overwrite, arguments.out
        given = [arguments.cfg, arguments.weights, arguments.int8, arguments.engine, arguments.names, arguments.data]
        given += arguments.images + paths
        self.inputs = [path for path in given if path is not None]
        if arguments.data is not None:
            self.inputs += files_of(DataFile.read(arguments.data))
        self.folder: Optional[str] = None
        images = _different(paths)
        self.pictures = self._pictures(images, arguments.output) if arguments.output is not None else {}
        self.labels = {path: labels.candidates(path)[0] for path in images} if arguments.save_labels else {}
        self.check()

    def check(self) -> None:
        """Raises OutputError where a file cannot be written, or two would be one."""
        drawn = [] if self.folder and not os.path.exists(self.folder) else list(self.pictures.values())
        others = list(self.labels.values()) + ([self.out] if self.out else [])
        for path in drawn + others:
            require_writable(path, self.inputs, self.overwrite)
        real = [os.path.realpath(path) for path in drawn + others]
        counts = Counter(real)
        folder = os.path.realpath(self.folder) + os.sep if self.folder else ""
        for path, target in zip(drawn + others, real):
            if counts[target] > 1 or folder.startswith(target + os.sep):
                raise OutputError("two outputs would have this name", place(path), "choose another name for one")

    def write(self, path: str, data: bytes) -> None:
        write_file(path, data, self.inputs, self.overwrite)

    def write_image(self, image: results.Found, pixels: np.ndarray, names: List[str]) -> None:
        """The picture and the labels of one image."""
        path = self.pictures.pop(image.file, None)  # an image that is named twice is drawn once
        if path is not None:
            data = encode(draw(pixels, image.objects, names), os.path.splitext(path)[1])
            if self.folder is not None:
                _make_folder(self.folder)
            self.write(path, data)
        path = self.labels.pop(image.file, None)
        if path is not None:
            self.write(path, results.label_lines(image).encode("ascii"))

    def _pictures(self, paths: List[str], output: str) -> Dict[str, str]:
        """Image -> where it is drawn: in a folder under its own name, a second one of that name with a number."""
        if os.path.splitext(output)[1].lower() in PICTURES and not os.path.isdir(output):
            if len(paths) > 1:
                raise UsageError("-o names one file for {} images".format(len(paths)), hint="name a folder")
            return {paths[0]: output}
        if by_name(output) == IMAGE and not os.path.isdir(output):
            suffix = os.path.splitext(output)[1]
            raise UsageError("-o writes no {} files".format(suffix), place(output), "use .jpg, .png or .bmp")
        self.folder = output
        targets: Dict[str, str] = OrderedDict()
        for path in paths:
            stem, suffix = os.path.splitext(os.path.basename(path))
            suffix = suffix if suffix.lower() in PICTURES else ".png"
            target, number = stem + suffix, 1
            while target in targets:
                number += 1
                target = "{}-{}{}".format(stem, number, suffix)
            targets[target] = path
        return {path: os.path.join(output, target) for target, path in targets.items()}


def _different(paths: List[str]) -> List[str]:
    """The images, each once, whichever ways its folder is spelled."""
    images: Dict[str, str] = OrderedDict()
    for path in paths:
        images.setdefault(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)), path)
    return list(images.values())


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise OutputError("cannot make this folder: {}".format(error.strerror), place(path), "name another") from error
