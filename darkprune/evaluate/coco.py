"""COCO's average precision, by the library faster-coco-eval, from truths and detections in image pixels.

Source of the rules: COCO's own evaluation (pycocotools, cocoeval.py), which the library reimplements: at most 100
detections of a class per image, 101 recall points, IoU thresholds 0.50, 0.55 ... 0.95; classes without truths do not
count.
"""

import json
import os
import re
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

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

_Columns = NamedTuple(
    "_Columns", [("images", np.ndarray), ("classes", np.ndarray), ("scores", np.ndarray), ("boxes", np.ndarray)]
)
MOST = 100  # detections of a class in an image that count

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

    Classes are handed to the library one by one, and of the detections of a class no more in an image than count, so
    that a net that sees a thousand things in every image does not need a thousand times the memory.

    Args:
        sizes: (width, height) of each image.
        truths, found: what is in each image, and what was detected.
    """
    coco = library()
    real, seen = _joined(truths), _joined(found)
    per_class: List[Any] = []
    for number in range(classes):
        mine = real.of_class(number)
        per_class.append(_precision(coco, sizes, mine, seen.of_class(number, MOST)) if len(mine.images) else None)
    known = [pair for pair in per_class if pair is not None]
    mean = np.mean(known, axis=0) if known else [float("nan")] * 2
    return CocoResult(float(mean[0]), float(mean[1]), per_class)


class _All(_Columns):
    """Boxes of all images: by image, the best score first."""

    __slots__ = ()

    def of_class(self, number: int, most: Optional[int] = None) -> "_All":
        """Those of one class, at most so many in an image."""
        chosen = np.flatnonzero(self.classes == number)
        if most is not None:
            images = self.images[chosen]
            chosen = chosen[np.arange(len(images)) - np.searchsorted(images, images) < most]
        return _All(*[column[chosen] for column in self])


def _precision(coco: Any, sizes: Sequence[Sequence[int]], real: _All, seen: _All) -> Tuple[float, float]:
    """(ap50, ap) of one class, of which there are truths."""
    images = [
        {"id": number, "width": sizes[number - 1][0], "height": sizes[number - 1][1]}
        for number in np.union1d(real.images, seen.images).tolist()
    ]
    sides = [
        coco.COCO({"images": images, "annotations": _annotations(which), "categories": [{"id": 1, "name": "1"}]})
        for which in (real, seen)
    ]
    run = coco.COCOeval_faster(sides[0], sides[1], "bbox")
    run.evaluate()
    run.accumulate()
    precision = np.array(run.eval["precision"])[:, :, 0, 0, -1]  # [threshold, recall]
    return float(precision[0].mean()), float(precision.mean())


def _annotations(which: _All) -> List[Dict[str, Any]]:
    rows = zip(which.images.tolist(), which.scores.tolist(), which.boxes.tolist())
    found: List[Dict[str, Any]] = []
    for number, (image, score, box) in enumerate(rows, 1):
        found.append({"id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "score": score})
        found[-1].update(bbox=box, area=box[2] * box[3])
    return found


def _joined(images: Sequence[Boxes]) -> _All:
    numbers = np.repeat(np.arange(1, len(images) + 1), [len(boxes.classes) for boxes in images])
    columns = [np.concatenate([boxes[n] for boxes in images]) if images else np.zeros(0) for n in range(3)]
    order = np.lexsort((-columns[1], numbers))
    return _All(numbers[order], *[column[order] for column in columns])


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
