"""What commands that run a net over images share: the runner, the size, the images and the names of the classes."""

import argparse
import importlib.util
import os
import sys
from collections import OrderedDict
from contextlib import closing
from typing import Callable, List, Optional

from darkprune.backends.model import Model
from darkprune.backends.registry import INT8_RUNNERS, OF_INTEGERS, RUNNERS, TENSORRT
from darkprune.cli.common import warn, write
from darkprune.cli.sniff import FOLDER, LIST, by_content
from darkprune.darknet.values import strip
from darkprune.data import image_list, names
from darkprune.data.data_file import DataFile
from darkprune.data.text import resolve
from darkprune.errors import GraphError, MissingDependency, Notice, Unsupported, UsageError, VerifyError, place
from darkprune.quant.calibrate import LETTERBOX, preprocessing_of
from darkprune.quant.ranges import Ranges

FASTEST = ("onnxruntime", "opencv", "torch", "numpy")  # on a CPU; tried in this order where no runner is asked for
_DARKNETS = ("coco.data", "imagenet1k.data")  # in the folder cfg, or beside the cfg
_LISTS = (".txt", ".list")


def add_running(parser: argparse.ArgumentParser, videos: bool = False) -> None:
    """CFG, WEIGHTS, IMAGE... (with `videos`: SOURCE...), --names, --data, --runner, --width and --height."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    what = "an image, a folder, or a .txt list of images"
    what += "; or a video file, usb://0, csi://0, rtsp://..., or a GStreamer pipeline" if videos else ""
    parser.add_argument("images", metavar="SOURCE" if videos else "IMAGE", nargs="+", help=what)
    parser.add_argument("--names", metavar="FILE", help="names of the classes, one a line")
    parser.add_argument("--data", metavar="DATA", help="a .data file, which tells of the names")
    add_runner(parser)


def add_runner(parser: argparse.ArgumentParser) -> None:
    """--runner, --int8, --engine, --width and --height."""
    choices = list(OrderedDict.fromkeys(RUNNERS + INT8_RUNNERS))
    parser.add_argument("--runner", choices=choices, help="what runs the net (default: the fastest that is installed)")
    parser.add_argument(
        "--int8",
        metavar="RANGES",
        help="run on 8-bit integers with these ranges, of darkprune calibrate; in {}".format(OF_INTEGERS),
    )
    parser.add_argument("--engine", metavar="ENGINE", help="run this TensorRT engine of the pair, of darkprune build")
    parser.add_argument("--width", metavar="W", type=int, help="another input width than the cfg's")
    parser.add_argument("--height", metavar="H", type=int, help="another input height")


def open_model(arguments: argparse.Namespace, require: Callable[[Model], None] = lambda model: None) -> Model:
    """The pair, open in the runner that was asked for, or in the first of FASTEST that is installed and takes it,
    which is said on stderr. To be closed.

    Args: require: raises Unsupported for an open model whose runner will not do.
    """
    if arguments.runner is not None:
        return _open(arguments, arguments.runner, require)
    if arguments.engine is not None:
        return _open(arguments, TENSORRT, require)
    if arguments.int8 is not None:
        return _open_int8(arguments, require)
    for name in FASTEST[:-1]:
        if name not in RUNNERS or importlib.util.find_spec({"opencv": "cv2"}.get(name, name)) is None:
            continue
        try:
            model = _open(arguments, name, require)
        except (GraphError, MissingDependency, Unsupported, VerifyError):
            continue  # the next one, and in the end numpy, which says what is wrong with the pair
        if any(notice.reader == name for notice in model.net.notices):
            model.close()  # it would misread something
            continue
        write("runner: {}\n".format(name), sys.stderr)
        return model
    model = _open(arguments, FASTEST[-1], require)
    write("runner: {}\n".format(FASTEST[-1]), sys.stderr)
    return model


def fastest_runner(cfg: str, weights: str, dialect: str) -> str:
    """The name of the runner that `open_model` takes where none is asked for."""
    nothing = dict.fromkeys(("runner", "int8", "engine", "width", "height", "letter_box"))
    with closing(open_model(argparse.Namespace(cfg=cfg, weights=weights, dialect=dialect, **nothing))) as model:
        return str(model.runner.name)


def _open_int8(arguments: argparse.Namespace, require: Callable[[Model], None]) -> Model:
    """The pair on integers, in the first of INT8_RUNNERS on the CPU that is installed."""
    on_cpu = [name for name in INT8_RUNNERS if name != TENSORRT]
    for name in on_cpu:
        try:
            model = _open(arguments, name, require)
        except MissingDependency:
            if name == on_cpu[-1]:
                raise
            continue
        write("runner: {}\n".format(name), sys.stderr)
        return model
    raise AssertionError("there are runners")


def _open(arguments: argparse.Namespace, runner: str, require: Callable[[Model], None]) -> Model:
    size = (arguments.width, arguments.height)
    model = Model(arguments.cfg, arguments.weights, runner, *size, arguments.dialect, arguments.int8, arguments.engine)
    try:
        model.__enter__()
        warn(getattr(model.runner, "notices", []))
        warn(_preprocessing(arguments, model))
        require(model)
        return model
    except BaseException:
        model.close()
        raise


def _preprocessing(arguments: argparse.Namespace, model: Model) -> List[Notice]:
    """A warning where ranges were measured on images that were made inputs in another way than these are."""
    report, measured = getattr(model.runner, "report", None), None
    if arguments.int8 is not None:
        measured = Ranges.read(arguments.int8).preprocessing
    elif report is not None and report.fields["int8"] is not None:
        measured = report.fields["preprocessing"]
    classifier = not any(layer.op.detector for layer in model.net.layers)
    letterbox = arguments.letter_box or classifier and arguments.dialect == "pjreddie"
    used = preprocessing_of(model.net, letterbox)
    if measured in (None, used):
        return []
    hint = "give --letter-box" if measured == LETTERBOX else "leave --letter-box out"
    cause = "its ranges were measured on images prepared by {}, these are by {}, which costs accuracy"
    cause = cause.format(measured, used)
    return [Notice(cause, place(arguments.int8 or arguments.engine), hint + ", or calibrate as the net is used")]


def image_paths(words: List[str]) -> List[str]:
    """The images that are meant: files, the images of folders, and those of lists."""
    paths: List[str] = []
    for word in words:
        many = by_content(word) in (LIST, FOLDER) or os.path.splitext(word)[1].lower() in _LISTS
        paths += image_list.read(word) if many else [word]
    return paths


def files_of(data: DataFile) -> List[str]:
    """The .data file itself, and every existing path that it names, whatever the setting."""
    folder = os.path.dirname(data.path)
    spelled = [word for setting in data.settings.values() for word in (strip(setting.value), setting.value) if word]
    found = [resolve(word, folder) for word in spelled]
    return [data.path] + [path for path in found if path is not None]


def class_names(
    arguments: argparse.Namespace, classes: int, surplus: bool = False, inputs: Optional[List[str]] = None
) -> List[str]:
    """The names of the classes: of --names, of --data, or of a file beside the cfg; their numbers where there is none.

    A file beside the cfg is STEM.names, or the only .names file there if it has as many names as there are classes;
    then come the data files that Darknet's own detect and classify take, if they have as many.
    Raises UsageError where there are not as many names as classes.

    Args:
        surplus: more names will do, with a warning: Darknet's list of ImageNet's names serves 1000 classes and more.
        inputs: the files that the names come from are added to it, with all that a .data file names.
    """
    path: Optional[str] = arguments.names
    data: Optional[DataFile] = None
    if path is None and arguments.data is not None:
        data = DataFile.read(arguments.data)
        path = data.require("names", "labels")
    if path is None:
        path = _beside(arguments.cfg, classes)
        if path is None:
            data = _of_darknet(arguments.cfg, classes)
            if data is None:
                return [str(number) for number in range(classes)]
            path = data.require("names", "labels")
        write("names: {}\n".format(path), sys.stderr)
    if inputs is not None:
        inputs += [path] + (files_of(data) if data is not None else [])
    found = names.read(path, None if surplus else classes)
    if len(found) > classes:
        warn([Notice("{} names, but {} classes: the first ones count".format(len(found), classes), place(path))])
        return found[:classes]
    return found if len(found) == classes else names.read(path, classes)  # which says what is wrong


def _beside(cfg: str, classes: int) -> Optional[str]:
    own = os.path.splitext(cfg)[0] + ".names"
    if os.path.isfile(own):
        return own
    folder = os.path.dirname(cfg)
    others = sorted(name for name in os.listdir(folder or ".") if name.endswith(".names"))
    if len(others) != 1:
        return None
    path = os.path.join(folder, others[0])
    try:
        return path if len(names.read(path)) == classes else None
    except UsageError:
        return None


def _of_darknet(cfg: str, classes: int) -> Optional[DataFile]:
    folders = ("cfg", os.path.dirname(cfg))
    for path in [os.path.join(folder, name) for folder in folders for name in _DARKNETS]:
        if os.path.isfile(path):
            try:
                data = DataFile.read(path)
                if len(names.read(data.require("names", "labels"))) == classes:
                    return data
            except UsageError:
                pass  # nobody asked for it
    return None
