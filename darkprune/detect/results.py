"""What was found in images, as JSON, and in Darknet's own formats: its lines, its result.json, its labels."""

import json
import math
from collections import OrderedDict
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Tuple

from darkprune.detect.detector import Detection

HIDDEN = "dont_show"  # Darknet says nothing of classes whose names begin so

Found = NamedTuple(
    "Found",
    [
        ("file", str),  # as the user named it
        ("width", int),  # of the image, in pixels
        ("height", int),
        ("objects", List[Detection]),
        ("seconds", float),  # what the runner took
    ],
)


def visible(objects: Iterable[Detection], names: Sequence[str]) -> List[Detection]:
    """Those whose class is to be shown."""
    return [found for found in objects if not names[found.class_id].startswith(HIDDEN)]


def grouped(objects: Iterable[Detection]) -> List[List[Detection]]:
    """The detections box by box, each box's surest class first."""
    boxes: Dict[Tuple[float, ...], List[Detection]] = OrderedDict()
    for found in sorted(objects, key=lambda found: -found.confidence):
        boxes.setdefault(found.box, []).append(found)
    return list(boxes.values())


def as_json(images: Iterable[Found], names: Sequence[str]) -> Dict[str, Any]:
    """The JSON of `darkprune detect`: boxes are left, top, width, height in pixels."""
    return {"images": [OrderedDict(file=image.file, objects=_objects(image, names)) for image in images]}


def _objects(image: Found, names: Sequence[str]) -> List[Dict[str, Any]]:
    return [
        OrderedDict(
            [
                ("class", found.class_id),
                ("name", names[found.class_id]),
                ("confidence", round(found.confidence, 6)),
                ("box", [round(x, 3) for x in found.box]),
            ]
        )
        for found in image.objects
    ]


# ---- Darknet's formats, as AlexeyAB's fork writes them


def darknet_lines(image: Found, names: Sequence[str], extended: bool = False) -> str:
    """The lines of `detector test`: the time, then an object a line from left to right; `extended`: -ext_output."""
    lines = ["{}: Predicted in {:f} milli-seconds.".format(image.file, image.seconds * 1000)]
    for box in sorted(grouped(image.objects), key=lambda box: box[0].box[0]):
        for found in box:
            line = "{}: {:.0f}%".format(names[found.class_id], found.confidence * 100)
            if extended:
                line += "\t(left_x: {:4.0f}   top_y: {:4.0f}   width: {:4.0f}   height: {:4.0f})".format(
                    *[math.copysign(math.floor(abs(x) + 0.5), x) for x in found.box]
                )
            lines.append(line)
    return "\n".join(lines) + "\n"


def darknet_json(images: Sequence[Found], names: Sequence[str]) -> str:
    """The file of `-out`: centres and sizes are shares of the image."""
    frames = []
    for number, image in enumerate(images, 1):
        head = '{{\n "frame_id":{}, \n "filename":{}, \n "objects": [ \n'.format(number, json.dumps(image.file))
        frames.append(head + ", \n".join(_object_line(image, found, names) for found in image.objects) + "\n ] \n}")
    return "[\n" + ", \n".join(frames) + "\n]"


def _object_line(image: Found, found: Detection, names: Sequence[str]) -> str:
    place = '"center_x":{:f}, "center_y":{:f}, "width":{:f}, "height":{:f}'.format(*_relative(image, found))
    return '  {{"class_id":{}, "name":{}, "relative_coordinates":{{{}}}, "confidence":{:f}}}'.format(
        found.class_id, json.dumps(names[found.class_id]), place, found.confidence
    )


def label_lines(image: Found) -> str:
    """The label file of `-save_labels`: class cx cy w h of every box's surest class, as shares of the image."""
    rows = [(box[0].class_id,) + _relative(image, box[0]) for box in grouped(image.objects)]
    return "".join("{} {:.4f} {:.4f} {:.4f} {:.4f}\n".format(*row) for row in rows)


def _relative(image: Found, found: Detection) -> Tuple[float, ...]:
    left, top, width, height = found.box
    across, down = image.width, image.height
    return (left + width / 2) / across, (top + height / 2) / down, width / across, height / down
