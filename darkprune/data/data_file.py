"""`.data` files: `key = value` lines that name the parts of a data set, read as Darknet reads them."""

import os
from collections import OrderedDict
from typing import Dict, List, NamedTuple, Optional

from darkprune.darknet.values import atoi, strip
from darkprune.data import names
from darkprune.data.text import read_lines, resolve
from darkprune.errors import Notice, Place, UsageError, place

MAX_BYTES = 1 << 20
MAX_CLASSES = 1 << 20
SPLITS = ("train", "valid", "test")  # the lists of images

Setting = NamedTuple(
    "Setting",
    [
        ("value", str),  # without blanks at its ends
        ("number", int),  # 1-based line
        ("raw", str),  # the line
    ],
)


class DataFile:
    """A `.data` file. Make one by `read`.

    Attributes:
        path: the file.
        settings: key -> Setting; of a repeated key the first counts, as in Darknet.
        notices: repeated keys whose values differ.
    """

    def __init__(self, path: str, settings: Dict[str, Setting], notices: List[Notice]) -> None:
        self.path = path
        self.settings = settings
        self.notices = notices

    @classmethod
    def read(cls, path: str) -> "DataFile":
        """Reads a file; lines that begin with # or ; are comments. Raises UsageError."""
        path = str(path)
        settings: Dict[str, Setting] = OrderedDict()
        notices = []
        for number, line in read_lines(path, "the .data file", MAX_BYTES):
            raw = os.fsdecode(line)
            if raw[0] in "#;":
                continue
            key, equals, value = raw.partition("=")
            setting = Setting(value.strip(), number, raw)
            if not equals:
                hint = "a .data file has lines such as classes = 80"
                raise UsageError("this line has no =", place(path, number, raw), hint)
            first = settings.setdefault(strip(key), setting)
            if first.value != setting.value:
                cause = "{} is set again; line {} counts, as in Darknet".format(strip(key), first.number)
                notices.append(Notice(cause, place(path, number, raw)))
        return cls(path, settings, notices)

    def place(self, key: Optional[str] = None) -> Place:
        """The place of a setting, or of the file where it is absent."""
        found = self.settings.get(key or "")
        return place(self.path, found.number, found.raw) if found else place(self.path)

    def text(self, key: str) -> Optional[str]:
        """A setting's value; None where it is absent or empty."""
        found = self.settings.get(key)
        return (found.value or None) if found else None

    @property
    def classes(self) -> Optional[int]:
        """The number of classes, where the file says it. Raises UsageError for one that makes no sense."""
        return self._count("classes", MAX_CLASSES)

    @property
    def top(self) -> int:
        """How many guesses of a classifier count as one; 1 unless the file says it, as in Darknet."""
        return self._count("top", self.classes or MAX_CLASSES) or 1

    def _count(self, key: str, most: int) -> Optional[int]:
        text = self.text(key)
        if text is None:
            return None
        try:
            number = atoi(strip(text))
        except ValueError:
            number = 0
        if not 1 <= number <= most:
            cause = "{} must be a number from 1 to {}, not {}".format(key, most, text[:40])
            raise UsageError(cause, self.place(key), "write it as in {} = 1".format(key))
        return number

    def find(self, key: str) -> Optional[str]:
        """The existing path that a setting names; None where it is absent. Raises UsageError where nothing is there.

        Relative paths start at the working directory, as in Darknet, or else at the .data file. Darknet drops blanks
        inside paths, too; where nothing is found so, they are kept.
        """
        value = self.text(key)
        if value is None:
            return None
        folder = os.path.dirname(self.path)
        found = resolve(strip(value), folder) or resolve(value, folder)
        if found is None:
            hint = "relative paths start at the working directory, or else at the .data file"
            raise UsageError("{} names {}, which does not exist".format(key, value), self.place(key), hint)
        return found

    def require(self, *keys: str) -> str:
        """The existing path that the first present of some settings names. Raises UsageError."""
        for key in keys:
            found = self.find(key)
            if found is not None:
                return found
        cause = "this file has no {} = ...".format(" or ".join(keys))
        raise UsageError(cause, self.place(keys[0]), "add a line {} = FILE".format(keys[0]))

    def files(self) -> List[str]:
        """This file and those that exist of what its settings name, whatever the settings are called."""
        folder, found = os.path.dirname(self.path), [self.path]
        for setting in self.settings.values():
            paths = [resolve(name, folder) for name in (strip(setting.value), setting.value) if name]
            found += [path for path in paths if path is not None and os.path.isfile(path)]
        return list(OrderedDict.fromkeys(found))

    def read_names(self, *keys: str, surplus: bool = False) -> List[str]:
        """The class names, in a number that fits `classes`. Raises UsageError.

        Args:
            keys: where they stand: by default `names`, or else `labels`, as in Darknet.
            surplus: more names than classes will do, as for Darknet's classifiers.
        """
        return names.read(self.require(*(keys or ("names", "labels"))), self.classes, surplus)
