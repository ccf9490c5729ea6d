"""The command line as a Darknet user types it, put into the one form that argparse takes.

`_` equals `-` in names of options, Darknet's single dash works (`-letter_box`), `key=value` is `--key value` where
that can mean nothing else, options and files may be mixed, and a name is never guessed from its beginning.
"""

import argparse
import os
import re
from difflib import get_close_matches
from typing import Any, Dict, Iterable, List, Optional, Tuple

from darkprune.errors import UsageError

_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_KEY = re.compile(r"[A-Za-z][A-Za-z_-]+$")
_OF_ARGUMENT = re.compile(r"argument (?P<name>[^:]+): (?P<cause>.*)$", re.DOTALL)
_MISSING = "the following arguments are required: "


class Parser(argparse.ArgumentParser):
    """An argparse parser whose complaints are UsageErrors, and that takes no abbreviations."""

    def __init__(self, **options: Any) -> None:
        super(Parser, self).__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> Any:
        """Raises the error, with the cure that argparse does not name."""
        cure = "see {} --help".format(self.prog)
        found = _OF_ARGUMENT.match(message)
        if found:
            message = "{}: {}".format(found.group("name"), found.group("cause"))
        elif message.startswith(_MISSING):
            message = "{} must be given".format(message[len(_MISSING) :])
        raise UsageError(message, hint=cure)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            name = "/".join(action.option_strings) or str(action.metavar or action.dest)
            raise UsageError("{} is none of the choices of {}".format(value, name), hint=_cure(str(value), choices))


def split(parser: argparse.ArgumentParser, argv: Iterable[str]) -> Tuple[List[str], List[str]]:
    """The options, each as its full name that the parser knows (`--name=value`), and all else in its order.

    Raises UsageError for an option that the parser does not know.
    """
    rest = list(argv)
    options: List[str] = []
    files: List[str] = []
    while rest:
        token = rest.pop(0)
        if token == "--":
            return options, files + rest
        if _is_option(token):
            options += _option(parser, token, rest)
        else:
            setting = _setting(parser, token)
            (files if setting is None else options).append(token if setting is None else setting)
    return options, files


def long_options(parser: argparse.ArgumentParser) -> Dict[str, argparse.Action]:
    """The parser's long options by what their names come to: `--letter-box` and `letterbox` are one."""
    known = parser._option_string_actions
    return {_bare(name): action for name, action in known.items() if name.startswith("--")}


def canonical(action: argparse.Action) -> str:
    """An option's name in full."""
    return max(action.option_strings, key=len)


def one_of(name: str, known: Iterable[str], what: str) -> str:
    """The one of the known names that is meant, `_` being `-`. Raises UsageError with the nearest one."""
    choices = {_bare(choice): choice for choice in known}
    if _bare(name) in choices:
        return choices[_bare(name)]
    raise UsageError("unknown {} {}".format(what, name), hint=_cure(name, list(choices.values())))


def _cure(word: str, choices: List[str]) -> str:
    near = get_close_matches(word.lower(), choices, 1)
    return "did you mean {}?".format(near[0]) if near else "use " + ", ".join(choices)


def _bare(name: str) -> str:
    return re.sub("[-_]", "", name).lower()


def _is_option(token: str) -> bool:
    return len(token) > 1 and token.startswith("-") and not _NUMBER.match(token)


def _option(parser: argparse.ArgumentParser, token: str, rest: List[str]) -> List[str]:
    """The option and its values, which are taken from the rest."""
    name, equals, value = token.partition("=")
    action = _find(parser, name)
    full = canonical(action)
    if equals:
        return [token if full in ("-h", name) else "{}={}".format(full, value)]
    if action.nargs is None:
        return ["{}={}".format(full, rest.pop(0))] if rest and not _is_option(rest[0]) else [full]
    most = {"?": 1, "*": len(rest), "+": len(rest)}.get(str(action.nargs), action.nargs)
    values: List[str] = []
    while len(values) < int(most) and rest and not _is_option(rest[0]):
        values.append(rest.pop(0))
    return [full] + values


def knows(parser: argparse.ArgumentParser, token: str) -> bool:
    """Whether an option, as typed, is one of the parser's."""
    return _known(parser, token.partition("=")[0]) is not None


def _known(parser: argparse.ArgumentParser, name: str) -> Optional[argparse.Action]:
    action = parser._option_string_actions.get(name)
    return long_options(parser).get(_bare(name)) if action is None and len(name) > 2 else action


def _find(parser: argparse.ArgumentParser, name: str) -> argparse.Action:
    action = _known(parser, name)
    if action is None:
        known = long_options(parser)
        near = get_close_matches(_bare(name), list(known), 1)
        cure = "did you mean {}?".format(canonical(known[near[0]])) if near else "see {} --help".format(parser.prog)
        raise UsageError("unknown option {}".format(name), hint=cure)
    return action


def _setting(parser: argparse.ArgumentParser, token: str) -> Optional[str]:
    """`key=value` as an option that takes one value; None where it may be a file, or the key is no option."""
    key, equals, value = token.partition("=")
    action = long_options(parser).get(_bare(key)) if equals and _KEY.match(key) else None
    if action is None or action.nargs is not None or os.path.exists(token):
        return None
    return "{}={}".format(canonical(action), value)
