"""Measures a pair's accuracy on a data set.

A detector gets Darknet's own map, by the rules and in the words of `darknet detector map`, and COCO's AP50 and AP
where the library faster-coco-eval is installed. A classifier gets its top-1 and top-5 accuracy.
"""

import argparse
from collections import OrderedDict
from contextlib import closing
from typing import Any, Dict, List, Optional

from darkprune.backends.model import Model
from darkprune.backends.registry import require_engine_runner, require_int8_runner
from darkprune.cli.common import add_common, notice_texts, print_json, progress, warn, write
from darkprune.cli.running import add_runner, open_model
from darkprune.darknet.pair import require_writable, write_file
from darkprune.data import labels
from darkprune.data.data_file import SPLITS, DataFile
from darkprune.data.data_set import DetectionSet, read_detection
from darkprune.data.problems import Problems
from darkprune.edit.resize import resize
from darkprune.errors import MissingDependency, Notice, UsageError, place
from darkprune.evaluate import coco
from darkprune.evaluate.classification import evaluate_classifier, read_data
from darkprune.evaluate.darknet_map import darknet_lines, precision_recall_f1, require_points, total
from darkprune.evaluate.detector import Evaluation, check_classes, evaluate_detector, find_difficult, read_difficult
from darkprune.graph.build import load
from darkprune.graph.net import Net

DARKNET_BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("--data", metavar="DATA", required=True, help="the .data file")
    parser.add_argument("--split", choices=SPLITS, default="valid", help="the list of images (default: %(default)s)")
    add_runner(parser)
    parser.add_argument(
        "--points",
        metavar="N",
        type=int,
        default=0,
        help="recall points of Darknet's map: 0 is the area under the curve, 11 VOC 2007, 101 COCO (default: 0)",
    )
    parser.add_argument("--iou-thresh", metavar="T", type=float, default=0.5, help="of Darknet's map (default: 0.5)")
    parser.add_argument(
        "--thresh", metavar="T", type=float, default=0.25, help="confidence for precision and recall (default: 0.25)"
    )
    parser.add_argument("--nms", metavar="T", type=float, default=0.45, help="overlap that suppresses (default: 0.45)")
    parser.add_argument("--letter-box", action="store_true", help="keep the images' proportions")
    parser.add_argument(
        "--batch",
        metavar="N",
        type=int,
        help="images that are run at once (default: 1, and {} in Darknet, which is started for each batch)".format(
            DARKNET_BATCH
        ),
    )
    parser.add_argument("--dont-show", action="store_true", help="nothing is ever shown; for Darknet's users")
    parser.add_argument("--no-coco", action="store_true", help="leave out COCO's AP")
    parser.add_argument("--coco-results", metavar="FILE", help="write what was found as COCO results (JSON)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--ignore-problems", action="store_true", help="go on without what is wrong with the data set")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    _check(arguments)
    data = DataFile.read(arguments.data)
    net, notices = load(arguments.cfg, None, arguments.dialect), list(data.notices)
    if arguments.width is not None or arguments.height is not None:
        net = resize(net, arguments.width, arguments.height)
    measure = _detector if any(layer.op.detector for layer in net.layers) else _classifier
    report, text = measure(arguments, data, net, notices)
    if arguments.json:
        print_json(OrderedDict(report, warnings=notice_texts(notices)))
    else:
        warn(notices)
        write(text)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.batch is not None and arguments.batch < 1:
        raise UsageError("--batch {} is no number of images".format(arguments.batch), hint="use 1 or more")
    for name, value in (("iou-thresh", arguments.iou_thresh), ("thresh", arguments.thresh), ("nms", arguments.nms)):
        if not 0 <= value <= 1:
            raise UsageError("--{} {} is not from 0 to 1".format(name, value), hint="see darkprune eval --help")
    require_points(arguments.points)
    if arguments.runner is not None:
        require_engine_runner(arguments.runner, arguments.engine, arguments.int8 is not None)
        require_int8_runner(arguments.runner, arguments.int8 is not None)


