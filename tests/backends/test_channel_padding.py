"""Padded convolutions: the same numbers behind every layer, from wider maps."""

import numpy as np
import pytest

from darkprune.backends.channel_padding import Padded
from darkprune.backends.channel_slots import Map, placed
from darkprune.backends.forward import forward
from darkprune.backends.numpy_ import NumpyRunner
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.darknet.dialect_epsilon import DIALECTS
from darkprune.darknet.weights import Header
from darkprune.errors import Unsupported
from darkprune.graph.build import load
from darkprune.graph.net import heads
from darkprune.verify import allow_noise, check, moved
from darkprune.verify import test_batch as picture
from odd_nets import NETS, text
from random_checks import draw
from random_layers import Choices
from random_nets import write_weights
from small_nets import cfg, conv, make_weights, route, section, shortcut
from small_nets import net as small_net
from type_nets import CFGS, NOT_RUN, with_weights
from type_nets import load as load_type

AGREE = 1e-4  # of a layer's largest value
SEEDS = 24


class Counting(NumpyBuilder):
    """Keeps the widths of its convolutions, and how often maps were cut, joined or padded."""

    def __init__(self, *args):
        super(Counting, self).__init__(*args)
        self.widths, self.copies = [], 0

    def conv2d(self, x, weight, *args, **kwargs):
        self.widths.append(len(weight))
        return super(Counting, self).conv2d(x, weight, *args, **kwargs)

    def concat(self, xs):
        self.copies += 1
        return super(Counting, self).concat(xs)

    def slice_channels(self, x, start, stop):
        self.copies += 1
        return super(Counting, self).slice_channels(x, start, stop)

    def pad_channels(self, x, count):
        self.copies += 1
        return super(Counting, self).pad_channels(x, count)


def run(net, batch, multiple, layers=None):
    """(the outputs of all layers or of `layers`, the builder that computed them)."""
    inner = Counting(net.dialect.name)
    builder = Padded(inner, multiple, heads(net))
    found = forward(net, builder, builder.wrap(batch), layers)
    outputs = {index: builder.unwrap(x) for index, x in found.items()}
    assert {index: x.shape for index, x in found.items()} == {index: y.shape for index, y in outputs.items()}
    return outputs, inner


def compare(net, batch, multiple=4):
    """Fails where padding changes a layer's output by more than rounding."""
    expected, found = NumpyRunner(net).infer(batch), run(net, batch, multiple)[0]
    checks = [check("padded", "numpy", i, expected[i], found[i], AGREE) for i in sorted(expected)]

    def noise():
        other = NumpyRunner(net, lambda layer, y: moved(y)).infer(moved(batch))
        return {i: check("noise", "numpy", i, y, other[i], 0.0).max_error for i, y in expected.items()}

    failed = [c for c in allow_noise(checks, noise) if not c.ok]
    assert not failed, failed[0]


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("name", sorted(set(CFGS) - NOT_RUN))
def test_every_layer_type(name, dialect, tmp_path):
    net = load_type(name, dialect)
    with_weights(net, tmp_path)
    batch = np.random.RandomState(1).rand(2, 3, 8, 8).astype(np.float32)
    try:
        NumpyRunner(net).infer(batch)
    except Unsupported as error:
        with pytest.raises(Unsupported) as caught:
            run(net, batch, 5)
        assert str(caught.value) == str(error)
        return
    compare(net, batch, 5)


@pytest.mark.parametrize("name", sorted(NETS))
def test_options_that_few_cfgs_use(name, tmp_path):
    (tmp_path / "net.cfg").write_text(text(name), "ascii")
    paths, dialect = [str(tmp_path / "net.cfg"), str(tmp_path / "net.weights")], NETS[name][0]
    make_weights.make(*paths, dialect=dialect, dead=0)
    net = load(paths[0], paths[1], dialect)
    for multiple in (1, 3, 16):
        compare(net, picture(net), multiple)


@pytest.mark.parametrize("first", range(0, SEEDS, 12))
def test_random_nets(first, tmp_path):
    for seed in range(first, first + 12):
        case, weights = draw(Choices(seed)), str(tmp_path / "net.weights")
        (tmp_path / "net.cfg").write_bytes(case.data)
        made = case.weights
        write_weights(case.data, weights, made["seed"], Header(*made["header"]), made["dead"], case.dialect)
        net = load(str(tmp_path / "net.cfg"), weights, case.dialect)
        try:
            compare(net, picture(net), 2 + seed % 4)
        except AssertionError as error:
            raise AssertionError("seed {}".format(seed)) from error


