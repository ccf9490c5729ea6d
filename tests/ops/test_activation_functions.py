"""Activations against the formulas in float64, known values, and the edges of float32."""

import math

import numpy as np
import pytest

from darkprune.ops.activation_functions import ACTIVATIONS, activate, effective, inverse, scalar


def logistic(x):
    return 1 / (1 + math.exp(-x))


def softplus(x):
    return x if x > 20 else math.exp(x) if x < -20 else math.log(math.exp(x) + 1)


def stair(x):
    n = math.floor(x)
    return math.floor(x / 2) if n % 2 == 0 else (x - n) + math.floor(x / 2)


FORMULAS = {
    "linear": lambda x: x,
    "logistic": logistic,
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "revleaky": lambda x: x if x > 0 else 0.1 * x,
    "relu": lambda x: x * (x > 0),
    "tanh": lambda x: (math.exp(2 * x) - 1) / (math.exp(2 * x) + 1),
    "swish": lambda x: x * logistic(x),
    "mish": lambda x: x * math.tanh(softplus(x)),
    "relu6": lambda x: min(max(x, 0), 6),
    "hard_mish": lambda x: x if x > 0 else x * x / 2 + x if x > -2 else 0,
    "elu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507 * x if x >= 0 else 1.0507 * 1.6732 * (math.exp(x) - 1),
    "gelu": lambda x: 0.5 * x * (1 + math.tanh(0.797885 * x + 0.035677 * x**3)),
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "relie": lambda x: x if x > 0 else 0.01 * x,
    "loggy": lambda x: 2 * logistic(x) - 1,
    "plse": lambda x: 0.01 * (x + 4) if x < -4 else 0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5,
    "hardtan": lambda x: max(-1, min(1, x)),
    "lhtan": lambda x: 0.001 * x if x < 0 else 0.001 * (x - 1) + 1 if x > 1 else x,
    "stair": stair,
}
COUPLED = {"normalize_channels", "normalize_channels_softmax", "normalize_channels_softmax_maxval"}
PJREDDIE = set("linear logistic leaky relu tanh elu selu ramp relie loggy plse hardtan lhtan stair".split())
OPENCV = set("linear logistic leaky relu tanh swish mish".split())
LARGEST = float(np.finfo(np.float32).max)


def test_the_table_is_complete():
    assert set(ACTIVATIONS) == set(FORMULAS) | COUPLED
    assert all(name == entry.name for name, entry in ACTIVATIONS.items())
    assert {e.name for e in ACTIVATIONS.values() if e.couples_channels} == COUPLED
    assert {e.name for e in ACTIVATIONS.values() if e.pjreddie} == PJREDDIE
    assert {e.name for e in ACTIVATIONS.values() if e.opencv} == OPENCV


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_formula(name):
    edges = [-30, -20.5, -20, -4.5, -4, -3, -2, -1, -0.0, 0, 0.5, 1, 2, 3, 4, 4.5, 6, 7, 20, 20.5, 30]
    x = np.concatenate([edges, np.random.RandomState(1).randn(399) * 4]).astype(np.float32).reshape(2, 7, 6, 5)
    before = x.copy()
    y = activate(x, name)
    wanted = np.array([FORMULAS[name](float(v)) for v in x.ravel()]).reshape(x.shape)
    assert y.dtype == np.float32 and y.shape == x.shape
    np.testing.assert_allclose(y, wanted, rtol=2e-6, atol=3e-7)
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(activate(x[:, :, 0, 0], name), y[:, :, 0, 0])


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_extremes_give_no_warning_and_no_nan(name):
    x = np.array([[-LARGEST, -1e30, -1e4, -100, -0.0], [0, 1e-45, 100, 1e4, LARGEST]], np.float32)
    y = activate(x, name)
    assert not np.isnan(y).any()
    if name not in {"selu", "ramp"}:  # these exceed float32 at its end, in the readers too
        assert np.isfinite(y).all()
    activate(np.array([[np.inf, -np.inf, np.nan]], np.float32), name)


def test_known_values():
    assert scalar("mish", 1.0) == pytest.approx(0.8650983882673103, rel=1e-6)
    assert scalar("mish", -1.0) == pytest.approx(-0.3034014637, rel=1e-6)
    assert scalar("swish", 1.0) == pytest.approx(0.7310585786, rel=1e-6)
    assert scalar("gelu", 1.0) == pytest.approx(0.841192, rel=1e-5)
    assert scalar("stair", 3.25) == 1.25 and scalar("stair", 2.75) == 1.0
    assert scalar("leaky", -1.0) == float(np.float32(-0.1))
    assert scalar("mish", 25.0) == 25.0


