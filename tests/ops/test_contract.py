"""What every layer type owes: names, options, shapes, bytes, notices, and agreement with the real Darknet."""

import numpy as np
import pytest

import need
from darkprune.backends.darknet_ import DarknetRunner
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.darknet.dialect_epsilon import DIALECTS
from darkprune.errors import Unsupported, VerifyError
from darkprune.graph.layer import _READ
from darkprune.graph.write import cfg_bytes, file_arrays
from darkprune.ops.registry import EVERY_LAYER, OPS
from type_nets import CFGS, NOT_RUN, load, with_weights

CRASHES = {"deconvolutional", "batchnorm"}  # in the real Darknet: when it loads the weights, when it runs
HEADS = {"yolo", "region", "iseg"}  # runners give them raw, Darknet activated

KINDS = {"int": int, "float": float, "str": str, "ints": tuple, "floats": tuple}
TYPES = sorted({op.names[0] for op in OPS.values()})
ALL = sorted(DIALECTS)


def test_names():
    assert sum(len(kind.names) for kind in {type(op) for op in OPS.values()}) == len(OPS)
    assert set(CFGS) == set(TYPES)
    for name, op in OPS.items():
        assert name in op.names and op.readers and set(op.readers) <= set(DIALECTS)


@pytest.mark.parametrize("name", TYPES)
def test_options(name):
    op = OPS[name]
    names = [option.name for option in op.options]
    assert len(set(names)) == len(names)
    assert not set(names) & set(op.passive.split())
    assert set(op.references) | set(op.pointers) <= set(names)
    for option in op.options:
        assert set(option.only.split() if option.only else ALL) <= set(ALL)
        for default in (option.default, option.opencv):
            assert option.kind in _READ and (default is None or type(default) is KINDS[option.kind])
            assert option.low is None or default >= option.low


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("name", TYPES)
def test_loads_with_a_shape_a_row_and_true_notices(name, dialect):
    net = load(name, dialect)
    layer = net.layers[-1]
    assert layer.type == name and layer.op.names[0] == name
    assert layer.shape.outputs > 0 and layer.out.outputs > 0
    assert layer.shape.c == 0 or layer.shape.outputs == layer.shape.w * layer.shape.h * layer.shape.c
    assert layer.op.describe(layer).strip() and "\n" not in layer.op.describe(layer)
    assert layer.op.flops(layer) >= layer.op.pjreddie_flops(layer) >= 0
    unknown = {n.reader for n in net.notices if n.message.endswith("does not know [{}]".format(name))}
    assert unknown == set(DIALECTS) - set(layer.op.readers)
    for notice in net.notices:
        assert notice.reader in DIALECTS and notice.where.line is not None
    assert not [n for n in net.notices if "has no option" in n.message]


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("name", TYPES)
def test_bytes_come_back(name, dialect, tmp_path):
    net = load(name, dialect)
    specs = net.layers[-1].op.parameters(net.layers[-1])
    assert len({spec.name for spec in specs}) == len(specs)
    data = with_weights(net, tmp_path)
    for copy in (net, net.copy()):
        found = [array.tobytes() for layer in copy.layers for array in file_arrays(copy, layer)]
        assert copy.header.to_bytes() + b"".join(found) == data
        assert cfg_bytes(copy) == CFGS[name].encode("ascii")
    net.check()


@pytest.mark.parametrize("name", TYPES)
def test_a_misspelt_option_is_noticed(name):
    options = [option.name for option in OPS[name].options] or sorted(EVERY_LAYER)
    wrong = options[0] + options[0][-1]
    net = load(name, "alexeyab", wrong + "=1\n")
    found = [n for n in net.notices if n.message == "[{}] has no option {!r}".format(name, wrong)]
    assert [n.hint for n in found] == ["did you mean {}?".format(options[0])]
    assert found[0].where.line == (CFGS[name] + "x").count("\n") + 1


@pytest.mark.parametrize("name", [t for t in TYPES if "dontload" in [o.name for o in OPS[t].options]])
def test_dontload_takes_the_arrays_out_of_the_file(name):
    layer = load(name, "alexeyab", "dontload=1\n").layers[-1]
    assert layer.op.parameters(layer) == []


@pytest.mark.parametrize("name", TYPES)
def test_runs_to_the_inferred_shape_or_says_that_it_cannot(name, tmp_path):
    net = load(name, "alexeyab")
    with_weights(net, tmp_path)
    layer, batch = net.layers[-1], np.random.RandomState(1).rand(2, 3, 8, 8).astype(np.float32)
    runner = NumpyRunner(net)
    if name in NOT_RUN:
        with pytest.raises(Unsupported) as caught:
            runner.infer(batch)
        assert "[{}] cannot be run by the numpy backend".format(name) in str(caught.value)
        assert caught.value.where.line is not None
        return
    y = runner.infer(batch)[layer.index]
    assert y.dtype == np.float32 and y.size == 2 * layer.shape.outputs
    assert layer.shape.c == 0 or y.shape == (2, layer.shape.c, layer.shape.h, layer.shape.w)


def in_darknet():
    return sorted(name for name in TYPES if "pjreddie" in OPS[name].readers and name != "deconvolutional")


@pytest.mark.parametrize("name", in_darknet())
def test_the_real_darknet_reads_as_many_floats(name, tmp_path):
    need.libdarknet()
    net = load(name, "pjreddie")
    data = with_weights(net, tmp_path)
    (tmp_path / "net.cfg").write_text(CFGS[name], "ascii")
    (tmp_path / "short.weights").write_bytes(data[:-4])
    with pytest.raises(VerifyError) as caught:
        DarknetRunner(str(tmp_path / "net.cfg"), str(tmp_path / "short.weights")).open()
    assert "reads {} floats".format(net.count_parameters()) in caught.value.message


@pytest.mark.parametrize("name", [t for t in in_darknet() if t not in NOT_RUN | CRASHES | HEADS | {"cost"}])
def test_the_real_darknet_computes_the_same(name, tmp_path):
    need.libdarknet()
    net = load(name, "pjreddie")
    with_weights(net, tmp_path)
    (tmp_path / "net.cfg").write_text(CFGS[name], "ascii")
    batch = np.random.RandomState(2).rand(2, 3, 8, 8).astype(np.float32)
    with DarknetRunner(str(tmp_path / "net.cfg"), str(tmp_path / "net.weights")) as runner:
        real = runner.infer(batch)
    ours, last = NumpyRunner(net).infer(batch), net.layers[-1].index
    assert last in real
    for index, y in sorted(real.items()):
        np.testing.assert_allclose(ours[index].reshape(y.shape), y, rtol=1e-4, atol=1e-5)
