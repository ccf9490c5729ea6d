"""A plan: which channels and blocks go, why, and from which pair. JSON, for people to read and to apply again."""

import hashlib
import json
from collections import OrderedDict
from typing import Any, Dict, List, Union

from darkprune.errors import PlanError, place
from darkprune.graph.key import KeyJob, pair_key
from darkprune.graph.net import Net

FORMAT = "darkprune plan 1"
MAX_BYTES = 64 << 20
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
    """

    __slots__ = ("_pair", "dialect", "options", "removed_blocks", "removed_channels", "constants", "kept", "predicted")

    def __init__(self, pair: Union[str, KeyJob], dialect: str, options: Dict[str, Any]) -> None:
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
    if len(data) > MAX_BYTES:
        raise PlanError("this is no plan: it is larger than any", place(path), "give the .plan.json of the pruned pair")
    try:
        fields = json.loads(data.decode("ascii"))
    except ValueError as error:
        raise PlanError(
            "this is no plan: {}".format(error), place(path), "give the .plan.json of the pruned pair"
        ) from error
    return from_dict(fields, path)


def from_dict(fields: Any, path: str = "<plan>") -> Plan:
    """The plan of JSON values. Raises PlanError for anything malformed."""
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise PlanError("this is no plan of this version", place(path), 'its "format" must be "{}"'.format(FORMAT))
    for name, kind in _FIELDS:
        if not isinstance(fields.get(name), kind):
            raise PlanError('"{}" is missing or no {}'.format(name, kind.__name__), place(path), "make the plan again")
    plan = Plan(fields["pair"], fields["dialect"], fields["options"])
    plan.kept, plan.predicted = fields["kept"], fields["predicted"]
    for block in fields["removed_blocks"]:
        if not isinstance(block, dict) or not _is_number(block.get("shortcut")) or not _numbers(block.get("layers")):
            raise PlanError('an entry of "removed_blocks" is malformed', place(path), "make the plan again")
        plan.removed_blocks.append(block)
    plan.removed_channels = _channel_lists(fields["removed_channels"], "removed_channels", path)
    plan.constants = _channel_lists(fields["constants"], "constants", path)
    return plan


def _channel_lists(value: Dict[str, Any], name: str, path: str) -> Dict[int, List[int]]:
    lists = {}
    for key, numbers in value.items():
        if not key.isdigit() or not _numbers(numbers):
            raise PlanError('"{}" holds no list of channels for layer {!r}'.format(name, key[:20]), place(path))
        lists[int(key)] = list(numbers)
    return lists


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_is_number(v) for v in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text_keys(lists: Dict[int, List[int]]) -> Dict[str, List[int]]:
    return OrderedDict((str(key), list(lists[key])) for key in sorted(lists))


def require_pair(plan: Plan, net: Net) -> None:
    """Raises PlanError when the plan was made for another pair than `net`."""
    found = pair_key(net)
    if plan.pair != found:
        raise PlanError(
            "the plan was made for another pair ({}..., this one is {}...)".format(plan.pair[:12], found[:12]),
            hint="give the cfg and weights it was made from, in the same dialect",
        )
