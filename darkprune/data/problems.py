"""What is wrong with a data set: counted by kind, the first few kept with their places."""

from collections import OrderedDict
from typing import Dict, List, Optional

from darkprune.errors import Notice, Place, UsageError, render

SHOWN = 10


class DataError(UsageError):
    """A data set has problems; the text shows the first of them, and how many there are of each kind."""

    def __init__(self, message: str, shown: List[Notice], hint: str) -> None:
        super(DataError, self).__init__(message, hint=hint)
        self.shown = shown

    def __str__(self) -> str:
        each = [render("error", notice.message, notice.where, notice.hint) for notice in self.shown]
        return "\n".join(each + [super(DataError, self).__str__()])


class Problems:
    """Collects problems of a data set instead of stopping at the first; memory does not grow with their number.

    Attributes: counts (kind -> how many, in the order of appearance), shown (the first ones, at most `limit`).
    """

    def __init__(self, limit: int = SHOWN) -> None:
        self.limit = limit
        self.counts: Dict[str, int] = OrderedDict()
        self.shown: List[Notice] = []

    def add(self, kind: str, message: str, where: Optional[Place] = None, hint: Optional[str] = None) -> None:
        """Counts one problem.

        Args:
            kind: what it is called in the totals, such as "missing image".
            message, where, hint: as those of an error.
        """
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if len(self.shown) < self.limit:
            self.shown.append(Notice(message, where, hint))

    def __len__(self) -> int:
        return sum(self.counts.values())

    def summary(self) -> str:
        """One sentence: how many problems, and of which kinds."""
        kinds = ", ".join("{} ({})".format(kind, count) for kind, count in self.counts.items())
        total = len(self)
        text = "{} problem{} in the data: {}".format(total, "" if total == 1 else "s", kinds)
        return text if total <= len(self.shown) else "{}; the first {} are shown".format(text, len(self.shown))

    def error(self, ignorable: bool = True) -> DataError:
        """All problems as one error, with the cure that a command has whose user may ignore them."""
        hint = "mend the files, or go on without them by --ignore-problems" if ignorable else "mend the files"
        return DataError(self.summary(), self.shown, hint)

    def settle(self, ignore: bool = False) -> List[Notice]:
        """The problems as warnings, the last one the summary, where they are to be ignored; else raises DataError."""
        if len(self) and not ignore:
            raise self.error()
        return self.shown + [Notice(self.summary())] if len(self) else []