SE = section("avgpool") + conv(6, 1, "logistic") + section("scale_channels", from_=-3)
HEAD = conv(5, 1, "linear", None)


@pytest.mark.parametrize(
    "sections, widths, copies",
    [
        (conv(6) + conv(6, groups=6) + conv(10, 1) + conv(9) + HEAD, [8, 8, 12, 12, 5], 0),
        (conv(6) + conv(10) + route(-1, 0) + conv(16, groups=16) + conv(6) + HEAD, [8, 12, 20, 8, 5], 1),
        (conv(6) + conv(6, activation="logistic") + shortcut(-2) + HEAD, [8, 8, 5], 0),
        (conv(6) + SE + section("maxpool", size=2, stride=2) + section("upsample") + HEAD, [8, 8, 5], 0),
        (conv(8) + route(-1, groups=2, group_id=1) + conv(4) + route(-1, -2) + HEAD, [8, 4, 5], 2),
        (conv(6) + section("reorg3d") + section("connected", output=5, activation="leaky"), [8], 0),
        (conv(1) + HEAD, [1, 5], 0),  # a map of one channel may gate others: it stays alone
        (conv(6) + conv(9, groups=3) + HEAD, [8, 9, 5], 1),  # groups stand where they stand
        (conv(6) + conv(7) + conv(6) + shortcut(-3) + route(-1, 1) + route(-1, groups=13) + HEAD, [8, 8, 8, 5], 2),
        (conv(6) + conv(10) + shortcut(-2) + HEAD, [8, 12, 5], 2),  # cut to 6, then 12 with zeros
    ],
)
def test_what_is_widened_and_what_is_copied(sections, widths, copies, tmp_path):
    """Behind the multiples of 4 nothing is cut, and joined only where the cfg joins."""
    net = small_net(tmp_path, cfg(sections), dead=0)
    compare(net, picture(net), 4)
    inner = run(net, picture(net), 4, heads(net))[1]
    assert (inner.widths, inner.copies) == (widths, copies)


def test_a_sum_of_maps_that_lie_in_different_places():
    builder = Padded(NumpyBuilder(), 4)
    a, b = (builder.wrap(np.random.RandomState(i).rand(1, 3, 2, 2).astype(np.float32)) for i in range(2))
    wide = Map(placed(a.inner, np.array([0, 2, 3]), 6, 1, fill=9), np.array([0, 2, 3]))
    for first, second in ((a, b), (wide, b), (b, wide)):
        y = builder.unwrap(builder.add(first, second))
        np.testing.assert_array_equal(y, builder.unwrap(first) + builder.unwrap(second))
    joined = builder.concat([wide, b])
    assert (joined.shape, joined.width, joined.slots.tolist()) == ((1, 6, 2, 2), 9, [0, 2, 3, 6, 7, 8])
    np.testing.assert_array_equal(builder.unwrap(joined), np.concatenate([a.inner, b.inner], axis=1))
    part = builder.slice_channels(joined, 1, 4)
    assert (part.width, part.slots.tolist()) == (7, [0, 1, 4])
    np.testing.assert_array_equal(builder.unwrap(part), np.concatenate([a.inner[:, 1:], b.inner[:, :1]], axis=1))
    more = builder.pad_channels(part, 5)
    assert (more.width, more.slots.tolist()) == (8, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(more.inner[:, 3:], np.zeros((1, 5, 2, 2)))


def test_errors_name_the_net_s_own_sizes():
    builder = Padded(NumpyBuilder(), 8)
    builder.layer = 4
    x = builder.conv2d(builder.wrap(np.zeros((1, 3, 4, 4), np.float32)), np.zeros((3, 3, 1, 1), np.float32))
    with pytest.raises(Unsupported) as caught:
        builder.conv2d(x, np.zeros((4, 2, 1, 1), np.float32))
    assert caught.value.message == (
        "layer 4: the numpy backend cannot run conv2d of 3 channels, weights (4, 2, 1, 1), groups 1"
    )
    with pytest.raises(Unsupported) as caught:
        builder.pad_channels(x, 2)
    assert caught.value.message == "layer 4: the numpy backend cannot run pad_channels of 3 channels to 2"
