"""Unstructured pruning: the weights of the smallest magnitude become exact zeros, and nothing else changes.

Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 2015. What may become zero is what a
layer type calls its connections (`Op.connections`): weights of convolutions, of fully connected and recurrent layers;
no biases, nothing of batch norm, no weights that blend maps.

Exactly the asked number of weights is zero. Of equal magnitudes those go first that stand first, layer by layer. The
threshold is found by counting the bits of the magnitudes, which as integers have the order of the floats, array by
array: nothing is sorted, and one array is held at a time. The new arrays are computed when they are read.
"""

import math
import re
import zlib
from typing import Callable, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from darkprune.errors import Notice, UsageError, WeightsError, place
from darkprune.graph.key import require_finite
from darkprune.graph.layer import Layer, Param
from darkprune.graph.net import Net, size

SCOPES = ("global", "layer")
_PIECE = 1 << 20  # values that are looked at together
_BYTES = 1 << 20  # of a file

Row = NamedTuple(
    "Row",
    [
        ("layer", int),
        ("type", str),
        ("weights", int),  # connections
        ("before", int),  # of them 0 in the given net
        ("zeros", int),  # of them 0 now
        ("threshold", float),  # the largest magnitude that went, of all layers with --scope global; 0 where none did
    ],
)

Sparsified = NamedTuple(
    "Sparsified",
    [
        ("net", Net),
        ("rows", List[Row]),  # of the layers whose weights were looked at
        ("notices", List[Notice]),
    ],
)

# Of one array: magnitudes whose bits are below `bits` go, and the first `ties` of those that are equal to it.
_Cut = NamedTuple("_Cut", [("bits", int), ("ties", int)])


def sparsify(net: Net, sparsity: float, scope: str = "global", skip: Iterable[int] = ()) -> Sparsified:
    """A net in which the share `sparsity` of the weights is 0; the given one stays as it is.

    Args:
        net: with values. sparsity: above 0, below 1; of the weights of all layers but those of `skip`.
        scope: global has one threshold, layer takes the same share of each layer.
        skip: numbers of layers that keep all weights.

    Raises UsageError for values out of range and for a net without weights, WeightsError where one is not finite.
    """
    if not 0 < sparsity < 1:
        raise UsageError("sparsity {:g} is no share of the weights".format(sparsity), hint="use a number such as 0.8")
    if scope not in SCOPES:
        raise UsageError("unknown scope {!r}".format(scope), hint="use one of " + ", ".join(SCOPES))
    require_finite(net)
    new = net.copy()
    rows: List[Row] = []
    params = _connections(new, frozenset(skip))
    if not params:
        cure = "skip fewer layers, or give a net with convolutions or connected layers"
        raise UsageError("no layer has weights that may become zero", net.config.place(), cure)
    groups = [params] if scope == "global" else [[one] for one in params]
    for group in groups:
        rows += _pruned(group, sparsity)
    return Sparsified(new, rows, _notices(net, rows, sparsity))


def layers_to_skip(net: Net, words: Sequence[str]) -> List[int]:
    """The layers that `--skip` names: numbers, with blanks or commas between. Raises UsageError."""
    found = set()
    for word in (part.strip() for text in words for part in text.split(",")):
        if not re.match(r"[0-9]{1,8}\Z", word) or int(word) >= len(net.layers):
            cause = "--skip names {}, which is no layer of this net".format(word[:40] or "nothing")
            raise UsageError(cause, hint="use numbers of 0 to {}".format(len(net.layers) - 1))
        found.add(int(word))
    return sorted(found)


