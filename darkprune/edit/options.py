"""Options set one by one, as long as the arrays and the edges stay what they are."""

import re
from difflib import get_close_matches
from typing import Sequence, Set, Tuple, Union

from darkprune.darknet.values import strip
from darkprune.edit.rederive import rederive, stands
from darkprune.errors import CfgError, GraphError, UsageError
from darkprune.graph.layer import Configured, Layer
from darkprune.graph.net import Net
from darkprune.ops.registry import EVERY_LAYER

Setting = Tuple[Union[int, str], str, str]  # layer number or "net", key, value

_INT = r"[+-]?\d+"
_FLOAT = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_KINDS = {  # kind -> what it looks like, and its name
    "int": (_INT, "a whole number"),
    "float": (_FLOAT, "a number"),
    "ints": (r"{0}(?:,{0})*".format(_INT), "whole numbers"),
    "floats": (r"{0}(?:,{0})*".format(_FLOAT), "numbers"),
}
_SIZES = ("width", "height")


def set_options(net: Net, settings: Sequence[Setting]) -> Net:
    """A net with options set to other values; blanks in a value are dropped, as readers do.

    A line is added only for an option that the section's type has.

    Raises UsageError for a layer, key or value that cannot be; CfgError where the value is not legal for the option;
    GraphError where the edges or the arrays would no longer be those of the net.
    """
    new = net.copy()
    done: Set[Tuple[int, str]] = set()
    for where, key, value in settings:
        target, key, value = _target(new, where), strip(key), _plain(where, key, value)
        if (id(target), key) in done:
            raise UsageError("{} of {} is set twice".format(key, where), hint="set it once")
        done.add((id(target), key))
        _require_own(target, key)
        _require_free(new, target, key)
        _require_kind(target, key, value)
        if not stands(target, key, value):
            target.set(key, value)
    rederive(
        new,
        net,
        "such an option can only change together with others; leave it as it is",
        "--set keeps the arrays; --classes, --fuse-bn and prune change them",
    )
    _require_no_crash(new, net)
    return new


def _require_no_crash(new: Net, old: Net) -> None:
    """Raises for options of [net] on which the net's own Darknet would crash."""
    there = set(old.config.op.hazards(old.config))
    for hazard in new.config.op.hazards(new.config):
        if hazard.reader == new.dialect.name and hazard not in there:
            raise GraphError(
                "Darknet " + hazard.message, old.config.place(hazard.key), "set what belongs together at once"
            )


def _target(net: Net, where: Union[int, str]) -> Configured:
    if where == "net":
        return net.config
    number = int(where) if re.match(r"\d+\Z", str(where)) else -1
    if not 0 <= number < len(net.layers):
        raise UsageError("there is no layer {}".format(where), hint="use 0..{}, or net".format(len(net.layers) - 1))
    return net.layers[number]


def _plain(where: Union[int, str], key: str, value: str) -> str:
    """The value without blanks. Raises UsageError for text that a cfg line cannot hold."""
    name = "{} of {}".format(strip(key), where)
    if not strip(value):
        raise UsageError("{} gets no value; readers would take their defaults".format(name), hint="give a value")
    bad = [c for c in value if c in "#;" or not (" " <= c <= "~" or c == "\t")]
    if bad:
        raise UsageError(
            "{} would hold {!a}, which starts a comment, ends the line or is no ASCII".format(name, bad[0]),
            hint="use plain letters, digits and signs",
        )
    return strip(value)


def _require_own(target: Configured, key: str) -> None:
    """Raises for a key that neither the section nor its type has."""
    known = {option.name for option in target.op.options} | set(target.op.passive.split())
    if isinstance(target, Layer):
        known |= EVERY_LAYER
    present = {option.key for option in target.section.options}
    if key in known | present:
        return
    close = get_close_matches(key, sorted(known | present), 1)
    raise UsageError(
        "[{}] has no option {!r}".format(target.type, key),
        target.place(),
        "did you mean {}?".format(close[0]) if close else "see the cfg for the options of this section",
    )


def _require_free(net: Net, target: Configured, key: str) -> None:
    """Raises for an option that is not set like others."""
    if key in target.op.references + target.op.pointers:
        raise GraphError(
            "{} of [{}] is an edge of the net".format(key, target.type),
            target.place(key),
            "change it in the cfg itself; inspect then checks the net",
        )
    if target is net.config and key in _SIZES:
        raise UsageError("{} of [net] is an input size".format(key), target.place(key), "use --{} N".format(key))
    if isinstance(target, Layer) and key == "classes" and target.op.head_channels(target):
        cause = "classes of [{}] takes other filters in the layer before".format(target.type)
        raise UsageError(cause, target.place(key), "use --classes N, for all heads")


def _require_kind(target: Configured, key: str, value: str) -> None:
    """Raises CfgError for text where a number is read: Darknet would take 0 for it."""
    kind = next((option.kind for option in target.op.options if option.name == key), None)
    if kind is None:  # no type is declared: what stands there tells
        text = target.text(key)
        kind = "floats" if text is not None and re.match(_KINDS["floats"][0] + r"\Z", text) else None
    if kind in _KINDS and not re.match("(?:{})\\Z".format(_KINDS[kind][0]), value):
        raise CfgError(
            "{} of [{}] takes {}, not {!r}".format(key, target.type, _KINDS[kind][1], value),
            target.place(key),
            "Darknet would not refuse it, but read another number",
        )
