"""COCO's average precision, by the library faster-coco-eval, from truths and detections in image pixels.

Source of the rules: COCO's own evaluation (pycocotools, cocoeval.py), which the library reimplements: at most 100
detections per image, 101 recall points, IoU thresholds 0.50, 0.55 ... 0.95; classes without truths do not count.
"""

import json
import os
import re
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from darkprune.errors import MissingDependency

Boxes = NamedTuple(
    "Boxes",
    [
        ("classes", np.ndarray),  # int [n]
        ("scores", np.ndarray),  # float [n]; of truths: anything
        ("boxes", np.ndarray),  # float [n, 4]: left, top, width, height, in pixels of the image
    ],
)

CocoResult = NamedTuple(
    "CocoResult",
    [
        ("ap50", float),  # at IoU 0.5; 0..1
        ("ap", float),  # mean over the IoU thresholds
        ("per_class", List[Any]),  # (ap50, ap) of each class, None where there are no truths
    ],
)

# COCO numbers its 80 classes with gaps; Darknet writes results so where the .data file says eval=coco.
COCO_IDS = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def library() -> Any:
    """The module faster_coco_eval. Raises MissingDependency."""
    try:
        import faster_coco_eval
    except ImportError as error:
        cause = "COCO's AP needs the library faster-coco-eval: {}".format(error)
        hint = "pip install faster-coco-eval (Python 3.10 or newer), or give --no-coco"
        raise MissingDependency(cause, hint=hint) from None
    return faster_coco_eval


def evaluate(
    sizes: Sequence[Sequence[int]], truths: Sequence[Boxes], found: Sequence[Boxes], classes: int
) -> CocoResult:
    """COCO's AP over all images. Raises MissingDependency.

    Args:
        sizes: (width, height) of each image.
        truths, found: what is in each image, and what was detected.
    """
    coco = library()
    ids = list(range(1, len(sizes) + 1))
    numbers = list(range(1, classes + 1))
    annotations = results(ids, truths, numbers)
    for number, annotation in enumerate(annotations, 1):
        _, _, width, height = annotation["bbox"]
        annotation.update(id=number, iscrowd=0, area=width * height)
    entries = results(ids, found, numbers)
    reference = _set(coco, sizes, annotations, numbers)
    # releases before 1.8 cannot load an empty list
    answers = reference.loadRes(entries) if entries else _set(coco, sizes, [], numbers)
    run = coco.COCOeval_faster(reference, answers, "bbox")
    run.evaluate()
    run.accumulate()
    precision = np.array(run.eval["precision"])[:, :, :, 0, -1]  # [threshold, recall, class]; -1 without truths
    per_class: List[Any] = []
    for number in range(classes):
        mine = precision[:, :, number]
        per_class.append((float(mine[0].mean()), float(mine.mean())) if (mine >= 0).all() else None)
    known = [pair for pair in per_class if pair is not None]
    mean = np.mean(known, axis=0) if known else [float("nan")] * 2
    return CocoResult(float(mean[0]), float(mean[1]), per_class)


def _set(coco: Any, sizes: Sequence[Sequence[int]], annotations: List[Dict[str, Any]], numbers: List[int]) -> Any:
    images = [{"id": number, "width": size[0], "height": size[1]} for number, size in enumerate(sizes, 1)]
    categories = [{"id": number, "name": str(number)} for number in numbers]
    return coco.COCO({"images": images, "annotations": annotations, "categories": categories})


def results(
    image_ids: Sequence[int], found: Sequence[Boxes], category_ids: Sequence[int]
) -> List[Dict[str, Any]]:
    """Detections as COCO's results: one dict each, of image_id, category_id, bbox and score."""
    entries: List[Dict[str, Any]] = []
    for image_id, boxes in zip(image_ids, found):
        for label, score, box in zip(boxes.classes.tolist(), boxes.scores.tolist(), boxes.boxes.tolist()):
            entries.append(
                OrderedDict(image_id=image_id, category_id=category_ids[label], bbox=box, score=score)
            )
    return entries


def image_ids(paths: Sequence[str]) -> List[int]:
    """COCO's numbers of images: the digits that end the file names where all have some and none twice, else 1, 2..."""
    ends = [re.search(r"(\d+)$", os.path.splitext(os.path.basename(path))[0]) for path in paths]
    numbers = [int(end.group(1)) for end in ends if end]
    if len(set(numbers)) == len(paths):
        return numbers
    return list(range(1, len(paths) + 1))


def category_ids(classes: int, kind: Optional[str]) -> List[int]:
    """COCO's numbers of the classes: its own for 80 classes and `kind` "coco" (the .data file's eval=), else 1, 2..."""
    return COCO_IDS if kind == "coco" and classes == len(COCO_IDS) else list(range(1, classes + 1))


def results_json(entries: List[Dict[str, Any]]) -> bytes:
    """COCO's results as a file's bytes: two decimals of a pixel, six of a score."""
    rounded = [
        OrderedDict(entry, bbox=[round(x, 2) for x in entry["bbox"]], score=round(entry["score"], 6))
        for entry in entries
    ]
    return (json.dumps(rounded) + "\n").encode("ascii")