def masked_bytes(rows: Sequence[Row], file_bytes: int) -> int:
    """What a weights file of `file_bytes` would take if its pruned arrays were a bit for each weight, which says
    whether it is 0, and the values of the others."""
    saved = sum(4 * row.zeros - -(-row.weights // 8) for row in rows)
    return file_bytes - saved


def gzip_bytes(path: str) -> int:
    """The size of a file as gzip compresses it; really compressed, piece by piece. Raises WeightsError."""
    job, total = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS), 0
    try:
        with open(path, "rb") as stream:
            for piece in iter(lambda: stream.read(_BYTES), b""):
                total += len(job.compress(piece))
    except OSError as error:
        raise WeightsError("cannot read it: {}".format(error.strerror), place(path), "check the path") from error
    return total + len(job.flush())


# ---- which weights


_Group = List[Tuple[Layer, List[Param]]]


def _connections(net: Net, skip: FrozenSet[int]) -> _Group:
    """(layer, its arrays of connections), in the order of the file."""
    found = []
    for layer in net.layers:
        names = [spec.name for spec in layer.op.connections(layer)]
        if names and layer.index not in skip:
            layer.array(names[0])  # raises where the net has no values
            found.append((layer, [layer.params[name] for name in names]))
    return found


def _pruned(group: _Group, sparsity: float) -> List[Row]:
    """Prunes the layers of a group together; returns their rows."""
    every = [param for _, params in group for param in params]
    count = int(math.floor(sparsity * sum(size(param.shape) for param in every) + 0.5))
    if not count:
        return [_row(layer, params, 0.0, {}) for layer, params in group]
    bits, left = _smallest(lambda: (piece for param in every for piece in _magnitudes(param)), count)
    rows = []
    for layer, params in group:
        zeros: Dict[str, int] = {}
        for param in params:
            below, equal = _counts(param, bits)
            ties = min(left, equal)
            left -= ties
            zeros[param.spec.name] = below + ties
            if bits:
                layer.params[param.spec.name] = Param(param.spec, _cut(param, _Cut(bits, ties)))
        went = any(zeros.values()) and bits
        rows.append(_row(layer, params, _float_of(bits) if went else 0.0, zeros if bits else {}))
    return rows


def _row(layer: Layer, params: Sequence[Param], threshold: float, zeros: Dict[str, int]) -> Row:
    before = sum(_counts(param, 1)[0] for param in params)
    weights = sum(size(param.shape) for param in params)
    return Row(layer.index, layer.type, weights, before, sum(zeros.values()) if zeros else before, threshold)


def _smallest(pieces: Callable[[], Iterator[np.ndarray]], count: int) -> Tuple[int, int]:
    """(bits of the count-th smallest magnitude, how many of those that are equal to it are among the `count`)

    By the upper 16 bits first, then by the lower ones of those whose upper bits are these.
    """
    upper = _histogram(piece >> 16 for piece in pieces())
    high = int(np.searchsorted(np.cumsum(upper), count))
    count -= int(upper[:high].sum())
    lower = _histogram(piece[piece >> 16 == high] & 0xFFFF for piece in pieces())
    low = int(np.searchsorted(np.cumsum(lower), count))
    return high << 16 | low, count - int(lower[:low].sum())


def _histogram(pieces: Iterable[np.ndarray]) -> np.ndarray:
    total = np.zeros(1 << 16, np.int64)
    for piece in pieces:
        total += np.bincount(piece.astype(np.intp), minlength=total.size)
    return total


def _magnitudes(param: Param) -> Iterator[np.ndarray]:
    """The bits of the array's magnitudes, uint32, piece by piece."""
    flat = np.ascontiguousarray(param.value, np.float32).reshape(-1)
    for start in range(0, flat.size, _PIECE):
        yield _bits(flat[start : start + _PIECE])


def _bits(values: np.ndarray) -> np.ndarray:
    return values.view(np.uint32) & np.uint32(0x7FFFFFFF)


def _float_of(bits: int) -> float:
    return float(np.array([bits], np.uint32).view(np.float32)[0])


def _counts(param: Param, bits: int) -> Tuple[int, int]:
    """(magnitudes below, magnitudes equal to those bits)"""
    below = equal = 0
    for piece in _magnitudes(param):
        below += int(np.count_nonzero(piece < bits))
        equal += int(np.count_nonzero(piece == bits))
    return below, equal


def _cut(param: Param, cut: _Cut) -> Callable[[], np.ndarray]:
    """What computes the array with zeros when it is read."""

    def load() -> np.ndarray:
        values = np.array(param.value, np.float32, order="C")
        flat, left = values.reshape(-1), cut.ties
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            bits = _bits(piece)
            ties = np.flatnonzero(bits == cut.bits)[:left]
            left -= ties.size
            piece[bits < cut.bits] = 0
            piece[ties] = 0
        return values

    return load


# ---- what is said of it


def _notices(net: Net, rows: Sequence[Row], sparsity: float) -> List[Notice]:
    found = []
    for row in rows:
        if row.zeros == row.weights and row.before < row.weights:
            cause = "all weights of layer {} are zeros now: it passes on nothing of what it reads".format(row.layer)
            hint = "use --scope layer, a smaller --sparsity, or --skip {}".format(row.layer)
            found.append(Notice(cause, net.layers[row.layer].place(), hint))
    zeros, weights = sum(row.zeros for row in rows), sum(row.weights for row in rows)
    if zeros == sum(row.before for row in rows):
        cause = "nothing changes: {:.1%} of the weights were zeros already".format(zeros / float(weights))
        found.append(Notice(cause, net.config.place(), "ask for more than {:g}".format(sparsity)))
    return found
