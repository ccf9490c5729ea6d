"""Net to files: cfg text with only what changed rewritten, and the arrays in file order."""

from typing import Iterator, Sequence

import numpy as np

from darkprune.darknet import values
from darkprune.darknet.cfg import comment_block, normalise
from darkprune.graph.layer import Configured, Layer
from darkprune.graph.net import Net
from darkprune.graph.references import numbers_of


def cfg_bytes(net: Net, comments: Sequence[str] = ()) -> bytes:
    """The cfg of a net: LF line ends, no byte-order mark, untouched lines as they were, `comments` on top."""
    document = net.document
    stay = {id(layer.section): layer for layer in net.layers}
    parts = [comment_block(comments), "".join(document.preamble), _render(net.config)]
    for section in document.sections[1:]:
        layer = stay.get(id(section))
        parts.append(section.remains() if layer is None else _render_layer(layer))
    text = normalise("".join(parts))
    return (text if text.endswith("\n") else text + "\n").encode("latin-1")


def _render(config: Configured) -> str:
    return config.section.render(config.edits)


def _render_layer(layer: Layer) -> str:
    edits = dict(layer.edits)
    explicit = layer.inputs[1:] if layer.op.implicit else layer.inputs
    position = 0
    for key in layer.op.references:
        before = layer.op.referenced(layer, key)
        now = numbers_of(layer, explicit[position : position + len(before)], before)
        position += len(before)
        if now != before:
            edits[key] = values.replace_ints(_spelling(layer, key), now)
    for key, target in layer.pointers.items():
        old = values.atoi(layer.text(key) or "0")
        new = numbers_of(layer, [target], (old,))
        if new != (old,):
            edits[key] = str(new[0])
    return layer.section.render(edits)


def _spelling(layer: Layer, key: str) -> str:
    """The option's value with the spaces it has in the file."""
    where = layer.place(key)
    if key in layer.edits or where.text is None or where.column is None:
        return layer.text(key) or ""
    return where.text[where.column : where.column + where.width]


def file_arrays(net: Net, layer: Layer) -> Iterator[np.ndarray]:
    """The layer's arrays in file order and in the file's layout, one at a time."""
    for param in layer.params.values():
        array = param.value
        yield array.T if param.spec.transposable and net.header.transposed else array
