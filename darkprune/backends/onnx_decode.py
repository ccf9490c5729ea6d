"""Boxes and scores inside an ONNX graph: the detection heads decoded, and overlapping boxes suppressed.

What a head's values mean is its layer type's matter (`Op.decoding`). Imports onnx: only what needs it imports this
module.

Outputs, for images N, boxes n (head by head, cell by cell, anchor by anchor) and the classes of the net:
    boxes       float32 [N, n, 4]: cx, cy, w, h as shares of the net's input
    scores      float32 [N, n, classes]: objectness x class, whatever they are
and with NMS instead of these, for the M objects found, image by image, class by class, the surest first:
    detections  float32 [M, 7]: image, class, score, cx, cy, w, h
    selected    int64 [M, 3]: image, class, and the number of the box
"""

from typing import Any, Optional, Sequence, Tuple

import numpy as np
from onnx import TensorProto

from darkprune.backends.onnx_activations import Formula
from darkprune.backends.onnx_file import BOXES, LARGEST, SCORES
from darkprune.backends.onnx_graph import OnnxGraph, OnnxTensor
from darkprune.backends.onnx_model import Lowered
from darkprune.detect.decode import detection_heads, head_source
from darkprune.detect.detector import NMS, THRESHOLD
from darkprune.errors import Notice, UsageError
from darkprune.graph.net import Net
from darkprune.ops.heads import PLAIN, Decoding
from darkprune.quant.tensors import output_name

DETECTIONS, SELECTED = "detections", "selected"
FOUND = "objects"  # the name of an axis as long as there are objects


class _Head(object):
    """One head's nodes: `f` makes them under the head's name."""

    def __init__(self, graph: OnnxGraph, name: str, form: Decoding, classes: int) -> None:
        self.form, self.classes = form, classes
        self.anchors, self.cells = len(form.anchors), form.grid[0] * form.grid[1]
        self.f: Any = Formula(graph, name)
        self._graph, self._name = graph, name

    def decoded(self, raw: str) -> Tuple[str, str]:
        """(boxes [N, n, 4], scores [N, n, classes]) of the head's raw values."""
        f, form = self.f, self.form
        boxes, objectness, classes, spread = self._parts(raw)
        columns, rows = form.grid
        corner = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=2).reshape(1, -1, 1, 2)
        at = self._active(self._entries(boxes, 0, 2), form.activation)
        offset = (corner - (form.stretch - 1) / 2) / form.grid
        centres = f.Add(f.Mul(at, np.divide(form.stretch, form.grid)), offset)
        extent = self._entries(boxes, 2, 4)
        if form.sizes == "exp":
            extent = f.Exp(f.Clip(extent, -LARGEST, LARGEST))
        elif form.sizes == "square":
            extent = f.Mul(extent, extent)
        sizes = f.Mul(extent, form.anchors[None, None])
        if form.shift:
            centres = f.Add(centres, f.Mul(sizes, form.shift))
        confidence = self._active(objectness, form.activation)
        if spread is not None:
            unsure = f.ReduceMean(self._active(spread, form.activation), axes=[3], keepdims=1)
            confidence = f.Mul(confidence, f.Sub(np.float32(1), unsure))
        scores = f.Mul(confidence, self._active(classes, form.classes))
        return self._listed(f.Concat(centres, sizes, axis=3), 4), self._listed(scores, self.classes)

    def _parts(self, raw: str) -> Tuple[str, str, str, Optional[str]]:
        """(x y w h, objectness, classes, deviations) as [N, cells, A or 1, ...]."""
        form = self.form
        if not form.entries:
            return self._blocks(raw)
        entries = form.entries + self.classes
        cells = self._reshaped(raw, (self.anchors, entries, self.cells))
        cells = self.f.Transpose(cells, perm=[0, 3, 1, 2])
        objectness = self._entries(cells, form.entries - 1, form.entries)
        classes = self._entries(cells, form.entries, entries)
        spread = self._chosen(cells, form.deviations) if form.deviations else None
        return self._chosen(cells, form.coordinates), objectness, classes, spread

    def _blocks(self, raw: str) -> Tuple[str, str, str, Optional[str]]:
        """The parts of a row of values."""
        counts = [self.cells * self.classes, self.cells * self.anchors, self.cells * self.anchors * 4]
        starts = np.cumsum([0] + counts)
        row, parts = self.f.Flatten(raw, axis=1), []
        for start, stop, each in zip(starts, starts[1:], ((1, self.classes), (self.anchors, 1), (self.anchors, 4))):
            parts.append(self._reshaped(self._entries(row, start, stop, axis=1), (self.cells,) + each))
        return parts[2], parts[1], parts[0], None

    def _chosen(self, cells: str, entries: Sequence[int]) -> str:
        """Entries that lie side by side, or in equal distances."""
        step = entries[1] - entries[0]
        return self._entries(cells, entries[0], entries[-1] + 1, step=step)

    def _entries(self, x: str, start: int, stop: int, axis: int = 3, step: int = 1) -> str:
        numbers = [self._integers([value]) for value in (start, stop, axis, step)]
        return str(self.f.Slice(x, *numbers))

    def _reshaped(self, x: str, shape: Sequence[int]) -> str:
        """A view of each image's values."""
        return str(self.f.Reshape(x, self._integers((0,) + tuple(shape))))

    def _listed(self, x: str, length: int) -> str:
        """[N, cells, A, length] as [N, cells * A, length]."""
        return self._reshaped(x, (self.cells * self.anchors, length))

    def _integers(self, values: Sequence[int]) -> str:
        return self._graph.constant(values, self._name + "_integers", np.int64)

    def _active(self, x: str, name: str) -> str:
        if name == "softmax":
            return str(self.f.Softmax(x, axis=3))
        return x if name == "linear" else str(self.f.Sigmoid(x))


