"""What every backend's primitives are compared with numpy's on: (name, tensors, arguments, dialect)."""

from collections import namedtuple

import numpy as np

from darkprune.backends.base import Builder
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.darknet.dialect_epsilon import DIALECTS
from darkprune.ops.activation_functions import ACTIVATIONS

_Case = namedtuple("_Case", "name tensors args dialect")
GIVEN = {"array", "backend", "unsupported", "output", "wrap", "unwrap"}  # of Builder: what a backend need not bring


class Case(_Case):
    """A primitive, the tensors that it reads, its other arguments, and the dialect."""

    __slots__ = ()

    def on(self, builder, tensors):
        """The primitive of that builder, of tensors of its backend."""
        if self.name == "concat":
            return builder.concat(list(tensors))
        return getattr(builder, self.name)(*tuple(tensors) + tuple(self.args))

    def wanted(self):
        """What numpy computes."""
        builder = NumpyBuilder(self.dialect)
        builder.images = len(self.tensors[0])
        return self.on(builder, self.tensors)

    def __str__(self):
        shapes = ["x".join(map(str, x.shape)) for x in self.tensors]
        args = ["x".join(map(str, a.shape)) if isinstance(a, np.ndarray) else str(a) for a in self.args]
        return "-".join([self.name] + shapes + args + [self.dialect]).replace(" ", "")


def random(*shape):
    return np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32)


def case(name, tensors, *args, **options):
    tensors = tensors if isinstance(tensors, list) else [tensors]
    return Case(name, tensors, args, options.get("dialect", "alexeyab"))


# c, n, kernel, stride, padding, dilation, groups
_CONVS = [
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
# size, stride, padding: Darknet's usual ones have padding = size - 1
_POOLS = [
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
_REARRANGEMENTS = [
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
    ("softmax", (2, 6, 1, 1), ()),
    ("softmax", (2, 6, 3, 2), ()),
    ("softmax", (2, 6, 3, 2), (1, 1.0, True)),
    ("softmax", (2, 6, 3, 2), (2, 1.0, True)),
    ("lrn", (2, 7, 3, 2), (5, 0.3, 0.75, 2.0)),
    ("lrn", (2, 7, 3, 2), (4, 0.3)),
    ("lrn", (2, 7, 3, 2), (15, 0.3)),
    ("dropout", (2, 7, 3, 2), (0.5,)),
]


def _convolutions():
    for c, n, kernel, stride, padding, dilation, groups in _CONVS:
        weight = random(n, c // groups, *kernel)
        for shape in ((2, c, 9, 7), (1, c, 8, 11)):
            yield case("conv2d", random(*shape), weight, stride, padding, dilation, groups)
    for groups, filters in ((1, 3), (2, 4), (4, 4)):
        for stride, padding in (((2, 2), 0), ((2, 1), 0), ((2, 2), 1)):
            weight = random(filters, 4 // groups, 1, 1)
            yield case("conv2d", random(2, 4, 7, 5), weight, stride, padding, 1, groups, dialect="pjreddie")
    for stride, padding, out in ((1, 0, (5, 3)), (2, 1, (4, 3)), (3, 0, (2, 1))):
        yield case("local_conv2d", random(2, 3, 7, 5), random(*(out + (4, 3, 3, 3))), stride, padding)


def _pools():
    for shape in ((2, 3, 15, 13), (1, 2, 14, 16)):
        for window in _POOLS:
            for name in ("max_pool", "avg_pool"):
                yield case(name, random(*shape) - 5, *window)  # below 0, so that padding by 0 would show
    for name in ("max_pool", "avg_pool"):
        yield case(name, random(1, 1, 3, 3), 1, (1, 1), 2)  # windows outside of the map


def _per_channel():
    x, p = random(2, 5, 3, 4), random(5)
    yield case("bias", x, p)
    yield case("scale_channels_by", x, p)
    yield case("scale_channels_by", x, p[:1])
    yield case("linear", random(2, 3, 4, 5), random(7, 60))
    for dialect in sorted(DIALECTS):
        gamma, beta, mean, variance = random(4, 5)
        variance = np.abs(variance)
        variance[:2] = [1e-8, 0]  # where the readers' formulas differ most
        gamma[:2] *= 1e-3
        yield case("batch_norm", x, gamma, beta, mean, variance, dialect=dialect)


def _element_wise():
    x = random(2, 5, 3, 4)
    x[0, 0, 0, 0] = 0
    yield case("sign", x)
    for other in (random(2, 5, 3, 4), random(2, 5, 1, 1), random(2, 1, 3, 4)):
        yield case("add", [x, other])
        yield case("mul", [x, other])
    yield case("concat", [random(2, 3, 4, 5), random(2, 1, 4, 5), random(2, 2, 4, 5)])


def _activations():
    x = np.concatenate([random(2, 8, 5, 3) * scale for scale in (0.01, 1, 30)])
    x[0, 0, 0] = [0, -0.0, 1]
    x[1, :, 0, 0] = [-4, 4, -2, 2, -1, 6, 88, -100]
    for name in sorted(ACTIVATIONS):
        for dialect in sorted(DIALECTS):
            yield case("activation", x, name, dialect=dialect)


CASES = list(_convolutions()) + list(_pools()) + list(_per_channel()) + list(_element_wise()) + list(_activations())
CASES += [case(name, random(*shape), *args) for name, shape, args in _REARRANGEMENTS]

# what numpy refuses, on a map of 4 x 5 x 6, in the dialect pjreddie
REFUSED = [
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
]

PARAMETERS = [
    ("binarised", np.append(random(1, 3, 3, 3), np.zeros((1, 3, 3, 3), np.float32), axis=0), ()),
    ("source_factors", random(3), ("relu",)),
    ("source_factors", random(3, 4), ("relu",)),
    ("source_factors", random(3), ("softmax",)),
    ("source_factors", random(3, 4) * 30, ("softmax",)),
]


def quirks():
    """Pointwise convolutions that pjreddie's reader computes otherwise: (its case, the same in another dialect)."""
    found = [case for case in CASES if case.name == "conv2d" and case.dialect == "pjreddie"]
    return [(one, one._replace(dialect="alexeyab")) for one in found]


def primitives():
    """The names of all that a backend implements."""
    return {name for name in vars(Builder) if not name.startswith("_")} - GIVEN
