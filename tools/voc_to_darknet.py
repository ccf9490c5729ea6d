"""Turns a data set with Pascal VOC's XML files into one that Darknet and darkprune read.

    python tools/voc_to_darknet.py VOCdevkit/VOC2007 [VOCdevkit/VOC2012] -o data/voc --train trainval --valid test

A VOC folder has Annotations/ID.xml, JPEGImages/ID.jpg, and lists of IDs in ImageSets/Main/; each list becomes a list
of images with its name, and several folders are joined. Classes are the names found, sorted, or those of --names.
The boxes are what Darknet's own scripts/voc_label.py makes of them: with pixels counted from 1,

    centre x = ((xmin + xmax) / 2 - 1) / width        width = (xmax - xmin) / width of the image

and likewise in y; what leaves the image by that (xmin = 0) is cut off. Problems of the files are shown with file and
line, and nothing is written; --ignore-problems leaves such objects and images out.
"""

import argparse
import math
import os
import sys
from collections import OrderedDict
from typing import List, NamedTuple
from xml.parsers import expat

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tools")]

import data_set_tool  # noqa: E402

from darkprune.cli.common import warn  # noqa: E402
from darkprune.data.image_list import SUFFIXES  # noqa: E402
from darkprune.data.problems import Problems  # noqa: E402
from darkprune.data.text import read_bytes, read_lines  # noqa: E402
from darkprune.data.write_set import relative_box  # noqa: E402
from darkprune.errors import Place, UsageError, place  # noqa: E402

MAX_BYTES = 4 << 20
EDGES = ("xmin", "ymin", "xmax", "ymax")

Item = NamedTuple("Item", [("name", str), ("difficult", bool), ("box", List[float]), ("cut", bool), ("where", Place)])


class Element:
    """An XML element: its text, the line it begins in, and the elements inside."""

    __slots__ = ("tag", "line", "text", "parts", "children")

    def __init__(self, tag, line):
        self.tag, self.line, self.text = tag, line, ""
        self.parts, self.children = [], []

    def all(self, tag):
        return [child for child in self.children if child.tag == tag]

    def find(self, *tags):
        """The first element along a path of tags, or None."""
        element = self
        for tag in tags:
            element = next(iter(element.all(tag)), None)
            if element is None:
                return None
        return element

    def number(self, *tags):
        """A finite number along a path of tags, or None."""
        found = self.find(*tags)
        try:
            value = float(found.text) if found is not None else math.nan
        except ValueError:
            return None
        return value if math.isfinite(value) else None


def read_xml(path):
    """The root of an XML file. Raises UsageError; a document type, which may define entities, is refused."""
    data = read_bytes(path, "the annotation", MAX_BYTES)
    parser, root = expat.ParserCreate(), Element("", 0)
    stack = [root]

    def start(tag, _):
        element = Element(tag, parser.CurrentLineNumber)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_):
        element = stack.pop()
        element.text = " ".join("".join(element.parts).split())

    def text(data):
        stack[-1].parts.append(data)

    def document_type(*_):
        raise UsageError("the XML has a document type", place(path, parser.CurrentLineNumber), "take <!DOCTYPE> out")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, document_type
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        cause = "this is no well-formed XML: {}".format(expat.ErrorString(error.code))
        raise UsageError(cause, place(path, error.lineno), "mend the file") from error
    except (ValueError, LookupError) as error:  # an encoding that expat does not know
        raise UsageError("the XML cannot be read: {}".format(error), place(path), "save it as UTF-8") from error
    return root.children[0]


def read_annotation(path, problems):
    """The objects of an annotation, or None; what is wrong goes to the problems, with the line of the object."""
    try:
        root = read_xml(path)
    except UsageError as error:
        problems.add("unreadable annotation", error.message, error.where, error.hint)
        return None
    size = [root.number("size", side) for side in ("width", "height")]
    if not all(side is not None and side >= 1 for side in size):
        where = place(path, (root.find("size") or root).line)
        hint = "write the image's <width> and <height>"
        problems.add("annotation without size", "the annotation has no size of the image", where, hint)
        return None
    return [item for item in (_item(path, element, size, problems) for element in root.all("object")) if item]


def _item(path, element, size, problems):
    where = place(path, element.line)
    name = element.find("name")
    edges = [element.number("bndbox", edge) for edge in EDGES]
    if name is None or not name.text or None in edges:
        hint = "it needs <name> and <bndbox> with <xmin>, <ymin>, <xmax>, <ymax>"
        problems.add("incomplete object", "this object has no name or no box", where, hint)
        return None
    left, top, right, bottom = edges
    width, height = size
    box = relative_box(left - 1, top - 1, right - 1, bottom - 1, width, height)
    if box[2] <= 0 or box[3] <= 0:
        cause = "the box {:g}, {:g} to {:g}, {:g} has no area".format(*edges)
        problems.add("box without area", cause, where, "take the object out")
        return None
    if left < 0 or top < 0 or right > width or bottom > height:
        cause = "the box {:g}, {:g} to {:g}, {:g} leaves the image of {:g} x {:g}".format(*(edges + size))
        problems.add("box outside the image", cause, where, "mend the box, or the size")
    return Item(name.text, bool(element.number("difficult")), box, left < 1 or top < 1, where)