def add_decoding(lowered: Lowered) -> None:
    """Makes boxes and scores the outputs of the graph of a net, in place of its raw heads.

    Raises UsageError where the net has no detection heads, GraphError where they disagree about the number of classes,
    Unsupported for a head that a graph cannot decode.
    """
    net, graph = lowered.net, lowered.graph
    pairs, count, layers = [], 0, detection_heads(net)
    for layer in layers:
        form = layer.op.decoding(layer, net.input.shape)
        raw = lowered.outputs[head_source(layer, lowered.outputs)]
        head = _Head(graph, output_name(layer), form, layer["classes"])
        pairs.append(head.decoded(raw.name))
        count += head.cells * head.anchors
    names = [graph.node("Concat", parts, name, axis=1) for parts, name in zip(zip(*pairs), (BOXES, SCORES))]
    lengths = (4, layers[0]["classes"])
    graph.outputs[:] = [OnnxTensor((raw.shape[0], count, n), name) for name, n in zip(names, lengths)]


def add_nms(lowered: Lowered, threshold: float = THRESHOLD, nms: float = NMS) -> None:
    """Puts a suppression by plain IoU, class by class, behind boxes and scores.

    Args:
        threshold: Darknet's -thresh: what a score must be above. nms: its -nms.

    Raises UsageError for a threshold that is not in 0..1, or nms 0.
    """
    for word, value in (("--thresh", threshold), ("--nms-thresh", nms)):
        if not 0 <= value <= 1:
            hint = "Darknet's are {} and {}".format(THRESHOLD, NMS)
            raise UsageError("{} {} is not from 0 to 1".format(word, value), hint=hint)
    if nms == 0:
        raise UsageError("--nms-thresh 0 suppresses nothing", hint="export with --decode and without --nms")
    graph = lowered.graph
    boxes, scores = graph.outputs
    f: Any = Formula(graph, "nms")

    def integers(*values: int) -> str:
        return graph.constant(values, "nms_integers", np.int64)

    limits = [integers(boxes.shape[1])] + [graph.constant([value], "nms_limit") for value in (nms, threshold)]
    turned = f.Transpose(scores.name, perm=[0, 2, 1])
    selected = graph.node("NonMaxSuppression", [boxes.name, turned] + limits, SELECTED, center_point_box=1)
    image_box = f.Gather(selected, integers(0, 2), axis=1)
    image_box_class = f.Gather(selected, integers(0, 2, 1), axis=1)
    image_class = f.Cast(f.Gather(selected, integers(0, 1), axis=1), to=TensorProto.FLOAT)
    score = f.Unsqueeze(f.GatherND(scores.name, image_box_class), integers(1))
    parts = [image_class, score, f.GatherND(boxes.name, image_box)]
    detections = graph.node("Concat", parts, DETECTIONS, axis=1)
    graph.outputs[:] = [
        OnnxTensor((FOUND, 7), detections),
        OnnxTensor((FOUND, 3), selected, dtype=TensorProto.INT64),
    ]


def overlap_notice(net: Net) -> Optional[Notice]:
    """What to know where the cfg asks for another overlap than that of the graph."""
    head = detection_heads(net)[-1]
    kind = head.op.suppression(head).kind
    if kind == PLAIN.kind:
        return None
    cause = "the graph suppresses boxes by their plain IoU, not by nms_kind={}".format(kind)
    return Notice(cause, head.place("nms_kind"), "export with --decode alone, and suppress behind it")
