"""The recurrent family: which sub-layer stands where in the file of which fork (darknet-format.md 2.3, 3.2)."""

import pytest

from darkprune.darknet.cfg import parse
from darkprune.errors import CfgError, GraphError
from darkprune.graph.build import build
from darkprune.graph.net import size

NET = "[net]\nwidth=6\nheight=4\nchannels=3\n"
INPUTS = 6 * 4 * 3


def layer(text, dialect):
    return build(parse((NET + text).encode("ascii"), "a.cfg"), dialect).layers[-1]


def specs(text, dialect):
    found = layer(text, dialect)
    return found.op.parameters(found)


def order(text, dialect):
    return " ".join(s.name[: -len("_weights")] for s in specs(text, dialect) if s.name.endswith("_weights"))


@pytest.mark.parametrize(
    "text, dialect, wanted",
    [
        ("[rnn]\noutput=5\n", "alexeyab", "input self output"),
        ("[rnn]\noutput=5\n", "pjreddie", "input self output"),
        ("[gru]\noutput=5\n", "alexeyab", "uz ur uh wz wr wh"),
        ("[gru]\noutput=5\n", "pjreddie", "wz wr wh uz ur uh"),
        ("[lstm]\noutput=5\n", "alexeyab", "wf wi wg wo uf ui ug uo"),
        ("[lstm]\noutput=5\n", "pjreddie", "wi wf wo wg ui uf uo ug"),
        ("[conv_lstm]\npad=1\n", "alexeyab", "wf wi wg wo uf ui ug uo"),
        ("[conv_lstm]\npad=1\npeephole=1\n", "alexeyab", "vf vi vo wf wi wg wo uf ui ug uo"),
        ("[conv_lstm]\npad=1\npeephole=1\nbottleneck=1\n", "alexeyab", "vf vi vo wf uf ui ug uo"),
        ("[crnn]\npad=1\n", "alexeyab", "input self output"),
    ],
)
def test_order(text, dialect, wanted):
    assert order(text, dialect) == wanted


def test_arrays_of_a_fully_connected_sub_layer():
    found = specs("[gru]\noutput=5\nbatch_normalize=1\n", "alexeyab")[:5]
    assert [s.name for s in found] == ["uz_biases", "uz_weights", "uz_scales", "uz_mean", "uz_variance"]
    assert [s.shape for s in found] == [(5,), (5, INPUTS), (5,), (5,), (5,)]
    assert [s.transposable for s in found] == [False, True, False, False, False]
    assert not {"out", "in"} & {axis for s in found for axis in s.axes}


def test_arrays_of_a_convolution_sub_layer():
    found = specs("[crnn]\nhidden=6\noutput=4\npad=1\ngroups=1\nbatch_normalize=1\n", "alexeyab")
    names = "{0}_biases {0}_scales {0}_mean {0}_variance {0}_weights"
    assert [s.name for s in found] == " ".join(names.format(n) for n in ("input", "self", "output")).split()
    assert [s.shape for s in found[4::5]] == [(6, 3, 3, 3), (6, 6, 3, 3), (4, 6, 3, 3)]
    assert not any(s.transposable for s in found)


def test_the_width_of_the_state():
    text = "[rnn]\noutput=5\nhidden=7\n"
    assert [s.shape for s in specs(text, "alexeyab")[1::2]] == [(7, INPUTS), (7, 7), (5, 7)]
    assert [s.shape for s in specs(text, "pjreddie")[1::2]] == [(5, INPUTS), (5, 5), (5, 5)]
    text = "[crnn]\noutput=4\nhidden=6\noutput_filters=2\nhidden_filters=3\npad=1\n"
    assert [s.shape[:2] for s in specs(text, "alexeyab")[1::2]] == [(6, 3), (6, 6), (4, 6)]
    assert [s.shape[:2] for s in specs(text, "pjreddie")[1::2]] == [(3, 3), (3, 3), (2, 3)]


def test_shapes():
    for text, alexeyab, pjreddie in [
        ("[rnn]\noutput=5\n", (1, 1, 5, 5), (0, 0, 0, 5)),
        ("[lstm]\noutput=5\n", (1, 1, 5, 5), (0, 0, 0, 5)),
        ("[gru]\noutput=5\n", (0, 0, 0, 5), (0, 0, 0, 5)),
        ("[crnn]\noutput=2\noutput_filters=2\npad=1\n", (6, 4, 2, 48), (4, 6, 2, 48)),  # the original swaps w and h
        ("[history]\n", (6, 4, 12, 288), (6, 4, 12, 288)),
    ]:
        assert layer(text, "alexeyab").shape == alexeyab
        assert layer(text, "pjreddie").shape == pjreddie
    assert layer("[conv_lstm]\noutput=2\nstride=2\npad=1\n", "alexeyab").shape == (3, 2, 2, 12)


def test_operations():
    found = layer("[crnn]\noutput=4\nhidden=6\npad=1\n", "alexeyab")
    assert found.op.flops(found) == 2 * 24 * 9 * (3 * 6 + 6 * 6 + 6 * 4)
    found = layer("[conv_lstm]\noutput=4\npad=1\npeephole=1\n", "alexeyab")
    assert found.op.flops(found) == 2 * 24 * 9 * (7 * 16 + 4 * 12) + 12 * 24 * 4
    found = layer("[conv_lstm]\noutput=4\npad=1\n", "alexeyab")
    assert found.op.flops(found) == 2 * 24 * 9 * (4 * 16 + 4 * 12) + 9 * 24 * 4


@pytest.mark.parametrize("start", ["[conv_lstm]\n", "[crnn]\nhidden=6\n"])
def test_groups(start):
    text = start + "output=6\npad=1\ngroups={}\n"
    whole = sum(size(s.shape) for s in specs(text.format(1), "alexeyab") if s.name.endswith("_weights"))
    split = sum(size(s.shape) for s in specs(text.format(3), "alexeyab") if s.name.endswith("_weights"))
    assert whole == 3 * split
    with pytest.raises(GraphError) as caught:
        layer(text.format(2), "alexeyab")
    assert "do not split into 2 groups" in caught.value.message and caught.value.where.line is not None


def test_refusals():
    for text, message in [
        ("[crnn]\npad=0\n", "the convolutions of [crnn] turn 6 x 4 into 4 x 2"),
        ("[rnn]\nactivation=lru\n", "unknown activation 'lru'"),
        ("[conv_lstm]\npad=1\nlstm_activation=than\n", "unknown activation 'than'"),
    ]:
        with pytest.raises((CfgError, GraphError)) as caught:
            layer(text, "alexeyab")
        assert message in caught.value.message and caught.value.where.line is not None
