"""Darknet's own commands, as AlexeyAB's fork has them, translated into darkprune's.

`detector test DATA CFG WEIGHTS IMAGE` is `detect`, `detector map` is `eval`, and so on. What Darknet did besides is
asked for: predictions.jpg, anchors.txt, going on where labels are missing. Without an image their paths are read
from stdin. The command that is run is shown once on stderr.
"""

import argparse
import os
import shlex
import sys
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from darkprune.cli.arguments import knows, one_of, split
from darkprune.cli.common import warn, write
from darkprune.cli.sniff import DATA, FOLDER, IMAGE, LIST, NAMES, VIDEO, by_content, by_name
from darkprune.data import image_list
from darkprune.errors import Notice, UsageError, place

_Verb = NamedTuple(
    "_Verb",
    [
        ("command", str),
        ("options", Sequence[str]),
        ("ignored", Sequence[str]),  # options of our command that Darknet's takes and does not obey
    ],
)

VERBS: Dict[str, Dict[str, _Verb]] = {
    "detector": {
        "test": _Verb("detect", ("--overwrite",), ()),
        "map": _Verb("eval", ("--ignore-problems",), ("--letter-box",)),
        "demo": _Verb("detect", ("--overwrite",), ()),
        "train": _Verb("train", ("--overwrite", "--ignore-problems", "--partial"), ()),
        "calc_anchors": _Verb("calc-anchors", ("--overwrite", "--ignore-problems"), ()),
    },
    "classifier": {
        "predict": _Verb("classify", (), ()),
        "valid": _Verb("eval", ("--ignore-problems",), ()),
        "train": _Verb("train", ("--overwrite", "--ignore-problems", "--partial"), ()),
    },
}
_OF_IMAGES = ("detect", "classify")
_PICTURE = "predictions.jpg"  # what Darknet draws into, in the working directory

# What darkprune has in another form, or not.
_INSTEAD = {
    "valid": "use: darkprune eval CFG WEIGHTS --data DATA --coco-results FILE",
    "recall": "use: darkprune detector map DATA CFG WEIGHTS, which prints recall too",
}

# Darknet's options that darkprune may lack: without a value, and with one.
_FLAGS = """dont_show benchmark benchmark_layers show map show_imgs dontdraw_bbox clear cuda_debug_sync nogpu topk
    dontuse_opencv""".split()
_VALUES = """mjpeg_port avgframes json_port http_post_host time_limit_sec out_filename json_file_output prefix hier c s
    chart mAP_epochs gpus i t""".split()


def commands(argv: Sequence[str], parser: Callable[[str], argparse.ArgumentParser]) -> Iterator[List[str]]:
    """The darkprune commands that a command line means: one, or one for each path that is typed at the prompt.

    Args:
        parser: gives the parser of a command.

    Raises UsageError for a Darknet command that darkprune has not.
    """
    command, rest = argv[0], list(argv[1:])
    verb = _Verb(command, (), ())
    if command in VERBS:
        verb, rest = _verb(command, rest)
        rest = _of_demo(rest) if argv[1] == "demo" else rest
    elif command not in _OF_IMAGES:
        return iter([list(argv)])
    made = parser(verb.command)
    rest = _without_foreign(made, _renamed(rest, verb.command))
    options, files = split(made, rest)
    options = _obeyed(options, verb.ignored)
    if {"-h", "--help"} & set(options):
        return iter([[verb.command, "--help"]])
    words = [verb.command] + options + list(verb.options)
    return _with_images(words, files, command in VERBS)


def _verb(family: str, rest: List[str]) -> Tuple[_Verb, List[str]]:
    verbs = VERBS[family]
    if not rest or rest[0].startswith("-"):
        raise UsageError("what shall {} do?".format(family), hint="use " + ", ".join(verbs))
    if rest[0] in _INSTEAD and rest[0] not in verbs:
        raise UsageError("darkprune has no {} {}".format(family, rest[0]), hint=_INSTEAD[rest[0]])
    return verbs[one_of(rest[0], verbs, family + " command")], rest[1:]


def _of_demo(words: List[str]) -> List[str]:
    """The words of `detector demo` as `detect` has them: `-c N` is a camera, else there is a video, and a window."""
    found, camera, rest = [], "0", list(words)
    while rest:
        word = rest.pop(0)
        if word == "-c" and rest:
            camera = rest.pop(0)
        elif word == "-out_filename" and rest:
            found.append("--output=" + rest.pop(0))
        else:
            found.append(word)
    files = [word for word in found if not word.startswith("-")]
    if not any((by_content(word) or by_name(word)) == VIDEO for word in files):
        found.append("usb://" + camera)
    return found + ([] if "-dont_show" in found else ["--display"])


