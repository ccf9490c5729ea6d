"""Plans of TensorRT-RTX made by hand: what plan_bytes finds in them and what it does not."""

import numpy as np
import pytest

import need
from plan_bytes import channels_last, convolutions, held, holds, integers, pieces

SCALE = np.float32(0.031234)


class Plan(object):
    """A plan of one convolution over [1, c, 8, 8]; kind: int8, float16 or float32."""

    def __init__(self, shape, kind, groups=1, axes=0):
        self.trt, self.keep = need.tensorrt_rtx(), []
        self.scale, random = np.full((1,) * axes, SCALE), np.random.RandomState(0)
        self.scales = random.uniform(0.001, 0.01, shape[0]).astype(np.float32)
        self.integers = random.randint(-127, 128, shape).astype(np.int8)
        self.weights = self.integers * self.scales.reshape(-1, 1, 1, 1)
        self.biases = random.standard_normal(shape[0]).astype(np.float32)
        self.data = self._built(kind, groups)

    def _built(self, kind, groups):
        trt = self.trt
        builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
        self.network = network = builder.create_network(0)
        x = network.add_input("data", trt.float32, (1, self.weights.shape[1] * groups, 8, 8))
        kernel, biases = trt.Weights(), self._kept(self.biases)
        if kind == "int8":
            x = self._rounded(x)
        elif kind == "float16":
            x = network.add_cast(x, trt.float16).get_output(0)
        if kind != "int8":
            kernel, biases = self._kept(self.weights.astype(kind)), self._kept(self.biases.astype(kind))
        size = self.weights.shape[2:]
        made = network.add_convolution_nd(x, len(self.weights), size, kernel, biases)
        made.num_groups, made.name = groups, "conv"
        if kind == "int8":
            whole = self._constant(self.integers)
            layer = network.add_dequantize(whole, self._constant(self.scales), trt.float32)
            layer.axis = 0
            made.set_input(1, layer.get_output(0))
        network.mark_output(made.get_output(0))
        return bytes(builder.build_serialized_network(network, builder.create_builder_config()))

    def _kept(self, values):
        self.keep.append(values)
        return self.trt.Weights(self.keep[-1])

    def _constant(self, values):
        return self.network.add_constant(values.shape, self._kept(values)).get_output(0)

    def _rounded(self, x):
        scale = self._constant(self.scale)
        x = self.network.add_quantize(x, scale, self.trt.int8).get_output(0)
        return self.network.add_dequantize(x, scale, self.trt.float32).get_output(0)


def floats(plan):
    """The types as which the plan holds the weights."""
    runs = pieces(plan.weights)
    return [kind for kind in ("float32", "float16") if any(held(plan.data, [run.astype(kind) for run in runs]))]


SHAPES = [((7, 5, 3, 3), 1), ((16, 32, 1, 1), 1), ((8, 1, 3, 3), 8), ((8, 4, 3, 3), 2)]


@pytest.mark.parametrize("shape, groups", SHAPES)
def test_int8(shape, groups):
    plan = Plan(shape, "int8", groups)
    assert holds(plan.data, integers(plan.integers)) and floats(plan) == []
    other = plan.integers.copy()
    other[-1, -1, -1, -1] ^= 1
    assert not holds(plan.data, integers(other))
    for values in (plan.scales * SCALE, plan.biases, 1 / SCALE):
        assert holds(plan.data, values) and not holds(plan.data, np.nextafter(values, np.float32(9)))
    assert convolutions(plan.data) == {"conv": ("int8", "int8")}


def test_a_scale_with_an_axis_makes_a_convolution_of_floats():
    """Which nothing but the listing tells."""
    plan = Plan((7, 5, 3, 3), "int8", axes=1)
    assert convolutions(plan.data) == {"conv": ("float", "float")} and holds(plan.data, plan.scales)
    assert holds(plan.data, channels_last(plan.integers)) and floats(plan) == []


@pytest.mark.parametrize("shape, groups", SHAPES)
@pytest.mark.parametrize("kind, name", [("float16", "half"), ("float32", "float")])
def test_floats(shape, groups, kind, name):
    plan = Plan(shape, kind, groups)
    assert floats(plan) == [kind] and not holds(plan.data, integers(plan.integers))
    assert holds(plan.data, plan.biases.astype(kind))
    assert convolutions(plan.data) == {"conv": (name, name)}


def test_pieces_are_of_the_largest_weight():
    weights = -np.arange(2 * 5 * 2 * 2, dtype=np.float32).reshape(2, 5, 2, 2)
    assert [run.tolist() for run in pieces(weights)] == [[-23, -27, -31, -35, -39], [-19, -39]]
    assert [run.tolist() for run in pieces(weights[:, :1])] == [[-20, -21, -22, -23], [-3, -23]]
    assert channels_last(weights, 4)[1, 1, 1].tolist() == [-23, -27, -31, -35, -39, 0, 0, 0]


def test_bytes_are_found_wherever_they_begin_at_an_even_address():
    random = np.random.RandomState(1)
    plan = random.randint(0, 256, 100000).astype(np.uint8).tobytes()
    zeros, short = np.zeros(50, np.uint8), np.frombuffer(plan, np.uint8, 4, 70)
    late = np.concatenate([zeros[:6], np.frombuffer(plan, np.uint8, 500, 7000)])
    inside = [np.frombuffer(plan, np.uint8, size, start) for start, size in ((0, 9), (2, 100), (99000, 1000))]
    assert held(plan, inside + [short]) == [True] * 4
    absent = inside[2].copy()
    absent[-1] ^= 1
    assert held(plan, [absent, zeros, late]) == [False] * 3
    assert held(plan[:7000] + bytes(6) + plan[7000:] + bytes(50), [late, zeros]) == [True, True]
