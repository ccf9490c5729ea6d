"""Every primitive of the torch backend against numpy's, and what it does more: gradients, training."""

import numpy as np
import pytest

import need
from darkprune.backends.base import Builder
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.darknet.dialect import DIALECTS
from darkprune.errors import Unsupported
from darkprune.ops.activation_functions import ACTIVATIONS

torch = need.torch()

from darkprune.backends.torch_activations import FUNCTIONS  # noqa: E402
from darkprune.backends.torch_ops import TorchBuilder  # noqa: E402

ALL = sorted(DIALECTS)


def random(*shape):
    return np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)


def tensor(values):
    return torch.from_numpy(np.array(values))


def compare(name, xs, *args, dialect="alexeyab", **kwargs):
    """The primitive `name` of the tensor or tensors `xs` in both backends, also of maps that lie channels-last."""
    one = not isinstance(xs, list)
    wanted = getattr(NumpyBuilder(dialect), name)(xs if one else list(xs), *args, **kwargs)
    for form in (torch.contiguous_format, torch.channels_last):
        maps = [tensor(x).contiguous(memory_format=form) for x in ([xs] if one else xs)]
        before = [x.clone() for x in maps]
        y = getattr(TorchBuilder(dialect), name)(maps[0] if one else maps, *args, **kwargs)
        assert y.dtype == torch.float32 and tuple(y.shape) == wanted.shape
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-5)
        assert all(torch.equal(a, b) for a, b in zip(maps, before))
    return wanted


# c, n, kernel, stride, padding, dilation, groups
CONVS = [
    (3, 4, (3, 3), (1, 1), 1, 1, 1),
    (3, 4, (3, 3), (2, 2), 1, 1, 1),
    (2, 3, (5, 5), (2, 2), 2, 1, 1),
    (2, 3, (2, 2), (1, 1), 1, 1, 1),
    (2, 3, (4, 4), (2, 2), 2, 1, 1),
    (2, 3, (3, 3), (1, 1), 3, 1, 1),
    (3, 2, (3, 3), (1, 2), 1, 1, 1),
    (3, 2, (3, 3), (2, 1), 0, 1, 1),
    (3, 2, (3, 3), (1, 1), 2, 2, 1),
    (3, 2, (3, 1), (1, 1), 0, 1, 1),
    (3, 5, (1, 1), (1, 1), 0, 1, 1),
    (3, 5, (1, 1), (1, 1), 1, 1, 1),
    (6, 4, (1, 1), (2, 2), 0, 1, 2),
    (6, 9, (3, 3), (1, 1), 2, 2, 3),
    (4, 4, (5, 5), (2, 2), 2, 1, 4),
    (4, 8, (3, 3), (1, 2), 2, 2, 4),
]


