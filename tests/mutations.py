"""Damage done to cfg, weights and plan files by chance.

Choices come from whatever has `integer(low, high)`: Hypothesis, or a seeded generator.
"""

import copy
import json
import re
import struct

import numpy as np

from darkprune.ops.registry import OPS

KEYS = ["0", "1", "2", "5", "99", "-1", "x", "", "00", "absorb", "round"]
NUMBERS = (
    """-1 0 1 2 3 7 8 9 16 1000 65536 -2 -100 2147483647 2147483648 -2147483648 4294967296 1e9 1e-9 1e308 1e999
    nan inf -inf 0x10 1.5 .5 +4 1000000000 99999999999999999999 , -1,-2 0,0 1, ,1 -1;""".split()
    + [""]
)
WORDS = "leaky Leaky mish relu# none per_channel softmax normalize_channels x = [ ] # \xe4".split()
BYTES = [byte.encode("latin-1") for byte in "\0 \xff \xc3\xa4 \xef\xbb\xbf \x1a = [ ] # , -".split(" ")]
BYTES += [b"\r", b"\n", b"\t", b" "]
FLOATS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1e20, -1e20, 1.0, -1.0, 1e-10, 1e10]
VALUES = [None, True, False, 0, 1, -1, 2, 7, 8, 2**31, 2**63, 10**30, 0.5, 1e300, "", "0", "-1", "exact"]
VALUES += [[], [0], {}, [[]]]


def pick(source, options):
    return options[source.integer(0, len(options) - 1)]


def position(source, count):
    """An index of something of that length, 0 where it is empty."""
    return source.integer(0, max(0, count - 1))


# ---- cfg: each takes the lines (bytes, with their ends) and returns others


def _drop(source, lines):
    at = position(source, len(lines))
    return lines[:at] + lines[at + 1 :]


def _double(source, lines):
    at, to = position(source, len(lines)), position(source, len(lines))
    return lines[:to] + lines[at : at + 1] + lines[to:]


def _swap(source, lines):
    a, b = position(source, len(lines)), position(source, len(lines))
    lines = list(lines)
    if lines:
        lines[a], lines[b] = lines[b], lines[a]
    return lines


def _join(source, lines):
    at = position(source, len(lines))
    return lines[:at] + [line.rstrip(b"\r\n") for line in lines[at : at + 1]] + lines[at + 1 :]


def _line(change):
    """A change of one line's text that holds a "=", if there is any."""

    def mutate(source, lines):
        options = [i for i, line in enumerate(lines) if b"=" in line]
        if not options:
            return lines
        at = pick(source, options)
        key, _, value = lines[at].rstrip(b"\n").partition(b"=")
        return lines[:at] + [change(source, key, value) + b"\n"] + lines[at + 1 :]

    return mutate


def _number(source, key, value):
    spots = list(re.finditer(rb"[^,]+", value)) or list(re.finditer(rb"^", value))
    spot = pick(source, spots)
    return key + b"=" + value[: spot.start()] + pick(source, NUMBERS).encode("ascii") + value[spot.end() :]


def _word(source, key, value):
    return key + b"=" + pick(source, WORDS).encode("latin-1")


def _key(source, key, value):
    at = position(source, len(key))
    changed = [key[:at] + key[at + 1 :], key[:at] + key[at : at + 1] + key[at:], key.upper(), b"", key + b" x"]
    return pick(source, changed) + b"=" + value


def _option(source, lines):
    """An option that the section's type has, with any value."""
    heads = [i for i, line in enumerate(lines) if line.strip().startswith(b"[")]
    if not heads:
        return lines
    at = pick(source, heads)
    op = OPS.get(lines[at].strip().strip(b"[]").decode("latin-1"))
    names = [o.name for o in op.options] if op is not None else []
    name = pick(source, names or ["width", "height", "channels", "inputs", "batch", "letter_box"])
    return lines[: at + 1] + ["{}={}\n".format(name, pick(source, NUMBERS + WORDS)).encode("latin-1")] + lines[at + 1 :]


def _type(source, lines):
    heads = [i for i, line in enumerate(lines) if line.strip().startswith(b"[")]
    if not heads:
        return lines
    at = pick(source, heads)
    name = pick(source, sorted(OPS) + ["net", "network", "x", ""])
    return lines[:at] + ["[{}]\n".format(name).encode("ascii")] + lines[at + 1 :]


