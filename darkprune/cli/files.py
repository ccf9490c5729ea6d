"""The files of a command line: given in any order, told apart by content, completed by those beside them.

A command declares positional arguments as ever; the metavar says what is meant: CFG and WEIGHTS (a second pair: CFG2,
WEIGHTS2; any number: PAIR), IMAGE (also a folder or list of images), SOURCE (a video or camera too) and
DATA. A file of another kind goes to the option of that name, if the command has one: --names, --data, --plan, --image.
"""

import argparse
import glob
import os
import re
from collections import OrderedDict
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from darkprune.cli.arguments import canonical, long_options, split
from darkprune.cli.sniff import CFG, DATA, FOLDER, IMAGE, LIST, NAMES, PLAN, VIDEO, WEIGHTS, by_content, by_name
from darkprune.errors import UsageError, place

PAIR, SOURCE = "pair", "source"
_CALLED = {NAMES: "list of names", DATA: ".data file", LIST: "list of images", VIDEO: "video or camera"}
KINDS = {"CFG": CFG, "WEIGHTS": WEIGHTS, "PAIR": PAIR, "IMAGE": IMAGE, "SOURCE": SOURCE, "DATA": DATA}
_IMAGES = (IMAGE, LIST, FOLDER)
_TAKES = {IMAGE: _IMAGES, SOURCE: _IMAGES + (VIDEO,)}  # slot -> kinds of files; of another slot, its own kind alone
_OPTIONS = OrderedDict([(DATA, ["data"]), (NAMES, ["names"]), (PLAN, ["plan"])])
_OPTIONS.update((kind, ["images", "image"]) for kind in _IMAGES)
_BEST_FIRST = (".weights", "_best.weights", "_final.weights", "_last.weights")
_TRAINED = re.compile(r"_(best|final|last|\d+)$")

Slot = NamedTuple("Slot", [("name", str), ("kind", str), ("required", bool), ("many", bool)])
File = NamedTuple("File", [("path", str), ("kind", Optional[str])])


class Pair:
    """A cfg and weights, as far as they are known; `named` when a stem was given, which always means both."""

    __slots__ = ("cfg", "weights", "named")

    def __init__(self, cfg: Optional[str], weights: Optional[str], named: bool = False) -> None:
        self.cfg = cfg
        self.weights = weights
        self.named = named