@pytest.mark.parametrize("case", CONVS)
def test_conv2d(case):
    c, n, kernel, stride, padding, dilation, groups = case
    weight = random(n, c // groups, *kernel)
    compare("conv2d", random(2, c, 9, 7), weight, stride, padding, dilation, groups)
    compare("conv2d", random(1, c, 8, 11), weight, stride, padding, dilation, groups)


@pytest.mark.parametrize("groups, filters", [(1, 3), (2, 4), (4, 4)])
@pytest.mark.parametrize("stride, padding", [((2, 2), 0), ((2, 1), 0), ((2, 2), 1)])
def test_pointwise_convolution_of_pjreddie_reads_the_raw_buffer(stride, padding, groups, filters):
    x, weight = random(2, 4, 7, 5), random(filters, 4 // groups, 1, 1)
    quirk = compare("conv2d", x, weight, stride, padding, 1, groups, dialect="pjreddie")
    assert np.abs(quirk - compare("conv2d", x, weight, stride, padding, 1, groups)).max() > 0.1


@pytest.mark.parametrize("stride, padding, out", [(1, 0, (5, 3)), (2, 1, (4, 3)), (3, 0, (2, 1))])
def test_local_conv2d(stride, padding, out):
    compare("local_conv2d", random(2, 3, 7, 5), random(*(out + (4, 3, 3, 3))), stride, padding)


# size, stride, padding: Darknet's usual ones have padding = size - 1
POOLS = [
    (2, (2, 2), 1),
    (2, (1, 1), 1),
    (3, (1, 1), 2),
    (3, (2, 2), 0),
    (3, (2, 2), 2),
    (13, (1, 1), 12),
    (13, (1, 1), 4),
    (5, (1, 2), 4),
    (4, (3, 2), 3),
    (1, (2, 2), 0),
    (2, (3, 3), 0),
    (3, (1, 1), 4),
]


@pytest.mark.parametrize("shape", [(2, 3, 15, 13), (1, 2, 14, 16)])
@pytest.mark.parametrize("size, stride, padding", POOLS)
def test_pooling(size, stride, padding, shape):
    x = random(*shape) - 5  # below 0, so that padding by 0 would show
    compare("max_pool", x, size, stride, padding)
    compare("avg_pool", x, size, stride, padding)


def test_a_window_outside_of_the_map():
    assert compare("max_pool", random(1, 1, 3, 3), 1, (1, 1), 2)[0, 0, 0, 0] == -np.inf
    assert compare("avg_pool", random(1, 1, 3, 3), 1, (1, 1), 2)[0, 0, 0, 0] == 0


@pytest.mark.parametrize("dialect", ALL)
def test_batch_norm(dialect):
    x, (gamma, beta, mean, variance) = random(2, 5, 3, 4), random(4, 5)
    variance = np.abs(variance)
    variance[:2] = [1e-8, 0]  # where the readers' formulas differ most
    gamma[:2] *= 1e-3
    compare("batch_norm", x, gamma, beta, mean, variance, dialect=dialect)


def test_per_channel_arithmetic():
    x, p = random(2, 5, 3, 4), random(5)
    compare("bias", x, p)
    compare("scale_channels_by", x, p)
    compare("scale_channels_by", x, p[:1])
    compare("linear", random(2, 3, 4, 5), random(7, 60))


def test_element_wise():
    x = random(2, 5, 3, 4)
    x[0, 0, 0, 0] = 0
    compare("sign", x)
    for other in (random(2, 5, 3, 4), random(2, 5, 1, 1), random(2, 1, 3, 4)):
        for name in ("add", "mul"):
            wanted = getattr(NumpyBuilder(), name)(x, other)
            y = getattr(TorchBuilder(), name)(tensor(x), tensor(other))
            np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activation(name, dialect):
    x = np.concatenate([random(2, 8, 5, 3) * scale for scale in (0.01, 1, 30)])
    x[0, 0, 0] = [0, -0.0, 1]
    x[1, :, 0, 0] = [-4, 4, -2, 2, -1, 6, 88, -100]
    compare("activation", x, name, dialect=dialect)


def test_every_activation_is_there():
    assert set(FUNCTIONS) == set(ACTIVATIONS)


def test_arrays_computed_from_parameters():
    for name, weights, args in [
        ("binarised", np.append(random(1, 3, 3, 3), np.zeros((1, 3, 3, 3), np.float32), axis=0), ()),
        ("source_factors", random(3), ("relu",)),
        ("source_factors", random(3, 4), ("relu",)),
        ("source_factors", random(3), ("softmax",)),
        ("source_factors", random(3, 4) * 30, ("softmax",)),
    ]:
        wanted = getattr(NumpyBuilder(), name)(weights, *args)
        y = getattr(TorchBuilder(), name)(tensor(weights), *args)
        assert tuple(y.shape) == wanted.shape
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "name, shape, args",
    [
        ("global_avg_pool", (2, 3, 5, 7), ()),
        ("upsample", (2, 3, 4, 6), (3, 0.5)),
        ("upsample", (2, 3, 5, 7), (2,)),
        ("upsample", (1, 2, 3, 3), (1,)),
        ("downsample_sum", (2, 3, 4, 6), (2, 1.5)),
        ("spread", (2, 3, 4, 2), (3,)),
        ("spread", (1, 2, 3, 3), (1,)),
        ("crop", (2, 5, 7, 6), (4, 3)),
        ("slice_channels", (2, 5, 3, 4), (1, 3)),
        ("pad_channels", (2, 5, 3, 4), (7,)),
        ("pad_channels", (2, 5, 3, 4), (5,)),
        ("flatten", (2, 3, 4, 5), ()),
        ("interleave", (2, 5, 3, 4), ((20, 1, 3),)),
        ("interleave", (2, 5, 3, 4), ((20, 1, 3), True)),
        ("reorg", (2, 8, 6, 4), (2,)),
        ("reorg", (1, 9, 3, 6), (3,)),
        ("reorg", (2, 8, 3, 5), (2, True)),
        ("space_to_depth", (2, 5, 6, 12), (3,)),
        ("space_to_depth", (2, 8, 3, 5), (2, True)),
        ("max_channels", (2, 7, 3, 2), (3,)),
        ("softmax", (2, 6, 3, 2), (4, 0.5)),
        ("softmax", (2, 6, 3, 2), (2, 1.0, True)),
        ("lrn", (2, 7, 3, 2), (5, 0.3, 0.75, 2.0)),
        ("lrn", (2, 7, 3, 2), (4, 0.3)),
        ("lrn", (2, 7, 3, 2), (15, 0.3)),
    ],
)
def test_rearrangements_and_sums(name, shape, args):
    compare(name, random(*shape), *args)


def test_concat_and_constant():
    compare("concat", [random(2, 3, 4, 5), random(2, 1, 4, 5), random(2, 2, 4, 5)])
    builders = NumpyBuilder(), TorchBuilder()
    for b in builders:
        b.images = 4
    values = random(3, 2, 1)
    wanted = builders[0].constant(values)
    assert np.array_equal(builders[1].constant(values).numpy(), wanted)
    assert np.array_equal(builders[1].constant(tensor(values)).numpy(), wanted)


def test_no_primitive_is_missing():
    given = {"array", "backend", "unsupported", "output", "wrap", "unwrap"}
    assert {name for name in vars(Builder) if not name.startswith("_")} - given <= set(vars(TorchBuilder))


@pytest.mark.parametrize(
    "name, args",
    [
        ("conv2d", (random(3, 4, 1, 1), (1, 1), 1)),
        ("conv2d", (random(4, 3, 3, 3),)),
        ("conv2d", (random(4, 4, 9, 9),)),
        ("max_pool", (20,)),
        ("avg_pool", (20,)),
        ("downsample_sum", (3,)),
        ("crop", (8, 2)),
        ("pad_channels", (3,)),
        ("reorg", (2,)),
        ("reorg", (3, True)),
        ("space_to_depth", (2,)),
        ("space_to_depth", (3, True)),
        ("max_channels", (5,)),
        ("softmax", (7,)),
    ],
)
def test_what_numpy_refuses_is_refused_in_the_same_words(name, args):
    messages = []
    for kind, x in ((NumpyBuilder, random(1, 4, 5, 6)), (TorchBuilder, tensor(random(1, 4, 5, 6)))):
        b = kind("pjreddie")
        b.layer = 7
        with pytest.raises(Unsupported) as caught:
            getattr(b, name)(x, *args)
        messages.append(str(caught.value))
    assert messages[1].startswith("error: layer 7: the torch backend cannot run ")
    assert messages[0].replace("numpy", "torch") == messages[1]
