"""Turns data sets in COCO's JSON form (instances) into one that Darknet and darkprune read.

    python tools/coco_to_darknet.py --train annotations/instances_train2017.json train2017 \\
                                    --valid annotations/instances_val2017.json val2017 -o data/coco

Each JSON file comes with the folder of its images. Categories become classes 0, 1... in the order of their ids, or
in that of --names. Annotations with iscrowd are skipped. A box [x, y, w, h] in pixels becomes

    centre x = (x + w / 2) / width of the image        width = w / width of the image

and likewise in y. Problems are shown with file and id, and nothing is written; --ignore-problems leaves such objects
and images out.
"""

import argparse
import json
import math
import os
import sys
from collections import OrderedDict

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

import data_set_tool  # noqa: E402

from darkprune.cli.common import warn  # noqa: E402
from darkprune.data.problems import Problems  # noqa: E402
from darkprune.data.text import read_bytes  # noqa: E402
from darkprune.data.write_set import relative_box  # noqa: E402
from darkprune.errors import UsageError, place  # noqa: E402

MAX_BYTES = 2 << 30
LARGEST = 1 << 20  # pixels of a side
OUTSIDE = 1.0  # pixels by which COCO's own boxes may leave the image


class Coco:
    """One JSON file: its categories, images and annotations, each a list of objects with an integer id."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        if not os.path.isdir(folder):
            raise UsageError("this is no folder of images", place(folder), "give --train JSON FOLDER")
        document = _parse(path)
        self.categories = self._table(document, "categories", name=str)
        self.images = self._table(document, "images", file_name=str, width=int, height=int)
        self.annotations = self._table(document, "annotations", image_id=int, category_id=int)

        for key, entry in self.images.items():
            name = _relative(entry)
            if name.startswith("/") or ".." in name.split("/") or "\0" in name:
                cause = "image {}: {} leaves the folder".format(key, json.dumps(name))
                raise UsageError(cause, place(path), "write file names relative to the folder of images")
            if not (1 <= entry["width"] <= LARGEST and 1 <= entry["height"] <= LARGEST):
                cause = "image {}: its width and height must be 1 to {}".format(key, LARGEST)
                raise UsageError(cause, place(path), "mend the file")

    def _table(self, document, key, **fields):
        """Id -> entry; every entry has these fields, of these types."""
        entries = document.get(key) if isinstance(document, dict) else None
        if not isinstance(entries, list):
            cause = "the JSON has no list {}".format(json.dumps(key))
            raise UsageError(cause, place(self.path), "give an instances file, such as instances_val2017.json")
        found = OrderedDict()
        for number, entry in enumerate(entries):
            what = "entry {} of {}".format(number, key)
            if not isinstance(entry, dict) or type(entry.get("id")) is not int:
                raise UsageError("{} has no integer id".format(what), place(self.path), "mend the file")
            what = "{} (id {})".format(what, entry["id"])
            for field, kind in fields.items():
                if type(entry.get(field)) is not kind:
                    cause = "{} needs a {} that is {}".format(what, field, "text" if kind is str else "an integer")
                    raise UsageError(cause, place(self.path), "mend the file")
            if entry["id"] in found:
                raise UsageError("{} has the id of another".format(what), place(self.path), "mend the file")
            found[entry["id"]] = entry
        return found


def _relative(image):
    """The path of an image in its folder, with slashes."""
    return image["file_name"].replace("\\", "/")


def _parse(path):
    data = read_bytes(path, "the JSON file", MAX_BYTES)
    try:
        return json.loads(data.decode("utf-8"), object_hook=_without_outline)
    except UnicodeDecodeError as error:
        raise UsageError("this is no UTF-8", place(path), "save it as UTF-8") from error
    except RecursionError as error:
        raise UsageError("this JSON is nested too deeply", place(path), "check the file") from error
    except ValueError as error:
        cause = "this is no JSON: {}".format(getattr(error, "msg", error))
        raise UsageError(cause, place(path, getattr(error, "lineno", None)), "check the file") from error


def _without_outline(entry):
    entry.pop("segmentation", None)  # most of the file's bytes
    return entry


def _objects(coco, number, problems):
    """Image id -> [(class, box)], and how many annotations were crowds."""
    found, crowds = {}, 0
    for key, entry in coco.annotations.items():
        image = coco.images.get(entry["image_id"])
        index = number.get(entry["category_id"])
        cause = kind = None
        if entry.get("iscrowd"):
            crowds += 1
            continue
        if image is None:
            kind, cause = "unknown image", "there is no image {}".format(entry["image_id"])
        elif index is None:
            kind, cause = "unknown class", "category {} has no class".format(entry["category_id"])
        else:
            kind, cause, box = _box(entry.get("bbox"), image)
            if box is not None:
                found.setdefault(entry["image_id"], []).append((index,) + tuple(box))
        if cause is not None:
            problems.add(kind, "annotation {}: {}".format(key, cause), place(coco.path), "mend or remove it")
    return found, crowds


def _box(bbox, image):
    """(kind of problem, its cause, box): the first two None where all is well, the box None where there is none."""
    numbers = isinstance(bbox, list) and len(bbox) == 4 and all(type(edge) in (int, float) for edge in bbox)
    if not numbers or not all(abs(edge) < 1e9 and math.isfinite(edge) for edge in bbox):
        return "no box", "bbox is not four numbers", None
    x, y, w, h = bbox
    width, height = image["width"], image["height"]
    box = relative_box(x, y, x + w, y + h, width, height)
    shown = "[{:g}, {:g}, {:g}, {:g}]".format(*bbox)
    if box[2] <= 0 or box[3] <= 0:
        return "box without area", "the box {} has no area".format(shown), None
    if max(-x, -y, x + w - width, y + h - height) > OUTSIDE:
        cause = "the box {} leaves the image of {} x {}".format(shown, width, height)
        return "box outside the image", cause, box
    return None, None, box


def _images(coco, split, problems):
    """(id, key, source) of each image that exists."""
    for key, entry in coco.images.items():
        name = _relative(entry)
        source = os.path.join(coco.folder, name)
        if os.path.isfile(source):
            yield key, split + "/" + name, source
        else:
            cause = "image {}: {} does not exist".format(key, source)
            problems.add("missing image", cause, place(coco.path), "check the folder of images")


def _classes(files, arguments):
    """(names of the classes, category id -> class); all files must have the same categories."""
    first = files[0]
    names = OrderedDict((key, first.categories[key]["name"]) for key in sorted(first.categories))
    for other in files[1:]:
        if {key: entry["name"] for key, entry in other.categories.items()} != dict(names):
            cause = "the categories are not those of {}".format(first.path)
            raise UsageError(cause, place(other.path), "convert the files one by one")
    wanted = data_set_tool.wanted_names(arguments)
    if wanted is not None:
        return wanted, {key: wanted.index(name) for key, name in names.items() if name in wanted}
    if not names:
        raise UsageError("there are no categories", place(first.path), "give an instances file")
    return [" ".join(name.split()) for name in names.values()], {key: n for n, key in enumerate(names)}


def convert(arguments):
    """Reads the files. Raises UsageError, also for problems that are not to be ignored."""
    given = [(key, getattr(arguments, key)) for key in ("train", "valid") if getattr(arguments, key)]
    if not given:
        raise UsageError("there is nothing to convert", hint="give --train JSON FOLDER, --valid JSON FOLDER, or both")
    problems, images, splits, crowds = Problems(), OrderedDict(), OrderedDict(), 0
    files = [Coco(*paths) for _, paths in given]
    names, number = _classes(files, arguments)
    for (split, _), coco in zip(given, files):
        objects, skipped = _objects(coco, number, problems)
        crowds += skipped
        keys = splits.setdefault(split, [])
        for image, key, source in _images(coco, split, problems):
            if key in images:
                cause = "two images are named {}".format(coco.images[image]["file_name"])
                raise UsageError(cause, place(coco.path), "mend the file")
            images[key] = (source, objects.get(image, []))
            keys.append(key)
    warn(problems.settle(arguments.ignore_problems))
    inputs = [path for _, paths in given for path in paths]
    lists = [(split, split) for split in splits]
    return data_set_tool.Converted(names, images, splits, lists, inputs, [("crowds skipped", crowds)])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for split in ("train", "valid"):
        purpose = "instances file and folder of images that .data names as " + split
        parser.add_argument("--" + split, nargs=2, metavar=("JSON", "FOLDER"), help=purpose)
    data_set_tool.add_arguments(parser)
    return data_set_tool.main(parser, convert, argv)


if __name__ == "__main__":
    sys.exit(main())
