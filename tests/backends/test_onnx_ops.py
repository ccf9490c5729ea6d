"""Every primitive of the ONNX backend, run in ONNX Runtime, against numpy's."""

import numpy as np
import pytest

import need
from darkprune.ops.activation_functions import ACTIVATIONS
from primitives import CASES, primitives

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
    own = {name for kind in OnnxBuilder.__mro__[:2] for name in vars(kind)}
    assert primitives() - own == {"dropout"}  # nothing at inference
    assert {case.name for case in CASES} == primitives() - {"constant", "binarised", "source_factors"}
