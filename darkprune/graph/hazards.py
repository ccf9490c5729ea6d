"""What the real readers would do differently with a net: misread, refuse or compute otherwise."""

from typing import List

from darkprune.errors import Notice
from darkprune.graph.net import Net
from darkprune.ops.base import Hazard

NAMES = {"pjreddie": "the original Darknet", "alexeyab": "AlexeyAB's Darknet", "opencv": "OpenCV DNN"}


def hazards(net: Net) -> List[Notice]:
    """A notice for each place where a reader departs from what the net means in its own dialect."""
    found = _file_hazards(net)
    for layer in net.layers:
        for reader in sorted(set(NAMES) - set(layer.op.readers)):
            found.append(_notice(layer, Hazard(reader, None, "does not know [{}]".format(layer.type))))
        if layer.section.type != layer.type:
            found.append(_notice(layer, Hazard("opencv", None, "does not know the short name [%s]" % layer.section.type)))
        for hazard in layer.op.hazards(layer):
            found.append(_notice(layer, hazard))
    return found


def _notice(layer: object, hazard: Hazard) -> Notice:
    where = layer.place(hazard.key)  # type: ignore[attr-defined]
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
    return found
