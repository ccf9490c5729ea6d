"""What the real readers would do differently with a net: misread, refuse or compute otherwise."""

from typing import Iterator, List

from darkprune.darknet.cfg import Option
from darkprune.errors import Notice, Place, place
from darkprune.graph.layer import Configured, Layer, reads_head
from darkprune.graph.net import Net
from darkprune.graph.opencv_sizes import opencv_hazards
from darkprune.ops.base import Hazard

NAMES = {"pjreddie": "the original Darknet", "alexeyab": "AlexeyAB's Darknet", "opencv": "OpenCV DNN"}


def hazards(net: Net) -> List[Notice]:
    """A notice for each place where a reader departs from what the net means in its own dialect."""
    found = _file_hazards(net)
    for configured in [net.config] + list(net.layers):
        found.extend(_text_hazards(configured, net.document.crlf))
        found.extend(_notice(configured, hazard) for hazard in configured.op.hazards(configured))
    for layer in net.layers:
        for reader in sorted(set(NAMES) - set(layer.op.readers)):
            found.append(_notice(layer, Hazard(reader, None, "does not know [{}]".format(layer.type))))
        if layer.section.type != layer.type:
            message = "does not know the short name [{}]".format(layer.section.type)
            found.append(_notice(layer, Hazard("opencv", None, message)))
        found.extend(_head_hazards(layer))
    return found + _displacements(net) + _memory_hazards(net) + opencv_hazards(net)


def _displacements(net: Net) -> List[Notice]:
    """Layers behind which OpenCV gives the weights to the wrong layers, where there are weights behind them."""
    last = max([-1] + [layer.index for layer in net.layers if layer.op.parameters(layer)])
    message = "gives the weights behind this [{}] to wrong layers"
    return [
        _notice(layer, Hazard("opencv", None, message.format(layer.type)))
        for layer in net.layers[: last + 1]
        if layer.index < last and layer.op.opencv_displaces(layer)
    ]


def _memory_hazards(net: Net) -> List[Notice]:
    """Layers for which the original sets too little memory aside; a large convolution's is enough for them too."""
    needs = [layer.op.original_memory(layer) for layer in net.layers]
    room = max([0] + [aside for aside, _ in needs])
    message = "the original Darknet writes behind the end of its memory: no convolution uses as much"
    return [
        Notice(message, layer.place(), None, "pjreddie") for layer, (_, used) in zip(net.layers, needs) if used > room
    ]


def header_hazards(net: Net) -> List[Notice]:
    """Readers that do not take the header of the net's weights file."""
    if not net.header.transposed or net.source is None:
        return []
    where = place(net.source.path)
    return [
        Notice("OpenCV DNN refuses weights with a version above 1000", where, None, "opencv"),
        Notice("AlexeyAB's Darknet takes 8 bytes for `seen`, these weights have 4: misread", where, None, "alexeyab"),
    ]


def _head_hazards(layer: Layer) -> Iterator[Notice]:
    """A layer that goes on with what a head made of its map: decoded, activated or raw, as the reader pleases."""
    for source in layer.inputs:
        if reads_head(layer, source):
            for reader in sorted(NAMES):
                message = "{} has numbers of its own behind the head, layer {}".format(NAMES[reader], source.index)
                yield Notice(message, layer.place(), "read the layer before the head", reader)


def _notice(layer: Configured, hazard: Hazard) -> Notice:
    where = layer.place(hazard.key)
    return Notice("{} {}".format(NAMES[hazard.reader], hazard.message), where, None, hazard.reader)


def _file_hazards(net: Net) -> List[Notice]:
    document, where, found = net.document, net.config.place(), []
    if document.crlf:
        cure = "darkprune writes line feeds only"
        found.append(Notice("the original Darknet refuses CR LF line ends", where, cure, "pjreddie"))
    if document.bom:
        for reader in ("pjreddie", "alexeyab"):
            message = "{} crashes on the byte-order mark".format(NAMES[reader])
            found.append(Notice(message, where, "darkprune writes none", reader))
    if net.config.section.type != "net":
        found.append(Notice("OpenCV DNN does not know [{}]".format(net.config.section.type), where, None, "opencv"))
    sizes = [option.name for option in net.config.op.options]
    for option in net.config.section.duplicates():
        if option.key in sizes:
            message = "OpenCV DNN takes the last {} of [net], Darknet the first".format(option.key)
            found.append(Notice(message, _line(document.path, option), "keep one", "opencv"))
    if not any(x.shape.w > 1 and x.shape.h > 1 for x in [net.input] + list(net.layers)):
        message = "AlexeyAB's Darknet divides by zero in a net where no layer reads a map"
        found.append(Notice(message, where, None, "alexeyab"))
    return found


def _line(path: str, option: Option) -> Place:
    """The place of an option's whole line."""
    raw = option.raw.rstrip("\r")
    return place(path, option.number, raw, len(raw) - len(raw.lstrip()), len(raw.strip()))


def _text_hazards(configured: Configured, crlf: bool) -> Iterator[Notice]:
    """How readers take lines that are no plain option of the section."""
    section = configured.section
    kinds = {option.name: option.kind for option in configured.op.options}
    for option in section.options:
        where = _line(section.path, option)
        if option.value is None:
            message = "OpenCV DNN refuses a line without '='; Darknet takes the default of {}".format(option.key)
            yield Notice(message, where, "write {0}=value, or # before it".format(option.key), "opencv")
        elif option.raw.endswith("\r") and kinds.get(option.key) == "str" and not crlf:
            message = "the original Darknet takes the carriage return for a part of {}".format(option.key)
            yield Notice(message, where, "darkprune writes line feeds only", "pjreddie")
    text = configured.text("activation")
    if text not in (None, "linear") and "activation" not in kinds:
        yield _notice(configured, Hazard("opencv", "activation", "applies the activation here, Darknet ignores it"))
