"""The gradients of every loss are Darknet's deltas.

Debian's library is run here. What AlexeyAB's said of the same cases once, and of those that only it knows, stands in
tests/data/alexeyab_deltas.json; tests/head_training.py wrote it.
"""

import json

import numpy as np
import pytest

import head_training
import need
from head_training import CASES, FORK, ORIGINAL

torch = need.torch()

from darkprune.train.losses import losses_of  # noqa: E402

HEADER = "include/darknet.h"


def ours(name, folder, dialect):
    """(deltas, parts of the loss) of a case."""
    net, raw, targets, _ = head_training.case(name, folder, dialect)
    ((_, loss),) = losses_of(net).items()
    loss.seen = head_training.ALL[name].seen
    values = torch.tensor(raw, requires_grad=True)
    found = loss(values, targets, (net.input.shape.w, net.input.shape.h))
    found.total.backward()
    return -values.grad.numpy(), found.parts


def assert_same(found, expected, rounded=0.0):
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-5 + rounded, atol=(1e-6 + rounded) * largest)
    assert np.count_nonzero(expected) >= 7  # else the case says little


@pytest.mark.parametrize("name", sorted(dict(CASES, **ORIGINAL)))
def test_gradients_are_the_original_darknets_deltas(tmp_path, name):
    library = need.libdarknet()
    expected, cost = head_training.darknets_case(name, tmp_path, library, library.parent / HEADER, "pjreddie")
    found, parts = ours(name, tmp_path, "pjreddie")
    assert_same(found, expected)
    if "delta" in parts:
        assert abs(parts["delta"] - cost) < 1e-5 * cost


@pytest.mark.parametrize("name", sorted(set(CASES) - {"cost, L1"}) + sorted(FORK))
def test_gradients_are_alexeyabs_deltas(tmp_path, name):
    with open(str(need.ROOT / "tests" / "data" / "alexeyab_deltas.json")) as stream:
        said = json.load(stream)[name]
    found, parts = ours(name, tmp_path, "alexeyab")
    assert_same(found.ravel(), np.array(said["delta"]), 5e-6)
    if "delta" in parts and "iou_loss" not in head_training.ALL[name].head:
        assert abs(parts["delta"] - said["cost"]) < 2e-5 * said["cost"]
