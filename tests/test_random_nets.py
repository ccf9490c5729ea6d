"""Random nets through every promise, and proof that the promises are hard: broken surgery does not get through."""

import itertools
import os

import numpy as np
import pytest

from darkprune.darknet.cfg import parse
from darkprune.ops.base import Op
from darkprune.ops.connected import Connected
from darkprune.ops.registry import OPS
from darkprune.ops.reorg3d import Reorg3d
from darkprune.ops.route import Route
from darkprune.ops.shortcut import Shortcut
from darkprune.prune import gather_channels
from darkprune.prune.absorb import Absorption
from random_checks import Checker, draw, failure_of, kept_cases
from random_layers import Choices

KEPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "nets")
SEEDS = 60
POWER = 200  # nets within which a defect must be found


@pytest.fixture
def checker(tmp_path):
    return Checker(str(tmp_path))


def case_of(seed):
    return draw(Choices(seed))


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_seeded_nets(checker, first):
    for seed in range(first, first + 10):
        assert failure_of(checker, case_of(seed)) is None, "seed {}".format(seed)


@pytest.mark.parametrize("name", sorted(name for name, _ in kept_cases(KEPT)))
def test_nets_that_failed_once(checker, name):
    assert failure_of(checker, dict(kept_cases(KEPT))[name]) is None


def test_a_seed_gives_the_same_case_twice():
    first, second = case_of(11), case_of(11)
    assert (first.data, first.to_json()) == (second.data, second.to_json())


def test_every_layer_type_that_runs_is_in_one_net_of_twenty():
    counts = {op.names[0]: 0 for op in OPS.values() if type(op).lower is not Op.lower}
    for seed in range(400):
        for kind in {OPS[section.type].names[0] for section in parse(draw(Choices(seed)).data).sections[1:]}:
            counts[kind] += 1
    assert {kind for kind, n in counts.items() if n < 20} == {"contrastive", "iseg"}  # of training; an original's head


class Drawn:
    """Choices that Hypothesis makes, and shrinks."""

    def __init__(self, data, integers):
        self._data, self._integers = data, integers

    def integer(self, low, high):
        return self._data.draw(self._integers(low, high))


def test_nets_of_hypothesis(checker):
    hypothesis = pytest.importorskip("hypothesis")
    strategies = pytest.importorskip("hypothesis.strategies")
    quiet = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]

    @hypothesis.settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=quiet)
    @hypothesis.given(strategies.data())
    def holds(data):
        assert failure_of(checker, draw(Drawn(data, strategies.integers))) is None

    holds()


# ---- power


def nets_until_found(checker, monkeypatch, defect, words):
    """After how many nets with `words` in their cfg a broken package is found out; None where POWER say nothing."""
    drawn = (case_of(seed) for seed in itertools.count())
    for number, case in enumerate(itertools.islice((c for c in drawn if words in c.data), POWER), 1):
        with monkeypatch.context() as broken:
            defect(broken)
            found = failure_of(checker, case)
        if found is not None and failure_of(checker, case) is None:
            return number
    return None


def wrong_group(monkeypatch):
    """Labels and constants of a grouped route come from the block behind the one that it reads."""

    def parts(self, layer, arrays):
        groups = max(1, layer["groups"])
        return [np.split(array, groups)[(layer["group_id"] + 1) % groups] for array in arrays]

    monkeypatch.setattr(Route, "_parts", parts)


def swapped_axes(monkeypatch):
    right = gather_channels._take

    def take(array, spec, positions):
        sizes = {name: index.size for name, index in positions.items()}
        if spec.shape[:2] == spec.shape[1::-1] and sizes.get("in") == sizes.get("out"):
            positions = dict(positions, **{"in": positions["out"], "out": positions["in"]}) if sizes else positions
        return right(array, spec, positions)

    monkeypatch.setattr(gather_channels, "_take", take)


def swapped_flattening(monkeypatch):
    right = Connected.channels

    def channels(self, layer, ins, g):
        out = right(self, layer, ins, g)
        g.axis(layer, "in", np.tile(ins[0], layer.input_shape().area))
        return out

    monkeypatch.setattr(Connected, "channels", channels)


def wrong_offset(monkeypatch):
    def take(array, spec, positions):
        out, into = positions["out"], positions["in"]
        per_out, per_in = spec.shape[0] // spec.groups, spec.shape[1]
        columns = into[into // per_in == 0] if per_in > 1 else np.zeros(1, int)  # those of the first group for all
        rows = [array[out[out // per_out == group]] for group in range(spec.groups)]
        return np.concatenate([part[:, columns] for part in rows])

    monkeypatch.setattr(gather_channels, "_take_grouped", take)


def untied_sums(monkeypatch):
    """A sum whose sides are pruned each for itself."""

    def channels(self, layer, ins, g):
        g.axis(layer, "out", ins[0])
        return ins[0]

    monkeypatch.setattr(Shortcut, "channels", channels)


def uneven_sums_from_the_end(monkeypatch):
    """The narrower map is taken for the last channels of the wider one, not for the first."""

    def channels(self, layer, ins, g):
        g.axis(layer, "out", ins[0])
        for labels in ins[1:]:
            common = min(ins[0].size, labels.size)
            g.tie(ins[0][-common:], labels[-common:], "shortcut", added=True)
        return ins[0]

    monkeypatch.setattr(Shortcut, "channels", channels)


def repeated_reorg3d(monkeypatch):
    """The cells of a channel are taken for neighbours."""

    def channels(self, layer, ins, g):
        return Op.channels(self, layer, ins, g) if layer["reverse"] else np.repeat(ins[0], layer["stride"] ** 2)

    monkeypatch.setattr(Reorg3d, "channels", channels)


def no_patches(monkeypatch):
    monkeypatch.setattr(Absorption, "_add", lambda self, layer, name, patch: None)


DEFECTS = [
    (wrong_group, b"group_id"),
    (swapped_axes, b""),
    (swapped_flattening, b"[conn"),
    (wrong_offset, b"groups"),
    (untied_sums, b"[shortcut]"),
    (uneven_sums_from_the_end, b"[shortcut]"),
    (repeated_reorg3d, b"[reorg3d]"),
    (no_patches, b""),
]


@pytest.mark.parametrize("defect, words", DEFECTS)
def test_a_defect_is_found(checker, monkeypatch, defect, words):
    assert nets_until_found(checker, monkeypatch, defect, words) is not None