def read_sets(folder):
    """Name -> [(ID, list, line)] of the lists in ImageSets/Main; a list of one class (IDs with 1 or -1) is none.

    Without that folder every annotation is in a list train.
    """
    main, sets = os.path.join(folder, "ImageSets", "Main"), OrderedDict()
    for file in sorted(os.listdir(main)) if os.path.isdir(main) else ():
        path = os.path.join(main, file)
        lines = read_lines(path, "the image set", MAX_BYTES) if file.endswith(".txt") else []
        if lines and all(len(line.split()) == 1 for _, line in lines):
            sets[file[: -len(".txt")]] = [(os.fsdecode(line), path, number) for number, line in lines]
    if sets:
        return sets
    notes = os.path.join(folder, "Annotations")
    found = sorted(os.listdir(notes)) if os.path.isdir(notes) else []
    every = [(name[: -len(".xml")], notes, None) for name in found if name.endswith(".xml")]
    if not every:
        raise UsageError("this folder has no Annotations/*.xml", place(folder), "name a folder such as VOC2007")
    return OrderedDict(train=every)


def find_image(folder, name):
    """The image of an ID in JPEGImages, or None."""
    for suffix in SUFFIXES:
        for path in (os.path.join(folder, "JPEGImages", name + end) for end in (suffix, suffix.upper())):
            if os.path.isfile(path):
                return path
    return None


def read_folders(folders, problems):
    """(items of each key, its image, keys of each split) of all folders."""
    items, images, splits = OrderedDict(), {}, OrderedDict()
    for folder in folders:
        known = {}
        for split, members in read_sets(folder).items():
            for name, listed, number in members:
                if name not in known:
                    known[name] = _read_one(folder, name, place(listed, number), problems)
                    if known[name] is not None:
                        image, found = known[name]
                        key = os.path.basename(image)
                        if key in items:
                            cause = "two folders have an image {}".format(key)
                            raise UsageError(cause, place(image), "convert them one by one")
                        items[key], images[key] = found, image
                if known[name] is not None:
                    splits.setdefault(split, []).append(os.path.basename(known[name][0]))
    return items, images, splits


def _read_one(folder, name, where, problems):
    image = find_image(folder, name) if name == os.path.basename(name) else None
    if image is None:
        cause = "no image {} in {}".format(name, os.path.join(folder, "JPEGImages"))
        problems.add("missing image", cause, where, "take the line out, or add the image")
        return None
    path = os.path.join(folder, "Annotations", name + ".xml")
    if not os.path.isfile(path):
        problems.add("missing annotation", "{} does not exist".format(path), where, "take the line out")
        return None
    found = read_annotation(path, problems)
    return None if found is None else (image, found)


def chosen_lists(arguments, splits):
    """(key of the .data file, split): those asked for, or train or trainval, and val or test."""
    lists = []
    for key, asked, usual in (
        ("train", arguments.train, ("train", "trainval")),
        ("valid", arguments.valid, ("val", "test")),
    ):
        if asked is not None and asked not in splits:
            raise UsageError("there is no list {}".format(asked), hint="the lists are " + ", ".join(splits))
        lists += [(key, split) for split in ([asked] if asked else usual) if split in splits][:1]
    return lists


def convert(arguments):
    """Reads the folders. Raises UsageError, also for problems that are not to be ignored."""
    problems = Problems()
    names = data_set_tool.wanted_names(arguments)
    items, images, splits = read_folders(arguments.folders, problems)
    names = names or sorted({item.name for found in items.values() for item in found})
    number = {name: index for index, name in enumerate(names)}
    converted, difficult, cut = OrderedDict(), {}, 0
    for key, found in items.items():
        objects = []
        for item in found:
            if item.name not in number:
                cause = "{} is not in {}".format(item.name, arguments.names)
                problems.add("unknown class", cause, item.where, "add it there, or leave such objects out")
                continue
            cut += item.cut
            aside = item.difficult and arguments.difficult != "keep"
            (difficult.setdefault(key, []) if aside else objects).append((number[item.name],) + tuple(item.box))
        converted[key] = (images[key], objects)
    warn(problems.settle(arguments.ignore_problems))
    if not names or not splits:
        raise UsageError("there are no objects in these folders", hint="name folders such as VOC2007")
    left_out = sum(map(len, difficult.values()))
    counts = [("difficult objects left out", left_out), ("boxes cut off at the left or top", cut)]
    lists, listed = chosen_lists(arguments, splits), difficult if arguments.difficult == "list" else None
    return data_set_tool.Converted(names, converted, splits, lists, arguments.folders, counts, listed)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="VOC", nargs="+", help="folder with Annotations and JPEGImages")
    parser.add_argument("--train", metavar="SET", help="the list that .data names as train (train, or trainval)")
    parser.add_argument("--valid", metavar="SET", help="the list that .data names as valid (val, or test)")
    parser.add_argument(
        "--difficult",
        choices=("drop", "keep", "list"),
        default="drop",
        help="difficult objects: left out (the default), labels like others, or in a list that map takes for them",
    )
    data_set_tool.add_arguments(parser)
    return data_set_tool.main(parser, convert, argv)


if __name__ == "__main__":
    sys.exit(main())
