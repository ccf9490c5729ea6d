"""What an engine was built from, for and with: a JSON file beside it, which those who run the engine check.

A plan itself tells none of it: it loads, and runs, for any net whose inputs and outputs have the same shapes.
"""

import errno
import hashlib
import json
import os
from collections import OrderedDict
from itertools import islice
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from darkprune.errors import EngineError, place
from darkprune.graph.key import pair_key
from darkprune.graph.net import Net
from darkprune.quant.tensors import INPUT

FORMAT = "darkprune engine 1"
SUFFIX = ".json"  # behind the engine's own name
MAX_BYTES = 1 << 26
_CHUNK = 1 << 20
_FIELDS: Sequence[Tuple[str, Any, Dict[str, Any]]] = (  # those that are read again, and within them
    ("pair", str, {}),
    ("dialect", str, {}),
    ("engine", dict, {"sha256": str}),
    ("inputs", dict, {}),
    ("input", dict, {"width": int, "height": int, "channels": int}),
    ("batch", dict, {"least": int, "most": int}),
    ("heads", list, {}),
    ("preprocessing", str, {}),
    ("precision", dict, {"requested": str}),
    ("tensorrt", dict, {"name": str, "version": str}),
)
_REBUILD = "build the engine again (darkprune build)"

Head = NamedTuple(
    "Head",
    [
        ("layer", int),
        ("tensor", str),
        ("shape", Tuple[int, ...]),  # C, H, W
    ],
)


class Report(object):
    """The content of a report.

    Attributes:
        fields: all of it, as JSON values.
        path: of the file it was read from; None for one that was not.
    """

    def __init__(self, fields: Dict[str, Any], path: Optional[str] = None) -> None:
        self.fields, self.path = fields, path

    @property
    def batch(self) -> Tuple[int, int]:
        """The least and the most images at once."""
        return self.fields["batch"]["least"], self.fields["batch"]["most"]

    @property
    def heads(self) -> List[Head]:
        """The engine's outputs."""
        return [Head(head["layer"], head["tensor"], tuple(head["shape"])) for head in self.fields["heads"]]

    def to_bytes(self) -> bytes:
        """The file's text: a line for each layer and tensor."""
        lines = []
        for key, value in self.fields.items():
            inner = ""
            if isinstance(value, list) and value:
                inner = "[\n" + ",\n".join("  " + json.dumps(item) for item in value) + "\n ]"
            elif key == "tensors":
                rows = ["  {}: {}".format(json.dumps(name), json.dumps(item)) for name, item in value.items()]
                inner = "{\n" + ",\n".join(rows) + "\n }"
            lines.append(" {}: {}".format(json.dumps(key), inner or json.dumps(value)))
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")

    def require(self, net: Net) -> None:
        """Raises EngineError where the engine is that of another pair, dialect or input size than `net`."""
        shape, ours = net.input.shape, self.fields["input"]
        where = place(self.path) if self.path else None
        size = (ours["width"], ours["height"], ours["channels"])
        if size != (shape.w, shape.h, shape.c):
            cause = "the engine takes images of {} x {} x {}, the net of {} x {} x {}"
            hint = "run it at the engine's size (--width, --height), or build it again"
            raise EngineError(cause.format(*(size + (shape.w, shape.h, shape.c))), where, hint)
        if self.fields["dialect"] != net.dialect.name:
            cause = "the engine was built in the dialect {}, the pair was read in {}"
            hint = "give --dialect {}, or build the engine again".format(self.fields["dialect"][:20])
            raise EngineError(cause.format(self.fields["dialect"][:20], net.dialect.name), where, hint)
        found = pair_key(net)
        if self.fields["pair"] != found:
            cause = "the engine is that of another pair ({}..., this one is {}...)"
            raise EngineError(cause.format(self.fields["pair"][:12], found[:12]), where, _REBUILD + " from this pair")

    def require_engine(self, path: str) -> None:
        """Raises EngineError where the engine's file is not the one that the report is about."""
        if sha256_of(path) != self.fields["engine"]["sha256"]:
            cause = "this report is about another engine than the one beside it"
            raise EngineError(cause, place(self.path) if self.path else None, _REBUILD)


def path_of(engine: str) -> str:
    """Where the report of an engine's file lies."""
    return engine + SUFFIX


