"""Every primitive of the torch backend against numpy's, and what it does more: gradients, training."""

import numpy as np
import pytest

import need
from darkprune.backends.numpy_ops import NumpyBuilder
from darkprune.errors import Unsupported
from darkprune.ops.activation_functions import ACTIVATIONS
from primitives import CASES, PARAMETERS, REFUSED, primitives, random

torch = need.torch()

from darkprune.backends.torch_activations import FUNCTIONS  # noqa: E402
from darkprune.backends.torch_ops import TorchBuilder  # noqa: E402


def tensor(values):
    return torch.from_numpy(np.array(values))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_primitive(case):
    """Also of maps that lie channels-last."""
    wanted = case.wanted()
    for form in (torch.contiguous_format, torch.channels_last):
        maps = [tensor(x).contiguous(memory_format=form) for x in case.tensors]
        before = [x.clone() for x in maps]
        y = case.on(TorchBuilder(case.dialect), maps)
        assert y.dtype == torch.float32 and tuple(y.shape) == wanted.shape
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-5)
        assert all(torch.equal(a, b) for a, b in zip(maps, before))


def test_every_primitive_is_there_and_compared():
    assert primitives() <= set(vars(TorchBuilder)) and set(FUNCTIONS) == set(ACTIVATIONS)
    assert {case.name for case in CASES} == primitives() - {"constant", "binarised", "source_factors"}


def test_arrays_computed_from_parameters():
    for name, weights, args in PARAMETERS:
        wanted = getattr(NumpyBuilder(), name)(weights, *args)
        y = getattr(TorchBuilder(), name)(tensor(weights), *args)
        assert tuple(y.shape) == wanted.shape
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-5, atol=1e-7)


def test_constant():
    builders = NumpyBuilder(), TorchBuilder()
    for b in builders:
        b.images = 4
    values = random(3, 2, 1)
    wanted = builders[0].constant(values)
    assert np.array_equal(builders[1].constant(values).numpy(), wanted)
    assert np.array_equal(builders[1].constant(tensor(values)).numpy(), wanted)


@pytest.mark.parametrize("name, args", REFUSED)
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
