"""Errors of the package: each says where (place), what (cause) and how to mend it (cure).

Library code raises these and never prints or exits; the command line turns them into exit status 2.
"""

from typing import NamedTuple, Optional

Place = NamedTuple(
    "Place",
    [
        ("path", str),  # the file, as the user named it
        ("line", Optional[int]),  # 1-based line of a text file
        ("text", Optional[str]),  # that line, without its line end
        ("column", Optional[int]),  # 0-based start of what is marked in `text`
        ("width", int),  # number of characters marked
    ],
)


def place(
    path: object, line: Optional[int] = None, text: Optional[str] = None, column: Optional[int] = None, width: int = 1
) -> Place:
    """A place in the file `path`; all but the path may be unknown."""
    return Place(str(path), line, text, column, max(1, width))


def render(severity: str, message: str, where: Optional[Place] = None, hint: Optional[str] = None) -> str:
    """The text shown to the user: place, cause, the marked line, and the cure."""
    head = severity + ": " + message
    lines = []
    if where is None:
        lines.append(head)
    elif where.line is None:
        lines.append("{}: {}".format(where.path, head))
    else:
        lines.append("{}:{}: {}".format(where.path, where.line, head))
        if where.text is not None:
            number = "{:5d}".format(where.line)
            lines.append("{} | {}".format(number, where.text.expandtabs(1)))
            if where.column is not None:
                marks = " " * where.column + "^" * where.width
                lines.append("{} | {}".format(" " * len(number), marks))
    if hint:
        lines.append("hint: " + hint)
    return "\n".join(lines)


class DarkpruneError(Exception):
    """Base of every error that is the user's to mend.

    Args:
        message: the cause, one sentence without a full stop.
        where: the place in a file, if there is one.
        hint: the cure.
    """

    def __init__(self, message: str, where: Optional[Place] = None, hint: Optional[str] = None) -> None:
        super(DarkpruneError, self).__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return render("error", self.message, self.where, self.hint)


class CfgError(DarkpruneError):
    """The text of a `.cfg` file is wrong."""


class WeightsError(DarkpruneError):
    """A `.weights` file does not fit its cfg, or is damaged."""


class GraphError(DarkpruneError):
    """A net breaks an invariant, or an edit would break one."""


class PlanError(DarkpruneError):
    """A plan is malformed, or was made for another pair."""


class CalibrationError(DarkpruneError):
    """Ranges are malformed, or were measured for another pair, or cannot be measured."""


class EngineError(DarkpruneError):
    """An engine cannot be built, read or run."""


class TrainingError(DarkpruneError):
    """Training cannot go on: what it had reached is in its last checkpoint."""


class OutputError(DarkpruneError):
    """A file cannot be written where it was asked for."""


class SourceError(DarkpruneError):
    """A video or camera cannot be opened or read, or stops before its end."""


class VerifyError(DarkpruneError):
    """A comparison cannot be carried out (a comparison that fails is a result, not an error)."""


class Unsupported(DarkpruneError):
    """A layer cannot be run, or edited, in the way that was asked for."""


class UsageError(DarkpruneError):
    """Options of a command or call contradict each other or are out of range."""


class MissingDependency(DarkpruneError):
    """A reader or library that was asked for is not installed; the hint says how to install it."""


class Notice:
    """A warning: something a user should know, with its place; collected, never printed by the library."""

    __slots__ = ("message", "where", "hint", "reader")

    def __init__(
        self, message: str, where: Optional[Place] = None, hint: Optional[str] = None, reader: Optional[str] = None
    ) -> None:
        self.message = message
        self.where = where
        self.hint = hint
        self.reader = reader  # the dialect whose reader is concerned, if one in particular

    def __str__(self) -> str:
        return render("warning", self.message, self.where, self.hint)