def read(engine: str) -> Optional[Report]:
    """The report beside an engine's file; None where there is none. Raises EngineError where it is malformed."""
    path = path_of(engine)
    if not os.path.lexists(path):
        return None
    data = b"".join(islice(_chunks(path, "the report", "check it"), MAX_BYTES // _CHUNK + 1))
    try:
        fields = json.loads(data.decode("ascii")) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise EngineError("this is no report of an engine of this version", place(path), _REBUILD)
    for name in _malformed(fields):
        raise EngineError('"{}" is missing or malformed'.format(name), place(path), _REBUILD)
    return Report(fields, path)


def _malformed(fields: Dict[str, Any]) -> Iterator[str]:
    """The names of the fields that are read again and cannot be."""
    for name, kind, within in _FIELDS:
        value = fields.get(name)
        parts = [(value, kind)]
        parts += [(value.get(key), k) for key, k in within.items()] if isinstance(value, dict) else []
        if not all(_is_sound(part, k) for part, k in parts):
            yield name
    heads, batch, gpu, int8 = [fields.get(name) for name in ("heads", "batch", "gpu", "int8")]
    if not all(isinstance(head, dict) and set(Head._fields) <= set(head) for head in heads or [None]):
        yield "heads"
    if isinstance(batch, dict) and not 1 <= batch.get("least", 0) <= batch.get("most", 0):
        yield "batch"
    if not all(isinstance(entry, dict) for entry in (fields.get("inputs") or {}).values()):
        yield "inputs"
    if "int8" not in fields or not isinstance(int8, (dict, type(None))):
        yield "int8"
    if gpu is not None and not (isinstance(gpu, dict) and _is_gpu(gpu.get("name"), gpu.get("capability"))):
        yield "gpu"


def _is_gpu(name: Any, capability: Any) -> bool:
    parts = capability if isinstance(capability, list) and len(capability) == 2 else [None]
    return _is_sound(name, str) and all(_is_sound(part, int) for part in parts)


def _is_sound(value: Any, kind: Any) -> bool:
    """Of that type, and fit to be printed."""
    if kind is int:
        return isinstance(value, int) and 0 <= value < 1 << 31
    return isinstance(value, kind) and (kind is not str or value.isprintable())


def described(net: Net, batch: Tuple[int, int], heads: List[Head], preprocessing: Optional[str]) -> Dict[str, Any]:
    """The fields that say what the engine computes: the pair, its input and its outputs."""
    shape = net.input.shape
    if preprocessing is None:
        stretch = "letterbox" if net.config["letter_box"] else "stretch"
        preprocessing = stretch if any(layer.op.detector for layer in net.layers) else "centre"
    image = [("name", INPUT), ("width", shape.w), ("height", shape.h), ("channels", shape.c), ("values", "RGB, 0..1")]
    return OrderedDict(
        [
            ("pair", pair_key(net)),
            ("dialect", net.dialect.name),
            ("input", OrderedDict(image)),
            ("preprocessing", preprocessing),
            ("batch", OrderedDict([("least", batch[0]), ("most", batch[1])])),
            ("heads", [OrderedDict(head._asdict(), shape=list(head.shape)) for head in heads]),
        ]
    )


def image_shape(net: Net, index: int) -> Tuple[int, int, int]:
    """C, H, W of a layer's output, as engines give it: flat ones along the channels."""
    shape = net.layers[index].shape
    return (shape.c, shape.h, shape.w) if shape.c else (shape.outputs, 1, 1)


def file_entry(path: str, size: Optional[int] = None) -> Dict[str, Any]:
    """What is said of a file: its path, as it was given, its bytes and its hash. Raises EngineError where it cannot be
    read."""
    fields = [("file", path), ("bytes", os.path.getsize(path) if size is None else size), ("sha256", sha256_of(path))]
    return OrderedDict(fields)


def read_engine(path: str) -> bytes:
    """The bytes of an engine's file. Raises EngineError where it cannot be read, or is empty."""
    data = b"".join(_chunks(path, "the engine"))
    if not data:
        raise EngineError("the engine's file is empty", place(path), _REBUILD)
    return data


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises EngineError where it cannot be read."""
    digest = hashlib.sha256()
    for chunk in _chunks(path, "this file"):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: str, what: str, hint: str = "check the path") -> Iterator[bytes]:
    """The content of a file; a device or pipe is none, and may have no end."""
    try:
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise OSError(errno.EINVAL, "it is no file")
        with open(path, "rb") as stream:
            for chunk in iter(lambda: stream.read(_CHUNK), b""):
                yield chunk
    except (IOError, OSError) as error:
        raise EngineError("cannot read {}: {}".format(what, error.strerror), place(path), hint) from error
