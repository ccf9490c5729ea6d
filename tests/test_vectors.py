"""153 small cfgs against what three real readers made of them (shared/cfgs/test-vectors.json).

Shapes and parameter counts must be those of the dialect's own reader. And no divergence may be silent: either the
cfg is refused, or every reader without a notice ran it, and those readers agree with each other.
"""

import json
import math

import pytest

import need
from darkprune.darknet.cfg import parse
from darkprune.errors import CfgError, GraphError
from darkprune.graph.build import build
from darkprune.graph.net import size

VECTORS = {v["name"]: v for v in json.loads((need.shared() / "cfgs" / "test-vectors.json").read_text("utf-8"))}
RUNS = {"pjreddie": "run_pjreddie_20180914", "alexeyab": "run_AlexeyAB_59596d78", "opencv": "run_OpenCV_4.12.0"}
SPECS = {"pjreddie": "spec_pjreddie", "alexeyab": "spec_alexey"}
BOTH = tuple(sorted(SPECS))
AGREE = 0.05  # the readers' batch norms differ by up to 0.03 on these nets; the smallest real difference is 0.1

# Cfgs that at least one Darknet reader loads and darkprune does not: name -> (dialects, part of the message, why).
REFUSED = {
    "act_bogus": (BOTH, "unknown activation 'bogus'", "both compute ReLU"),
    "g_trail_comment_act": (BOTH, "unknown activation 'leaky#x'", "both compute ReLU"),
    "g_upperact": (BOTH, "unknown activation 'Leaky'", "both compute ReLU"),
    "g_hex": (BOTH, "filters=0 must be at least 1", "a layer without filters"),
    "groups_uneven": (BOTH, "6 filters do not split into 4 groups", "both leave filters uncomputed"),
    "route_g3": (("alexeyab",), "do not split into 3 groups", "its outputs are not w * h * c"),
    "route_g2_id2": (("alexeyab",), "group_id=2 of 2 groups", "it reads behind the end"),
    "unknown_sec": (BOTH, "unknown section [foo]", "a zero layer, then a crash"),
    "g_uppersec": (BOTH, "unknown section [Convolutional]", "a zero layer, then a crash"),
    "g_two_net": (BOTH, "a second [net] section", "a zero layer, then a crash"),
    "g_nodims": (BOTH, "[net] has no width", "the readers stop"),
    "g_defdims": (BOTH, "[net] has no width and no height and no channels", "the readers stop"),
    "g_nochan": (BOTH, "[net] has no channels", "the readers stop"),
    "yolo_badf": (BOTH, "[yolo] needs 2 anchors x (3 classes + 5) = 16 channels", "the readers stop"),
}
# Cfgs whose spec says that no reader of that kind takes them, and that darkprune loads with a notice.
TAKEN = {"g_crlf": "the original refuses CR LF", "g_bom": "both crash on it", "g_bom_comment": "both crash on it"}
# Cfgs with a section that the dialect's reader takes for a layer of zeros, and crashes: loaded, with a notice.
UNKNOWN = {
    "alexeyab": {"deconv", "l2norm", "logistic_l"},
    "pjreddie": {"empty", "gyolo", "implicit", "lavg", "reorg3d", "sam", "scalech_wh"},
}
# Pairs of readers that need not agree at the last layer, for a reason that is no divergence of the net.
INCOMPARABLE = {
    "region": ("pjreddie", "alexeyab", "the same numbers in another order"),
    "region_nosm": ("pjreddie", "alexeyab", "the same numbers in another order"),
    "cost": ("opencv", None, "at inference Darknet's own [cost] buffer is all zeros; it returns the layer before"),
    "xnor": ("alexeyab", None, "no output was recorded"),
}


def load(name, dialect):
    return build(parse(VECTORS[name]["cfg"].encode("latin-1"), name + ".cfg"), dialect)