def _detector(arguments: argparse.Namespace, data: DataFile, net: Net, notices: List[Notice]) -> Any:
    """The report for --json, and the text; `notices` grows."""
    problems = Problems()
    examples = read_detection(data, arguments.split, problems)
    check_classes(net, data, examples.names)
    excused = find_difficult(data, len(examples.images))
    difficult = None if excused is None else read_difficult(excused, len(examples.names))
    notices += problems.settle(arguments.ignore_problems)
    inputs = _inputs(arguments, data, examples.images, excused or [])
    if arguments.coco_results:
        require_writable(arguments.coco_results, inputs, arguments.overwrite)
    with_coco = _with_coco(arguments, notices)
    with closing(open_model(arguments)) as model:
        notices[:0] = model.net.notices
        result = evaluate_detector(
            model,
            examples,
            difficult,
            points=arguments.points,
            iou_threshold=arguments.iou_thresh,
            confidence=arguments.thresh,
            nms=arguments.nms,
            letterbox=arguments.letter_box,
            batch=_batch(arguments, model),
            with_coco=with_coco,
            progress=progress("images", "image"),
        )
    text = darknet_lines(result.map, examples.names) + _coco_lines(result)
    report = _as_dict(result, examples)
    if arguments.coco_results:
        numbers = coco.category_ids(len(examples.names), data.text("eval"))
        entries = coco.results(coco.image_ids(examples.images), result.found, numbers)
        write_file(arguments.coco_results, coco.results_json(entries), inputs, arguments.overwrite)
        report["files"] = [arguments.coco_results]
        text += "wrote {}\n".format(arguments.coco_results)
    return OrderedDict(report, **_setting(arguments, model)), text


def _inputs(
    arguments: argparse.Namespace, data: DataFile, images: List[str], excused: List[Optional[str]]
) -> List[str]:
    found = [labels.find(image) for image in images] + excused
    given = [path for path in (arguments.cfg, arguments.weights, arguments.int8, arguments.engine) if path]
    return given + data.files() + images + [path for path in found if path is not None]


def _with_coco(arguments: argparse.Namespace, notices: List[Notice]) -> bool:
    """Whether COCO's AP is wanted and its library there, which is noticed where it is not."""
    try:
        if not arguments.no_coco:
            coco.library()
    except MissingDependency as error:
        notices.append(Notice(error.message, hint=error.hint))
        return False
    return not arguments.no_coco


def _batch(arguments: argparse.Namespace, model: Model) -> int:
    return arguments.batch or (DARKNET_BATCH if model.runner.name == "darknet" else 1)


def _setting(arguments: argparse.Namespace, model: Model) -> Dict[str, Any]:
    shape = model.net.input.shape
    setting = {"runner": model.runner.name, "split": arguments.split, "width": shape.w, "height": shape.h}
    return dict(setting, int8=arguments.int8, engine=arguments.engine)


def _coco_lines(result: Evaluation) -> str:
    if result.coco is None:
        return ""
    line = "\n COCO: AP50 = {:.2f} %, AP50-95 = {:.2f} %; the mean of the {} classes that occur\n"
    known = sum(pair is not None for pair in result.coco.per_class)
    return line.format(100 * result.coco.ap50, 100 * result.coco.ap, known)


def _as_dict(result: Evaluation, examples: DetectionSet) -> "OrderedDict[str, Any]":
    ours = result.map
    precision, recall, f1 = precision_recall_f1(ours)
    report: "OrderedDict[str, Any]" = OrderedDict(map=ours.map)
    report["ap50"], report["ap"] = (result.coco.ap50, result.coco.ap) if result.coco else (None, None)
    report.update(images=len(examples.images), truths=total(ours, "truths"), detections=total(ours, "detections"))
    report.update(points=ours.points, iou_threshold=ours.iou_threshold, confidence=ours.confidence)
    report.update(precision=precision, recall=recall, f1=f1, average_iou=ours.average_iou)
    report.update(tp=total(ours, "tp"), fp=total(ours, "fp"), fn=total(ours, "truths") - total(ours, "tp"))
    report["per_class"] = []
    for number, (one, name) in enumerate(zip(ours.classes, examples.names)):
        pair = result.coco.per_class[number] if result.coco else None
        entry: "OrderedDict[str, Any]" = OrderedDict([("class", number), ("name", name), ("map", one.ap)])
        entry["ap50"], entry["ap"] = pair or (None, None)
        entry.update(truths=one.truths, tp=one.tp, fp=one.fp)
        report["per_class"].append(entry)
    return report


def _classifier(arguments: argparse.Namespace, data: DataFile, net: Net, notices: List[Notice]) -> Any:
    """The report for --json, and the text; `notices` grows."""
    if arguments.coco_results:
        cause = "--coco-results needs a detector, and this net has no detection head"
        raise UsageError(cause, place(arguments.cfg), "leave it out")
    problems = Problems()
    examples = read_data(data, arguments.split, net, problems)
    notices += problems.settle(arguments.ignore_problems)
    top = data.top
    with closing(open_model(arguments)) as model:
        notices[:0] = model.net.notices
        result = evaluate_classifier(model, examples, top, _batch(arguments, model), progress("images", "image"))
    report = OrderedDict(top1=result.top1, top5=result.top5, top=result.top, topk=result.topk, images=result.images)
    text = " top 1: {:.6f}, top 5: {:.6f}".format(result.top1, result.top5)
    if result.top not in (1, 5):
        text += ", top {}: {:.6f}".format(result.top, result.topk)
    return OrderedDict(report, **_setting(arguments, model)), text + "; {} images\n".format(result.images)
