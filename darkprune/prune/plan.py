"""A plan: which channels and blocks go, why, and from which pair. JSON, for people to read and to apply again."""

import hashlib
import json
import re
from collections import OrderedDict
from typing import Any, Dict, List, Optional, Union

from darkprune.errors import Place, PlanError, place
from darkprune.graph.key import KeyJob, pair_key
from darkprune.graph.net import Net

FORMAT = "darkprune plan 1"
MAX_BYTES = 64 << 20
MODES = ("exact", "bias", "none")  # of absorbing
MAX_ROUND = 1024  # channels
_JSON = {str: "string", dict: "object", list: "array"}
_FIELDS = (
    ("format", str),
    ("pair", str),
    ("dialect", str),
    ("options", dict),
    ("removed_blocks", list),
    ("removed_channels", dict),
    ("constants", dict),
    ("kept", list),
    ("predicted", dict),
)


class Plan:
    """The decision to prune a pair.

    Attributes:
        pair: key of the pair it was made for. dialect: the one it was read in. options: as given.
        removed_blocks: {"shortcut": layer, "layers": [...]} by the original's layer numbers.
        removed_channels: layer -> output channels that go. constants: layer -> channels that stay as constants
            (numbers from the layer's original width on are channels added for that). Both by the original's
            layer numbers.
        kept: {"sets": count, "reason": text} for channels kept although their score was low.
        predicted: damage, and the totals of the pruned net.
        where: the file it was read from, for messages.
    """

    __slots__ = (
        "where",
        "_pair",
        "dialect",
        "options",
        "removed_blocks",
        "removed_channels",
        "constants",
        "kept",
        "predicted",
    )

    def __init__(self, pair: Union[str, KeyJob], dialect: str, options: Dict[str, Any]) -> None:
        self.where: Optional[Place] = None
        self._pair = pair
        self.dialect, self.options = dialect, options
        self.removed_blocks: List[Dict[str, Any]] = []
        self.removed_channels: Dict[int, List[int]] = {}
        self.constants: Dict[int, List[int]] = {}
        self.kept: List[Dict[str, Any]] = []
        self.predicted: Dict[str, Any] = {}

    @property
    def pair(self) -> str:
        """The key; waits for it where it is still being computed."""
        return self._pair if isinstance(self._pair, str) else self._pair.result()

    def to_dict(self) -> Dict[str, Any]:
        """The plan as JSON values, in a fixed order."""
        return OrderedDict(
            [
                ("format", FORMAT),
                ("pair", self.pair),
                ("dialect", self.dialect),
                ("options", self.options),
                ("removed_blocks", self.removed_blocks),
                ("removed_channels", _text_keys(self.removed_channels)),
                ("constants", _text_keys(self.constants)),
                ("kept", self.kept),
                ("predicted", self.predicted),
            ]
        )

    def to_bytes(self) -> bytes:
        """The file's text: one line per field and layer."""
        lines = []
        for key, value in self.to_dict().items():
            if key in ("removed_channels", "constants") and value:
                rows = ['  "{}": {}'.format(layer, json.dumps(v)) for layer, v in value.items()]
                lines.append(' "{}": {{\n{}\n }}'.format(key, ",\n".join(rows)))
            else:
                lines.append(" {}: {}".format(json.dumps(key), json.dumps(value, sort_keys=key != "options")))
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")

    def comment(self) -> str:
        """The line that names the plan in the cfg it made."""
        return "pruned by darkprune; plan sha256:" + self.hash()

    def hash(self) -> str:
        """SHA-256 of the file's text."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def read(path: str) -> Plan:
    """Reads a plan file. Raises PlanError."""
    try:
        with open(str(path), "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (IOError, OSError) as error:
        raise PlanError("cannot read the plan: {}".format(error.strerror), place(path), "check the path") from error
    cure = "give the .plan.json of the pruned pair, as darkprune wrote it"
    if len(data) > MAX_BYTES:
        raise PlanError("this is no plan: it is larger than any", place(path), cure)
    try:
        fields = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise PlanError("this is no plan, as it is no JSON", _json_place(path, data, error), cure) from error
    return from_dict(fields, path)


def _json_place(path: str, data: bytes, error: Exception) -> Place:
    """Where the text stops being JSON, as far as the error says."""
    line, column = getattr(error, "lineno", None), getattr(error, "colno", 1)
    if line is None:
        return place(path)
    text = data.decode("ascii").split("\n")[line - 1].rstrip("\r")
    start = max(0, column - 41)  # a plan's lines are long
    return place(path, line, text[start : start + 80], column - 1 - start)


def from_dict(fields: Any, path: str = "<plan>") -> Plan:
    """The plan of JSON values. Raises PlanError for anything malformed."""
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise PlanError("this is no plan of this version", place(path), 'its "format" must be "{}"'.format(FORMAT))
    for name, kind in _FIELDS:
        if not isinstance(fields.get(name), kind):
            raise PlanError('"{}" is missing or no {}'.format(name, _JSON[kind]), place(path), "make the plan again")
    if fields["options"].get("absorb", "exact") not in MODES:
        cause = '"absorb" is none of {} in "options"'.format(", ".join(MODES))
        raise PlanError(cause, place(path), "make the plan again")
    step = fields["options"].get("round", 1)
    if not _is_number(step) or not 1 <= step <= MAX_ROUND:
        cause = '"round" is no number from 1 to {} in "options"'.format(MAX_ROUND)
        raise PlanError(cause, place(path), "make the plan again")
    plan = Plan(fields["pair"], fields["dialect"], fields["options"])
    plan.where = place(path)
    plan.kept, plan.predicted = fields["kept"], fields["predicted"]
    for block in fields["removed_blocks"]:
        if not _is_block(block):
            raise PlanError('an entry of "removed_blocks" is malformed', place(path), "make the plan again")
        plan.removed_blocks.append(block)
    plan.removed_channels = _channel_lists(fields["removed_channels"], "removed_channels", path)
    plan.constants = _channel_lists(fields["constants"], "constants", path)
    both = [i for i, v in plan.constants.items() if set(v) & set(plan.removed_channels.get(i, []))]
    if both:
        raise PlanError("channels of layer {} both go and stay".format(both[0]), place(path), "make the plan again")
    if plan.constants and plan.options.get("absorb") != "exact":
        raise PlanError("only a plan with absorb exact has constants", place(path), "make the plan again")
    return plan


def _channel_lists(value: Dict[str, Any], name: str, path: str) -> Dict[int, List[int]]:
    lists = {}
    for key, numbers in value.items():
        if not re.match(r"[0-9]{1,9}\Z", key) or not _numbers(numbers):
            cause = '"{}" holds no list of channels for layer {}'.format(name, _short(key))
            raise PlanError(cause, place(path), "make the plan again")
        if len(set(numbers)) < len(numbers):
            cause = '"{}" names a channel of layer {} twice'.format(name, key)
            raise PlanError(cause, place(path), "make the plan again")
        lists[int(key)] = list(numbers)
    return lists


def _short(value: Any) -> str:
    """A number from a file, which may be of any length, for a message."""
    text = str(value)
    return text if len(text) <= 20 else text[:17] + "..."


def _is_block(value: Any) -> bool:
    """Whether this names at least two layers in order, the last of which is the shortcut."""
    if not isinstance(value, dict) or not _is_number(value.get("shortcut")) or not _numbers(value.get("layers")):
        return False
    layers: List[int] = value["layers"]
    return len(layers) >= 2 and layers == sorted(set(layers)) and layers[-1] == value["shortcut"]


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_is_number(v) for v in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text_keys(lists: Dict[int, List[int]]) -> Dict[str, List[int]]:
    return OrderedDict((str(key), list(lists[key])) for key in sorted(lists))


def require_pair(plan: Plan, net: Net) -> None:
    """Raises PlanError when the plan was made for another pair than `net`, or names what the net has not."""
    found = pair_key(net)
    if plan.pair != found:
        raise PlanError(
            "the plan was made for another pair ({}..., this one is {}...)".format(plan.pair[:12], found[:12]),
            plan.where,
            "give the cfg and weights it was made from, in the same dialect",
        )
    if plan.dialect != net.dialect.name:
        cause = "the plan was made in the dialect {}, the pair was read in {}".format(plan.dialect, net.dialect.name)
        raise PlanError(cause, plan.where, "give --dialect {}, or make the plan again".format(plan.dialect))
    for lists in (plan.removed_channels, plan.constants):
        for index, channels in lists.items():
            _require_channels(plan, net, index, channels)
    for block in plan.removed_blocks:
        if block["shortcut"] >= len(net.layers):
            raise PlanError("the net has no layer {}".format(block["shortcut"]), plan.where, "make the plan again")


def _require_channels(plan: Plan, net: Net, index: int, channels: List[int]) -> None:
    """Raises PlanError for a channel that the layer has not; some may have been added to carry a constant, in steps
    of the rounding."""
    if index >= len(net.layers):
        raise PlanError("the net has no layer {}".format(index), plan.where, "make the plan again")
    width = net.layers[index].shape.channels
    if channels and max(channels) >= width + plan.options.get("round", 1):
        cause = "the plan names channel {} of layer {}, which has {}".format(_short(max(channels)), index, width)
        raise PlanError(cause, plan.where, "make the plan again")
