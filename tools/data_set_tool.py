"""What the converters of data sets share: their options, and the writing of what they read."""

import os
import posixpath
import sys

from darkprune.cli.common import grouped, table, warn, write
from darkprune.data import names as names_file
from darkprune.data.write_set import SetWriter
from darkprune.errors import DarkpruneError, UsageError


class Converted:
    """A data set that was read.

    Attributes:
        names: of the classes.
        images: key below the folder of images -> (source file, [(class, centre x, centre y, width, height)]).
        splits: name of a list -> keys.
        lists: (key of the .data file, name of a list).
        inputs: files and folders that were read.
        counts: (what, number) of what was left out or changed.
        difficult: key -> objects that need not be found; they become the list `difficult` of the .data file, which
            belongs to `valid`. None where there is to be no such list.
    """

    def __init__(self, names, images, splits, lists, inputs, counts, difficult=None):
        self.names, self.images, self.splits = names, images, splits
        self.lists, self.inputs, self.counts = lists, inputs, counts
        self.difficult = difficult


def add_arguments(parser):
    """The options that the converters share."""
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="folder to make")
    parser.add_argument("--names", metavar="FILE", help="class names in the order wanted, one a line")
    parser.add_argument("--copy", action="store_true", help="copy the images; by default OUT holds links to them")
    parser.add_argument("--prefix", default="", help="put this before the paths in all files (they start at OUT)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT, if it holds no other files")
    parser.add_argument("--ignore-problems", action="store_true", help="leave out what is wrong and go on")


def wanted_names(arguments):
    """The names that --names gives, or None."""
    if arguments.names is None:
        return None
    names = names_file.read(arguments.names)
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise UsageError("--names has {} twice".format(twice[0]), hint="name every class once")
    return names


def write_set(found, arguments):
    """Writes a Converted set and prints what it holds."""
    out = arguments.output
    for split, keys in found.splits.items():
        if not keys:
            raise UsageError("the list {} would name no images".format(split), hint="check the folder of images")
    with SetWriter(out, found.inputs, arguments.overwrite, arguments.copy, arguments.prefix) as writer:
        for key, (source, objects) in found.images.items():
            writer.image(key, source, objects)
        for split, keys in found.splits.items():
            writer.list(split, keys)
        writer.data(found.names, found.lists + _write_difficult(found, writer))
        writer.commit()
    warn(writer.notices)
    write(_summary(found, writer))


def _write_difficult(found, writer):
    """Labels and a list for names beside the images', as AlexeyAB's Darknet wants them; returns the list's setting."""
    valid = dict(found.lists).get("valid")
    if found.difficult is None or valid is None:
        return []
    keys = []
    for key in found.splits[valid]:
        folder, name = posixpath.split(key)
        keys.append(posixpath.join(folder, "difficult_" + name))
        writer.labels(keys[-1], found.difficult.get(key, []))
    writer.list("difficult_" + valid, keys)
    return [("difficult", "difficult_" + valid)]


def _summary(found, writer):
    splits = list(found.splits)
    rows = [["objects"] + splits]
    counted = {split: [0] * len(found.names) for split in splits}
    for split in splits:
        for key in found.splits[split]:
            for item in found.images[key][1]:
                counted[split][item[0]] += 1
    for index, name in enumerate(found.names):
        rows.append([name] + [grouped(counted[split][index]) for split in splits])
    rows.append(["images"] + [grouped(len(found.splits[split])) for split in splits])
    lines = ["{}: {}\n".format(what, grouped(number)) for what, number in found.counts if number]
    lines += ["{} = {}.txt\n".format(key, split) for key, split in found.lists]
    path = os.path.join(writer.out, writer.name + ".data")
    return table(rows) + "".join(lines) + "wrote {}; Darknet takes it when started in {}\n".format(path, writer.out)


def main(parser, convert, argv=None):
    """Parses, converts, writes; returns the exit status: 0, or 2 where the input is at fault."""
    arguments = parser.parse_args(argv)
    try:
        write_set(convert(arguments), arguments)
    except DarkpruneError as error:
        write(str(error) + "\n", sys.stderr)
        return 2
    except KeyboardInterrupt:
        write("interrupted\n", sys.stderr)
        return 130
    return 0
