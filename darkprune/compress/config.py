"""The config file of `darkprune compress`: what is trained, how far it is pruned, where it is written.

    [model]     cfg, data; weights, where training starts from a pair
    [train]     epochs, and any option of [net]; without this section the pair of [model] is taken as it is
    [sparsify]  epochs, strength, method, schedule, and any option of [net]
    [prune]     channels, parameters, bflops or bytes; max_drop; steps, blocks, absorb, scope, round...
    [finetune]  epochs, distill, and any option of [net]
    [output]    folder
    [run]       seed, device, workers, bfloat16, every, save_every
"""

import configparser
import os
import re
from collections import OrderedDict
from difflib import get_close_matches
from typing import Any, Dict, List, Optional, Tuple

from darkprune.compress.config_keys import ALIASES, AMOUNTS, BUDGETS, KEYS, NET_KEYS, REQUIRED, TRAINING
from darkprune.data.text import read_bytes, resolve
from darkprune.errors import Place, UsageError, place
from darkprune.prune.combine import parse

MAX_BYTES = 1 << 20
_EXAMPLES = {"model": "add [model] with cfg = FILE and data = FILE", "output": "add [output] with folder = NAME"}


class Section:
    """One section: its values by key, those of [net] apart, and where each of them stands."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.values: Dict[str, Any] = OrderedDict()
        self.net: Dict[str, Any] = OrderedDict()  # options of [net] that this training has otherwise
        self.lines: Dict[str, Tuple[int, str]] = {}  # key -> 1-based number and text; "" is the section itself

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def place(self, key: str = "") -> Place:
        """The place of a key, or of the section where it is absent."""
        number, text = self.lines.get(key) or self.lines.get("") or (None, None)
        return place(self.path, number, text)

    def said(self) -> Dict[str, str]:
        """All values as text, to tell two configs apart."""
        pairs = list(self.values.items()) + list(self.net.items())
        return {key: "nothing" if value is None else str(value) for key, value in pairs}


class Config:
    """A config file. Make one by `read`.

    Attributes: path; sections (name -> Section, those that the file has, and [run], [prune] with its defaults).
    """

    def __init__(self, path: str, sections: Dict[str, Section]) -> None:
        self.path, self.sections = path, sections

    @classmethod
    def read(cls, path: str) -> "Config":
        """Reads a file. Raises UsageError for whatever it does not understand, with the line."""
        path = str(path)
        try:
            text = read_bytes(path, "the config file", MAX_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError("the config file is no plain text", place(path), "save it as UTF-8") from error
        parser = configparser.ConfigParser(
            interpolation=None, delimiters=("=",), inline_comment_prefixes=("#", ";"), default_section="\n"
        )
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            parser.read_string(text, path)
        except configparser.Error as error:
            raise _syntax_error(error, path, text) from error
        found = OrderedDict((name, _read(parser, name, path, text)) for name in parser.sections())
        for name in ("model", "output"):
            if name not in found:
                raise UsageError("there is no section [{}]".format(name), place(path), _EXAMPLES[name])
        found.setdefault("run", _defaults("run", path))
        _check(found)
        return cls(path, found)

    def get(self, name: str) -> Optional[Section]:
        """A section; None where the file has none."""
        return self.sections.get(name)

    def __getitem__(self, name: str) -> Section:
        return self.sections[name]

    @property
    def most_lost(self) -> Optional[float]:
        """max_drop, where it ends the rounds of pruning; None where there is none, or where it is what says how far the
        net is pruned."""
        prune = self.get("prune")
        if prune is None or all(prune[key] is None for key in AMOUNTS):
            return None
        found: Optional[float] = prune["max_drop"]
        return found

    @property
    def prefix(self) -> str:
        """What the files of every stage are called: the name of the cfg."""
        return os.path.splitext(os.path.basename(self["model"]["cfg"]))[0]


def _read(parser: configparser.ConfigParser, name: str, path: str, text: str) -> Section:
    section = Section(name, path)
    section.lines = _lines(name, text)
    if name not in KEYS:
        cure = _cure(name, list(KEYS))
        raise UsageError("[{}] is no section of this file".format(name), section.place(), cure)
    known = dict(NET_KEYS if name in TRAINING else {}, **KEYS[name])
    aliases = ALIASES.get(name, {})
    known.update((alias, known[key]) for alias, key in aliases.items())
    for key, value in parser.items(name):
        if key not in known:
            raise UsageError("{} is no option of [{}]".format(key, name), section.place(key), _cure(key, list(known)))
        try:
            if not value:
                raise ValueError(value)
            found = known[key].parse(value)
        except (ValueError, KeyError) as error:
            cause = "{} = {} makes no sense".format(key, value or "(nothing)")
            raise UsageError(cause, section.place(key), "write {}".format(known[key].says)) from error
        named = aliases.get(key, key)
        if named in section.values:
            cause = "{} is set already, under another name".format(key)
            raise UsageError(cause, section.place(key), "leave one of them out")
        (section.values if named in KEYS[name] else section.net)[named] = found
    return _filled(section)


def _filled(section: Section) -> Section:
    for key, how in KEYS[section.name].items():
        if key not in section.values:
            if how.default is REQUIRED:
                cause = "[{}] has no {}".format(section.name, key)
                raise UsageError(cause, section.place(), "add a line {} = ... ({})".format(key, how.says))
            section.values[key] = how.default
    return section


def _defaults(name: str, path: str) -> Section:
    return _filled(Section(name, path))


def _check(found: Dict[str, Section]) -> None:
    """Raises UsageError for sections that do not go together; finds the files of [model]."""
    model, folder = found["model"], os.path.dirname(found["model"].path)
    for key in ("cfg", "data", "weights"):
        if model[key] is not None:
            path = resolve(model[key], folder)
            if path is None or not os.path.isfile(path):
                hint = "relative paths start at the working directory, or else at this file"
                raise UsageError("{} is no file".format(model[key]), model.place(key), hint)
            model.values[key] = path
    if "train" not in found and model["weights"] is None:
        raise UsageError("there are no weights and no [train]", model.place(), "add one of them")
    stages = [name for name in ("train", "sparsify", "prune") if name in found]
    if not stages:
        raise UsageError("there is nothing to do", place(model.path), "add [train], [sparsify] or [prune]")
    if "finetune" in found and "prune" not in found:
        raise UsageError("[finetune] follows pruning", found["finetune"].place(), "add [prune], or use [train]")
    if "prune" in found:
        _check_budget(found["prune"], "finetune" in found)
        _check_criteria(found["prune"])


def _check_budget(section: Section, trained: bool) -> None:
    """trained: whether [finetune] follows."""
    given: List[str] = [key for key in BUDGETS if section[key] is not None]
    amounts = [key for key in given if key in AMOUNTS]
    if len(amounts) > 1:
        cause = "{} and {} both say how far to prune".format(*amounts[:2])
        raise UsageError(cause, section.place(amounts[1]), "leave one of them out")
    if trained and given == ["max_drop"]:
        cause = "max_drop is what may be lost behind [finetune], and nothing says how far a round prunes"
        cure = "add how far to go at most and in how many rounds, such as channels = 0.9 and steps = 8"
        raise UsageError(cause, section.place("max_drop"), cure)
    if not given and not section["blocks"]:
        raise UsageError("nothing says how far to prune", section.place(), "add one of " + ", ".join(BUDGETS))
    if not given and section["steps"] > 1:
        cause = "all blocks go in the first round, and nothing says what goes in the others"
        raise UsageError(cause, section.place("steps"), "add one of " + ", ".join(BUDGETS))


def _check_criteria(section: Section) -> None:
    """Raises UsageError for criteria that do not combine as asked for."""
    try:
        parse(section["criterion"], section["combine"])
    except UsageError as error:
        raise UsageError(error.message, section.place("combine"), error.hint) from error


def _lines(name: str, text: str) -> Dict[str, Tuple[int, str]]:
    """Where the section and its keys stand; configparser does not say."""
    found: Dict[str, Tuple[int, str]] = {}
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^]]+)\]", line)
        if header:
            inside = header.group(1) == name
        if inside:
            found.setdefault("" if header else line.partition("=")[0].strip(), (number, line))
    return found


def _syntax_error(error: configparser.Error, path: str, text: str) -> UsageError:
    number = getattr(error, "lineno", None) or (getattr(error, "errors", None) or [(None, "")])[0][0]
    line = text.splitlines()[number - 1] if number else None
    if isinstance(error, configparser.DuplicateSectionError):
        cause, cure = "[{}] stands here twice".format(error.section), "leave one of them out"
    elif isinstance(error, configparser.DuplicateOptionError):
        cause, cure = "{} is set twice in [{}]".format(error.option, error.section), "leave one of them out"
    else:
        cause, cure = "this line is no [section] and no key = value", "see darkprune compress --help"
    return UsageError(cause, place(path, number, line), cure)


def _cure(word: str, choices: List[str]) -> str:
    near = get_close_matches(word.lower(), choices, 1)
    return "did you mean {}?".format(near[0]) if near else "use one of " + ", ".join(choices)
