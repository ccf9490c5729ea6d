"""A pair opened in each runner, also at another input size."""

import os

import numpy as np
import pytest

import need
from darkprune.backends.model import Model
from darkprune.errors import GraphError, UsageError
from darkprune.graph.build import load
from darkprune.verify import test_batch as picture
from small_nets import HEAD, cfg, conv, make_weights


@pytest.fixture
def pair(tmp_path):
    path = tmp_path / "net.cfg"
    path.write_text(cfg(conv(8, stride=2), conv(16, stride=2), HEAD), "ascii")
    make_weights.make(str(path), str(tmp_path / "net.weights"))
    return str(path), str(tmp_path / "net.weights")


@pytest.mark.parametrize("runner", ["torch", "opencv", "darknet"])
@pytest.mark.parametrize("size", [(None, None), (48, 32)])
def test_runners_agree_at_any_size(pair, runner, size):
    {"torch": need.torch, "opencv": need.opencv, "darknet": need.libdarknet}[runner]()
    with Model(*pair, "numpy", *size) as reference:
        batch = picture(reference.net)
        expected = reference.raw_heads(batch)
    assert size == (None, None) or batch.shape[2:] == size[::-1]
    with Model(*pair, runner, *size) as model:
        found = model.raw_heads(batch)
    assert sorted(found) == sorted(expected) == model.layers
    for index, y in expected.items():
        np.testing.assert_allclose(found[index], y, atol=1e-3 * np.abs(y).max())


def test_nothing_of_a_resized_cfg_stays(pair):
    need.opencv()
    with Model(*pair, "opencv", 48, 32) as model:
        path = model.runner.cfg
        assert os.path.exists(path) and path != pair[0]
    assert not os.path.exists(path) and load(*pair).input.shape.w != 48


def test_bad_arguments(pair):
    with pytest.raises(UsageError, match="unknown runner tensorflow"):
        Model(*pair, "tensorflow")
    with pytest.raises((UsageError, GraphError)):
        Model(*pair, "numpy", 0, 32)
