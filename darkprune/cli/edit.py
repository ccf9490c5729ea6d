"""Changes a Darknet pair without training and writes OUT.cfg and OUT.weights; lines that need no change stay.

With --cut N it writes OUT.conv.N instead, the arrays of the first N layers, as Darknet's `partial` does: Darknet
loads that with the full cfg. The edits are made in the order of the options below.
"""

import argparse
from typing import Any, Dict, List, Tuple

from darkprune.cli.common import add_common, comparison, grouped, notice_texts, print_json, warn, write
from darkprune.darknet import cfg as cfg_text
from darkprune.darknet.dialect_epsilon import DIALECTS
from darkprune.edit import cut, fuse_batch_norm, resize, set_classes, set_options, set_seen
from darkprune.errors import Notice, UsageError
from darkprune.graph.build import build, load, totals
from darkprune.graph.net import Net
from darkprune.graph.save import save, save_part
from darkprune.graph.write import cfg_bytes

_ALONE = ("set", "width", "height", "classes", "fuse_bn")  # change the cfg, which a prefix is not written with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="prefix of the files to write")
    parser.add_argument(
        "--set",
        metavar="LAYER:KEY=VALUE",
        action="append",
        help="set an option of a layer, or of net, that leaves the arrays as they are: 3:activation=relu",
    )
    parser.add_argument("--width", metavar="W", type=int, help="width of the input")
    parser.add_argument("--height", metavar="H", type=int, help="height of the input")
    parser.add_argument(
        "--classes",
        metavar="N",
        type=int,
        help="classes of every head; rows of boxes and objectness are kept, those of classes are new",
    )
    parser.add_argument(
        "--fuse-bn",
        metavar="DIALECT",
        choices=sorted(DIALECTS),
        help="fold batch norm into weights and biases as this reader computes it: " + ", ".join(sorted(DIALECTS)),
    )
    parser.add_argument("--cut", metavar="N", type=int, help="write only the arrays of the first N layers")
    parser.add_argument("--seen", metavar="N", type=int, help="images seen in training (with --cut: 0 unless given)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    given = [name for name in _ALONE + ("cut", "seen") if getattr(arguments, name) is not None]
    if not given:
        raise UsageError("no edit was asked for", hint="see darkprune edit --help")
    both = [name for name in given if name in _ALONE]
    if arguments.cut is not None and both:
        flags = ", ".join("--" + name.replace("_", "-") for name in both)
        raise UsageError("--cut writes a file for the cfg as it is", hint="leave out {}, or edit first".format(flags))
    settings = [_setting(text) for text in arguments.set or []]
    net = load(arguments.cfg, arguments.weights, arguments.dialect)
    new = _edited(net, arguments, settings)
    inputs = [arguments.cfg, arguments.weights]
    if arguments.cut is not None:
        files = [save_part(new, arguments.output, arguments.overwrite, inputs)]
        notices = new.notices
    else:
        files = [arguments.output + suffix for suffix in (".cfg", ".weights")]
        notices = new.notices + _of_the_written(new, files[0])
        save(new, arguments.output, arguments.overwrite, None, inputs)
    if arguments.json:
        print_json(_as_dict(net, new, notices, files))
    else:
        warn(notices)
        write(_of_part(new, files[0]) if arguments.cut is not None else _of_pair(net, new, files))
    return 0


def _setting(text: str) -> Tuple[str, str, str]:
    where, colon, rest = text.partition(":")
    key, equals, value = rest.partition("=")
    if not (where.strip() and colon and key.strip() and equals):
        hint = "as in 3:activation=relu or net:batch=1"
        raise UsageError("--set takes LAYER:KEY=VALUE, not {!r}".format(text), hint=hint)
    return where.strip(), key, value


def _edited(net: Net, arguments: argparse.Namespace, settings: List[Tuple[str, str, str]]) -> Net:
    new = set_options(net, settings) if settings else net
    if arguments.width is not None or arguments.height is not None:
        new = resize(new, arguments.width, arguments.height)
    if arguments.classes is not None:
        new = set_classes(new, arguments.classes)
    if arguments.fuse_bn is not None:
        new = fuse_batch_norm(new, arguments.fuse_bn)
    if arguments.cut is not None:
        new = cut(new, arguments.cut)
    return new if arguments.seen is None else set_seen(new, arguments.seen)


def _of_the_written(net: Net, path: str) -> List[Notice]:
    """What readers make of the new cfg and did not make of the old one, with its places in the new file."""
    said = {(notice.message, notice.reader) for notice in net.notices}
    written = build(cfg_text.parse(cfg_bytes(net), path), net.dialect.name)
    return [notice for notice in written.notices if (notice.message, notice.reader) not in said]


def _as_dict(net: Net, new: Net, notices: List[Notice], files: List[str]) -> Dict[str, Any]:
    after = totals(new)
    if new.partial:
        after = {"layers": new.loaded, "parameters": new.count_parameters(new.loaded)}
        after["weights_bytes"] = new.weights_bytes()
    return {
        "before": dict(totals(net), seen=net.header.seen),
        "after": dict(after, seen=new.header.seen),
        "files": files,
        "warnings": notice_texts(notices),
    }


def _of_part(new: Net, path: str) -> str:
    return "wrote {}: layers 0..{}, {} parameters, {} images seen\n".format(
        path, new.loaded - 1, grouped(new.count_parameters(new.loaded)), grouped(new.header.seen)
    )


def _of_pair(net: Net, new: Net, files: List[str]) -> str:
    return comparison(net, new) + "wrote " + " ".join(files) + "\n"