def test_the_lists_name_vectors():
    assert len(VECTORS) == 153
    assert set(REFUSED) | set(TAKEN) | set(INCOMPARABLE) <= set(VECTORS)


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("name", sorted(VECTORS))
def test_shapes_and_parameters(name, dialect):
    spec = VECTORS[name][SPECS[dialect]]
    dialects, message, _ = REFUSED.get(name, ((), "", ""))
    if dialect in dialects:
        with pytest.raises((CfgError, GraphError)) as caught:
            load(name, dialect)
        assert message in caught.value.message
        assert caught.value.where.line is not None and caught.value.hint
        return
    net = load(name, dialect)
    if "error" in spec:
        assert name in TAKEN
        return
    known = [dialect in layer.op.readers for layer in net.layers]
    assert all(known) == (name not in UNKNOWN[dialect])
    found = [(list(la.shape[:3]), la.shape.outputs) for la in net.layers]
    if all(known):
        assert found == list(zip(spec["whc"], spec["outputs"]))
        assert [parameters(layer) for layer in net.layers] == spec["params"]
        assert net.weights_bytes() == spec["weights_bytes"]
    else:  # of a section the reader does not know, only the notice counts
        where = [n.where.line for n in net.notices if n.reader == dialect and "does not know" in n.message]
        assert len(where) == known.count(False) and None not in where


@pytest.mark.parametrize("name", [n for n in sorted(VECTORS) if "last_shape" in VECTORS[n].get(RUNS["opencv"], {})])
def test_shapes_in_opencv(name):
    try:
        net = load(name, "opencv")
    except (CfgError, GraphError):
        assert name in REFUSED
        return
    layer = net.layers[-1]
    if layer.op.head_channels(layer) is not None:
        return  # OpenCV gives rows of boxes
    w, h, c, outputs = layer.shape
    if outer([c, h, w] if c else [outputs]) != outer(VECTORS[name][RUNS["opencv"]]["last_shape"]):
        assert "opencv" in {notice.reader for notice in net.notices}


def outer(shape):
    """A shape without axes of length 1, which OpenCV gives some layers and not others."""
    return [length for length in shape if length != 1]


def parameters(layer):
    return sum(size(spec.shape) for spec in layer.op.parameters(layer))


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("name", sorted(VECTORS))
def test_no_divergence_of_readers_is_silent(name, dialect):
    try:
        net = load(name, dialect)
    except (CfgError, GraphError) as error:
        assert error.where is not None and error.where.line is not None
        return
    told = {n.reader for n in net.notices if n.reader and n.where.line is not None}
    silent = sorted(set(RUNS) - told)
    for reader in silent:
        assert ran(VECTORS[name].get(RUNS[reader])), "{} failed, and no notice says so".format(reader)
    for first in silent:
        for second in silent:
            if first < second and comparable(net, name, first, second):
                assert near(difference(name, first, second)), "{} and {} differ".format(first, second)


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("name", sorted(set(VECTORS) - set(REFUSED)))
def test_no_reader_is_accused_that_computes_as_the_two_others(name, dialect):
    net, runs = load(name, dialect), VECTORS[name]
    for reader in RUNS:
        others = sorted(set(RUNS) - {reader})
        if all(ran(runs.get(RUNS[r])) for r in RUNS) and all(near(difference(name, reader, r, None)) for r in others):
            assert [n.message for n in net.notices if n.reader == reader] == []


def ran(run):
    """Whether a reader ran the cfg to its end; a run that is not recorded is no evidence against it."""
    return run is None or ("error" not in run and run.get("rc", 0) == 0)


def comparable(net, name, first, second):
    if "opencv" in (first, second) and net.layers[-1].op.head_channels(net.layers[-1]) is not None:
        return False  # OpenCV decodes what Darknet's heads give raw
    pair = INCOMPARABLE.get(name, (None, None))
    return not (pair[0] in (first, second) and pair[1] in (first, second, None))


def difference(name, first, second, missing=0.0):
    found = VECTORS[name]["max_abs_diff_last_layer"]
    words = {"pjreddie": "pjreddie", "alexeyab": "AlexeyAB", "opencv": "OpenCV"}
    for key, value in found.items():
        if words[first] in key and words[second] in key:
            return value
    return missing


def near(value):
    return isinstance(value, float) and not math.isnan(value) and value <= AGREE