def _sections(source, lines):
    """A section moved, doubled or left out."""
    heads = [i for i, line in enumerate(lines) if line.strip().startswith(b"[")] + [len(lines)]
    parts = [lines[: heads[0]]] + [lines[a:b] for a, b in zip(heads, heads[1:])]
    at, to = position(source, len(parts)), position(source, len(parts))
    part, others = parts[at], parts[:at] + parts[at + 1 :]
    parts = pick(source, [others[:to] + [part] + others[to:], others, parts[:to] + [part] + parts[to:]])
    return [line for part in parts for line in part]


def _cut(source, lines):
    data = b"".join(lines)
    return data[: position(source, len(data))].splitlines(True)


def _bytes(source, lines):
    data = bytearray(b"".join(lines))
    for _ in range(source.integer(1, 4)):
        at = position(source, len(data))
        data[at : at + source.integer(0, 1)] = pick(source, BYTES)
    return bytes(data).splitlines(True)


def _flip(source, lines):
    data = bytearray(b"".join(lines))
    if data:
        data[position(source, len(data))] ^= 1 << source.integer(0, 7)
    return bytes(data).splitlines(True)


CFG = [_line(_number)] * 4 + [_option] * 4 + [_line(_word), _line(_key), _type, _sections, _drop, _double, _swap, _join]
CFG += [_cut, _bytes, _flip]


def mutated_cfg(source, data):
    """A cfg with one to three changes."""
    lines = data.splitlines(True)
    for _ in range(source.integer(1, 3)):
        lines = pick(source, CFG)(source, lines)
    return b"".join(lines)


# ---- weights


def mutated_weights(source, data):
    """A weights file with one or two changes."""
    for _ in range(source.integer(1, 2)):
        data = pick(source, [_header, _value, _value, _value, _value, _spread, _size, _damaged])(source, bytes(data))
    return data


def _header(source, data):
    number = pick(source, [-1, 0, 1, 2, 999, 1000, 1001, 2**31 - 1, -(2**31)])
    at = 4 * source.integer(0, 4)
    return data[:at] + struct.pack("<i", number) + data[at + 4 :]


def _value(source, data):
    """One float, or a row of them, set to an extreme one."""
    values = np.frombuffer(data[20 : len(data) - len(data) % 4], "<f4").copy()
    at = position(source, values.size)
    values[at : at + pick(source, [1, 1, 2, 8, 64, 100000])] = pick(source, FLOATS)
    return data[:20] + values.tobytes()


def _spread(source, data):
    """All floats larger or smaller by a power of two."""
    values = np.frombuffer(data[20 : len(data) - len(data) % 4], "<f4").astype(np.float64)
    with np.errstate(over="ignore"):
        return data[:20] + np.ldexp(values, source.integer(-160, 130)).astype("<f4").tobytes()


def _size(source, data):
    more = pick(source, [b"\0", bytes(4), b"\xff" * 16, bytes(4000), None, None])
    return data + more if more is not None else data[: position(source, len(data))]


def _damaged(source, data):
    data = bytearray(data)
    for _ in range(source.integer(1, 8) if data else 0):
        data[position(source, len(data))] = source.integer(0, 255)
    return bytes(data)


# ---- plans


def mutated_plan(source, data):
    """The bytes of a plan with one to three changes of its JSON, or of its text."""
    if source.integer(0, 9) == 9:
        return b"".join(
            pick(source, [_drop, _double, _swap, _join, _cut, _bytes, _flip])(source, data.splitlines(True))
        )
    fields = json.loads(data.decode("ascii"))
    for _ in range(source.integer(1, 3)):
        spots = list(_spots(fields))
        owner, key = pick(source, spots)
        if isinstance(owner, list) and source.integer(0, 2) == 2:
            owner.append(copy.deepcopy(pick(source, VALUES + owner)))
        elif source.integer(0, 3) == 3:
            del owner[key]
        elif isinstance(owner, dict) and source.integer(0, 3) == 3:
            owner[pick(source, KEYS)] = copy.deepcopy(owner[key])
        else:
            owner[key] = copy.deepcopy(pick(source, VALUES))
        if not fields:
            break
    return json.dumps(fields).encode("ascii")


def _spots(value):
    """(owner, key) of everything in a JSON value."""
    for key in sorted(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            for spot in _spots(value[key]):
                yield spot
