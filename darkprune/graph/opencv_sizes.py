"""Where OpenCV's importer loses count: it reckons with one running size, Darknet with that of what is read."""

from typing import Dict, Iterator, List

from darkprune.errors import GraphError, Notice
from darkprune.graph.net import Net
from darkprune.ops.base import Shape, alone


def opencv_hazards(net: Net) -> List[Notice]:
    """Notices of repeated heads, of the first layer whose weights OpenCV misreads, and of the first map that it has
    lost behind [connected]."""
    if any("opencv" not in layer.op.readers for layer in net.layers):
        return []  # refused anyway
    return list(_repeated(net)) + list(_miscounted(net)) + list(_flattened(net))


def _repeated(net: Net) -> Iterator[Notice]:
    seen = set()
    for layer in net.layers:
        if layer.op.opencv_once and layer.type in seen:
            yield Notice("OpenCV DNN refuses a second [{}]".format(layer.type), layer.place(), None, "opencv")
        seen.add(layer.type)


def _miscounted(net: Net) -> Iterator[Notice]:
    size = net.input.shape
    counted: List[int] = []
    for layer in net.layers:
        wanted = [spec.shape for spec in layer.op.parameters(layer)]
        misread = wanted and wanted != [spec.shape for spec in layer.op.parameters(alone(layer, size))]
        if misread or layer.op.opencv_sized and size[:2] != layer.input_shape()[:2]:
            message = "OpenCV DNN reckons with an input of {} x {} x {} here, not of {} x {} x {}: "
            message += "misread weights" if misread else "it takes another part of it"
            yield Notice(message.format(*(size[:3] + layer.input_shape()[:3])), layer.place(), None, "opencv")
            return
        try:
            size = layer.op.opencv_size(layer, size, counted)
        except GraphError:  # a window on a map of the wrong size
            size = Shape(0, 0, layer.shape.c, 0)
        counted.append(size.c)


def _flattened(net: Net) -> Iterator[Notice]:
    flat: Dict[int, bool] = {-1: False}
    for layer in net.layers:
        sources = [flat[source.index] for source in layer.inputs]
        found = layer.op.opencv_list(layer, sources)
        if found is None:
            message = "OpenCV DNN refuses this layer: behind [connected] it has a plain list, no map"
            yield Notice(message, layer.place(), None, "opencv")
            return
        flat[layer.index] = found