def arrange(parser: argparse.ArgumentParser, argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The arguments as argparse takes them: options, `--`, then the files in the declared order.

    Returns these and the files that were found beside the given ones. Raises UsageError where a file is missing, is
    none of those that the command takes, or is one too many.
    """
    options, paths = split(parser, argv)
    slots = slots_of(parser)
    if slots is None or "--help" in options or "-h" in options:
        return options + (["--"] + paths if paths else []), []
    filled = _Filled(parser, slots, options)
    words = filled.words(paths)
    return options + filled.more + (["--"] + words if words else []), filled.found


def slots_of(parser: argparse.ArgumentParser) -> Optional[List[Slot]]:
    """The positional arguments, or None where one of them is no file."""
    slots = []
    for action in parser._actions:
        if not action.option_strings:
            kind = KINDS.get(re.sub(r"\d+$", "", str(action.metavar)))
            if kind is None:
                return None
            slots.append(Slot(str(action.metavar), kind, action.nargs not in ("?", "*"), action.nargs in ("*", "+")))
    return slots


class _Filled:
    """The slots of one command filled with files; `more` are options, `found` the files that nobody named."""

    def __init__(self, parser: argparse.ArgumentParser, slots: List[Slot], options: List[str]) -> None:
        self.slots = slots
        self.given = {token.partition("=")[0] for token in options}
        self.declared = {name: canonical(action) for name, action in long_options(parser).items()}
        names = ["CFG WEIGHTS [CFG WEIGHTS]..." if slot.kind == PAIR else slot.name for slot in slots]
        self.usage = "{} {}".format(parser.prog, " ".join(names))
        self.more: List[str] = []
        self.found: List[str] = []
        numbers = [slot for slot in slots if slot.kind == CFG]
        self.most_pairs = len(numbers)
        self.least_pairs = sum(slot.required for slot in numbers)
        self.any_pairs = any(slot.kind == PAIR for slot in slots)
        if self.any_pairs:
            self.most_pairs, self.least_pairs = 1 << 16, 1
        self.weights_required = any(slot.kind in (WEIGHTS, PAIR) and slot.required for slot in slots)

    def words(self, paths: Sequence[str]) -> List[str]:
        """The files in the order of the slots."""
        files = [File(path, by_content(path) or by_name(path)) for path in paths]
        try:
            return self._words(files)
        except UsageError:
            # Where content and name contradict each other, the reader of the file's place says best what is wrong.
            named = [by_name(path) or by_content(path) for path in paths]
            enough = named != [file.kind for file in files] and len(named) >= sum(s.required for s in self.slots)
            if enough and named == [slot.kind for slot in self.slots][: len(named)]:
                return list(paths)
            raise

    def _words(self, files: List[File]) -> List[str]:
        self.more, self.found = [], []
        pairs, others = self._pairs(files)
        others = self._to_options(others)
        self._companions(pairs)
        words = [word for pair in pairs for word in (pair.cfg, pair.weights) if word]
        for slot in self.slots:
            if slot.kind in (IMAGE, SOURCE, DATA):
                mine = [file for file in others if _fits(file, slot.kind)]
                mine = mine if slot.many else mine[:1]
                if slot.required and not mine and others:
                    raise self._unwanted(others[0])
                if slot.required and not mine:
                    raise UsageError("{} is missing".format(slot.name), hint="use " + self.usage)
                others = [file for file in others if file not in mine]
                words += [file.path for file in mine]
        if others:
            raise self._unwanted(others[0])
        return words

    # ---- pairs

    def _pairs(self, files: List[File]) -> Tuple[List[Pair], List[File]]:
        if not self.most_pairs:
            return [], files
        files = self._fitting(files)
        mine = [file for file in files if file.kind in (CFG, WEIGHTS, PAIR)]
        pairs = _in_order(mine) or _matched(mine)
        if len(pairs) > self.most_pairs:
            first = pairs[self.most_pairs]
            raise self._unwanted(File(first.cfg, CFG) if first.cfg else File(str(first.weights), WEIGHTS))
        if self.any_pairs:
            _require_all_or_none(pairs)
        if len(pairs) < self.least_pairs:
            raise UsageError("CFG and WEIGHTS are missing", hint="use " + self.usage)
        for pair in pairs:
            if pair.cfg is None:
                pair.cfg = self._beside(_cfgs_of(str(pair.weights)), CFG, str(pair.weights))
            if pair.weights is None and (self.weights_required or pair.named):
                stem = os.path.splitext(pair.cfg)[0]
                pair.weights = self._beside([stem + end for end in _BEST_FIRST], WEIGHTS, pair.cfg)
        return pairs, [file for file in files if file not in mine]

    def _fitting(self, files: List[File]) -> List[File]:
        """The files, a stem being a pair; what nobody knows takes the place that is free in the command's order."""
        fitting = []
        for file in files:
            if file.kind in (None, FOLDER):
                if os.path.isfile(file.path + ".cfg"):
                    file = File(file.path, PAIR)
                elif os.path.isfile(file.path + ".weights"):
                    file = File(file.path + ".weights", WEIGHTS)
            fitting.append(file)
        unknown = [index for index, file in enumerate(fitting) if file.kind is None or not self._takes(file.kind)]
        known = [file.kind for file in fitting]
        free = [slot.kind for slot in self.slots if slot.kind in (CFG, WEIGHTS) and slot.kind not in known]
        for index, kind in zip(unknown, free if PAIR not in known else []):
            path = fitting[index].path
            if not os.path.exists(path) and not by_name(path):
                raise UsageError("no such file", place(path), "looked for {0} and {0}.cfg".format(path))
            fitting[index] = File(path, kind)
        return fitting

    def _takes(self, kind: str) -> bool:
        kinds = [slot.kind for slot in self.slots]
        options = any(name in self.declared for name in _OPTIONS.get(kind, []))
        return kind in (CFG, WEIGHTS, PAIR) or options or any(kind in _TAKES.get(slot, (slot,)) for slot in kinds)

    def _beside(self, candidates: List[str], what: str, of: str) -> str:
        for path in candidates:
            if os.path.isfile(path):
                self.found.append(path)
                return path
        hint = "looked for " + ", ".join(candidates)
        if what == WEIGHTS:
            others = sorted(glob.glob(glob.escape(os.path.splitext(of)[0]) + "_*.weights"))
            hint += "; name one of " + ", ".join(others[-3:]) if others else ""
        raise UsageError("found no {} for it".format(what), place(of), hint)

    def _companions(self, pairs: List[Pair]) -> None:
        """Names or data of the first pair, and the plan that led to a second one."""
        wanted = []
        if pairs and not {"--data", "--names"} & self.given:
            stem = os.path.splitext(str(pairs[0].cfg))[0]
            wanted += [("data", stem + ".data"), ("names", stem + ".names")]
        if len(pairs) == 2:
            wanted.append(("plan", os.path.splitext(str(pairs[1].cfg))[0] + ".plan.json"))
        for name, path in wanted:
            option = self.declared.get(name)
            if option and option not in self.given and os.path.isfile(path):
                self.more.append("{}={}".format(option, path))
                self.found.append(path)
                if name == "data":
                    self.given.add("--names")  # its own come with it

    # ---- all else

    def _to_options(self, others: List[File]) -> List[File]:
        left = []
        kinds = [slot.kind for slot in self.slots]
        for file in others:
            options = [self.declared[name] for name in _OPTIONS.get(str(file.kind), []) if name in self.declared]
            option = options[0] if options else None
            taken = any(file.kind in _TAKES.get(slot, (slot,)) for slot in kinds)
            if option is None or taken or option in self.given:
                left.append(file)
                continue
            self.more = [word for word in self.more if not word.startswith(option + "=")]
            self.more.append("{}={}".format(option, file.path))
            self.given.add(option)
        return left

    def _unwanted(self, file: File) -> UsageError:
        if not os.path.exists(file.path):
            return UsageError("no such file", place(file.path), "use " + self.usage)
        what = "nothing that this command takes"
        if file.kind:
            what = "one {} too many".format(_CALLED.get(file.kind, file.kind))
        return UsageError(what, place(file.path), "use " + self.usage)


def _fits(file: File, kind: str) -> bool:
    """Whether a file may stand in such a slot; an unknown format may be an image that its reader knows."""
    unknown = kind in _TAKES and file.kind is None and os.path.exists(file.path)
    return unknown or file.kind in _TAKES.get(kind, (kind,))


def _in_order(files: List[File]) -> List[Pair]:
    """The pairs where the files stand as CFG WEIGHTS CFG WEIGHTS; else nothing."""
    pairs: List[Pair] = []
    kinds = [file.kind for file in files]
    if len(files) % 2 or kinds != [CFG, WEIGHTS] * (len(files) // 2):
        return pairs
    return [Pair(a.path, b.path) for a, b in zip(files[::2], files[1::2])]


def _matched(files: List[File]) -> List[Pair]:
    """The pairs in the order in which their first files stand: same stem, then stem and `_best`, then in order."""
    weights = [file.path for file in files if file.kind == WEIGHTS]
    cfgs = []
    for file in files:
        if file.kind != WEIGHTS:
            named = file.kind == PAIR
            cfgs.append(Pair(file.path + ".cfg" if named else file.path, None, named))
    for same in (_equal, _trained, _any):
        for pair in cfgs:
            mine = [path for path in weights if same(_stem(path), _stem(str(pair.cfg)))]
            if mine and pair.weights is None:
                pair.weights = mine[0]
                weights.remove(mine[0])
    order: Dict[str, int] = {}
    for index, file in enumerate(files):
        order.setdefault(file.path + (".cfg" if file.kind == PAIR else ""), index)
    pairs = cfgs + [Pair(None, path) for path in weights]
    return sorted(pairs, key=lambda pair: min(order[path] for path in (pair.cfg, pair.weights) if path in order))


def _require_all_or_none(pairs: List[Pair]) -> None:
    """Raises UsageError where weights were given for some of the named cfgs only: those meant for the others were
    forgotten, or the same weights are meant again."""
    cfgs = [pair for pair in pairs if pair.cfg and not pair.named]
    without = [pair for pair in cfgs if pair.weights is None]
    if without and len(without) < len(cfgs):
        cause = "no weights were given for this cfg, and some for another"
        hint = "give CFG WEIGHTS for each, or only the cfgs, whose weights are looked for beside them"
        raise UsageError(cause, place(str(without[0].cfg)), hint)


def _equal(weights: str, cfg: str) -> bool:
    return weights == cfg


def _trained(weights: str, cfg: str) -> bool:
    return _TRAINED.sub("", weights) == cfg


def _any(weights: str, cfg: str) -> bool:
    return True


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _cfgs_of(weights: str) -> List[str]:
    stem = re.sub(r"\.(weights|backup|conv\.\d+)$", "", weights)
    return list(OrderedDict.fromkeys([stem + ".cfg", _TRAINED.sub("", stem) + ".cfg"]))
