"""Decoding and suppression inside an ONNX graph, against our own, which the real Darknets judge."""

import numpy as np
import pytest

import need
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.detect.decode import decode
from darkprune.detect.nms import suppress
from darkprune.errors import DarkpruneError
from darkprune.graph.build import load
from darkprune.graph.net import heads
from head_cases import CASES, CELLS, FORK, YOLO, case
from small_nets import cfg, conv, route, section
from small_nets import net as small_net

need.onnx()

from darkprune.backends.onnx_decode import add_decoding, add_nms, overlap_notice  # noqa: E402
from darkprune.backends.onnx_graph import BATCH  # noqa: E402
from darkprune.backends.onnx_model import lower  # noqa: E402

runtime = need.onnxruntime()
EVERYTHING = -1e9  # a threshold


def model_of(net, batch=1, nms=None):
    """The model of the net with decoded heads; `nms`: (threshold, nms)."""
    lowered = lower(net, batch=batch)
    add_decoding(lowered)
    if nms:
        add_nms(lowered, *nms)
    return lowered.model()


def run(model, batch):
    """The outputs in ONNX Runtime, by name."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([x.name for x in session.get_outputs()], session.run(None, {"data": batch})))


def ours(net, batch, threshold):
    """(boxes, scores) of each image, of everything that is above the threshold."""
    found = decode(net, NumpyRunner(net).infer(batch, heads(net)), threshold)
    return [(x.boxes, x.scores) for x in found]


def objects(net, batch, threshold, nms):
    """{(image, class, number of the box): score} of plain IoU."""
    found = {}
    for image, (boxes, scores) in enumerate(ours(net, batch, EVERYTHING)):
        scores = np.where(scores > np.float32(threshold), scores, np.float32(0))
        scores = suppress(boxes, scores, nms)
        found.update({(image, label, row): scores[row, label] for row, label in zip(*np.nonzero(scores))})
    return found


def compare(net, batch, threshold, nms):
    for length in (BATCH, len(batch)):
        found = run(model_of(net, length), batch)
        assert sorted(found) == ["boxes", "scores"]
        for (boxes, scores), *mine in zip(ours(net, batch, EVERYTHING), found["boxes"], found["scores"]):
            assert mine[0].shape == boxes.shape and mine[1].shape == scores.shape
            np.testing.assert_allclose(mine[0], boxes, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(mine[1], scores, rtol=1e-5, atol=1e-5)
    found, expected = run(model_of(net, BATCH, (threshold, nms)), batch), objects(net, batch, threshold, nms)
    assert sorted(found) == ["detections", "selected"] and found["selected"].dtype == np.int64
    rows = [tuple(row) for row in found["selected"].tolist()]
    assert len(rows) == len(found["detections"]) > 2 and set(rows) == set(expected)
    all_boxes = [boxes for boxes, _ in ours(net, batch, EVERYTHING)]
    for (image, label, number), row in zip(rows, found["detections"]):
        assert (row[0], row[1]) == (image, label)
        np.testing.assert_allclose(row[2], expected[image, label, number], rtol=1e-5)
        np.testing.assert_allclose(row[3:], all_boxes[image][number], rtol=1e-5, atol=1e-5)
    order = [(image, label, -row[2]) for (image, label, _), row in zip(rows, found["detections"])]
    assert order == sorted(order)
    return len(rows)


@pytest.mark.parametrize("name", sorted(set(CASES) | set(FORK) - {"region, tree"}))
def test_every_kind_of_head(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, threshold, _ = case(name, tmp_path)
    image = np.load(str(tmp_path / "image.npy"))
    batch = np.stack([image, image[:, ::-1, ::-1], image[::-1]])
    for dialect in ("alexeyab", "pjreddie")[: 2 if name in CASES else 1]:
        net = load(str(tmp_path / "net.cfg"), str(tmp_path / "net.weights"), dialect)
        loose = compare(net, batch, threshold / 2, 0.9)
        assert compare(net, batch, threshold / 2, 0.2) <= loose


def head(channels, name, stride=1, **options):
    return conv(channels, 3, "linear", None, stride=stride) + section(name, **options)


TWO = conv(8) + head(24, "yolo", **YOLO) + route(0) + head(24, "yolo", 2, **dict(YOLO, mask="1,3,4", scale_x_y=1.1))


def test_two_heads_of_a_random_net(tmp_path):
    net = small_net(tmp_path, cfg(TWO, width=24), dead=0)
    batch = np.random.RandomState(0).rand(2, 3, 16, 24).astype(np.float32)
    compare(net, batch, 0.2, 0.45)


def test_names_and_shapes(tmp_path):
    net = small_net(tmp_path, cfg(TWO, width=24), dead=0)
    model = model_of(net, BATCH)
    names = [[d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in model.graph.output]
    boxes = 3 * 24 * 16 + 3 * 12 * 8
    assert names == [["N", boxes, 4], ["N", boxes, 3]]
    assert any(node.name.startswith("L005_yolo") for node in model.graph.node)
    model = model_of(net, 1, (0.25, 0.45))
    names = [[d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] for x in model.graph.output]
    assert names == [["objects", 7], ["objects", 3]]


def test_nothing_found(tmp_path):
    net = small_net(tmp_path, cfg(TWO, width=24), dead=0)
    found = run(model_of(net, 1, (1, 0.45)), np.zeros((1, 3, 16, 24), np.float32))
    assert found["detections"].shape == (0, 7) and found["selected"].shape == (0, 3)


TREE_ERROR = """net.cfg:12: error: a graph cannot decode a tree of classes
   12 | tree=five.tree
      |      ^^^^^^^^^