def _renamed(words: List[str], command: str) -> List[str]:
    return ["--top" if command == "classify" and word == "-t" else word for word in words]


def _without_foreign(parser: argparse.ArgumentParser, words: List[str]) -> List[str]:
    """The words without Darknet's options that this command has not; these are told on stderr."""
    kept, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name = word[1:]
        if not word.startswith("-") or name not in _FLAGS + _VALUES or knows(parser, word):
            kept.append(word)
            continue
        left_out = " ".join([word] + ([rest.pop(0)] if name in _VALUES and rest else []))
        warn([Notice("{} is left out".format(left_out), hint="darkprune has nothing like it here")])
    return kept


def _obeyed(options: List[str], ignored: Sequence[str]) -> List[str]:
    """The options without those that Darknet itself does not obey here; these are told on stderr."""
    for name in sorted(set(ignored) & set(options)):
        cause = "{} is left out: Darknet does not obey it here, but the cfg alone".format(name)
        warn([Notice(cause, hint="darkprune's own command does")])
    return [option for option in options if option not in ignored]


def _with_images(words: List[str], files: List[str], of_darknet: bool) -> Iterator[List[str]]:
    """The commands with their files; images whose paths come by stdin, where none is given."""
    kinds = [by_content(path) or by_name(path) for path in files]
    lists = _lists(words, files, kinds) if words[0] in _OF_IMAGES else []
    kinds = [LIST if path in lists else kind for path, kind in zip(files, kinds)]
    models = [kind for kind in kinds if kind not in (DATA, NAMES)]
    if words[0] not in _OF_IMAGES or len(models) > 2 or {IMAGE, LIST, FOLDER, VIDEO} & set(kinds):
        one = kinds.count(IMAGE) == 1 and not {LIST, FOLDER} & set(kinds)
        words = words + _picture(words, of_darknet and one)
        if of_darknet:
            _show(words + files)
        images = [image for path in lists for image in image_list.read(path)]
        yield words + ["--"] + [path for path in files if path not in lists] + images
        return
    _require_files(files)
    if sys.stdin is not None and sys.stdin.isatty():
        if of_darknet:
            _show(words + _picture(words, of_darknet) + files)
        while True:
            write("Enter Image Path: ")
            line = sys.stdin.readline()
            if not line:
                return
            if line.strip():
                yield words + _picture(words, of_darknet) + ["--"] + files + [line.strip()]
    images = _lines_of_stdin()
    words = words + _picture(words, of_darknet and len(images) == 1)
    if of_darknet:
        _show(words + files, " ({} paths of images from stdin)".format(len(images)))
    yield words + ["--"] + files + images


def _lists(words: List[str], files: List[str], kinds: Sequence[Optional[str]]) -> List[str]:
    """The .txt and .list files that look like names but are lists of images: where the names are known, or no other
    image is given."""
    known = DATA in kinds or any(word.startswith(("--names", "--data")) for word in words)
    if not known and {IMAGE, LIST, FOLDER} & set(kinds):
        return []
    return [path for path, kind in zip(files, kinds) if kind == NAMES and by_name(path) == LIST]


def _require_files(files: List[str]) -> None:
    """Raises UsageError for a file that is not there, and no stem of a pair."""
    for path in files:
        if not any(os.path.exists(path + end) for end in ("", ".cfg", ".weights")):
            hint = "check the path" if by_name(path) else "looked for {0} and {0}.cfg".format(path)
            raise UsageError("no such file", place(path), hint)


def _lines_of_stdin() -> List[str]:
    write("reading paths of images from stdin\n", sys.stderr)
    try:
        lines = [] if sys.stdin is None else [line.strip("\r\n") for line in sys.stdin]
    except ValueError:  # bytes that are no text, or stdin is closed
        lines = ["\0"]
    if any("\0" in line for line in lines):
        raise UsageError("stdin is no list of images", hint="write one path a line")
    return [line for line in lines if line.strip()]


def _picture(words: List[str], wanted: bool) -> List[str]:
    given = any(word.startswith("--output") for word in words)
    return ["--output=" + _PICTURE] if wanted and words[0] == "detect" and not given else []


def _show(words: List[str], more: str = "") -> None:
    write("darkprune {}{}\n".format(" ".join(shlex.quote(word) for word in words), more), sys.stderr)