def test_normalize_channels():
    x = np.random.RandomState(2).randn(2, 5, 3, 4).astype(np.float32)
    wide = x.astype(np.float64)
    positive = np.where(wide > 0, wide, 0)
    e, shifted = np.exp(wide), np.exp(wide - wide.max(axis=1, keepdims=True))
    wanted = {
        "normalize_channels": positive / (1e-4 + positive.sum(1, keepdims=True)),
        "normalize_channels_softmax": e / (1e-4 + e.sum(1, keepdims=True)),
        "normalize_channels_softmax_maxval": shifted / (1e-4 + shifted.sum(1, keepdims=True)),
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(activate(x, name), value, rtol=1e-5, atol=1e-7)
    far = np.full((1, 2, 1, 1), -20, np.float32)  # here the 1e-4 outweighs the exponentials
    tiny = math.exp(-20)
    np.testing.assert_allclose(activate(far, "normalize_channels_softmax"), tiny / (1e-4 + 2 * tiny), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_pjreddie_computes_relu_for_names_it_does_not_know(name):
    x = np.linspace(-3, 3, 21, dtype=np.float32).reshape(1, 3, 7, 1)
    known = name in PJREDDIE
    assert effective(name, "pjreddie").name == (name if known else "relu")
    np.testing.assert_array_equal(activate(x, name, "pjreddie"), activate(x, name if known else "relu"))
    np.testing.assert_array_equal(activate(x, name, "opencv"), activate(x, name))


@pytest.mark.parametrize("dialect", ["alexeyab", "pjreddie", "opencv"])
def test_an_unknown_name_is_a_key_error(dialect):
    for call in (lambda: activate(np.zeros((1, 1), np.float32), "Leaky", dialect), lambda: inverse("", 1, dialect)):
        with pytest.raises(KeyError):
            call()


IDENTITIES = ["linear", "leaky", "revleaky", "relu", "relie", "elu", "hard_mish"]


@pytest.mark.parametrize("name", IDENTITIES)
def test_inverse_of_an_identity_is_the_target(name):
    for target in (2.0**-10, 0.3, 1.0, 4.0, 1e20):
        assert inverse(name, target) == float(np.float32(target))


@pytest.mark.parametrize("name", ["mish", "swish", "gelu", "selu", "ramp", "stair"])
@pytest.mark.parametrize("target", [2.0**-12, 0.125, 0.7, 1.0, 2.0, 4.0, 11.3, 300.0])
def test_inverse_is_as_near_as_float32_allows(name, target):
    b = inverse(name, target)
    assert b is not None and b == float(np.float32(b)) and 0 <= b <= 2 * target + 8
    distance = abs(scalar(name, b) - target)
    assert distance <= 1e-6 * target
    for direction in (0, np.inf):
        neighbour = np.nextafter(np.float32(b), np.float32(direction))
        assert abs(scalar(name, neighbour) - target) >= distance


def test_inverse_of_bounded_activations():
    for name, target in [("logistic", 0.75), ("loggy", 0.25), ("tanh", 0.25)]:
        b = inverse(name, target)
        assert b is not None and scalar(name, b) == pytest.approx(target, rel=1e-6)
    assert inverse("logistic", 0.5) == 0.0
    assert inverse("relu6", 6.0) == 6.0 and inverse("hardtan", 0.5) == 0.5 and inverse("lhtan", 1.0) == 1.0
    for name, target in [("logistic", 2), ("logistic", 0.25), ("tanh", 2), ("loggy", 1.5), ("hardtan", 1.01)]:
        assert inverse(name, target) is None
    assert inverse("relu6", 6.5) is None and inverse("plse", 4.0) is None and inverse("linear", 1e39) is None


def test_inverse_across_dialects_and_bad_targets():
    assert inverse("mish", 1.0, "pjreddie") == 1.0  # relu there
    assert inverse("normalize_channels", 1.0) is None
    assert inverse("normalize_channels", 1.0, "pjreddie") == 1.0
    for target in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError):
            inverse("linear", target)