hint: export the raw heads; darkprune detect decodes them"""
CLASSIFIER_ERROR = """net.cfg: error: the net has no detection head such as [yolo]
hint: darkprune classify takes nets that name whole images"""
COORDS_ERROR = """net.cfg:15: error: boxes of [region] with coords=5 cannot be decoded
   15 | coords=5
      |        ^
hint: use Darknet"""


@pytest.mark.parametrize(
    "sections, text",
    [
        (head(24, "region", tree="five.tree", **CELLS), TREE_ERROR),
        (conv(8) + section("avgpool") + section("softmax"), CLASSIFIER_ERROR),
        (head(27, "region", **dict(CELLS, coords=5)), COORDS_ERROR),
    ],
)
def test_what_a_graph_cannot_decode(sections, text, tmp_path):
    net = small_net(tmp_path, cfg(sections))
    with pytest.raises(DarkpruneError) as caught:
        model_of(net)
    assert str(caught.value).replace(str(tmp_path) + "/", "") == text


@pytest.mark.parametrize(
    "thresholds, text",
    [
        ((1.5, 0.45), "error: --thresh 1.5 is not from 0 to 1\nhint: Darknet's are 0.25 and 0.45"),
        ((0.25, -1), "error: --nms-thresh -1 is not from 0 to 1\nhint: Darknet's are 0.25 and 0.45"),
        ((0.25, 0), "error: --nms-thresh 0 suppresses nothing\nhint: export with --decode and without --nms"),
    ],
)
def test_thresholds_that_make_no_sense(thresholds, text, tmp_path):
    net = small_net(tmp_path, cfg(head(16, "yolo", **dict(YOLO, mask="0,1"))))
    with pytest.raises(DarkpruneError) as caught:
        model_of(net, 1, thresholds)
    assert str(caught.value) == text


OVERLAP = """net.cfg:12: warning: the graph suppresses boxes by their plain IoU, not by nms_kind=greedynms
   12 | nms_kind=greedynms
      |          ^^^^^^^^^
hint: export with --decode alone, and suppress behind it"""


def test_a_net_that_asks_for_another_overlap(tmp_path):
    options = dict(YOLO, mask="0,1")
    assert overlap_notice(small_net(tmp_path, cfg(head(16, "yolo", **options)))) is None
    net = small_net(tmp_path, cfg(head(16, "yolo", nms_kind="greedynms", **options)))
    assert str(overlap_notice(net)).replace(str(tmp_path) + "/", "") == OVERLAP
