"""Every primitive of the ONNX backend, run in ONNX Runtime, against numpy's."""

import numpy as np
import pytest

import need
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.errors import Unsupported
from darkprune.ops.activation_functions import ACTIVATIONS
from primitives import CASES, PARAMETERS, REFUSED, primitives, quirks, random

onnx, onnxruntime = need.onnx(), need.onnxruntime()

from darkprune.backends.onnx_activations import FUNCTIONS  # noqa: E402
from darkprune.backends.onnx_graph import BATCH, OnnxTensor  # noqa: E402
from darkprune.backends.onnx_ops import OnnxBuilder  # noqa: E402


def run(builder, y, tensors):
    """The values of `y`, checked in full before, in ONNX Runtime."""
    builder.graph.outputs.append(y)
    model = builder.graph.model("darkprune", "0")
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [x.name for x in builder.graph.inputs]
    return session.run(None, dict(zip(names, tensors)))[0]


def compare(case, batch):
    builder, wanted = OnnxBuilder(case.dialect), case.wanted()
    inputs = [builder.input("x{}".format(i), (batch or len(x),) + x.shape[1:]) for i, x in enumerate(case.tensors)]
    y = case.on(builder, inputs)
    assert isinstance(y, OnnxTensor) and y.ndim == 4 and y.shape[1:] == wanted.shape[1:]
    if y in inputs:
        assert np.array_equal(case.tensors[inputs.index(y)], wanted)
        return
    np.testing.assert_allclose(run(builder, y, case.tensors), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_primitive(case):
    compare(case, None)


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in ("activation", "max_pool", "avg_pool")], ids=str)
def test_any_number_of_images(case):
    compare(case, BATCH)


def test_every_primitive_is_there_and_compared():
    assert primitives() <= set(dir(OnnxBuilder)) and set(FUNCTIONS) == set(ACTIVATIONS)
    own = {name for kind in OnnxBuilder.__mro__[:3] for name in vars(kind)}
    assert primitives() - own == {"dropout"}  # nothing at inference
    assert {case.name for case in CASES} == primitives() - {"constant", "binarised", "source_factors"}


def test_arrays_computed_from_parameters():
    for name, weights, args in PARAMETERS:
        wanted = getattr(NumpyBuilder(), name)(weights, *args)
        assert np.array_equal(getattr(OnnxBuilder(), name)(weights, *args), wanted)


@pytest.mark.parametrize("batch", [1, 4, BATCH])
def test_constant(batch):
    """As it is, and beside a tensor, where it need not be repeated for each image."""
    values, x = random(3, 2, 1), random(4, 3, 2, 1)[: batch if batch != BATCH else 4]
    for combine in (False, True):
        builder = OnnxBuilder()
        data = builder.input("x", (batch, 3, 2, 1))
        y = builder.constant(values)
        assert y.shape == (batch, 3, 2, 1)
        y = builder.add(data, y) if combine else builder.concat([y, data])
        wanted = x + values if combine else np.concatenate([np.broadcast_to(values, x.shape), x], axis=1)
        assert np.array_equal(run(builder, y, [x]), wanted)
        operators = [node.op_type for node in builder.graph.nodes]
        assert operators == ["Add"] if combine else (operators[-1], "Expand" in operators) == ("Concat", batch != 1)


def test_channels_of_zeros_are_a_concatenation_where_the_number_of_images_is_known():
    for batch, operator in ((2, "Concat"), (BATCH, "Pad")):
        builder = OnnxBuilder()
        builder.pad_channels(builder.input("x", (batch, 3, 2, 1)), 5)
        assert [node.op_type for node in builder.graph.nodes] == [operator]


def test_a_bias_is_part_of_the_sum_of_products():
    for name, weight in (("conv2d", random(4, 3, 1, 1)), ("linear", random(4, 6))):
        builder = OnnxBuilder()
        y = getattr(builder, name)(builder.input("x", (1, 3, 2, 1)), weight)
        assert builder.bias(y, random(4)).name
        node = next(node for node in builder.graph.nodes if node.op_type in ("Conv", "Gemm"))
        assert len(node.input) == 3 and "Add" not in [node.op_type for node in builder.graph.nodes]


def test_the_quirk_of_pjreddies_reader_makes_a_difference():
    for quirk, plain in quirks():
        assert np.abs(quirk.wanted() - plain.wanted()).max() > 0.1


@pytest.mark.parametrize("name, args", REFUSED)
def test_what_numpy_refuses_is_refused_in_the_same_words(name, args):
    messages = []
    for kind in (NumpyBuilder, OnnxBuilder):
        b = kind("pjreddie")
        b.layer = 7
        x = random(1, 4, 5, 6) if kind is NumpyBuilder else b.input("x", (1, 4, 5, 6))
        with pytest.raises(Unsupported) as caught:
            getattr(b, name)(x, *args)
        messages.append(str(caught.value))
    assert messages[1].startswith("error: layer 7: the onnx backend cannot run ")
    assert messages[0].replace("numpy", "onnx") == messages[1]
